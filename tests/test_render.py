"""Every pair of choices renders files that parse, are tidy and fit their purpose."""

import ast
import hashlib
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import variants
from .support import ROOT, read_toml, run

Render = Callable[..., Path]
PIPELINES = {
    "github": (".github/workflows/*.yml", "vendor.github-workflows", ()),
    "gitlab": (
        ".gitlab-ci.yml",
        "vendor.gitlab-ci",
        ("--data-transform", "gitlab-ci"),
    ),
    "azure": (
        "azure-pipelines.yml",
        "vendor.azure-pipelines",
        ("--data-transform", "azure-pipelines", "--regex-variant", "nonunicode"),
    ),
}
VARIANTS = pytest.mark.parametrize("answers", variants.all_pairs(), ids=variants.label)


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that occurs twice, and accepts the tags of CI hosts."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        plain = [key for key, _ in node.value if not key.tag.endswith(":merge")]
        keys = [self.construct_object(key, deep) for key in plain]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"{twice} occur twice in {node.start_mark}"
        return super().construct_mapping(node, deep)


StrictLoader.add_constructor("!reference", lambda loader, node: None)


def files_of(folder: Path) -> dict[str, Path]:
    """Return every file of a rendered folder by its path in it."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".ruff_cache" not in path.parts
    }


def contents_of(folder: Path) -> dict[str, bytes]:
    """Return what a rendered folder holds, but for the stored answers."""
    files = files_of(folder)
    del files[".copier-answers.yml"]
    return {name: path.read_bytes() for name, path in files.items()}


def parse(path: Path) -> Any:
    """Return what a file of a known format holds, None for another format."""
    text = path.read_text("utf-8")
    if path.suffix in (".yml", ".yaml"):
        return list(yaml.load_all(text, StrictLoader))
    if path.suffix == ".toml":
        return read_toml(path)
    if path.suffix in (".json", ".ipynb"):
        return json.loads(text)
    if path.suffix == ".py":
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return ast.parse(text, filename=str(path))
    return None


def untidy(name: str, text: str) -> list[str]:
    """Return what a reader would stumble over in a rendered text."""
    lines = text.split("\n")
    found = {
        "is empty": not text.strip(),
        "does not end with one line end": not text.endswith("\n")
        or text.endswith("\n\n"),
        "holds a carriage return": "\r" in text,
        "holds trailing white space": any(line != line.rstrip() for line in lines),
        "holds two blank lines": not name.endswith(".py") and "\n\n\n" in text,
    }
    return [problem for problem, present in found.items() if present]


@pytest.fixture(scope="session")
def verbatim() -> set[bytes]:
    """The contents of the template's files that Jinja does not touch."""
    return {
        hashlib.sha256(path.read_bytes()).digest()
        for path in (ROOT / "template").rglob("*")
        if path.is_file() and path.suffix != ".jinja"
    }


@VARIANTS
def test_every_file_parses(rendered: Render, answers: variants.Answers) -> None:
    files = files_of(rendered(**answers))
    for path in files.values():
        parse(path)
    suffixes = {path.suffix for path in files.values()}
    assert {".yml", ".toml", ".py"} <= suffixes


@VARIANTS
def test_every_file_is_tidy(
    rendered: Render, answers: variants.Answers, verbatim: set[bytes]
) -> None:
    problems = []
    for name, path in files_of(rendered(**answers)).items():
        if path.name == ".gitkeep":
            assert path.read_bytes() == b""
            continue
        text = path.read_bytes().decode("utf-8")
        problems += [f"{name} {problem}" for problem in untidy(name, text)]
        is_verbatim = hashlib.sha256(path.read_bytes()).digest() in verbatim
        # ${{ … }} is an expression of GitHub's, {{{ … }}} of Renovate's, not of Jinja.
        if not is_verbatim and re.search(r"(?<![${])\{\{(?!\{)|\{%|\{#", text):
            problems.append(f"{name} holds Jinja")
    assert not problems


@VARIANTS
def test_every_python_file_is_linted_and_formatted(
    rendered: Render, answers: variants.Answers
) -> None:
    folder = rendered(**answers)
    run("ruff", "check", "--no-cache", ".", cwd=folder)
    run("ruff", "format", "--no-cache", "--check", "--diff", ".", cwd=folder)


@VARIANTS
def test_the_image_is_described_without_faults(
    rendered: Render, answers: variants.Answers
) -> None:
    run("hadolint", "Dockerfile", cwd=rendered(**answers))


