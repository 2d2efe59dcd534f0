"""The application: routes, limits, sign-in, labels and the access log."""

import asyncio
import gc
import hmac
import json
import logging
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from time import perf_counter, time
from typing import Any

from mlflow.version import VERSION
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from . import bodies, metrics
from .openapi import PAGE, describe
from .payload_log import PayloadLog
from .schema import ONLY, Output, reason_of, show
from .settings import Settings
from .versions import Served, Variant, choose

logger = logging.getLogger(__name__)
# Need no token, and are not logged.
PROBES = {"/ping", "/health", "/v2/health/live", "/v2/health/ready"}
REFUSED = (HTTPException, ValidationError, ClientDisconnect, Exception)
UNANSWERED = 499  # in the log: the client went away first
PATIENCE_SECONDS = 0.1  # between two looks whether the client is still there


def answer(body: Any, status: int = 200, headers: Any = None) -> Response:
    """Return a response of JSON."""
    return Response(json.dumps(body, default=str), status, headers, bodies.JSON)


def content_type(request: Request, *known: str) -> str:
    """Return what a body is; refuse what is not known, or not UTF-8."""
    given = request.headers.get("content-type", "")
    kind, _, charset = given.lower().replace('"', "").partition(";")
    if kind not in known or charset.strip() not in ("", "charset=utf-8"):
        raise HTTPException(415, f"Send {' or '.join(known)}, not {show(given)}.")
    return kind


