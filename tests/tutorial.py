"""Follow a page of the documentation to the letter, and compare what it shows."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .support import environment, free_port

FENCE = re.compile(
    r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL
)
PORT = re.compile(r"(?:--port |127\.0\.0\.1:)(\d+)")
SECONDS = 600


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    title: str
    text: str


def read_blocks(page: str) -> list[Block]:
    """Return a page's fenced blocks in order; ports become ones that are free here."""
    for port in set(PORT.findall(page)):
        page = page.replace(port, str(free_port()))
    return [Block(*found) for found in FENCE.findall(page)]


def read_section(page: str, title: str) -> list[Block]:
    """Return the fenced blocks below one heading, of which there must be some."""
    parts = page.removeprefix("# ").split("\n## ")
    (found,) = [part for part in parts if part.startswith(f"{title}\n")]
    blocks = read_blocks(found)
    assert blocks, f"The page shows nothing below {title}."
    return blocks


@contextmanager
def reader(folder: Path) -> Iterator["Reader"]:
    """Give a reader who starts in a folder; what they leave running is stopped."""
    someone = Reader(folder)
    try:
        yield someone
    finally:
        for terminal in someone.terminals:
            os.killpg(terminal.pid, signal.SIGKILL)
            terminal.wait()


def follow_in(project: Path, blocks: list[Block]) -> str:
    """Do what blocks say in a project; return what the last commands printed.

    What the reader keeps lies beside the project, whose git stays clean.
    """
    with reader(project.parent) as someone:
        someone.folder = project
        someone.follow(blocks)
        return someone.log.read_text("utf-8")


def shows(text: str, printed: str) -> bool:
    """Tell whether a page shows what was printed; ``...`` stands for anything."""
    parts = [
        r"\s+".join(map(re.escape, part.split()))
        for part in re.split(r"\s*\.\.\.\s*", text.strip())
    ]
    return bool(re.fullmatch(r"\s*" + ".*?".join(parts) + r"\s*", printed, re.DOTALL))


class Reader:
    """Does what a page says.

    A ``bash`` block is run; with a title, in a terminal of its own that stays open.
    A ``text`` block is what the block above it prints, ``...`` standing for anything.
    Any other block with a title is written to the file of that name.
    """

    patience = 60.0
    """Seconds for a server to print what the page shows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "terminal.log"
        self.terminals: list[subprocess.Popen[bytes]] = []
        # The commands beside this Python, as on a machine that has uv.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        author = {"NAME": "Reader", "EMAIL": "reader@example.org"}
        self.environment = environment(
            PATH=path,
            PYTHONUNBUFFERED="1",
            # Eight processes for MLflow's generative AI, on two cores.
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
            **{f"GIT_AUTHOR_{key}": value for key, value in author.items()},
            **{f"GIT_COMMITTER_{key}": value for key, value in author.items()},
        )

    def follow(self, blocks: list[Block]) -> None:
        """Do what the blocks say, in order."""
        for block in blocks:
            if block.language == "bash" and block.title:
                self.open_terminal(block)
            elif block.language == "bash":
                self.run(block)
            elif block.language == "text":
                self.compare(block)
            elif block.title:
                (self.folder / block.title).write_text(block.text, "utf-8")

    def run(self, block: Block) -> None:
        """Run commands in the first terminal, where the ones before them ended."""
        self.log = self.log.with_name("terminal.log")
        where = self.log.with_name("folder")
        process = self._start(f"{block.text}\npwd > '{where}'")
        try:
            code = process.wait(SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        printed = self.log.read_text("utf-8")
        assert code == 0, f"This ended with {code}:\n{block.text}\n{printed}"
        self.folder = Path(where.read_text("utf-8").strip())

    def open_terminal(self, block: Block) -> None:
        """Run commands in another terminal; go on once their port answers."""
        self.log = self.log.with_name(f"{block.title}.log")
        process = self._start(block.text)
        self.terminals.append(process)
        (port,) = PORT.findall(block.text)
        deadline = time.monotonic() + SECONDS
        while not _listens(int(port)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{block.text}{self.log.read_text('utf-8')}")
            time.sleep(0.2)

    def compare(self, block: Block) -> None:
        """Compare what the last commands print with what the page shows."""
        deadline = time.monotonic() + self.patience
        while not shows(block.text, printed := self.log.read_text("utf-8")):
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        assert shows(block.text, printed), (
            f"The page shows\n\n{block.text}\nbut this was printed:\n\n{printed}"
        )

    def _start(self, commands: str) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as output:
            return subprocess.Popen(
                ["bash", "-euc", commands],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
