"""Which answers are tested: derived from copier.yml, so that no choice is forgotten."""

import functools
from contextlib import suppress
from itertools import combinations
from typing import Any

import yaml
from allpairspy import AllPairs
from jinja2 import UndefinedError

from scripts.questionnaire import JINJA

from .support import ROOT

Answers = dict[str, Any]


def settings() -> dict[str, Any]:
    """Return copier.yml: settings, questions and computed answers."""
    return yaml.safe_load((ROOT / "copier.yml").read_text("utf-8"))


def questionnaire() -> dict[str, dict[str, Any]]:
    """Return every question that copier.yml asks, in its order."""
    return {
        name: question
        for name, question in settings().items()
        if not name.startswith("_") and question.get("when") is not False
    }


def choices() -> dict[str, list[Any]]:
    """Return the possible answers of each question that doesn't take free text."""
    return {
        name: possible
        for name, question in questionnaire().items()
        if (possible := _possible(question))
    }


def _possible(question: dict[str, Any]) -> list[Any]:
    if question["type"] == "bool":
        return [True, False]
    listed = question.get("choices", [])
    values = listed.values() if isinstance(listed, dict) else listed
    # A choice with a validator of its own is a mapping that holds the value.
    return [v["value"] if isinstance(v, dict) else v for v in values]


@functools.cache
def refusals() -> list[tuple[str, Any, Any]]:
    """Return question, value and compiled validator of each choice that has one."""
    return [
        (name, choice["value"], JINJA.from_string(choice["validator"]))
        for name, question in questionnaire().items()
        if isinstance(listed := question.get("choices"), dict)
        for choice in listed.values()
        if isinstance(choice, dict)
    ]


def fit_together(answers: Answers) -> bool:
    """Tell whether no choice's own validator refuses these answers, as far as given."""
    for name, value, validator in refusals():
        with suppress(UndefinedError):
            if answers.get(name) == value and validator.render(answers).strip():
                return False
    return True


def completed(answers: Answers) -> Answers:
    """Return answers with the one other choice that they need to be accepted."""
    defaults = {name: q.get("default") for name, q in questionnaire().items()}
    others = [{}] + [{n: v} for n, values in choices().items() for v in values]
    found = (answers | other for other in others if not answers.keys() & other.keys())
    return next(one for one in found if fit_together(defaults | one))


def pairs() -> list[Answers]:
    """Return every two choices of two questions, but for those refused together."""
    found = [
        {one: value, other: another}
        for (one, values), (other, others) in combinations(choices().items(), 2)
        for value in values
        for another in others
    ]
    return [pair for pair in found if fit_together(pair)]


@functools.cache
def all_pairs() -> list[Answers]:
    """Return answers in which every two choices of two questions meet at least once."""
    possible = choices()

    def fits(row: list[Any]) -> bool:
        return fit_together(dict(zip(possible, row, strict=False)))

    found = AllPairs(possible.values(), filter_func=fits)
    rows: list[Answers] = [dict(zip(possible, row, strict=True)) for row in found]
    # With a filter, AllPairs leaves a few pairs out.
    for pair in pairs():
        if not any(row | pair == row for row in rows):
            rows.append(next(row | pair for row in rows if fit_together(row | pair)))
    return rows


def single_choices() -> list[Answers]:
    """Return the defaults, and the defaults with one other choice, for each choice."""
    defaults = {name: q.get("default") for name, q in questionnaire().items()}
    return [{}] + [
        completed({name: value})
        for name, possible in choices().items()
        for value in possible
        if value != defaults[name]
    ]


def label(answers: Answers) -> str:
    """Return a test id that a person can read, the defaults left out."""
    defaults = {
        name: question.get("default") for name, question in questionnaire().items()
    }
    named = (f"{k}={v}" for k, v in answers.items() if v != defaults[k])
    return ",".join(named).replace(" ", "_") or "defaults"