async def refuse(request: Request, error: Any) -> Response:
    """Return the reason, where clients of both protocols look for it."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=UNANSWERED)  # nobody is there to read it
    if isinstance(error, ValidationError):
        error = HTTPException(400, reason_of(error))
    elif not isinstance(error, HTTPException):  # uvicorn logs it
        id_ = request.scope["about"]["id"]
        error = HTTPException(500, f"It failed; look for {id_} in the log.")
    code, reason = HTTPStatus(error.status_code).name, error.detail
    body = {"error_code": code, "message": reason, "error": reason}
    return answer(body, error.status_code, error.headers)


class Application:
    """Answers for the champion, and for the challenger's share of the traffic."""

    def __init__(self, settings: Settings) -> None:
        self.settings, name = settings, settings.model_name
        self.loaded = self.stopping = False
        self.failure: BaseException | None = None
        self._lines: list[str] = []
        self._variants = [Variant("champion", settings.model_uri, settings)]
        if settings.challenger_share:
            uri = f"models:/{name}@challenger"
            self._variants.append(Variant("challenger", uri, settings))
        self._payloads = PayloadLog(settings)
        server = {"name": "kedro-model-serve", "version": "2", "extensions": []}
        fixed = {
            "/v2": answer(server),
            "/v2/health/live": answer({"live": True}),
            "/version": Response(VERSION, media_type=bodies.JSON),
            "/docs": HTMLResponse(PAGE),
        }
        found = {
            "/ping": self.ready,
            "/health": self.ready,
            "/v2/health/ready": self.ready,
            "/metrics": self.metrics,
            "/openapi.json": self.openapi,
        }
        posted = {"/invocations": self.invocations}
        for version in ("", "/versions/{version}"):
            model = f"/v2/models/{name}{version}"
            found |= {model: self.model, f"{model}/ready": self.ready}
            posted[f"{model}/infer"] = self.infer
        routes = [Route(path, one, methods=["POST"]) for path, one in posted.items()]
        routes += [Route(p, one, methods=["GET"]) for p, one in (found | fixed).items()]
        refused: Any = dict.fromkeys(REFUSED, refuse)
        self._app = Starlette(
            routes=routes, exception_handlers=refused, lifespan=self._lifespan
        )
        self._app.router.redirect_slashes = False

    @asynccontextmanager
    async def _lifespan(self, app: Any) -> AsyncIterator[None]:
        background = asyncio.create_task(self._run())
        # Who is not ready must not take requests from a socket that others share.
        while self.settings.workers > 1 and not (self.loaded or self.failure):
            await asyncio.sleep(0.1)
        yield
        background.cancel()
        self.write_lines()
        await self._payloads.write()
        metrics.close()

    async def _run(self) -> None:
        """Load the models while the server already says that it is not ready."""
        gc.disable()
        try:
            self._payloads.open()
            for variant in self._variants:
                await variant.refresh()
        except Exception as error:
            self.failure = error
            return
        # What was loaded stays: no collection looks through it, and holds requests up.
        gc.freeze()
        gc.enable()
        self.loaded, given = True, self.settings
        address = f"http://{given.host}:{given.port}"
        self._lines.append(f"Serving {given.model_uri} at {address}")
        await asyncio.gather(self._payloads.run(), *map(Variant.follow, self._variants))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, labelled and logged; or take part in start and stop."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, headers = perf_counter(), Headers(scope=scope)
        id_ = headers.get("x-request-id", "")
        if not re.fullmatch(r"[\w.:/+=-]{1,128}", id_, re.ASCII):
            id_ = uuid.uuid4().hex
        about = {"time": round(time(), 3), "id": id_, "method": scope["method"]}
        about |= {"path": scope["path"], "status": UNANSWERED, "rows": 0}
        scope["about"] = about = about | {"version": "", "variant": ""}

        async def labelled(message: Any) -> None:
            if message["type"] == "http.response.start":
                about["status"] = message["status"]
                labels = [(b"x-request-id", id_.encode())]
                if about["version"]:
                    labels.append((b"x-model-version", about["version"].encode()))
                    labels.append((b"x-model-variant", about["variant"].encode()))
                if self.stopping:
                    labels.append((b"connection", b"close"))
                message["headers"] = [*message["headers"], *labels]
            await send(message)

        app: Any = self._app
        if scope["path"] not in PROBES and not self._signed_in(headers):
            error = HTTPException(401, "Send a token.", {"www-authenticate": "Bearer"})
            app = await refuse(Request(scope), error)
        try:
            async with asyncio.timeout(self.settings.timeout):
                await app(scope, receive, labelled)
        except TimeoutError:
            if about["status"] == UNANSWERED:
                # The client was too slow to ask, or the model to answer.
                status, reason = 504 if about["rows"] else 408, "It took too long."
                error = HTTPException(status, reason, {"connection": "close"})
                await (await refuse(Request(scope), error))(scope, receive, labelled)
        finally:
            seconds = perf_counter() - started
            route = getattr(scope.get("endpoint"), "__name__", "")
            labels = (route, about["status"], about["variant"])
            metrics.requests.labels(*labels).observe(seconds)
            if scope["path"] not in PROBES:  # a cluster asks every few seconds
                self._lines.append(json.dumps(about | {"ms": round(seconds * 1e3, 2)}))

    def write_lines(self) -> None:
        """Write the lines of a moment at once: a line costs more than its request."""
        if self._lines:
            print(*self._lines, sep="\n", flush=True)  # noqa: T201
            self._lines.clear()

    def _signed_in(self, headers: Headers) -> bool:
        tokens = self.settings.tokens
        token = headers.get("authorization", "").partition(" ")[2]
        given = headers.get("x-api-key", token).encode()
        # All of them, so that the time does not tell which one is close.
        return not tokens or any([hmac.compare_digest(given, t) for t in tokens])

    async def invocations(self, request: Request) -> Response:
        """Answer MLflow's protocol."""
        kind = content_type(request, bodies.JSON, bodies.CSV, bodies.PARQUET)
        body = await self._body(request)
        given = bodies.read_invocation(body, kind, self.settings.max_rows)
        output = await self._predict(request, given)
        return answer({"predictions": output.predictions()})

    async def infer(self, request: Request) -> Response:
        """Answer the open inference protocol."""
        content_type(request, bodies.JSON)
        body = bodies.parse_json(await self._body(request))
        asked = bodies.Inference.model_validate(body, strict=True)
        output = await self._predict(request, bodies.read_tensors(asked), asked.id)
        about = request.scope["about"]
        found = {"model_name": self.settings.model_name, "id": asked.id or about["id"]}
        tensors = output.tensors([one.name for one in asked.outputs or []])
        return answer(found | {"model_version": about["version"], "outputs": tensors})

    async def _body(self, request: Request) -> bytes:
        limit, body = self.settings.max_body_bytes, bytearray()
        large = HTTPException(413, f"A body holds at most {limit} bytes.")
        if int(request.headers.get("content-length", 0)) > limit:
            raise large
        async for part in request.stream():
            body += part
            if len(body) > limit:
                raise large
        return bytes(body)

    async def _predict(
        self, request: Request, given: bodies.Instances, key: str | None = None
    ) -> Output:
        """Check a request for the version that answers it, and wait for its turn."""
        about, settings = request.scope["about"], self.settings
        key = request.headers.get(settings.split_by) or key or about["id"]
        served = self._served(request, key)
        about |= {"variant": served.variant, "version": served.version}
        schema = served.schema
        about["rows"] = rows = given.rows(settings.max_rows)
        params = schema.check_params(given.params)
        extra = given.columns.keys() - schema.columns.keys() - {ONLY}
        extra |= (given.params or {}).keys() - schema.params.keys()
        if extra:
            metrics.extra.inc(len(extra))
            if settings.strict:
                raise HTTPException(400, f"{show(min(extra))} is not in the signature.")
        columns = schema.check(given.columns, rows, given.text)
        output = await self._wait(request, served.batcher.submit(columns, rows, params))
        names = {"request_id": about["id"], "split_key": key}
        names |= {"model_version": served.version, "variant": served.variant}
        inputs = zip(schema.columns, columns, strict=True)
        self._payloads.add(names, rows, inputs, output)
        return output

    async def _wait(self, request: Request, waited: asyncio.Future[Output]) -> Output:
        try:
            while not waited.done():
                await asyncio.wait({waited}, timeout=PATIENCE_SECONDS)
                if not waited.done() and await request.is_disconnected():
                    raise ClientDisconnect
            return waited.result()
        finally:
            waited.cancel()

    async def ready(self, request: Request) -> Response:
        """Say whether requests may come."""
        self._served(request)
        if self.stopping or not self.loaded:
            raise HTTPException(503, "Not ready.", {"retry-after": "1"})
        return answer({"name": self.settings.model_name, "ready": True})

    def _served(self, request: Request, key: str = "") -> Served:
        version = request.path_params.get("version")
        return choose(self._variants, self.settings, key, version)

    async def model(self, request: Request) -> Response:
        """Name the model's versions, inputs and outputs."""
        about = {"name": self.settings.model_name, "platform": "mlflow_kedro"}
        found = [one.served.version for one in self._variants if one.served]
        schema = self._served(request).schema
        return answer(about | {"versions": found} | schema.tensors())

    async def metrics(self, request: Request) -> Response:
        """Give Prometheus its figures."""
        return Response(metrics.text(), media_type="text/plain")

    async def openapi(self, request: Request) -> Response:
        """Describe the paths, with the columns of the model that serves."""
        return answer(describe(self.settings.model_name, self._served(request)))