@pytest.mark.parametrize("ci", PIPELINES)
def test_only_the_chosen_ci_is_rendered_and_fits_its_schema(
    rendered: Render, ci: str
) -> None:
    pattern, schema, options = PIPELINES[ci]
    described = []
    for answers in variants.all_pairs():
        found = sorted(rendered(**answers).glob(pattern))
        assert bool(found) == (ci == answers["ci"]), f"{answers}: {found}"
        described += found
    assert described
    checker = ("check-jsonschema", "--builtin-schema", schema, *options)
    run(*checker, *described, cwd=ROOT)


def test_a_file_that_does_not_parse_is_noticed(tmp_path: Path) -> None:
    broken = {
        "a.yml": "a: 1\na: 2\n",
        "b.yml": "a: [\n",
        "c.toml": "a =\n",
        "d.json": "{,}\n",
        "e.py": "def f(:\n",
        "f.py": "'\\w'\n",
    }
    for name, text in broken.items():
        (tmp_path / name).write_text(text)
        with pytest.raises((yaml.YAMLError, ValueError, SyntaxError, AssertionError)):
            parse(tmp_path / name)


@pytest.mark.parametrize(
    "text", ["", "\n", "a", "a\n\n", "a \nb\n", "a\r\nb\n", "a\n\n\nb\n"], ids=repr
)
def test_an_untidy_file_is_noticed(text: str) -> None:
    assert untidy("a.yml", text)
    assert not untidy("a.yml", "a\n\nb\n")


def test_rendering_warns_of_nothing(template: Path, tmp_path: Path) -> None:
    done = run("copier", "copy", "--defaults", template, tmp_path / "new", cwd=tmp_path)
    assert "arning" not in done.stderr, done.stderr
    assert "Mortgage Approval is ready." in done.stderr


@pytest.mark.run
def test_only_named_choices_render_alike(rendered: Render) -> None:
    """A choice that changes nothing is no choice."""
    alike = set()
    for name, possible in variants.choices().items():
        by_content: dict[str, Any] = {}
        for value in possible:
            answers = variants.completed({name: value})
            contents = repr(contents_of(rendered(**answers)))
            if contents in by_content:
                alike.add((name, by_content[contents], value))
            by_content.setdefault(contents, value)
    assert alike == {
        ("profile", "production", "custom"),
        ("serving", "as the profile says", "rest"),
    }


@pytest.mark.parametrize(
    "name", ["project_name", "package_name", "description", "author"]
)
def test_every_free_answer_changes_some_file(rendered: Render, name: str) -> None:
    assert contents_of(rendered(**{name: "another"})) != contents_of(rendered())


def test_python_files_of_the_template_are_linted_in_place(rendered: Render) -> None:
    settings = rendered() / "pyproject.toml"
    template = ROOT / "template"
    ruff = ("--no-cache", "--config", settings, ".")
    run("ruff", "check", *ruff, cwd=template)
    run("ruff", "format", "--check", "--diff", *ruff, cwd=template)


def test_python_files_of_the_template_hold_no_jinja() -> None:
    for path in (ROOT / "template").rglob("*.py"):
        text = path.read_text("utf-8")
        ast.parse(text, filename=str(path))
        assert not re.search("{{|{%|{#", text), f"{path.name} looks like Jinja."
    # The one that names the package; beside a plain one, the linter would take the
    # template's folder for a package with a name that no package can have.
    named = [path.name for path in (ROOT / "template").rglob("*.py.jinja")]
    assert named == ["__init__.py.jinja"]


def test_file_names_are_legal_on_windows(rendered: Render) -> None:
    listed = run("git", "ls-files", "-z", cwd=ROOT).stdout.split("\0")
    names = [name for name in listed if name]
    for answers in variants.all_pairs():
        names += files_of(rendered(**answers))
    reserved = {
        "con",
        "prn",
        "aux",
        "nul",
        *(f"{d}{n}" for d in ("com", "lpt") for n in range(10)),
    }
    for name in names:
        for part in name.split("/"):
            assert not re.search(r'[<>:"|?*\\\x00-\x1f]|[. ]$', part), name
            assert part.split(".")[0].lower() not in reserved, name
    for folder in {name.rpartition("/")[0] for name in names}:
        inside = {n for n in names if n.rpartition("/")[0] == folder}
        assert len({n.lower() for n in inside}) == len(inside), folder
    # A checkout below C:\Users\<name>\ has about 200 of Windows' 260 characters left.
    assert max(map(len, names)) <= 150, max(names, key=len)
