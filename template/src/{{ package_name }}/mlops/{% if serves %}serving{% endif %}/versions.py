"""Versions: loaded, compiled, proved before they serve, and exchanged."""

import asyncio
import hashlib
import io
import logging
import random
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from ..migration.schema import load_logged
from ..registry import version_of
from . import metrics
from .batching import Batcher, Predict
from .compile import Compiled, NotCompilable, compile_pipeline
from .schema import Schema, Values, reason_of
from .settings import Settings

logger = logging.getLogger(__name__)
DISTINCT, TWICE, FEW = 64, 16, 8


@dataclass(frozen=True)
class Served:
    """A warm version: its checks, and the queue in front of it."""

    variant: str
    version: str
    schema: Schema
    batcher: Batcher
    compiled: bool


def load(uri: str, variant: str, settings: Settings) -> Served:
    """Load and warm a model; log what it can't be served with, and why."""
    # What it would warn of, the server's log leaves out; finding it takes its time.
    model: Any = load_logged(uri, suppress_warnings=True)
    schema = Schema(model.metadata)
    number, own = uri.rpartition("/")[2], model.model_id or model.metadata.model_uuid
    version = number if number.isdigit() else own
    if missing := settings.hidden - schema.names:  # misspelt, maybe
        logger.warning("Version %s has no %s to leave out.", version, sorted(missing))
    rows = mixed_rows(model, schema)
    predict: Predict = plain(model)
    try:
        predict = compile_equal(model, uri, schema, rows)
    except NotCompilable as error:
        logger.warning("Version %s is not compiled: %s.", version, error)
    reason: str | None = "it is switched off"
    if settings.batching:
        reason = looks_across_rows(predict, schema, rows)
    if reason:
        logger.warning("Version %s is not batched: %s.", version, reason)
    batcher = Batcher(predict, schema, not reason, settings)
    return Served(variant, version, schema, batcher, isinstance(predict, Compiled))


def plain(model: Any) -> Predict:
    """Return the model's own ``predict``."""
    return lambda frame, params: model.predict(frame, params=params or None)


def mixed_rows(model: Any, schema: Schema) -> list[Values]:
    """Return distinct and repeated rows, by column, mixed from the input example's.

    Half of the numbers are drawn between the example's: its values alone may not make
    enough rows.
    """
    example = model.input_example
    if not isinstance(example, pd.DataFrame):
        return []
    example = example.astype("object").where(example.notna(), None)
    given = {str(name): values.tolist() for name, values in example.items()}
    try:
        found = schema.check(given, len(example), text=False)
    except ValidationError as error:
        logger.warning("The example does not match: %s", reason_of(error))
        return []
    draw = random.Random(0)  # noqa: S311 (the same rows on every load)

    def value(column: int) -> Any:
        one, other = draw.choice(found[column]), draw.choice(found[column])
        if isinstance(one, float) and isinstance(other, float) and draw.random() < 0.5:
            return draw.uniform(one, other)
        return one

    distinct: dict[tuple[Any, ...], None] = {}
    for _ in takewhile(lambda _: len(distinct) < DISTINCT, range(50 * DISTINCT)):
        distinct[tuple(map(value, range(len(found))))] = None
    rows = [*distinct, *draw.choices([*distinct], k=TWICE)]
    draw.shuffle(rows)
    return [list(values) for values in zip(*rows, strict=True)]


