"""The ASGI application: routes, limits, sign-in, labels and the access log."""

import asyncio
import hashlib
import hmac
import json
import logging
import re
import uuid
from contextlib import suppress
from time import perf_counter, time
from typing import Any

from .bodies import Instances, parse_json, read_invocation, read_tensors
from .errors import Refused, show
from .metrics import Metrics
from .openapi import DOCS_PAGE, describe
from .output import Output
from .payload_log import PayloadLog
from .settings import Settings
from .variants import Split, Variant

logger = logging.getLogger(__name__)
MODEL = r"/v2/models/(?P<name>[^/]+)"
VERSION = rf"{MODEL}/versions/(?P<version>[^/]+)"
JSON = "application/json"
# Path, method, handler, content type.
ROUTES = (
    ("/invocations", "POST", "invocations", JSON),
    (f"{MODEL}/infer", "POST", "infer", JSON),
    (f"{VERSION}/infer", "POST", "infer", JSON),
    ("/ping", "GET", "ping", JSON),
    ("/health", "GET", "ping", JSON),
    ("/v2/health/live", "GET", "live", JSON),
    ("/v2/health/ready", "GET", "ready", JSON),
    ("/version", "GET", "version", JSON),
    ("/v2", "GET", "server", JSON),
    (MODEL, "GET", "model", JSON),
    (VERSION, "GET", "model", JSON),
    (f"{MODEL}/ready", "GET", "model_ready", JSON),
    (f"{VERSION}/ready", "GET", "model_ready", JSON),
    ("/metrics", "GET", "metrics", "text/plain"),
    ("/openapi.json", "GET", "openapi", JSON),
    ("/docs", "GET", "docs", "text/html"),
)
OPEN = {"ping", "live", "ready"}  # probes carry no token
LINGER_SECONDS = (
    2  # read on after refusing a large body, so that the client hears of it
)
LOG_SECONDS = 0.1
PATIENCE_SECONDS = 0.1  # from then on, watch whether the client is still there
CODES = {400: "BAD_REQUEST", 404: "ENDPOINT_NOT_FOUND", 401: "UNAUTHENTICATED"}


class Request:
    """What a handler needs of a request, and leaves for its labels and the log."""

    def __init__(self, scope: Any, receive: Any) -> None:
        self.path, self.method, self.receive = scope["path"], scope["method"], receive
        self.headers = {k.decode(): v.decode("latin-1") for k, v in scope["headers"]}
        given = self.headers.get("x-request-id", "")
        named = re.fullmatch(r"[\w.:/+=-]{1,128}", given, re.ASCII)
        self.id = given if named else uuid.uuid4().hex
        self.found: dict[str, str] = {}
        self.route = self.variant = self.version = ""
        self.rows = 0


