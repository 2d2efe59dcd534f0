"""Rendering and updating need no trust, store the answers, and follow the profile."""

import cProfile
import os
import pstats
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier.errors import UnsafeTemplateError

from .support import commit_all, git, render_template, update_project
from .test_render import contents_of
from .variants import questionnaire, settings

Render = Callable[..., Path]
YOURS = ("/pipelines/", "catalog.yml", "parameters", "data/", "README.md")


def stored_answers(folder: Path) -> dict[str, Any]:
    """Return what the project remembers of the questionnaire."""
    return yaml.safe_load((folder / ".copier-answers.yml").read_text("utf-8"))


def update(project: Path, **answers: Any) -> None:
    """Commit everything and update without trust, keeping the other answers."""
    commit_all(project, "Before the update")
    update_project(project, skip_answered=True, **answers)


def of_the_template(folder: Path) -> dict[str, bytes]:
    """Return the contents of files that an update may touch."""
    return {
        name: content
        for name, content in contents_of(folder).items()
        if not name.startswith(".git/") and not any(part in name for part in YOURS)
    }


def test_the_questionnaire_runs_nothing_on_a_users_machine() -> None:
    assert not {"_tasks", "_jinja_extensions", "_migrations"} & settings().keys()


@pytest.mark.parametrize(
    "unsafe",
    [{"_tasks": ["true"]}, {"_jinja_extensions": ["jinja2.ext.do"]}],
    ids=["tasks", "extensions"],
)
def test_a_template_that_needs_trust_would_be_noticed(
    template: Path, tmp_path: Path, unsafe: dict[str, Any]
) -> None:
    git("clone", "--quiet", str(template), "copy", cwd=tmp_path)
    copied = tmp_path / "copy"
    with (copied / "copier.yml").open("a", encoding="utf-8") as file:
        file.write("\n" + yaml.safe_dump(unsafe))
    commit_all(copied, "Ask for trust")
    git("tag", "v0.2.0", cwd=copied)
    with pytest.raises(UnsafeTemplateError):
        render_template(copied, tmp_path / "new")


def test_answers_are_stored_and_computed_ones_are_not(rendered: Render) -> None:
    answers = stored_answers(rendered())
    assert answers.keys() == {"_commit", "_src_path", *questionnaire()}
    assert answers["_commit"] == "v0.1.0"
    assert answers["serving"] == "as the profile says"


def test_data_wins_over_the_profile(rendered: Render) -> None:
    without = rendered(profile="production", serving="none")
    assert stored_answers(without)["serving"] == "none"
    assert contents_of(without) != contents_of(rendered(profile="production"))
    served = rendered(profile="essentials", serving="rest")
    assert stored_answers(served)["serving"] == "rest"
    chosen, decided = contents_of(served), contents_of(rendered(profile="production"))
    assert chosen.keys() == decided.keys()
    assert {n for n in chosen if chosen[n] != decided[n]} == {"conf/base/gates.yml"}


@pytest.mark.run
def test_choices_that_do_not_fit_together_are_refused_with_a_sentence(
    rendered: Render, render: Render
) -> None:
    with pytest.raises(ValueError, match="Pods can't reach a store on your machine"):
        rendered(serving="kubernetes")
    project = render(serving="kubernetes", tracking="server")
    update(project, tracking="local")
    assert stored_answers(project)["serving"] == "as the profile says"
    assert not (project / "deploy").exists()


@pytest.mark.run
def test_what_the_profile_decides_follows_a_changed_profile(render: Render) -> None:
    project = render(profile="essentials")
    update(project, profile="production")
    assert stored_answers(project)["profile"] == "production"
    assert stored_answers(project)["serving"] == "as the profile says"
    assert of_the_template(project) == of_the_template(render(profile="production"))


@pytest.mark.run
def test_what_was_chosen_survives_a_changed_profile(render: Render) -> None:
    project = render(profile="production", serving="none")
    update(project, profile="regulated")
    assert stored_answers(project)["serving"] == "none"
    expected = render(profile="regulated", serving="none")
    assert of_the_template(project) == of_the_template(expected)


@pytest.mark.run
@pytest.mark.parametrize(
    "change", [{"task": "regression"}, {"example": False}], ids=["task", "example"]
)
def test_a_later_change_of_what_shapes_the_first_copy_is_ignored(
    render: Render, change: dict[str, Any]
) -> None:
    project = render()
    update(project, **change)
    changed = git("diff", "--name-only", "HEAD", cwd=project).split()
    untracked = git("ls-files", "--others", "--exclude-standard", cwd=project).split()
    # These are the template's: the metric that they name follows, for people to review.
    metric = {"conf/base/artifacts.yml", "conf/base/gates.yml"}
    assert set(changed + untracked) - metric <= {".copier-answers.yml"}


def test_copying_takes_no_more_calls_than_a_second_has(
    template: Path, tmp_path: Path
) -> None:
    """A second holds about 2 million calls where nothing else runs.

    Calls don't depend on what else the machine does; `make bench` counts the seconds.
    """
    with cProfile.Profile() as profile:
        render_template(template, tmp_path / "project")
    calls = pstats.Stats(profile).total_calls
    print(f"{calls} calls")
    assert calls < 1_800_000


@pytest.mark.skipif("BENCH" not in os.environ, reason="make bench counts the seconds")
def test_copying_costs_less_than_a_second(template: Path, tmp_path: Path) -> None:
    """Processor time of Copier's process; git, which it starts, is not its own.

    The least of five counts: a busy machine only adds. The benchmark shows seconds on
    the clock.
    """
    costs = []
    for number in range(5):
        before, started = os.times(), time.perf_counter()
        render_template(template, tmp_path / str(number))
        after, seconds = os.times(), time.perf_counter() - started
        costs.append(sum(after[:2]) - sum(before[:2]))
        print(f"{costs[-1]:.2f} s of processor time, {seconds:.2f} s on the clock")
    assert min(costs) < 1
