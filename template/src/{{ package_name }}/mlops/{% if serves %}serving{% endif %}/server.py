"""Processes and signals: uvicorn, with a stop that finishes what is in flight."""

import asyncio
import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from multiprocessing.connection import wait
from struct import pack
from typing import Any

import uvicorn

from ..errors import BlueprintError
from .settings import Settings

LINGER_SECONDS = 1.0  # connections that were accepted last still send their request
SO_ATTACH_FILTER = 26  # see socket(7); Python has no name for it


class Server(uvicorn.Server):
    """One process: an application, and the order in which it stops."""

    async def on_tick(self, counter: int) -> bool:
        """Write what was logged; also stop when the model can't be loaded."""
        application: Any = self.config.app
        application.write_lines()
        return application.failure is not None or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so first, accept no more, answer what was accepted, then close."""
        application: Any = self.config.app
        application.stopping = True
        if application.failure is None:
            await asyncio.sleep(application.settings.drain_seconds)
            for listener in sockets or []:
                drop_new_connections(listener)
            await asyncio.sleep(LINGER_SECONDS)
        await super().shutdown(sockets)


def drop_new_connections(listener: socket.socket) -> None:
    """Let Linux ignore who wants to connect from now on; closing would reset some.

    A connection that is not yet accepted when its socket closes is reset, although its
    client counts it as made. Whoever is ignored asks again, and is refused then. Other
    systems have no such filter.
    """
    code = ctypes.create_string_buffer(
        pack("HBBI", 0x30, 0, 0, 13)  # load byte 13 of TCP's header: its flags
        + pack("HBBI", 0x45, 0, 1, 2)  # asks for a connection (SYN): next, else skip
        + pack("HBBI", 0x06, 0, 0, 0)  # drop
        + pack("HBBI", 0x06, 0, 0, 2**32 - 1)  # take
    )
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # some sandboxes have none either
            filtered = pack("HP", 4, ctypes.addressof(code))
            listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filtered)


def serve(settings: Settings) -> None:
    """Serve a model in this process, or in several that share a socket.

    Raises:
        BlueprintError: if the address is taken, or the model can't be loaded.
    """
    host, port = settings.host, settings.port
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise BlueprintError(
            f"Port {port} of {host} can't be used ({reason}): stop what listens "
            f"there, or choose another with `--port {port + 1}` or `--host`."
        ) from error
    # Inherited: the end of an answer does not wait until its start is acknowledged.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    print(f"Loading {settings.model_uri}", flush=True)  # noqa: T201
    if settings.workers == 1:
        failure = serve_alone(settings, listener)
    else:
        with tempfile.TemporaryDirectory() as folder:
            # Where the workers' figures meet; prometheus_client reads it on import.
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
            failure = supervise(settings, listener)
    if failure:
        raise BlueprintError(f"{settings.model_uri} can't be served: {failure}")


def serve_alone(settings: Settings, listener: socket.socket) -> object:
    """Serve until a signal comes; return why the model could not be loaded, if so."""
    from .app import Application

    # Kedro's node would log each error once more, with values in it.
    levels = {"kedro": 60, "kedro_mlflow": 30, "mlflow": 40, "uvicorn": 30}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    application = Application(settings)
    config = uvicorn.Config(
        application,
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.timeout) + 1,
    )
    Server(config).run([listener])
    return application.failure


def work(settings: Settings, listener: socket.socket) -> None:
    """Serve as one of several processes."""
    from kedro.framework.project import configure_project

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor gets it, too
    configure_project(__name__.partition(".")[0])
    if failure := serve_alone(settings, listener):
        sys.exit(str(failure))  # printed as an error; the status is 1


def supervise(settings: Settings, listener: socket.socket) -> str | None:
    """Run so many workers; a signal, or the end of one, ends all of them in order."""
    spawn, given = multiprocessing.get_context("spawn"), (settings, listener)
    workers = [spawn.Process(target=work, args=given) for _ in range(settings.workers)]

    def stop(*signal_and_frame: Any) -> None:
        for worker in workers:
            worker.terminate()

    for worker in workers:
        worker.start()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    wait([worker.sentinel for worker in workers])
    stop()
    for worker in workers:
        worker.join()
    # Of those that were told to stop, each ends by the signal that told it.
    found = {worker.exitcode for worker in workers} - {-signal.SIGTERM}
    return "a worker ended; see above" if found else None
