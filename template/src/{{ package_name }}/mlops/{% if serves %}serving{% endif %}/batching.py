"""Micro-batching: requests that wait together are predicted together."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, chain
from time import perf_counter
from typing import Any

import pandas as pd
from starlette.exceptions import HTTPException

from . import metrics
from .schema import Output, Schema, Values
from .settings import Settings

logger = logging.getLogger(__name__)
Predict = Callable[[pd.DataFrame, dict[str, Any]], Any]
MAX_BATCH_ROWS = 512
QUICK_SECONDS = 0.02  # a prediction that may hold up reading for so long
GATHER_SECONDS, GATHER_SHARE = 0.001, 0.2  # steps, and the share of a prediction


@dataclass(eq=False)
class Waiting:
    """A checked request in the queue, and where its answer goes."""

    columns: list[Values]
    rows: int
    params: dict[str, Any]
    answer: asyncio.Future[Output]


class Batcher:
    """Predicts batch after batch; the queue is bounded, and no request waits idly."""

    def __init__(
        self, predict: Predict, schema: Schema, together: bool, settings: Settings
    ) -> None:
        self.predict, self.together = predict, together
        self._schema, self._settings = schema, settings
        self._waiting: deque[Waiting] = deque()
        self._quick = False
        self._task: asyncio.Task[None] | None = None

    def submit(
        self, columns: list[Values], rows: int, params: dict[str, Any]
    ) -> asyncio.Future[Output]:
        """Queue a request; cancel what is returned to take it back.

        Raises:
            HTTPException: 429 if too many requests or rows wait already.
        """
        total = sum(one.rows for one in self._waiting) + rows
        full = len(self._waiting) >= self._settings.max_queue
        if full or (self._waiting and total > 2 * self._settings.max_rows):
            raise HTTPException(429, "Too many requests wait.", {"retry-after": "1"})
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(columns, rows, params, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return answer

    async def _run(self) -> None:
        while batch := self._take():
            started = perf_counter()
            if self._quick and sum(one.rows for one in batch) <= MAX_BATCH_ROWS:
                answers = self._answers(batch)  # a thread would cost more than it frees
            else:
                answers = await asyncio.to_thread(self._answers, batch)
            took = perf_counter() - started
            self._quick = took < QUICK_SECONDS
            for request, answer in zip(batch, answers, strict=True):
                if request.answer.done():
                    continue
                if isinstance(answer, Output):
                    request.answer.set_result(answer)
                else:
                    request.answer.set_exception(answer)
            if len(batch) > 1:  # wait shortly until its clients are back
                expected = len(self._waiting) + len(batch)
                until = perf_counter() + min(took, QUICK_SECONDS) * GATHER_SHARE
                while perf_counter() < until and len(self._waiting) < expected:
                    await asyncio.sleep(GATHER_SECONDS)
        self._task = None

    def _take(self) -> list[Waiting]:
        """Take the next requests that can share a frame: same parameters, few rows."""
        batch: list[Waiting] = []
        room = MAX_BATCH_ROWS
        while self._waiting:
            request = self._waiting[0]
            fits = self.together and request.rows <= room
            if batch and not (fits and request.params == batch[0].params):
                break
            self._waiting.popleft()
            if not request.answer.done():  # else its client went away
                batch.append(request)
                room -= request.rows
        metrics.queue.set(len(self._waiting))
        return batch

    def _answers(self, batch: list[Waiting]) -> list[Output | HTTPException]:
        """Return an answer per request; a batch that fails is halved to find whose."""
        try:
            return list(self._share(batch))
        except Exception as error:
            if len(batch) > 1:
                half = len(batch) // 2
                return self._answers(batch[:half]) + self._answers(batch[half:])
            logger.warning("The model failed on a request", exc_info=True)
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            return [HTTPException(400, f"The model can't answer these rows: {reason}")]

    def _share(self, batch: list[Waiting]) -> list[Output]:
        merged = zip(*(request.columns for request in batch), strict=True)
        frame = self._schema.frame([list(chain.from_iterable(v)) for v in merged])
        output = Output.of(self.predict(frame, batch[0].params), len(frame))
        metrics.batch_rows.observe(len(frame))
        if len(batch) == 1:
            return [output]
        if not output.aligned:
            self.together = False
            logger.warning("The model drops or moves rows: no batch is shared any more")
            raise ValueError("the answers do not belong to the rows")
        stops = accumulate(request.rows for request in batch)
        return [output.part(s - r.rows, s) for r, s in zip(batch, stops, strict=True)]
