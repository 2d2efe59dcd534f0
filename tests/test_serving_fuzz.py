"""The server under requests that nobody would write by hand."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import support
from .support import Project
from .test_serving import ask, resident, rows_of, running

pytestmark = pytest.mark.run
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


@pytest.fixture(scope="module")
def server(
    worked_project: Callable[..., Project],
) -> Iterator[tuple[str, int, Project, dict[str, Any]]]:
    """A server, its process, its project and a row that it answers."""
    project = worked_project()
    with running(project, "--timeout", "10") as (url, process):
        yield url, process.pid, project, rows_of(project)[0]


@st.composite
def bodies(draw: Any, row: dict[str, Any]) -> bytes:
    """Draw a body: anything, any JSON in its forms, or a good row with changes."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return draw(st.binary(max_size=200))
    if kind == 1:
        body = {draw(st.sampled_from(FORMS)): draw(ANY_JSON), "params": draw(ANY_JSON)}
    elif kind == 2:
        names = st.sampled_from([*row, "other"])
        changed = row | draw(st.dictionaries(names, ANY_JSON, max_size=3))
        body = {draw(st.sampled_from(FORMS)): [changed]}
    else:
        tensor = {"name": draw(st.sampled_from([*row])), "shape": draw(ANY_JSON)}
        body = {"inputs": [tensor | {"datatype": "FP64", "data": draw(ANY_JSON)}]}
    data = json.dumps(body).encode()
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data


def test_no_body_makes_a_server_error_or_a_hang(
    server: tuple[str, int, Project, dict[str, Any]],
) -> None:
    url, pid, project, row = server
    paths = ("/invocations", f"/v2/models/{project.package}/infer")
    types = ("application/json", "text/csv", "application/vnd.apache.parquet")
    before = resident(pid)

    @settings(
        max_examples=300,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(bodies(row), st.sampled_from(paths), st.sampled_from(types))
    def fuzz(body: bytes, path: str, kind: str) -> None:
        started = time.monotonic()
        answer = ask(url, path, body, Content_Type=kind)
        assert answer.status < 500, answer.body
        assert b"Traceback" not in answer.body
        assert time.monotonic() - started < 10

    fuzz()
    assert resident(pid) < before * 1.2
    assert ask(url, "/invocations", {"instances": [row]}).status == 200


def test_no_request_line_or_header_makes_a_hang(
    server: tuple[str, int, Project, dict[str, Any]],
) -> None:
    url, _, _, row = server
    host, _, port = url.removeprefix("http://").partition(":")

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.binary(max_size=300))
    def fuzz(data: bytes) -> None:
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(data + b"\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            try:
                answer = connection.recv(100)
            except ConnectionResetError:
                return
            assert not answer.startswith(b"HTTP/1.1 5")

    fuzz()
    assert ask(url, "/invocations", {"instances": [row]}).status == 200


def test_the_openapi_description_is_kept(
    server: tuple[str, int, Project, dict[str, Any]], tmp_path: Path
) -> None:
    url, _, project, _ = server
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    done = support.run(
        *("uv", "run", "--quiet", "--no-project", "--python", str(project.bare_python)),
        *("--with", "schemathesis>=4.3,<5", "st", "run", f"{url}/openapi.json"),
        *("--max-examples", "25", "--checks", f"{checks},unsupported_method"),
        *("--phases", "coverage,fuzzing", "--seed", "1"),
        cwd=tmp_path,
        check=False,
        timeout=600,
    )
    assert not done.returncode, done.stdout[-6000:]
    assert "15 passed" in done.stdout or "16 passed" in done.stdout
