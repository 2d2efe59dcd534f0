"""The variants cover the questionnaire."""

from itertools import combinations

from . import variants


def test_every_pair_of_choices_is_in_some_variant() -> None:
    possible = variants.choices()
    wanted = {
        ((first, a), (second, b))
        for first, second in combinations(possible, 2)
        for a in possible[first]
        for b in possible[second]
    }
    found = {
        pair for row in variants.all_pairs() for pair in combinations(row.items(), 2)
    }
    assert wanted == found


def test_every_choice_is_run() -> None:
    run = {item for answers in variants.single_choices() for item in answers.items()}
    defaults = {name: q["default"] for name, q in variants.questionnaire().items()}
    for name, possible in variants.choices().items():
        for value in possible:
            assert (name, value) in run or value == defaults[name]


def test_questions_without_choices_are_free_text() -> None:
    free = variants.questionnaire().keys() - variants.choices().keys()
    assert free == {"project_name", "package_name", "description", "author"}
