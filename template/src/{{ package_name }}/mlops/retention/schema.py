"""What `retention:` in artifacts.yml may say: who is kept, what happens to others."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from math import inf
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ByteSize, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Days = Annotated[float, Field(ge=0)]
Glob = Annotated[str, Field(pattern=r"^\S+$")]
Problem = tuple[tuple[str | int, ...], str]  # where in the file, and what is wrong


class Rule(BaseModel, extra="forbid"):
    """A part of the file in which an unknown key is an error."""


class Best(Rule):
    """The best finished runs by a metric."""

    metric: str
    order: Literal["highest", "lowest"]
    count: Count


class Keep(Rule):
    """What protects a run; the parents of protected runs are protected, too."""

    last: Count = 0
    younger_than_days: Days = 0
    best: list[Best] = []


class Globs(Rule):
    """Run artifacts by path; ``*`` crosses folders."""

    match: Annotated[list[Glob], Field(min_length=1)]
    after_days: Days


class Prune(Rule):
    """What happens to what nothing protects."""

    failed_after_days: Days = inf
    all_after_days: Days = inf
    artifacts: list[Globs] = []
    budget: ByteSize = ByteSize(2**63)
    orphans: bool = False
    metadata: Literal["keep", "delete"] = "keep"


class ExperimentRules(Rule):
    """The rules of the experiments whose name matches."""

    name: str
    keep: Keep
    prune: Prune

    @model_validator(mode="after")
    def _no_rule_waits_for_another(self) -> "ExperimentRules":
        young, prune = self.keep.younger_than_days, self.prune
        ages = [prune.failed_after_days, prune.all_after_days]
        ages += [globs.after_days for globs in prune.artifacts]
        if (soonest := min(ages)) < young:
            raise ValueError(
                f"prune after {soonest:g} days contradicts keep.younger_than_days: "
                f"{young:g}, which protects for longer"
            )
        return self


class VersionRules(Keep):
    """The registered versions that are kept beside those with an alias or approval."""

    name: str
    best: Annotated[list[Best], Field(max_length=0)] = []  # they have no metrics


class RetentionRules(Rule):
    """The whole block; what no name matches is left alone."""

    grace_days: Days = 7
    versions: list[VersionRules] = []
    experiments: list[ExperimentRules] = []

    def problems(self) -> Iterator[Problem]:
        """Yield rules that can match nothing, since an earlier one always does."""
        for block in ("versions", "experiments"):
            names = [rule.name for rule in getattr(self, block)]
            for at, name in enumerate(names):
                if any(fnmatchcase(name, earlier) for earlier in names[:at]):
                    yield ("retention", block, at, "name"), "never matches first"


def first_match(rules: Sequence[Any], name: str) -> Any:
    """Return the first rule that matches a name, None if there is none."""
    return next((rule for rule in rules if fnmatchcase(name, rule.name)), None)
