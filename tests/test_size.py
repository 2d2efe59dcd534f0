"""The default project stays small enough to be read in an hour."""

import ast
import io
import tokenize
from collections.abc import Callable
from pathlib import Path

import pytest

from .test_render import files_of

Render = Callable[..., Path]
YOURS_AT_MOST = 1500
# Lines of code of each promise in mlops/; what no other part claims is the core.
PARTS = {
    "lineage": ("/lineage/", "/artifact_rules.", "/logging_rules.", "/masking."),
    "migration": ("/migration/",),
    "promotion": ("/promotion/",),
    "retention": ("/retention/",),
    "serving": ("/serving/",),
}
CODE_AT_MOST = {
    "core": 400,
    "lineage": 998,
    "migration": 177,
    "promotion": 1203,
    "retention": 692,
    "serving": 1114,
}
SAMPLE = '''"""A docstring

of three lines."""

# A comment
X = """a
b"""


def f():
    """A docstring."""
    return (
        1  # one
    )
'''
NO_CODE = (
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
)


def lines_of_code(text: str) -> int:
    """Count the lines that are neither blank nor comment nor docstring."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        for body in [node.body] if isinstance(node, documented) else []:
            for statement in body:
                if isinstance(statement, ast.Expr) and isinstance(
                    statement.value, ast.Constant
                ):
                    docstrings.update(range(statement.lineno, statement.end_lineno + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings)


def test_lines_of_code_are_those_that_do_something() -> None:
    assert lines_of_code(SAMPLE) == 6


def test_what_is_yours_holds_no_more_than_1500_lines(rendered: Render) -> None:
    counts = {
        name: len(path.read_text("utf-8").splitlines())
        for name, path in files_of(rendered()).items()
        if name.startswith(("conf/", "tests/conftest.py")) or "/pipelines/" in name
    }
    for name, count in counts.items():
        print(f"{count:5} {name}")
    print(f"{sum(counts.values()):5} lines of pipelines, configuration and their tests")
    assert len(counts) > 20
    assert sum(counts.values()) <= YOURS_AT_MOST


def part_of(name: str) -> str:
    """Return the promise to which a file of mlops/ belongs."""
    found = [part for part, paths in PARTS.items() if any(p in name for p in paths)]
    return found[0] if found else "core"


@pytest.mark.parametrize("part", CODE_AT_MOST)
def test_no_promise_holds_more_code_than_its_limit(rendered: Render, part: str) -> None:
    counts = {
        name: lines_of_code(path.read_text("utf-8"))
        for name, path in files_of(rendered()).items()
        if "/mlops/" in name and name.endswith(".py") and part_of(name) == part
        if name.startswith("src/")
    }
    for name, count in counts.items():
        print(f"{count:5} {name}")
    print(f"{sum(counts.values()):5} lines of code, at most {CODE_AT_MOST[part]}")
    assert len(counts) > 2
    assert sum(counts.values()) <= CODE_AT_MOST[part]
