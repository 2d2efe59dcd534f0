"""Whatever is answered gives a sound project, or is refused with a sentence."""

import keyword
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from .support import ROOT, read_toml, render_template, run
from .test_render import files_of, parse, untidy
from .variants import settings

SPECIAL = {
    "nothing": "",
    "blank": " ",
    "leading and trailing blanks": " a name ",
    "double quotes": 'the "best" one',
    "three double quotes": 'ends with """',
    "single quotes": "it's '''quoted'''",
    "slashes": "one/two",
    "parent folder": "../up",
    "backslash": "back\\slash",
    "ends with a backslash": "back\\",
    "line break": "one\ntwo",
    "carriage return": "one\rtwo",
    "tab": "one\ttwo",
    "null character": "one\0two",
    "delete character": "one\x7ftwo",
    "C1 control character": "one\x9ftwo",
    "next line": "one\x85two",
    "line separator": "one\u2028two",
    "byte order mark": "\ufeffone",
    "right-to-left override": "one\u202etwo",
    "other scripts": "予測モデル Прогноз",
    "combining accents": "Cafe\u0301",
    "emoji": "rocket 🚀",
    "YAML mapping": "a: b",
    "YAML comment": "a # b",
    "YAML braces": "{a: b}",
    "YAML list": "[a, b]",
    "YAML boolean": "yes",
    "YAML null": "null",
    "YAML anchor": "&a *b",
    "YAML tag": "!!python/name:os",
    "YAML dash": "- a",
    "number": "1e3",
    "leading digits": "2024 sales",
    "only digits": "42",
    "date": "2024-01-01",
    "keyword": "class",
    "standard library": "json",
    "this project's dependency": "mlflow",
    "Jinja expression": "{{ package_name }}",
    "Jinja statement": "{% raw %}",
    "Jinja comment": "{# gone #}",
    "shell": "$(id) `id` ; rm",
    "interpolation": "${globals:registered_model}",
    "angle brackets": "A <a@b.c>",
    "ampersand": "Müller & Søn",
    "dots": "...",
    "hyphen": "-",
    "underscores": "__init__",
    "200 characters": "long " * 39 + "name!",
    "1,000 characters": "x" * 1000,
}
VALUES = pytest.mark.parametrize("value", SPECIAL.values(), ids=SPECIAL)


def refusal(template: Path, destination: Path, **answers: str) -> str | None:
    """Render; return the message that refused an answer, None if there was none."""
    try:
        render_template(template, destination, **answers)
    except ValueError as error:
        return str(error)
    return None


def assert_sound(folder: Path, **answers: str) -> None:
    """Fail unless everything parses and the metadata equal the answers."""
    for name, path in files_of(folder).items():
        parse(path)
        if path.name not in (".gitkeep", "constraints.txt") and path.suffix != ".csv":
            assert not untidy(name, path.read_text("utf-8")), name
    stored = yaml.safe_load((folder / ".copier-answers.yml").read_text("utf-8"))
    assert {name: stored[name] for name in answers} == answers
    settings = read_toml(folder / "pyproject.toml")
    package = stored["package_name"]
    found = {
        "project_name": settings["tool"]["kedro"]["project_name"],
        "package_name": settings["tool"]["kedro"]["package_name"],
        "description": settings["project"]["description"],
        "author": settings["project"]["authors"][0]["name"],
    }
    assert {name: found[name] for name in answers} == answers
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", settings["project"]["name"])
    assert package.isidentifier()
    assert not keyword.iskeyword(package)
    for file in ("globals", "mlflow", "parameters_data_processing"):
        (values,) = parse(folder / "conf" / "base" / f"{file}.yml")
        if file == "globals":
            assert values["registered_model"] == package
        if file == "mlflow":
            assert values["tracking"]["experiment"]["name"] == package
        if file == "parameters_data_processing":
            assert values["held_out"]["salt"] == package
    run("ruff", "check", "--no-cache", ".", cwd=folder)
    run("ruff", "format", "--no-cache", "--check", ".", cwd=folder)


@pytest.fixture(scope="session")
def questions_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The questionnaire without files: says quickly whether an answer is refused."""
    folder = tmp_path_factory.mktemp("questions")
    (folder / "template").mkdir()
    shutil.copy(ROOT / "copier.yml", folder)
    return folder


@pytest.mark.run
@VALUES
def test_a_hostile_answer_is_refused_or_handled(
    questions_only: Path, render: Callable[..., Path], tmp_path: Path, value: str
) -> None:
    names = ("project_name", "package_name", "description", "author")
    refused = {
        name: message
        for name in names
        if (message := refusal(questions_only, tmp_path / name, **{name: value}))
    }
    for name, message in refused.items():
        sentence = rf"Validation error for question '{name}': .*\."
        assert re.search(sentence, message, re.DOTALL), message
    accepted = {name: value for name in names if name not in refused}
    if accepted:
        assert_sound(render(**accepted), **accepted)


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("project_name", "予測モデル"),
        ("project_name", "2024 sales"),
        ("project_name", "class"),
        ("project_name", "x" * 60),
        ("package_name", "x" * 60),
        ("description", "Müller's 50 % {off}: # [all]"),
        ("description", "{{ package_name }}"),
        ("description", ("words and " * 20).strip()),
        ("author", "Müller & Søn's"),
        ("author", "{{ package_name }}"),
    ],
)
def test_an_unusual_answer_is_handled(
    render: Callable[..., Path], question: str, value: str
) -> None:
    assert_sound(render(**{question: value}), **{question: value})


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("project_name", ""),
        ("project_name", "one/two"),
        ("project_name", "x" * 61),
        ("package_name", ""),
        ("package_name", "class"),
        ("package_name", "json"),
        ("package_name", "mlflow"),
        ("package_name", "yes"),
        ("package_name", "null"),
        ("package_name", "Upper"),
        ("package_name", "a-b"),
        ("package_name", "a_"),
        ("package_name", "a__b"),
        ("package_name", "1a"),
        ("package_name", "name\n"),
        ("package_name", "x" * 61),
        ("description", ""),
        ("description", 'with "quotes"'),
        ("description", "two\nlines"),
        ("author", ""),
        ("license", "GPL"),
        ("task", "clustering"),
        ("python_version", "3.10"),
    ],
)
def test_an_answer_that_would_break_the_project_is_refused(
    questions_only: Path, tmp_path: Path, question: str, value: str
) -> None:
    message = refusal(questions_only, tmp_path / "new", **{question: value})
    assert message is not None, f"{value!r} was accepted."
    assert f"'{question}'" in message


def test_no_package_hides_a_module_that_the_project_uses() -> None:
    reserved = set(settings()["reserved_names"]["default"].split())
    modules = {m.lower() for m in sys.stdlib_module_names if not m.startswith("_")}
    words = {word.lower() for word in keyword.kwlist + keyword.softkwlist} - {"_"}
    yaml_words = {"yes", "no", "on", "off", "null", "true", "false"}
    assert modules | words | yaml_words | {"test", "tests"} <= reserved


def test_a_reserved_project_name_gives_another_package_name(
    rendered: Callable[..., Path],
) -> None:
    folder = rendered(project_name="json")
    assert (folder / "src" / "json_project").is_dir()
