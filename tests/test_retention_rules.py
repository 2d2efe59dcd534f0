"""`conf/base/artifacts.yml`: every mistake is an error that names its line."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("mlflow", reason="needs the dependency group `retention`")

from .retention_support import Store

GOOD = """\
retention:
  grace_days: 7
  versions:
    - {name: example, last: 3}
  experiments:
    - name: example
      keep:
        last: 5
        younger_than_days: 10
        best:
          - {metric: auc, order: highest, count: 2}
      prune:
        all_after_days: 30
        budget: 10 GB
    - name: other
      keep: {}
      prune: {}
"""

MISTAKES = {
    "an unknown key": ("last: 5", "lats: 5", 8, "Extra inputs are not permitted"),
    "a wrong type": ("last: 5", "last: many", 8, "valid integer"),
    "a count of none": ("last: 5", "last: 0", 8, "greater than or equal to 1"),
    "a negative age": ("days: 30", "days: -1", 13, "greater than or equal to 0"),
    "an unknown order": ("highest", "best", 11, "'highest' or 'lowest'"),
    "a budget without sense": ("10 GB", "much", 14, "byte"),
    "a missing key": ("      keep: {}\n", "", 15, "Field required"),
    "a key given twice": ("last: 5", "last: 5\n        last: 6", 8, "given twice"),
    "a contradiction": ("days: 30", "days: 9", 6, "contradicts"),
    "a shadowed rule": ("name: other", "name: example", 15, "never matches"),
    "a broken file": ("last: 5", "last: [5", 9, "can't be read"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_its_line(
    retention: SimpleNamespace, tmp_path: Path, mistake: str
) -> None:
    good, bad, line, why = MISTAKES[mistake]
    file = tmp_path / "artifacts.yml"
    rendered = (retention.project / "conf/base/artifacts.yml").read_text("utf-8")
    logging = rendered[rendered.index("logging:") : rendered.index("\nretention:")]
    file.write_text(f"{GOOD}{logging}\n")
    retention.artifact_rules.read_artifact_rules(file)
    assert good in GOOD
    file.write_text(f"{GOOD.replace(good, bad)}{logging}\n")
    with pytest.raises(retention.errors.BlueprintError) as refusal:
        retention.artifact_rules.read_artifact_rules(file)
    place = f"line {line}" if mistake == "a broken file" else f"artifacts.yml:{line}:"
    assert place in str(refusal.value)
    assert why in str(refusal.value)


def test_a_rule_for_no_experiment_is_refused_with_its_line(
    retention: SimpleNamespace, tmp_path: Path
) -> None:
    store = Store(retention, tmp_path)
    store.rules()
    text = store.rules_file.read_text()
    store.rules_file.write_text(text.replace("name: example", "name: exampel"))
    lines = store.rules_file.read_text().splitlines()
    line = 1 + next(i for i, text in enumerate(lines) if "exampel" in text)
    with pytest.raises(retention.errors.BlueprintError, match=f":{line}: .*no exper"):
        store.plan()


def test_the_best_by_a_metric_that_no_run_has_is_refused(
    retention: SimpleNamespace, tmp_path: Path
) -> None:
    store = Store(retention, tmp_path)
    run = store.run(auc=0.9)
    best = [{"metric": "acu", "order": "highest", "count": 1}]
    store.rules(keep={"best": best})
    refused = pytest.raises(
        retention.errors.BlueprintError, match=r"yml:\d+: .*no finished run has acu"
    )
    with refused:
        store.plan()
    with refused:
        retention.plan.check_store(store.rules_file)
    assert store.has_files(run)


@pytest.mark.parametrize(
    "answers",
    [
        {"tracking": "local"},
        {"tracking": "server"},
        {"tracking": "databricks", "task": "regression"},
    ],
)
def test_the_rendered_rules_have_no_mistakes_and_wait_a_week(
    rendered: Callable[..., Path], retention: SimpleNamespace, answers: dict[str, Any]
) -> None:
    file = rendered(**answers) / "conf/base/artifacts.yml"
    rules = retention.artifact_rules.read_artifact_rules(file).retention
    assert rules.grace_days == 7
    (experiment,) = rules.experiments
    assert experiment.prune.metadata == "keep"
    shared = answers["tracking"] != "local"
    assert experiment.prune.orphans != shared, "others may write to the same place"
