"""The default project stays small enough to be read in an hour."""

import ast
import io
import tokenize
from collections.abc import Callable
from pathlib import Path

from .test_render import files_of

Render = Callable[..., Path]
YOURS_AT_MOST = 1500
MLOPS_AT_MOST = 400
SERVER_AT_MOST = 1111
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
        if name.startswith(("conf/", "tests/")) or "/pipelines/" in name
    }
    for name, count in counts.items():
        print(f"{count:5} {name}")
    print(f"{sum(counts.values()):5} lines of pipelines, configuration and their tests")
    assert len(counts) > 20
    assert sum(counts.values()) <= YOURS_AT_MOST


def test_mlops_without_the_server_holds_no_more_than_400_lines_of_code(
    rendered: Render,
) -> None:
    texts = {
        name: path.read_text("utf-8")
        for name, path in files_of(rendered()).items()
        if "/mlops/" in name and "/serving/" not in name and name.startswith("src/")
    }
    counts = {name: lines_of_code(text) for name, text in texts.items()}
    for name, count in counts.items():
        print(f"{count:5} {name}")
    physical = sum(len(text.splitlines()) for text in texts.values())
    print(
        f"{sum(counts.values())} lines of code, {physical} with docstrings and blanks"
    )
    assert len(counts) > 5
    assert sum(counts.values()) <= MLOPS_AT_MOST


def test_the_server_holds_no_more_than_1111_lines_of_code(rendered: Render) -> None:
    texts = [
        path.read_text("utf-8")
        for name, path in files_of(rendered()).items()
        if "/mlops/serving/" in name and name.endswith(".py")
    ]
    assert len(texts) > 10
    assert sum(map(lines_of_code, texts)) <= SERVER_AT_MOST
