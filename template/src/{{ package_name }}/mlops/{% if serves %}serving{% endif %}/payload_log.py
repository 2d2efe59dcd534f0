"""A sample of what was asked and answered, written off the requests' path."""

import asyncio
import logging
import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from . import metrics
from .schema import Output
from .settings import Settings

logger = logging.getLogger(__name__)
ROWS_IN_MEMORY, SECONDS = 50_000, 5.0


class PayloadLog:
    """Writes Parquet files to a folder, or frames to a data set of the catalog."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._target = settings, settings.payload_log
        self._share, self._hidden = settings.payload_share, settings.hidden
        self._held: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._rows = 0
        self._save: Any = self._file

    def open(self) -> None:
        """Find the data set or make the folder, so that a wrong one stops the start."""
        if self._target.startswith("catalog:"):
            self._save = data_set(self._target[len("catalog:") :], self._settings.env)
        elif self._target:
            Path(self._target).mkdir(parents=True, exist_ok=True)

    def add(self, about: Any, rows: int, inputs: Any, output: Output) -> None:
        """Take a request's columns; drop them if too many rows wait to be written."""
        if not self._target or random.random() >= self._share:  # noqa: S311 (a sample)
            return
        if self._rows + rows > ROWS_IN_MEMORY:
            metrics.payload_rows.labels("dropped").inc(rows)
            return
        columns = {
            f"{side}.{name}": values
            for side, named in (("input", inputs), ("output", output.columns.items()))
            for name, values in named
            if name not in self._hidden
        }
        self._held.append((about | {"time": datetime.now(UTC)}, columns))
        self._rows += rows

    async def run(self) -> None:
        """Write every few seconds, for ever."""
        while True:
            await asyncio.sleep(SECONDS)
            await self.write()

    async def write(self) -> None:
        """Write what is held."""
        held, rows, self._held, self._rows = self._held, self._rows, [], 0
        if not held:
            return
        try:
            await asyncio.to_thread(self._write, held)
            metrics.payload_rows.labels("written").inc(rows)
        except Exception:
            logger.exception("%d rows of the payload log were lost", rows)
            metrics.payload_rows.labels("dropped").inc(rows)

    def _write(self, held: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
        frames = [pd.DataFrame(columns).assign(**about) for about, columns in held]
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{os.getpid()}"
        self._save(name, pd.concat(frames).reset_index(names="row"))

    def _file(self, name: str, frame: pd.DataFrame) -> None:
        folder = Path(self._target)
        folder.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(folder / f".{name}", index=False)
        (folder / f".{name}").rename(folder / f"{name}.parquet")
        kept = 0
        for file in sorted(folder.glob("*.parquet"), reverse=True):
            kept += file.stat().st_size
            if kept > self._settings.payload_max_bytes:
                file.unlink(missing_ok=True)


def data_set(name: str, env: str | None) -> Any:
    """Return what saves a frame to a data set; a partitioned one gets it by name."""
    from kedro.framework.session import KedroSession
    from kedro_datasets.partitions import PartitionedDataset

    dataset = KedroSession.create(env=env).load_context().catalog[name]
    many = isinstance(dataset, PartitionedDataset)
    return lambda part, frame: dataset.save({part: frame} if many else frame)
