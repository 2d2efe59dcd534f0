"""A journey: commands that are timed, edits that are counted, a request at its end."""

import difflib
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

SECONDS_TO_ANSWER = 180
# Set, PYTHONDONTWRITEBYTECODE makes every start compile all imports again. An active
# environment would be used instead of the journey's own.
FORGOTTEN = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "VIRTUAL_ENV")
# Nothing but the package index is asked; hard links take part in no comparison.
STEADY = {"DO_NOT_TRACK": "1", "UV_LINK_MODE": "hardlink"}


class BenchmarkError(Exception):
    """A step that failed, so that nothing can be compared; a message for people."""


@dataclass(frozen=True)
class Step:
    """A command as a person would type it, and how long it took."""

    command: str
    seconds: float


@dataclass
class Journey:
    """Does a journey's steps in one folder; keeps what they cost."""

    folder: Path
    steps: list[Step] = field(default_factory=list)
    lines_by_file: dict[str, int] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=lambda: clean_environment())

    @property
    def seconds(self) -> float:
        """The sum of what the commands took; nobody's typing is part of it."""
        return sum(step.seconds for step in self.steps)

    def enter(self, folder: str) -> None:
        """Change the working directory; every journey does, so it is not counted."""
        self.folder /= folder

    def run(self, command: str) -> str:
        """Run a command to its end and return what it printed."""
        started = time.perf_counter()
        output = run(shlex.split(command), self.folder, self.env)
        self.steps.append(Step(command, time.perf_counter() - started))
        return output

    def export(self, name: str, value: str) -> None:
        """Set an environment variable, as a command of its own."""
        self.env[name] = value
        self.steps.append(Step(f"export {name}={value}", 0.0))

    def activate(self, environment: str) -> None:
        """Put an environment's programs first on PATH, as a command of its own."""
        path = self.folder / environment
        self.env["VIRTUAL_ENV"] = str(path)
        self.env["PATH"] = f"{path / 'bin'}{os.pathsep}{self.env['PATH']}"
        self.steps.append(Step(f"source {environment}/bin/activate", 0.0))

    def write(self, file: str, text: str) -> None:
        """Write a file by hand; lines that were not there before are counted."""
        path = self.folder / file
        before = path.read_text("utf-8") if path.exists() else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        self.lines_by_file[file] = count_new_lines(before, text)

    def serve_and_ask(self, command: str, port: int, body: Mapping[str, Any]) -> Any:
        """Start a server, ask until it answers, stop it; return the answer."""
        url = f"http://127.0.0.1:{port}/invocations"
        log = self.folder / "server.log"
        started = time.perf_counter()
        with log.open("wb") as output:
            server = subprocess.Popen(
                shlex.split(command),
                cwd=self.folder,
                env=self.env,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        try:
            answer = ask_until_answered(url, body, server, log)
            self.steps.append(Step(command, time.perf_counter() - started))
            self.steps.append(Step(f"curl … {url}", 0.0))
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=30)
        return answer


def clean_environment() -> dict[str, str]:
    """Return the environment of every measured command."""
    kept = {k: v for k, v in os.environ.items() if k not in FORGOTTEN}
    return {**kept, **STEADY}


def run(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> str:
    """Run a command and return its output.

    Raises:
        BenchmarkError: if it fails, with the end of its output.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise BenchmarkError(
            f"`{shlex.join(command)}` ended with {done.returncode} in {folder}:\n"
            f"{done.stdout[-3000:]}"
        )
    return done.stdout


def count_new_lines(before: str, after: str) -> int:
    """Return how many lines that are not blank ``after`` has and ``before`` had not."""
    changes = difflib.ndiff(before.splitlines(), after.splitlines())
    return sum(line.startswith("+ ") and bool(line[2:].strip()) for line in changes)


def ask_until_answered(
    url: str, body: Mapping[str, Any], server: subprocess.Popen[bytes], log: Path
) -> Any:
    """Send a request until the server takes it; return what it answers.

    Raises:
        BenchmarkError: if the server ends, refuses the request, or takes too long.
    """
    data = json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json"})
    give_up = time.monotonic() + SECONDS_TO_ANSWER
    while server.poll() is None and time.monotonic() < give_up:
        try:
            with urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:  # the model is not loaded
                reason = error.read().decode()
                raise BenchmarkError(f"{url}: {error}: {reason}") from error
            time.sleep(0.05)
        except (URLError, ConnectionError):
            time.sleep(0.05)
    raise BenchmarkError(f"No answer from {url}:\n{log.read_text()[-3000:]}")
