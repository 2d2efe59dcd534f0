"""Which answers are tested: derived from copier.yml, so that no choice is forgotten."""

from typing import Any

import yaml
from allpairspy import AllPairs

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


def all_pairs() -> list[Answers]:
    """Return answers in which every two choices of two questions meet at least once."""
    possible = choices()
    return [
        dict(zip(possible, row, strict=True)) for row in AllPairs(possible.values())
    ]


def single_choices() -> list[Answers]:
    """Return the defaults, and the defaults with one other choice, for each choice."""
    defaults = {name: q.get("default") for name, q in questionnaire().items()}
    return [{}] + [
        {name: value}
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
