"""A canary without KServe: started, judged, backed out, and the stable share unharmed.

Two real servers stand behind a small proxy, which shares connections out as a Service
does: each server in its list gets the same number.
"""

import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from .support import Process, Project, free_port, served

Render = Callable[..., Path]
SCRIPT = "deploy/kubernetes/check_canary.py"
JSON = {"Content-Type": "application/json"}


class Service:
    """A proxy that gives each of its servers the same share of connections."""

    def __init__(self) -> None:
        self.servers: list[str] = []
        self.answers: Counter[tuple[str, int]] = Counter()
        self._turn, self._lock = 0, threading.Lock()

    def forward(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Ask the server whose turn it is, and count how it answered."""
        with self._lock:
            self._turn += 1
            server = self.servers[self._turn % len(self.servers)]
        try:
            with urlopen(Request(server + path, body, JSON), timeout=30) as answer:
                status, data = answer.status, answer.read()
        except HTTPError as error:
            status, data = error.code, error.read()
        with self._lock:
            self.answers[server, status] += 1
        return status, data

    @contextmanager
    def listen(self) -> Iterator[str]:
        """Listen until the block ends; give the address."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, data = service.forward(self.path, body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *words: Any) -> None:
                """Print nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_address[1]}"
            server.shutdown()


class Clients:
    """Clients that ask the service without a pause until the block ends."""

    def __init__(self, url: str, body: bytes) -> None:
        self.url, self.body, self.failures = url, body, 0
        self.stopped = threading.Event()

    def ask(self) -> None:
        """Ask again and again."""
        while not self.stopped.is_set():
            try:
                request = Request(f"{self.url}/invocations", self.body, JSON)
                with urlopen(request, timeout=30) as answer:
                    json.load(answer)
            except HTTPError:
                self.failures += 1

    def __enter__(self) -> "Clients":
        self.pool = ThreadPoolExecutor(2)
        self.running = [self.pool.submit(self.ask) for _ in range(2)]
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        for one in self.running:
            one.result()


def check(project: Project, script: Path, stable: str, canary: str) -> Process:
    """Run the runbook's check for a few seconds."""
    options = ("--seconds", "4", "--least", "20", "--slower", "20")
    urls = ("--stable", stable, "--canary", canary)
    return project.run("python", script, *urls, *options, check=False)


@contextmanager
def server(project: Project, *options: str) -> Iterator[tuple[str, int]]:
    """Run a model server; give its address and its process."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    kedro = str(project.python.with_name("kedro"))
    command = [kedro, "model", "serve", "--port", str(port)]
    with served(
        [*command, *options], f"{url}/ping", project.path, project.environment()
    ) as process:
        yield url, process.pid


@pytest.mark.run
def test_a_failing_canary_is_backed_out_and_the_stable_share_never_fails(
    worked_project: Callable[..., Project], rendered: Render
) -> None:
    project = worked_project()
    script = rendered(serving="kubernetes", tracking="server") / SCRIPT
    example = next(project.path.glob("mlartifacts/**/serving_input_example.json"))
    service = Service()
    with ExitStack() as stack:
        start = stack.enter_context
        stable, _ = start(server(project))
        sound, _ = start(server(project))
        # Errors are injected: it gives up before any prediction can be ready.
        faulty, process = start(server(project, "--timeout", "0.0005"))
        url = start(service.listen())
        # A sound canary: a quarter of the connections, and the check says widen.
        service.servers = [stable, stable, stable, sound]
        clients = start(Clients(url, example.read_bytes()))
        done = check(project, script, stable, sound)
        assert done.returncode == 0, done.stdout
        assert done.stdout.startswith("Widen it: ")
        asked = {
            s: sum(v for (u, _), v in service.answers.items() if u == s)
            for s in (stable, sound)
        }
        assert asked[sound] == pytest.approx(asked[stable] / 3, rel=0.1)
        assert clients.failures == 0
        # A failing one: the check says back out.
        service.servers = [stable, stable, stable, faulty]
        done = check(project, script, stable, faulty)
        assert done.returncode == 1, done.stdout
        assert done.stdout.startswith("Back out, it fails more often: ")
        # Backed out: out of the list, then ended, as a cluster does.
        service.servers = [stable]
        time.sleep(0.5)
        os.killpg(process, signal.SIGTERM)
        failed, before = clients.failures, service.answers[stable, 200]
        assert failed > 0
        time.sleep(2)
        assert clients.failures == failed
        assert service.answers[stable, 200] > before
        done = check(project, script, stable, faulty)
        assert done.returncode == 1
        assert done.stdout.startswith("Back out, a server does not answer: ")
    statuses = {status for (url, status) in service.answers if url == stable}
    assert statuses == {200}
    # Its time was up while it read the body, or while it predicted.
    found = {status for (url, status) in service.answers if url == faulty}
    assert 504 in found <= {408, 504}


@pytest.fixture(scope="module")
def checker(rendered: Render) -> Any:
    """The script as a module."""
    file = rendered(serving="kubernetes", tracking="server") / SCRIPT
    spec = importlib.util.spec_from_file_location("check_canary", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_canary"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("stable", "canary", "status"),
    [
        ((1000, 0, 10), (300, 0, 3), 0),
        ((1000, 10, 10), (300, 3, 3), 0),  # clients send what no model can answer
        ((1000, 0, 10), (300, 30, 3), 1),
        ((1000, 0, 10), (300, 2, 3), 0),  # within a percent
        ((1000, 0, 10), (300, 0, 9), 1),  # three times as slow
        ((1000, 0, 10), (20, 20, 0), 1),  # few, but all fail
        ((1000, 0, 10), (20, 0, 0), 2),
        ((0, 0, 0), (0, 0, 0), 2),
    ],
)
def test_the_check_tells_by_failures_and_time(
    checker: Any, stable: tuple[int, ...], canary: tuple[int, ...], status: int
) -> None:
    found = checker.judge(
        checker.Figures(*stable), checker.Figures(*canary), 100, 0.01, 2
    )
    assert found[0] == status, found
