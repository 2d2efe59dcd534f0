"""`kedro prune apply` is safe to kill at any point and to run again."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("mlflow", reason="needs the dependency group `retention`")

from .retention_kills import Kills, kill_and_compare

pytestmark = pytest.mark.run
KILLS = 6  # `make bench` does 200


def test_killed_at_random_points_and_run_again_the_store_ends_the_same(
    rendered: Callable[..., Path], tmp_path: Path
) -> None:
    kills = Kills(rendered(), "mortgage_approval", tmp_path)
    points = kill_and_compare(kills, KILLS, seed=20)
    assert points > 200, "there is something to interrupt"
    answers = kills.expected["answers"]
    assert answers.keys() == {"3", "4", "5"}, "approved, champion and last"
    assert all(answer == [2, 2] for answer in answers.values())


def test_one_that_is_killed_and_not_run_again_ends_otherwise(
    rendered: Callable[..., Path], tmp_path: Path
) -> None:
    kills = Kills(rendered(), "mortgage_approval", tmp_path)
    points = kills.prepare(grace_days=0)
    assert kills.kill(points * 2 // 3, "nothing") != kills.expected
