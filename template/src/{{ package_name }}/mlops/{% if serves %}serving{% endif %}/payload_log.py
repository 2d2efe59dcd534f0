"""A sample of what was asked and answered, written off the requests' path."""

import logging
import os
import queue
import random
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from .metrics import Metrics
from .output import Output
from .schema import Schema, Values
from .settings import Settings

logger = logging.getLogger(__name__)
REQUESTS_IN_MEMORY, ROWS_IN_FILE, SECONDS = 10_000, 5_000, 5.0


class PayloadLog:
    """Writes Parquet files to a folder, or frames to a data set of the catalog."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._rows = settings, metrics.payload_rows
        self._hidden = {name.strip() for name in settings.payload_exclude.split(",")}
        self._queue: queue.Queue[Any] = queue.Queue(REQUESTS_IN_MEMORY)
        self._thread = threading.Thread(
            target=self._run, name="payload-log", daemon=True
        )
        if settings.payload_log:
            self._thread.start()

    def wants(self) -> bool:
        """Tell whether the next request is in the sample."""
        share = self._settings.payload_share if self._settings.payload_log else 0
        return random.random() < share  # noqa: S311 (a sample)

    def add(
        self,
        about: dict[str, str],
        schema: Schema,
        columns: list[Values],
        output: Output,
    ) -> None:
        """Take a request's rows; drop them if too many wait to be written."""
        named = zip((c.name for c in schema.columns), columns, strict=True)
        inputs = {f"input.{k}": v for k, v in named if k not in self._hidden}
        named = zip(output.names or ["predictions"], output.columns, strict=True)
        outputs = {f"output.{k}": v for k, v in named if k not in self._hidden}
        time_ = {"time": datetime.now(UTC)}
        try:
            self._queue.put_nowait((about | time_, inputs | outputs))
        except queue.Full:
            self._rows.labels("dropped").inc(len(columns[0]))

    def close(self) -> None:
        """Write what is held, and end."""
        if self._settings.payload_log:
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        save = (
            self._dataset()
            if self._settings.payload_log[:8] == "catalog:"
            else self._file
        )
        parts, count, due = [], 0, time.monotonic() + SECONDS
        more = True
        while more:
            try:
                item = self._queue.get(timeout=max(0.0, due - time.monotonic()))
                more = item is not None
                if item:
                    about, columns = item
                    parts.append(pd.DataFrame(columns).assign(**about))
                    count += len(parts[-1])
            except queue.Empty:
                due = time.monotonic() + SECONDS
            if parts and (count >= ROWS_IN_FILE or not more or time.monotonic() >= due):
                self._write(save, parts, count)
                parts, count, due = [], 0, time.monotonic() + SECONDS

    def _write(self, save: Any, parts: list[pd.DataFrame], count: int) -> None:
        result = "written"
        try:
            name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{os.getpid()}"
            save(name, pd.concat(parts).reset_index(names="row"))
        except Exception:
            logger.exception("%d rows of the payload log were lost", count)
            result = "dropped"
        self._rows.labels(result).inc(count)

    def _dataset(self) -> Any:
        from kedro.framework.session import KedroSession
        from kedro_datasets.partitions import PartitionedDataset

        context = KedroSession.create(env=self._settings.env).load_context()
        dataset = context.catalog[self._settings.payload_log.removeprefix("catalog:")]
        many = isinstance(dataset, PartitionedDataset)
        return lambda name, frame: dataset.save({name: frame} if many else frame)

    def _file(self, name: str, frame: pd.DataFrame) -> None:
        folder = Path(self._settings.payload_log)
        folder.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(folder / f".{name}", index=False)
        (folder / f".{name}").rename(folder / f"{name}.parquet")
        kept = 0
        for file in sorted(folder.glob("*.parquet"), reverse=True):
            kept += file.stat().st_size
            if kept > self._settings.payload_max_bytes:
                file.unlink(missing_ok=True)
