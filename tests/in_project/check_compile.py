"""Compiled pipelines answer as the plain model does, whatever their nodes do."""

import sys

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
import pytest
from models import EXAMPLE, load, many_rows, save

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def answer_of(served, rows, **params):
    """Return what a served model answers for a frame, past the queue."""
    schema = served.schema
    values = rows.astype("object").where(rows.notna(), None)
    given = {name: values[name].tolist() for name in values}
    frame = schema.frame(schema.check(given, len(rows), False))
    return served.batcher.predict(frame, schema.check_params(params))


def plainly(rows, artifact, factor):
    size = rows["size"] * artifact.factor * factor
    return pd.DataFrame({"answer": size + rows["colour"].str.len()}, index=rows.index)


def test_a_compiled_pipeline_answers_as_the_plain_model(tmp_path):
    uri = save(tmp_path, plainly)
    served, rows = load(uri), many_rows()
    assert served.compiled
    assert served.batcher.together
    expected = mlflow.pyfunc.load_model(uri).predict(rows)
    pd.testing.assert_frame_equal(answer_of(served, rows), expected)


def test_an_inference_parameter_reaches_its_node(tmp_path):
    served = load(save(tmp_path, plainly))
    one, six = (answer_of(served, EXAMPLE, factor=f)["answer"] for f in (1.0, 6.0))
    assert (six > one).all()


def counts(rows, artifact, factor):
    artifact.calls += 1
    return pd.DataFrame({"answer": rows["size"] * artifact.calls}, index=rows.index)


def keeps(rows, artifact, factor):
    if not hasattr(artifact, "first"):
        artifact.first = float(rows["size"].iloc[0])
    return pd.DataFrame({"answer": rows["size"] - artifact.first}, index=rows.index)


@pytest.mark.parametrize("predict", [counts, keeps])
def test_a_node_that_changes_an_artifact_changes_no_later_answer(tmp_path, predict):
    uri = save(tmp_path, predict)
    served = load(uri)
    assert served.compiled
    plain = mlflow.pyfunc.load_model(uri)
    for start in range(3):
        rows = many_rows().iloc[start : start + 1].reset_index(drop=True)
        pd.testing.assert_frame_equal(answer_of(served, rows), plain.predict(rows))


def by_parts(rows, artifact, factor):
    yield plainly(rows, artifact, factor)


def test_what_cant_be_compiled_answers_plainly_and_says_why(tmp_path, caplog):
    served = load(save(tmp_path, plainly, copy_mode="deepcopy"))
    assert not served.compiled
    assert "is not compiled: its data sets are copied between nodes" in caplog.text
    assert len(answer_of(served, EXAMPLE)) == 5
    (tmp_path / "more").mkdir()
    assert not load(save(tmp_path / "more", by_parts)).compiled
    assert "is a generator" in caplog.text


def ranked(rows, artifact, factor):
    return pd.DataFrame({"answer": rows["size"].rank()}, index=rows.index)


def group_mean(rows, artifact, factor):
    mean = rows.groupby("colour")["size"].transform("mean")
    return pd.DataFrame({"answer": rows["size"] - mean}, index=rows.index)


def ordered(rows, artifact, factor):
    return pd.DataFrame({"answer": rows["size"]}).sort_values("answer")


def ordered_anew(rows, artifact, factor):
    return ordered(rows, artifact, factor).reset_index(drop=True)


def without_copies(rows, artifact, factor):
    return pd.DataFrame({"answer": rows.drop_duplicates()["size"]})


def clipped(rows, artifact, factor):
    limit = rows["size"].quantile(0.9)
    return pd.DataFrame({"answer": rows["size"].clip(upper=limit)}, index=rows.index)


def lagged(rows, artifact, factor):
    before = rows["size"].shift(fill_value=0.0)
    return pd.DataFrame({"answer": rows["size"] - before}, index=rows.index)


@pytest.mark.parametrize(
    "predict",
    [ranked, group_mean, ordered, ordered_anew, without_copies, clipped, lagged],
)
def test_a_pipeline_that_looks_across_rows_is_not_batched(tmp_path, predict, caplog):
    served = load(save(tmp_path, predict))
    assert not served.batcher.together
    assert "is not batched" in caplog.text


def test_batching_can_be_switched_off(tmp_path):
    assert not load(save(tmp_path, plainly), batching=False).batcher.together


def test_a_column_to_leave_out_that_a_version_does_not_have_is_named(tmp_path, caplog):
    load(save(tmp_path, plainly), payload_exclude="size, colur,answer")
    assert "has no ['colur'] to leave out." in caplog.text


def test_a_narrow_example_still_gives_64_distinct_rows(tmp_path):
    served = load(
        save(tmp_path, lambda rows, *_: rows[["size"]] * 2, EXAMPLE[["size"]])
    )
    assert served.batcher.together


def version_one(rows, artifact, factor):
    return pd.DataFrame({"answer": np.ones(len(rows))}, index=rows.index)


def test_two_versions_in_one_process_run_their_own_code(tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first = save(tmp_path / "first", version_one)
    globals()["version_one"].__code__ = (
        lambda rows, artifact, factor: pd.DataFrame({"answer": rows["size"] * 0 + 2})
    ).__code__
    second = save(tmp_path / "second", version_one)
    both = [load(first), load(second)]
    assert [answer_of(one, EXAMPLE)["answer"][0] for one in both] == [1.0, 2.0]
