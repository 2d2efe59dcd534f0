"""Processes and signals: uvicorn, with a stop that finishes what is in flight."""

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from multiprocessing.connection import wait
from typing import Any

import uvicorn

from ..errors import BlueprintError
from .settings import Settings

LINGER_SECONDS = 0.3  # connections that were accepted last still send their request
NOT_LOADED = 3  # exit status of a worker whose model can't be served


class Server(uvicorn.Server):
    """One process: an application, and the order in which it stops."""

    application: Any

    async def on_tick(self, counter: int) -> bool:
        """Also stop when the model can't be loaded."""
        return self.application.failure is not None or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so first, accept no more, answer what was accepted, then close."""
        self.application.stopping = True
        if self.application.failure is None:
            await asyncio.sleep(self.application.settings.drain_seconds)
            for listener in self.servers:
                listener.close()
            await asyncio.sleep(LINGER_SECONDS)
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Serve a model in this process, or in several that share a socket."""
    if settings.workers == 1:
        if failure := serve_alone(settings):
            raise BlueprintError(f"{settings.model_uri} can't be served: {failure}")
        return
    with tempfile.TemporaryDirectory() as folder:
        # Where the workers' figures meet; prometheus_client reads it on import.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        shared = socket.create_server((settings.host, settings.port), backlog=2048)
        supervise(settings, shared)


def supervise(settings: Settings, shared: socket.socket) -> None:
    """Keep so many workers until a signal comes; each gets it, and ends in order."""
    context = multiprocessing.get_context("spawn")

    def start() -> Any:
        process = context.Process(target=work, args=(settings, shared))
        process.start()
        return process

    def stop(number: int, frame: Any) -> None:
        stopping.append(number)
        for process in workers:
            process.terminate()

    workers: list[Any] = []
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    workers += [start() for _ in range(settings.workers)]
    while running := [process for process in workers if process.is_alive()]:
        wait([process.sentinel for process in running])
        for process in [one for one in workers if not one.is_alive()]:
            workers.remove(process)
            if process.exitcode == NOT_LOADED:
                stop(NOT_LOADED, None)
            elif not stopping:
                workers.append(start())
    if NOT_LOADED in stopping:
        raise BlueprintError(f"{settings.model_uri} can't be served: see above.")


def work(settings: Settings, shared: socket.socket) -> None:
    """Serve as one of several processes."""
    if failure := serve_alone(settings, shared):
        print(failure, file=sys.stderr)  # noqa: T201
        sys.exit(NOT_LOADED)


def serve_alone(settings: Settings, *sockets: socket.socket) -> BaseException | None:
    """Serve until a signal comes; return why the model could not be loaded, if so."""
    import mlflow

    from .app import Application

    mlflow.set_tracking_uri(settings.tracking_uri)
    mlflow.set_registry_uri(settings.registry_uri)
    # Kedro's node would log each error once more, with values in it.
    for name, level in {"kedro": 60, "kedro_mlflow": 30, "mlflow": 40}.items():
        logging.getLogger(name).setLevel(level)
    application = Application(settings)
    config = uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.timeout) + 1,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = Server(config)
    server.application = application
    server.run(list(sockets) or None)
    return application.failure


def require_free_port(host: str, port: int) -> None:
    """Refuse a port that another process listens on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BlueprintError(
                f"Port {port} of {host} can't be used ({error.strerror}): stop what "
                f"listens there, or choose another with `--port {port + 1}`."
            ) from error
