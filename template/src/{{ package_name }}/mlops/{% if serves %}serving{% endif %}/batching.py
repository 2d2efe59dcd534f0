"""Micro-batching: requests that wait together are predicted together."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from time import perf_counter
from typing import Any

from .errors import Refused
from .metrics import Metrics
from .output import Output
from .schema import Schema, Values
from .settings import Settings

logger = logging.getLogger(__name__)
MAX_BATCH_ROWS = 512
QUICK_SECONDS = 0.02  # a prediction that may hold up reading for so long
GATHER_SECONDS = 0.001  # after a shared batch, so that its clients meet in the next


@dataclass(eq=False)
class Waiting:
    """A checked request in the queue, and where its answer goes."""

    columns: list[Values]
    rows: int
    params: dict[str, Any]
    answer: asyncio.Future[Output]


class Batcher:
    """Predicts in one thread; the queue is bounded, and an idle model never waits."""

    def __init__(
        self,
        predict: Callable[[Any, dict[str, Any]], Any],
        schema: Schema,
        together: bool,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._model, self._schema, self.together = predict, schema, together
        self._settings, self._metrics = settings, metrics
        self._thread = ThreadPoolExecutor(1, "predict")
        self._waiting: deque[Waiting] = deque()
        self._rows = 0
        self._quick = False
        self._task: asyncio.Task[None] | None = None

    def submit(
        self, columns: list[Values], rows: int, params: dict[str, Any]
    ) -> asyncio.Future[Output]:
        """Queue a request; cancel what is returned to take it back.

        Raises:
            Refused: 429 if too many requests or rows wait already.
        """
        full = len(self._waiting) >= self._settings.max_queue
        if full or (self._waiting and self._rows + rows > 2 * self._settings.max_rows):
            raise Refused(429, "Too many requests wait; try again.", retry_after="1")
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(columns, rows, params, answer))
        self._rows += rows
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return answer

    async def close(self) -> None:
        """Answer what waits, then end the thread."""
        if self._task is not None:
            await self._task
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if not (batch := self._take()):
                continue
            started = perf_counter()
            rows = sum(request.rows for request in batch)
            if self._quick and rows <= MAX_BATCH_ROWS:
                answers = self._predict(batch)  # a thread would cost more than it frees
            else:
                answers = await loop.run_in_executor(self._thread, self._predict, batch)
            self._quick = perf_counter() - started < QUICK_SECONDS
            for request, answer in zip(batch, answers, strict=True):
                if request.answer.done():
                    continue
                if isinstance(answer, Exception):
                    request.answer.set_exception(answer)
                else:
                    request.answer.set_result(answer)
            if len(batch) > 1:
                await asyncio.sleep(GATHER_SECONDS)
        self._task = None

    def _take(self) -> list[Waiting]:
        """Take the requests that can share a frame: the same parameters, few rows."""
        batch: list[Waiting] = []
        rows = 0
        others = []
        while self._waiting:
            request = self._waiting[0]
            too_many = rows + request.rows > MAX_BATCH_ROWS
            if batch and (too_many or not self.together):
                break
            self._waiting.popleft()
            if request.answer.done():  # its client went away, or its time is over
                self._rows -= request.rows
            elif batch and request.params != batch[0].params:
                others.append(request)
            else:
                batch.append(request)
                rows += request.rows
        self._waiting.extendleft(reversed(others))
        self._rows -= rows
        self._metrics.queue.set(len(self._waiting))
        return batch

    def _predict(self, batch: list[Waiting]) -> list[Output | Exception]:
        """Return an answer per request; a batch that fails is halved to find whose."""
        try:
            return list(self._predict_together(batch))
        except Exception as error:
            if len(batch) == 1:
                return [error]
            half = len(batch) // 2
            return self._predict(batch[:half]) + self._predict(batch[half:])

    def _predict_together(self, batch: list[Waiting]) -> list[Output]:
        started = perf_counter()
        merged = zip(*(request.columns for request in batch), strict=True)
        frame = self._schema.frame([list(chain.from_iterable(v)) for v in merged])
        output = Output.of(self._model(frame, batch[0].params), len(frame))
        self._metrics.batch_rows.observe(len(frame))
        self._metrics.predict_seconds.observe(perf_counter() - started)
        if len(batch) == 1:
            return [output]
        if not output.aligned:
            self.together = False
            logger.warning(
                "The model dropped or moved rows of a shared batch: from now on every "
                "request is predicted alone."
            )
            raise ValueError("the answers do not belong to the rows")
        parts, start = [], 0
        for request in batch:
            parts.append(output.part(start, start + request.rows))
            start += request.rows
        return parts
