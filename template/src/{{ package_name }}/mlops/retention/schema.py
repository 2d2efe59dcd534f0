"""What `retention:` in artifacts.yml may say: who is kept, and what happens to others."""

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import BaseModel, ByteSize, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Days = Annotated[float, Field(ge=0)]


class Rule(BaseModel, extra="forbid", frozen=True):
    """A part of the file in which an unknown key is an error."""


class Best(Rule):
    """The best runs by a metric."""

    metric: str
    order: Literal["highest", "lowest"]
    count: Count


class Keep(Rule):
    """What protects a run; the parents of protected runs are protected, too."""

    last: Count | None = None
    best: list[Best] = []
    younger_than_days: Days = 0


class Globs(Rule):
    """Run artifacts by path; ``**`` crosses folders."""

    match: Annotated[list[str], Field(min_length=1)]
    after_days: Days


class Prune(Rule):
    """What happens to what nothing protects."""

    failed_after_days: Days | None = None
    all_after_days: Days | None = None
    artifacts: list[Globs] = []
    traces_after_days: Days | None = None
    budget: ByteSize | None = None
    orphans: bool = False
    metadata: Literal["keep", "delete"] = "keep"


class ExperimentRules(Rule):
    """The rules of the experiments whose name matches."""

    name: str
    keep: Keep
    prune: Prune

    @model_validator(mode="after")
    def _no_rule_waits_for_another(self) -> "ExperimentRules":
        young = self.keep.younger_than_days
        ages = {
            "failed_after_days": self.prune.failed_after_days,
            "all_after_days": self.prune.all_after_days,
            **{f"artifacts {g.match}": g.after_days for g in self.prune.artifacts},
        }
        for rule, days in ages.items():
            if days is not None and days < young:
                raise ValueError(
                    f"{rule} ({days:g}) contradicts keep.younger_than_days ({young:g}), "
                    "which protects for longer"
                )
        return self


class VersionRules(Rule):
    """The registered versions that are kept beside those with an alias or approval."""

    name: str
    last: Count | None = None
    younger_than_days: Days = 0


class RetentionRules(Rule):
    """The whole block; of several names that match, the first one counts."""

    grace_days: Days = 7
    versions: list[VersionRules] = []
    experiments: list[ExperimentRules] = []

    @model_validator(mode="after")
    def _names_differ(self) -> "RetentionRules":
        for rules in (self.versions, self.experiments):
            names = [rule.name for rule in rules]
            for position, name in enumerate(names):
                for earlier in names[:position]:
                    if fnmatchcase(name, earlier):
                        raise ValueError(f"'{name}' is shadowed by '{earlier}' above it")
        return self

    def for_experiment(self, name: str) -> ExperimentRules | None:
        """Return the rules of an experiment; without any it is left alone."""
        return next((r for r in self.experiments if fnmatchcase(name, r.name)), None)

    def for_model(self, name: str) -> VersionRules | None:
        """Return the rules of a registered model; without any its versions stay."""
        return next((r for r in self.versions if fnmatchcase(name, r.name)), None)
