"""The variants cover the questionnaire."""

from itertools import combinations

from . import variants


def test_every_pair_of_choices_is_in_some_variant() -> None:
    wanted = {tuple(pair.items()) for pair in variants.pairs()}
    rows = variants.all_pairs()
    found = {pair for row in rows for pair in combinations(row.items(), 2)}
    assert wanted == found


def test_only_choices_that_do_not_fit_together_never_meet() -> None:
    possible = variants.choices()
    every = {
        ((first, a), (second, b))
        for first, second in combinations(possible, 2)
        for a in possible[first]
        for b in possible[second]
    }
    apart = every - {tuple(pair.items()) for pair in variants.pairs()}
    assert apart == {(("tracking", "local"), ("serving", "kubernetes"))}


def test_every_choice_is_run() -> None:
    run = {item for answers in variants.single_choices() for item in answers.items()}
    defaults = {name: q["default"] for name, q in variants.questionnaire().items()}
    for name, possible in variants.choices().items():
        for value in possible:
            assert (name, value) in run or value == defaults[name]


def test_questions_without_choices_are_free_text() -> None:
    free = variants.questionnaire().keys() - variants.choices().keys()
    assert free == {"project_name", "package_name", "description", "author", "own"}