class Application:
    """Answers for the champion, and for the challenger's share of the traffic."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.ready = self.stopping = False
        self.failure: BaseException | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._routes = [(re.compile(one[0]), one) for one in ROUTES]
        self._tokens = [hashlib.sha256(t.encode()).digest() for t in settings.tokens]
        self._split_by = settings.split_by.lower()
        uris = {"champion": settings.model_uri}
        if settings.challenger_share:
            uris["challenger"] = f"models:/{settings.model_name}@challenger"
        variants = [Variant(k, uri, settings, self.metrics) for k, uri in uris.items()]
        self.split = Split(variants, settings)
        self.payloads = PayloadLog(settings, self.metrics)
        self._lines: list[str] = []

    async def start(self) -> None:
        """Load the models while the server already says that it is not ready."""
        try:
            for variant in self.split.variants:
                await variant.refresh()
            self.ready = True
        except Exception as error:
            logger.debug("Not loaded", exc_info=True)
            self.failure = error
        for variant in self.split.variants:
            self._tasks.append(asyncio.create_task(variant.follow()))

    async def close(self) -> None:
        """Stop following aliases, and write what the payload log still holds."""
        for task in self._tasks:
            task.cancel()
        if self._lines:
            self._log()
        await asyncio.to_thread(self.payloads.close)
        self.metrics.close()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, or take part in start and stop."""
        if scope["type"] == "http":
            await self._respond(Request(scope, receive), send)
        elif scope["type"] == "lifespan":
            while (await receive())["type"] == "lifespan.startup":
                self._tasks.append(asyncio.create_task(self.start()))
                await send({"type": "lifespan.startup.complete"})
            await self.close()
            await send({"type": "lifespan.shutdown.complete"})

    async def _respond(self, request: Request, send: Any) -> None:
        started, status, headers = perf_counter(), 200, {"content-type": JSON}
        try:
            body = await self._answer(request, headers)
        except ConnectionError:
            return  # the client went away: nobody to answer
        except Exception as error:
            if not isinstance(error, Refused):
                logger.exception("Request %s failed", request.id)
                error = Refused(500, f"It failed; see {request.id} in the log.")
            status, reason = error.status, str(error)
            headers |= {"content-type": JSON} | error.headers
            code = CODES.get(status, "REQUEST_LIMIT_EXCEEDED")
            body = {"error": reason}
            if not request.path.startswith("/v2"):
                body = {"error_code": code, "message": reason}
        await self._send(request, send, status, body, headers)
        seconds = perf_counter() - started
        self.metrics.requests.labels(request.route, status, request.variant).inc()
        self.metrics.seconds.labels(request.route).observe(seconds)
        if self.settings.access_log:
            if not self._lines:
                asyncio.get_running_loop().call_later(LOG_SECONDS, self._log)
            line = {"time": round(time(), 3), "id": request.id, "path": request.path}
            line |= {"method": request.method, "status": status, "rows": request.rows}
            line |= {"ms": round(seconds * 1e3, 2), "version": request.version}
            self._lines.append(json.dumps(line | {"variant": request.variant}))

    def _log(self) -> None:
        """Write the lines of a moment at once: a line costs more than its request."""
        print(*self._lines, sep="\n", flush=True)  # noqa: T201
        self._lines.clear()

    async def _answer(self, request: Request, headers: dict[str, str]) -> Any:
        allowed = set()
        for pattern, (_, method, handler, content) in self._routes:
            if (match := pattern.fullmatch(request.path.rstrip("/"))) is None:
                continue
            if request.method not in (method, method.replace("GET", "HEAD")):
                allowed.add(method)
                continue
            request.found, request.route = match.groupdict(), handler
            headers["content-type"] = content
            if handler not in OPEN:
                self._require_token(request.headers)
            name = request.found.get("name", self.settings.model_name)
            if name != self.settings.model_name:
                raise Refused(404, f"There is no model {show(name)}.")
            return await getattr(self, f"_{handler}")(request)
        if allowed:
            raise Refused(405, f"Use {' or '.join(allowed)}.", allow=", ".join(allowed))
        raise Refused(404, "There is nothing here; /docs lists what there is.")

    def _require_token(self, headers: dict[str, str]) -> None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        token = token if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        given = hashlib.sha256(token.strip().encode()).digest()
        right = [hmac.compare_digest(given, expected) for expected in self._tokens]
        if right and not any(right):
            raise Refused(401, "A valid token is needed.", www_authenticate="Bearer")

    async def _send(
        self, request: Request, send: Any, status: int, body: Any, headers: Any
    ) -> None:
        plain = json.dumps(body, default=str).encode
        data = body if isinstance(body, bytes) else plain()
        headers |= {"content-length": str(len(data)), "x-request-id": request.id}
        if request.version:
            headers["x-model-version"] = request.version
            headers["x-model-variant"] = request.variant
        if self.stopping or status in (408, 413):
            headers["connection"] = "close"
        raw = [(k.encode(), v.encode("latin-1")) for k, v in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        large = status == 413
        await send({"type": "http.response.body", "body": data, "more_body": large})
        if large:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    while (await request.receive()).get("more_body"):
                        pass
            await send({"type": "http.response.body"})

    async def _body(self, request: Request) -> bytes:
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refused(415, "Content-Encoding: only identity is read.")
        limit = self.settings.max_body_bytes
        size = int(request.headers.get("content-length", 0))
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(self.settings.timeout):
                more = size <= limit
                while more:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionError
                    chunks.append(message.get("body", b""))
                    size = sum(map(len, chunks))
                    more = message.get("more_body", False) and size <= limit
        except TimeoutError as error:
            raise Refused(408, "The body did not arrive in time.") from error
        if size > limit:
            raise Refused(413, f"A body holds at most {limit} bytes.")
        return b"".join(chunks)

    async def _predict(self, request: Request, read: Any, key: str = "") -> Output:
        """Check a request for the version that answers it, and wait for its turn."""
        key = request.headers.get(self._split_by) or key or request.id
        variant, served = self.split.choose(key, request.found.get("version"))
        request.variant, request.version = variant, served.version
        schema = served.schema
        instances: Instances = read(schema)
        request.rows = instances.rows
        if not 0 < instances.rows <= self.settings.max_rows:
            reason = f"A request holds 1 to {self.settings.max_rows} rows."
            raise Refused(413 if instances.rows else 400, reason)
        given = instances.params if isinstance(instances.params, dict) else {}
        if (
            extra := instances.columns.keys() - schema.names
            | given.keys() - schema.params
        ):
            self.metrics.extra.inc(len(extra))
            if self.settings.strict:
                raise Refused(400, f"{show(min(extra))} is not in the signature.")
        params = schema.check_params(instances.params)
        columns = schema.check(instances.columns, instances.rows, instances.text)
        answer = served.batcher.submit(columns, instances.rows, params)
        output = await self._wait(request, answer)
        if self.payloads.wants():
            about = {"request_id": request.id, "split_key": key}
            about |= {"model_version": served.version, "variant": variant}
            self.payloads.add(about, schema, columns, output)
        return output

    async def _wait(self, request: Request, answer: asyncio.Future[Output]) -> Output:
        patience = min(PATIENCE_SECONDS, self.settings.timeout)
        await asyncio.wait({answer}, timeout=patience)
        if not answer.done():
            left = self.settings.timeout - patience
            gone = asyncio.ensure_future(request.receive())
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait({answer, gone}, timeout=left, return_when=first)
            if not answer.done():
                answer.cancel()
                if gone.done():
                    raise ConnectionError
            gone.cancel()
            if answer.cancelled():
                raise Refused(504, f"No answer within {self.settings.timeout} s.")
        if (error := answer.exception()) is None:
            return answer.result()
        logger.warning("Request %s: the model failed", request.id, exc_info=error)
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        raise Refused(400, f"The model can't answer these rows: {reason}")

    async def _invocations(self, request: Request) -> Any:
        body = await self._body(request)
        kind, limit = request.headers.get("content-type", ""), self.settings.max_rows
        output = await self._predict(
            request, lambda schema: read_invocation(body, kind, schema, limit)
        )
        return {"predictions": output.predictions()}

    async def _infer(self, request: Request) -> Any:
        data = await self._body(request)
        kind = (
            request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        )
        if kind != JSON:
            raise Refused(415, f"Content-Type must be {JSON}, not {show(kind)}.")
        body = parse_json(data)
        key = str(body.get("id", ""))
        output = await self._predict(request, lambda s: read_tensors(body, s), key)
        model = {
            "model_name": self.settings.model_name,
            "model_version": request.version,
        }
        tensors = output.tensors(body.get("outputs"))
        return model | {"id": body.get("id", request.id), "outputs": tensors}

    def _require_ready(self) -> None:
        if self.stopping or not self.ready:
            raise Refused(503, "The server is not ready.", retry_after="1")

    async def _ping(self, request: Request) -> Any:
        self._require_ready()
        return b"\n"

    async def _live(self, request: Request) -> Any:
        return {"live": True}

    async def _ready(self, request: Request) -> Any:
        self._require_ready()
        return {"ready": True}

    async def _version(self, request: Request) -> Any:
        from mlflow.version import VERSION

        return VERSION.encode()

    async def _server(self, request: Request) -> Any:
        return {"name": "kedro-model-serve", "version": "2", "extensions": []}

    async def _model(self, request: Request) -> Any:
        _, served = self.split.choose("", request.found.get("version"))
        versions = [one.served.version for one in self.split.variants if one.served]
        about = {"name": self.settings.model_name, "versions": versions}
        return about | {"platform": "mlflow_kedro"} | served.schema.tensors()

    async def _model_ready(self, request: Request) -> Any:
        self._require_ready()
        self.split.choose("", request.found.get("version"))
        return {"name": self.settings.model_name, "ready": True}

    async def _metrics(self, request: Request) -> Any:
        return self.metrics.text()

    async def _openapi(self, request: Request) -> Any:
        _, served = self.split.choose("", None)
        name = self.settings.model_name
        return describe(name, served.version, served.schema, ROUTES)

    async def _docs(self, request: Request) -> Any:
        return DOCS_PAGE.encode()
