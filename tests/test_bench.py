"""The benchmark counts what its script does, and refuses to compare what failed."""

from pathlib import Path

import pytest

from benchmarks import first_answer, start_up
from benchmarks.__main__ import median_and_ratio
from benchmarks.journey import BenchmarkError, Journey, count_new_lines


def test_only_new_lines_that_hold_something_are_counted() -> None:
    before = "kept\nchanged\n"
    assert count_new_lines(before, before) == 0
    assert count_new_lines(before, "kept\n\nother\nadded\n") == 2
    assert count_new_lines("", "one\n\n  \ntwo\n") == 2


def test_every_command_and_file_of_a_journey_is_counted_once(tmp_path: Path) -> None:
    journey = Journey(tmp_path)
    journey.run("true")
    journey.export("NAME", "value")
    journey.write("folder/file.txt", "one\ntwo\n")
    assert [step.command for step in journey.steps] == ["true", "export NAME=value"]
    assert journey.lines_by_file == {"folder/file.txt": 2}


def test_a_command_that_fails_stops_the_benchmark_with_its_name(
    tmp_path: Path,
) -> None:
    with pytest.raises(BenchmarkError, match="`false` ended with 1"):
        Journey(tmp_path).run("false")


def test_a_refused_answer_is_not_a_prediction() -> None:
    first_answer.check({"predictions": [0.5]})
    for refused in ({"error_code": "BAD_REQUEST"}, {"predictions": []}, []):
        with pytest.raises(BenchmarkError, match="no prediction"):
            first_answer.check(refused)


def test_the_variable_that_distorts_start_up_is_unset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert "PYTHONDONTWRITEBYTECODE" not in Journey(tmp_path).env


def test_ratios_are_taken_within_a_round() -> None:
    """A round on a busy machine slows both, and must not decide the ratio."""
    rounds = [(1.0, 2.0), (10.0, 20.0), (3.0, 4.0)]
    assert median_and_ratio(rounds) == {"template": 3.0, "other": 4.0, "ratio": 0.5}


def test_a_template_that_changed_stops_the_bare_project(tmp_path: Path) -> None:
    file = tmp_path / "catalog.yml"
    file.write_text("nothing of what was there\n")
    with pytest.raises(BenchmarkError, match="0 times, not once"):
        start_up.replace(file, "# batch_inference", "")
