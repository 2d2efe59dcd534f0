"""Load a version, compile it, and prove on load what it may be served with."""

import hashlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd

from .batching import Batcher
from .compile import Compiled, NotCompilable, compile_pipeline
from .errors import Refused
from .metrics import Metrics
from .schema import Schema
from .settings import Settings

logger = logging.getLogger(__name__)
Predict = Callable[[pd.DataFrame, dict[str, Any]], Any]
DISTINCT, TWICE = 64, 16


@dataclass(frozen=True)
class Served:
    """A warm version: its checks, and the queue in front of it."""

    version: str
    schema: Schema
    batcher: Batcher
    compiled: bool


def load(uri: str, version: str | None, settings: Settings, metrics: Metrics) -> Served:
    """Load and warm a model; log what it can't be served with, and why."""
    import mlflow

    model: Any = mlflow.pyfunc.load_model(uri)
    schema = Schema(model.metadata)
    version = version or model.model_id or model.metadata.model_uuid
    rows = mixed_rows(model, schema)
    predict, compiled = plain(model), True
    try:
        predict = compile_equal(model, uri, schema, rows)
    except NotCompilable as error:
        compiled = False
        logger.warning("Version %s is not compiled: %s.", version, error)
    reason: str | None = "it is switched off"
    if settings.batching:
        reason = looks_across_rows(predict, schema, rows)
        if reason:
            logger.warning("Version %s is not batched: %s.", version, reason)
    batcher = Batcher(predict, schema, not reason, settings, metrics)
    return Served(str(version), schema, batcher, compiled)


def plain(model: Any) -> Predict:
    """Return the model's own ``predict``."""
    return lambda frame, params: model.predict(frame, params=params or None)


def mixed_rows(model: Any, schema: Schema) -> list[list[Any]]:
    """Return distinct and repeated rows, by column, mixed from the input example's.

    Numbers are drawn between the example's where its values alone can't make enough.
    """
    example = model.input_example
    if not isinstance(example, pd.DataFrame):
        return []
    example = example.astype("object").where(example.notna(), None)
    try:
        found = schema.check(
            {str(n): example[n].tolist() for n in example}, len(example), text=False
        )
    except Refused as error:
        logger.warning("The input example does not match the signature: %s", error)
        return []
    draw = random.Random(0)  # noqa: S311 (the same rows on every load)
    rows: dict[tuple[Any, ...], None] = {}
    for attempt in range(50 * DISTINCT):
        row = [draw.choice(values) for values in found]
        if attempt > 10 * DISTINCT:
            for i, column in enumerate(schema.columns):
                numbers = [v for v in found[i] if isinstance(v, float)]
                if column.dtype.startswith("float") and numbers:
                    row[i] = draw.uniform(min(numbers), max(numbers))
        rows[tuple(row)] = None
        if len(rows) == DISTINCT:
            break
    mixed = [*rows, *draw.choices(list(rows), k=TWICE)]
    draw.shuffle(mixed)
    return [list(values) for values in zip(*mixed, strict=True)]


def compile_equal(
    model: Any, uri: str, schema: Schema, rows: list[list[Any]]
) -> Compiled:
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
    before = digests(compiled.artifacts)
    found = compiled(schema.frame(rows), params)
    after = digests(compiled.artifacts)
    if difference(found, expected):
        raise NotCompilable("the plain model answers otherwise")
    if changed := {name for name, digest in after.items() if digest != before[name]}:
        import mlflow

        logger.warning("Nodes change %s: every prediction copies them.", changed)
        return compile_pipeline(mlflow.pyfunc.load_model(uri), frozenset(changed))
    return compiled


class Digest(cloudpickle.Pickler):
    """Pickles into a hash; equal texts and types count as equal, shared or not."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        super().__init__(self)

    def write(self, data: Any) -> None:
        """Take a part of the pickle."""
        self.hash.update(data)

    def persistent_id(self, value: Any) -> str | None:
        """Replace what libraries share and stop sharing as they like."""
        return repr(value) if isinstance(value, np.dtype | str) else None


def digests(artifacts: dict[str, Any]) -> dict[str, str]:
    """Return a digest of each artifact, to see whether a node changes it."""
    found = {}
    for name, artifact in artifacts.items():
        digest = Digest()
        digest.dump(artifact)
        found[name] = digest.hash.hexdigest()
    return found


def looks_across_rows(
    predict: Predict, schema: Schema, rows: list[list[Any]]
) -> str | None:
    """Return why requests can't share a batch, None if nothing speaks against it.

    The rows are predicted together, and again alone or in fours.
    """
    if not rows:
        return "there is no input example to check it with"
    params, size = schema.check_params(None), len(rows[0])
    sizes = [1] * TWICE + [4] * ((size - TWICE + 3) // 4)
    try:
        together = as_frame(predict(schema.frame(rows), params))
        if not together.index.equals(pd.RangeIndex(size)):
            return "it drops or moves rows"
        start = 0
        for count in sizes:
            part = [values[start : start + count] for values in rows]
            alone = as_frame(predict(schema.frame(part), params))
            if difference(alone, together.iloc[start : start + count]):
                return "a row's answer depends on the other rows"
            start += count
    except Exception as error:
        return f"it fails on rows mixed from its input example ({error})"
    return None


def as_frame(answer: Any) -> pd.DataFrame:
    """Return any answer as a frame."""
    return answer if isinstance(answer, pd.DataFrame) else pd.DataFrame(answer)


def difference(found: Any, expected: Any) -> bool:
    """Tell whether two answers differ by more than an estimator's own rounding."""
    left, right = (as_frame(a).reset_index(drop=True) for a in (found, expected))
    try:
        pd.testing.assert_frame_equal(left, right, rtol=1e-6, atol=1e-9)
    except AssertionError:
        return True
    return False
