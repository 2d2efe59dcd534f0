"""Write docs/questionnaire.md from copier.yml, so that the page can't drift from it."""

import re
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined, meta
from jinja2.sandbox import SandboxedEnvironment
from jinja2_ansible_filters import AnsibleCoreFiltersExtension

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "questionnaire.md"
AS_THE_PROFILE_SAYS = "as the profile says"

# The same environment as Copier's: what is shown here is what it would answer.
JINJA = SandboxedEnvironment(
    undefined=StrictUndefined, extensions=[AnsibleCoreFiltersExtension]
)

INTRODUCTION = """\
# Questionnaire

<!-- Written by scripts/questionnaire.py from copier.yml; `make docs` does it again. -->

`copier copy` asks these questions, in this order. `--defaults` takes every default,
and `--data` answers one question on the command line:

```sh
uvx copier copy --defaults --data task=regression --data ci=gitlab REPOSITORY my-project
```

The answers are kept in `.copier-answers.yml`. `copier update` asks again, with the
answers so far as defaults.
"""


def read_questions(text: str) -> dict[str, dict[str, Any]]:
    """Return every question of a questionnaire, those that are never asked included."""
    settings = yaml.safe_load(text)
    return {name: q for name, q in settings.items() if not name.startswith("_")}


def is_asked(question: dict[str, Any]) -> bool:
    """Tell whether somebody may be asked, rather than the answer being computed."""
    return question.get("when") is not False


def write_page(text: str) -> str:
    """Return the page for a questionnaire, given as YAML."""
    questions = read_questions(text)
    asked = {name: q for name, q in questions.items() if is_asked(q)}
    parts = [INTRODUCTION]
    parts += [write_question(name, q) for name, q in asked.items()]
    parts.append(write_profiles(questions))
    return "\n".join(parts)


def write_question(name: str, question: dict[str, Any]) -> str:
    """Return one question's section."""
    default = question["default"]
    lines = [f"## `{name}`", "", question["help"].strip(), ""]
    for value, label in list_choices(question):
        lines.append(f"- `{value}`{f': {label}' if label != value else ''}")
        if str(default).lower() == value:
            lines[-1] += " **(default)**"
    if not list_choices(question):
        lines += [f"Default: {show_default(default)}"]
    if question.get("ask") is False:
        lines += ["", "Never asked; `--data` answers it."]
    elif "ask" in question:
        condition = str(question["ask"]).strip("{} ")
        lines += ["", f"Asked only if `{condition}`; `--data` answers it always."]
    if rules := list_rules(list_validators(question)):
        lines += ["", "What a refused answer is told:", ""]
        lines += [f"- {rule}" for rule in rules]
    return "\n".join([*lines, ""])


def show_default(default: str) -> str:
    """Return a default for people: its value, or what it is computed from."""
    if "{" not in default:
        return f"`{default}`"
    names = meta.find_undeclared_variables(JINJA.parse(default)) - {"reserved_names"}
    return f"computed from {', '.join(f'`{name}`' for name in sorted(names))}"


def list_choices(question: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the value and the label of each choice."""
    choices = question.get("choices", [])
    if question["type"] == "bool":
        choices = {"Yes": "true", "No": "false"}
    if isinstance(choices, list):
        choices = {value: value for value in choices}
    # A choice with a validator of its own is a mapping that holds the value.
    values = {k: v["value"] if isinstance(v, dict) else v for k, v in choices.items()}
    return [(str(value), str(label)) for label, value in values.items()]


def list_validators(question: dict[str, Any]) -> str:
    """Return what refuses an answer, whatever was chosen or one choice."""
    choices = question.get("choices", {})
    values = choices.values() if isinstance(choices, dict) else []
    own = [choice["validator"] for choice in values if isinstance(choice, dict)]
    return "{% %}".join([question.get("validator", ""), *own])


def list_rules(validator: str) -> list[str]:
    """Return the sentences that a refused answer is told; what differs becomes …."""
    sentences = re.split(r"{%.*?%}", validator, flags=re.DOTALL)
    shown = [re.sub(r"'?{{.*?}}'?", "…", " ".join(s.split())) for s in sentences]
    return [sentence for sentence in shown if sentence]


def write_profiles(questions: dict[str, dict[str, Any]]) -> str:
    """Return the table of what each profile stands for."""
    profiles = [value for value, _ in list_choices(questions["profile"])]
    answers = {profile: resolve(questions, profile) for profile in profiles}
    lines = [
        "## What a profile stands for",
        "",
        f"A question whose answer is `{AS_THE_PROFILE_SAYS}` follows the profile, also",
        "when an update changes it. Any other answer wins over the profile.",
        "",
        f"| | {' | '.join(profiles)} |",
        f"|---|{'---|' * len(profiles)}",
    ]
    for name, label in computed_labels(questions).items():
        values = " | ".join(show_value(answers[p][name]) for p in profiles)
        lines.append(f"| {label} | {values} |")
    return "\n".join([*lines, ""])


def computed_labels(questions: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the computed answers that a profile decides, and how to call them."""
    resolved = {
        f"resolved_{name}": f"`{name}`"
        for name, question in questions.items()
        if question["default"] == AS_THE_PROFILE_SAYS
    }
    needs = {name: name.replace("_", " ") for name in questions if "needs_" in name}
    return {**resolved, **needs}


def resolve(questions: dict[str, dict[str, Any]], profile: str) -> dict[str, Any]:
    """Return all answers for a profile and otherwise defaults, as Copier computes."""
    answers: dict[str, Any] = {}
    for name, question in questions.items():
        answer = question["default"]
        if isinstance(answer, str):
            answer = JINJA.from_string(answer).render(answers)
        if question["type"] == "bool":
            answer = yaml.safe_load(str(answer))
        answers[name] = profile if name == "profile" else answer
    return answers


def show_value(value: Any) -> str:
    """Return a value for a table."""
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    PAGE.write_text(write_page((ROOT / "copier.yml").read_text("utf-8")), "utf-8")
    print(f"Wrote {PAGE.relative_to(ROOT)}")
