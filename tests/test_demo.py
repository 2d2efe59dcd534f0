"""The demo's broken steps stop it with their own message."""

import socket
import sys
from pathlib import Path

import pytest

from scripts import demo

from .support import ROOT, free_port, run


def test_a_step_that_fails_names_its_command(tmp_path: Path) -> None:
    with pytest.raises(demo.DemoError, match=r"`false` ended with 1"):
        demo.do("Fail", "false", cwd=tmp_path)


def test_a_port_in_use_is_refused_before_the_server_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(demo.DemoError, match=f"make demo PORT={port + 1}"),
            demo.served(tmp_path, port),
        ):
            pass


def test_a_server_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    """The folder holds no project, so `kedro model serve` can't start there."""
    with (
        pytest.raises(demo.DemoError, match="did not answer"),
        demo.served(tmp_path, free_port()),
    ):
        pass


def test_answers_that_differ_stop_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = '[{"id": 7, "size": 1.0}, {"id": 7, "prediction": 1, "probability": 0.9}]'
    answers = iter([0.9, 0.8])
    monkeypatch.setattr(
        demo.subprocess, "run", lambda *a, **k: type("Done", (), {"stdout": rows})
    )
    monkeypatch.setattr(demo, "ask", lambda *a: {"probability": next(answers)})
    demo.compare(tmp_path, 1)
    with pytest.raises(demo.DemoError, match="differ"):
        demo.compare(tmp_path, 1)


def test_help_shows_an_example() -> None:
    assert (
        "Example: " in run(sys.executable, "scripts/demo.py", "--help", cwd=ROOT).stdout
    )