def compile_equal(model: Any, uri: str, schema: Schema, rows: list[Values]) -> Compiled:
    """Compile a model, and copy the artifacts that its nodes are seen to change.

    Raises:
        NotCompilable: also if the plain model answers otherwise.
    """
    compiled = compile_pipeline(model)
    unknown = {f"params:{n}" for n in schema.params} - compiled.artifacts.keys()
    if unknown - {"params:runner"}:
        raise NotCompilable(f"{unknown} are no inputs of its pipeline")
    if not rows:
        return compiled
    params = schema.check_params(None)
    expected = plain(model)(schema.frame(rows), params)
    before = {name: digest(one) for name, one in compiled.artifacts.items()}
    if differ(compiled(schema.frame(rows), params), expected):
        raise NotCompilable("the plain model answers otherwise")
    if changed := {n for n, a in compiled.artifacts.items() if digest(a) != before[n]}:
        logger.warning("Nodes change %s: every prediction copies them.", changed)
        return compile_pipeline(load_logged(uri, suppress_warnings=True), changed)
    return compiled


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Writes equal texts and types alike, which libraries share as they like."""

    def persistent_id(self, value: Any) -> str | None:
        """Replace what is shared here and not there."""
        return repr(value) if isinstance(value, np.dtype | str) else None


def digest(artifact: Any) -> str:
    """Return a digest of an artifact, to see whether a node changes it."""
    file = io.BytesIO()
    Pickler(file).dump(artifact)
    return hashlib.sha256(file.getbuffer()).hexdigest()


def looks_across_rows(
    predict: Predict, schema: Schema, rows: list[Values]
) -> str | None:
    """Return why requests can't share a batch, None if nothing speaks against it.

    The rows are predicted together, and again alone or in eights.
    """
    if not rows:
        return "there is no input example to check it with"
    params, size = schema.check_params(None), len(rows[0])
    starts = [*range(FEW), *range(FEW, size, FEW), size]
    try:
        together = pd.DataFrame(predict(schema.frame(rows), params))
        if not together.index.equals(pd.RangeIndex(size)):
            return "it drops or moves rows"
        for start, stop in pairwise(starts):
            part = [values[start:stop] for values in rows]
            alone = predict(schema.frame(part), params)
            if differ(alone, together.iloc[start:stop]):
                return "a row's answer depends on the other rows"
    except Exception as error:
        return f"it fails on rows mixed from its input example ({error})"
    return None


def differ(found: Any, expected: Any) -> bool:
    """Tell whether two answers differ by more than an estimator's own rounding."""
    left, right = (pd.DataFrame(a).reset_index(drop=True) for a in (found, expected))
    try:
        pd.testing.assert_frame_equal(left, right, rtol=1e-6, atol=1e-9)
    except AssertionError:
        return True
    return False


class Variant:
    """One alias (or a fixed model): the version that answers, and its successor."""

    def __init__(self, name: str, uri: str, settings: Settings) -> None:
        self.name, self._uri, self._settings = name, uri, settings
        self.served: Served | None = None
        self._model, _, self._alias = uri.removeprefix("models:/").partition("@")

    async def refresh(self) -> None:
        """Load what the alias points at now beside what serves, then switch."""
        old, new, version, uri = self.served, None, None, self._uri
        if self._alias:
            version = await asyncio.to_thread(version_of, self._model, self._alias)
            if version is None and self.name == "champion":
                raise LookupError(f"{self._model} has no alias {self._alias}")
            if version == (old and old.version):
                return
            uri = f"models:/{self._model}/{version}"
        if version or not self._alias:
            new = await asyncio.to_thread(load, uri, self.name, self._settings)
        self.served = new
        for served, value in ((old, 0), (new, 1)):
            if served:
                labels = (self.name, served.version, served.compiled)
                metrics.model.labels(*labels).set(value)
        if old:
            metrics.reloads.labels("ok").inc()

    async def follow(self) -> None:
        """Refresh for ever; after a failure the old version serves on."""
        while self._alias:
            await asyncio.sleep(self._settings.reload_seconds)
            try:
                await self.refresh()
            except Exception as error:  # a traceback each time would hold requests up
                metrics.reloads.labels("failed").inc()
                logger.warning("The old %s serves, not the new: %s", self.name, error)


def choose(
    variants: list[Variant], settings: Settings, key: str, version: str | None
) -> Served:
    """Return what answers an id, always the same, or serves the version asked for.

    Raises:
        HTTPException: 503 before the model is loaded, 404 for another version.
    """
    ready = {one.name: one.served for one in variants if one.served}
    if "champion" not in ready:
        raise HTTPException(503, "The model is not loaded.", {"retry-after": "1"})
    if version is not None:
        for served in ready.values():
            if served.version == version:
                return served
        raise HTTPException(404, f"Version {version} is not served.")
    text = f"{settings.model_name}:{key}".encode()
    place = int.from_bytes(hashlib.sha256(text).digest()[:8]) / 2**64
    chosen = place < settings.challenger_share and "challenger" in ready
    return ready["challenger" if chosen else "champion"]
