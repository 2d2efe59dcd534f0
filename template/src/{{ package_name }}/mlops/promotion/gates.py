"""Gates of conf/base/gates.yml: what a candidate must pass to become champion."""

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import BlueprintError

COMPARISONS = ("better_by", "not_worse_by")
KINDS = ("at_least", "at_most", "largest_gap", *COMPARISONS)


class Typed(BaseModel):
    """Settings in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MetricGate(Typed):
    """What a metric of the held-out rows must be: one of five kinds."""

    metric: str
    by: str | None = None
    """A column: the gate is about the rows of each of its values."""
    rows: int = Field(default=30, ge=1)
    """With ``by``: a value with fewer rows fails."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """How sure a comparison with the champion has to be."""
    at_least: float | None = None
    at_most: float | None = None
    better_by: float | None = Field(default=None, ge=0)
    not_worse_by: float | None = Field(default=None, ge=0)
    largest_gap: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(KINDS)}")
        if self.kind == "largest_gap" and not self.by:
            raise ValueError("largest_gap needs a column, as `by`")
        if self.kind in COMPARISONS and self.by:
            raise ValueError("a comparison with the champion takes no `by`")
        return self

    @property
    def kind(self) -> str:
        """Which kind was given."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def limit(self) -> float:
        """The figure that was given."""
        return float(getattr(self, self.kind))


class Gates(Typed):
    """The whole of gates.yml."""

    first_version: Literal["serves", "waits"]
    held_out_rows: int = Field(default=100, ge=1)
    metrics: list[MetricGate] = []
    milliseconds: float | None = Field(default=None, gt=0)
    megabytes: float | None = Field(default=None, gt=0)
    signature: Literal["compatible", "any"] = "compatible"
    model_card: Literal["complete", "any"] = "any"
    approval: Literal["required", "not required"] = "not required"
    identities: dict[str, list[str]] = {}


def read_gates(configuration: dict[str, Any]) -> Gates:
    """Return the typed gates.

    Raises:
        BlueprintError: if a key is unknown or a value is of no use, all in a sentence.
    """
    try:
        return Gates.model_validate(configuration)
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}"
            for each in error.errors()
        )
        raise BlueprintError(f"conf/base/gates.yml can't be used: {found}.") from error


class Verdict(NamedTuple):
    """A gate with its two figures; without a reason to fail it passes."""

    gate: str
    figure: float | None
    against: float | None
    reason: str | None


