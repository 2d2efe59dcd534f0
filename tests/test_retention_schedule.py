"""Weekly pruning in CI: only where tracking is remote, off, and after approval."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Render = Callable[..., Path]
FILES = {
    "github": ".github/workflows/prune.yml",
    "gitlab": ".gitlab-ci.yml",
    "azure": "azure-pipelines.yml",
}


def read(rendered: Render, ci: str) -> dict[str, Any]:
    """Return the CI of a project whose runs are tracked by a server."""
    file = rendered(tracking="server", ci=ci) / FILES[ci]
    return yaml.safe_load(file.read_text("utf-8"))


@pytest.mark.parametrize("ci", FILES)
def test_where_tracking_is_local_no_ci_prunes(rendered: Render, ci: str) -> None:
    folder = rendered(tracking="local", ci=ci)
    files = [path for path in folder.rglob("*.yml") if "conf" not in path.parts]
    assert not [path for path in files if "kedro prune" in path.read_text("utf-8")]


def test_github_plans_if_enabled_and_applies_after_approval(rendered: Render) -> None:
    workflow = read(rendered, "github")
    assert workflow[True]["schedule"], "YAML reads `on` as true"
    plan, apply = workflow["jobs"]["plan"], workflow["jobs"]["apply"]
    assert plan["if"] == "vars.PRUNE == 'enabled'"
    assert apply["needs"] == "plan"
    assert apply["environment"] == "prune"
    steps = {step.get("name"): step.get("run", "") for step in plan["steps"]}
    assert "required_reviewers" in steps["Require that somebody approves"]
    assert steps["Show the table"].endswith('>> "$GITHUB_STEP_SUMMARY"')
    assert [name for name, run in steps.items() if "prune apply" in run] == []


def test_gitlab_plans_if_enabled_and_applies_by_hand(rendered: Render) -> None:
    pipeline = read(rendered, "gitlab")
    plan, apply = pipeline["plan pruning"], pipeline["apply pruning"]
    enabled = '$CI_PIPELINE_SOURCE == "schedule" && $PRUNE == "enabled"'
    assert plan["rules"] == [{"if": enabled}]
    assert apply["rules"] == [{"if": enabled, "when": "manual"}]
    assert apply["environment"] == "prune"
    assert apply["needs"] == ["plan pruning"]
    assert "cat plan.txt" in plan["script"]
    assert not any("prune apply" in line for line in plan["script"])


def test_azure_plans_if_enabled_and_applies_after_approval(rendered: Render) -> None:
    jobs = {job["job"]: job for job in read(rendered, "azure")["jobs"]}
    condition = jobs["plan_pruning"]["condition"]
    assert "eq(variables['PRUNE'], 'enabled')" in condition
    assert "eq(variables['Build.Reason'], 'Schedule')" in condition
    (approval,) = jobs["approve_pruning"]["steps"]
    assert approval["task"].startswith("ManualValidation@")
    assert approval["inputs"]["onTimeout"] == "reject"
    assert jobs["approve_pruning"]["dependsOn"] == "plan_pruning"
    assert jobs["apply_pruning"]["dependsOn"] == "approve_pruning"
    shown = [step.get("script", "") for step in jobs["plan_pruning"]["steps"]]
    assert any("task.uploadsummary" in script for script in shown)