def judge(gates: Gates, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each gate's name, whether it passed, its two figures and the reason.

    A figure that is missing, not a number, or of too few rows, fails.
    """
    verdicts = [*_metric_verdicts(gates, found), *_other_verdicts(gates, found)]
    return [{**each._asdict(), "passed": each.reason is None} for each in verdicts]


def _metric_verdicts(gates: Gates, found: dict[str, Any]) -> Iterator[Verdict]:
    overall, needed = found["overall"], gates.held_out_rows
    yield Verdict("held-out rows", overall["rows"], needed, _few(overall, needed))
    for gate in gates.metrics:
        if gate.by is None:
            if gate.kind in COMPARISONS:
                yield _against_champion(gate, found, needed)
            else:
                yield _against_limit(gate, overall, needed, "")
        elif not (groups := found["segments"].get(gate.by)):
            name = f"{gate.metric} by {gate.by}"
            yield Verdict(name, None, gate.limit, f"there is no column {gate.by}")
        elif gate.kind == "largest_gap":
            yield _gap(gate, groups)
        else:
            for value, group in groups.items():
                where = f", {gate.by} = {value}"
                yield _against_limit(gate, group, gate.rows, where)


def _other_verdicts(gates: Gates, found: dict[str, Any]) -> Iterator[Verdict]:
    for unit in ("milliseconds", "megabytes"):
        if (limit := getattr(gates, unit)) is not None:
            figure = found[unit]
            slow = None if figure <= limit else f"{figure:.4g} {unit} are too much"
            yield Verdict(unit, figure, limit, slow)
    if gates.signature == "compatible":
        changes = found["signature_changes"]
        yield Verdict("signature", len(changes), 0, "; ".join(changes) or None)
    if gates.model_card == "complete":
        gaps = found["card_gaps"]
        reason = f"docs/model_card.md lacks {', '.join(gaps)}" if gaps else None
        yield Verdict("model card", len(gaps), 0, reason)
    if gates.approval == "required":
        by = found["approved_by"]
        missing = None if by else "nobody has approved it: `kedro model approve`"
        yield Verdict("approval", len(by), 1, missing)


def _against_limit(
    gate: MetricGate, group: dict[str, Any], needed: int, where: str
) -> Verdict:
    value, reason = _figure(group, gate.metric, needed)
    sign = 1 if gate.kind == "at_least" else -1
    if reason is None and value is not None and (value - gate.limit) * sign < 0:
        word = "less" if sign == 1 else "more"
        reason = f"{value:.4g} is {word} than {gate.limit:g}"
    name = f"{gate.metric} {gate.kind.replace('_', ' ')} {gate.limit:g}{where}"
    return Verdict(name, value, gate.limit, reason)


def _against_champion(gate: MetricGate, found: dict[str, Any], needed: int) -> Verdict:
    from .statistics import lower_bound  # numpy, which `kedro --help` does without

    better = gate.kind == "better_by"
    name = f"{gate.metric} {gate.kind.replace('_', ' ')} {gate.limit:g}"
    mine, reason = _figure(found["overall"], gate.metric, needed)
    if found["champion"] is None:
        return Verdict(f"{name}: no champion yet", mine, None, reason)
    theirs, unknown = _figure(found["overall"], gate.metric, needed, "champion")
    reason = reason or unknown
    if reason is None:
        bound = lower_bound(found["differences"][gate.metric], gate.confidence)
        passes = bound > gate.limit if better else bound >= -gate.limit
        if not passes:  # also where the bound is not a number
            needs = f"more than {gate.limit:g}" if better else f"{-gate.limit:g}"
            reason = (
                f"{mine:.4g} against {theirs:.4g}: with {gate.confidence:.1%} "
                f"confidence better by {bound:.4g}, and {needs} is needed"
            )
    return Verdict(name, mine, theirs, reason)


def _gap(gate: MetricGate, groups: dict[str, Any]) -> Verdict:
    name = f"{gate.metric} largest gap {gate.limit:g}, {gate.by}"
    values: dict[str, float] = {}
    for group_name, group in groups.items():
        value, unknown = _figure(group, gate.metric, gate.rows)
        if unknown or value is None:
            return Verdict(name, None, gate.limit, f"{gate.by} {group_name}: {unknown}")
        values[group_name] = value
    if len(values) < 2:
        return Verdict(name, None, gate.limit, f"{gate.by} has fewer than two values")
    ordered = sorted(values, key=lambda each: values[each])
    low, high = ordered[0], ordered[-1]
    gap = values[high] - values[low]
    reason = f"{values[high]:.4g} for {high}, {values[low]:.4g} for {low}"
    return Verdict(name, gap, gate.limit, reason if gap > gate.limit else None)


def _figure(
    group: dict[str, Any], metric: str, needed: int, version: str = "candidate"
) -> tuple[float | None, str | None]:
    """Return a metric's value, and why it counts for nothing."""
    found = group["metrics"].get(metric)
    if found is None:
        return None, f"{metric} was not measured, only {', '.join(group['metrics'])}"
    value = found[version]["value"]
    if not math.isfinite(value):
        return None, f"{metric} is not a number"
    return value, _few(group, needed)


def _few(group: dict[str, Any], needed: int) -> str | None:
    rows = group["rows"]
    return f"only {rows} rows, and {needed} are needed" if rows < needed else None
