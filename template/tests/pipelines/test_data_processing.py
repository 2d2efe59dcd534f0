"""What data processing promises about the raw data, and what it refuses."""

import numpy as np
import pandas as pd
import pytest
from kedro.validation import DataValidationError


@pytest.fixture
def separate(module, parameters):
    """Return ``separate_columns`` with the project's parameters."""
    nodes = module("pipelines.data_processing.nodes")
    return lambda raw: nodes.separate_columns(
        raw, parameters["columns"], parameters["held_out"]
    )


def test_instances_hold_the_features_and_nothing_else(processed, parameters):
    instances = processed.load("instances")
    columns = parameters["columns"]
    assert list(instances.columns) == list(columns.features)
    assert instances.index.name == columns.key
    assert not set(columns.evaluation_only) & set(instances.columns)


def test_numbers_are_float64_and_categories_are_text(processed, parameters):
    instances = processed.load("instances")
    expected = {"number": "float64", "category": "str"}
    for name, kind in parameters["columns"].features.items():
        assert instances[name].dtype == expected[kind], name


def test_every_row_keeps_its_key_in_each_output(separate, raw, parameters):
    instances, labels, evaluation_columns, _ = separate(raw)
    keys = list(raw[parameters["columns"].key])
    for frame in (instances, labels, evaluation_columns):
        assert list(frame.index) == keys


def test_the_file_to_score_holds_the_held_out_rows(processed, parameters):
    labels = processed.load("labels")
    to_score = processed.load("to_score")
    held_out = set(labels.index[labels["held_out"]])
    assert set(to_score[parameters["columns"].key]) == held_out
    assert 0 < len(held_out) < len(labels) / 2


def test_a_row_stays_on_its_side_when_others_come_and_go(separate, raw):
    _, labels, *_ = separate(raw)
    _, fewer, *_ = separate(raw.sample(frac=0.5, random_state=1))
    assert fewer["held_out"].equals(labels.loc[fewer.index, "held_out"])


def without(column):
    """Drop the column that has this role, or the first feature."""
    return lambda raw, columns: raw.drop(columns=getattr(columns, column))


def without_first_feature(raw, columns):
    return raw.drop(columns=next(iter(columns.features)))


def with_text_among_numbers(raw, columns):
    name = next(name for name, kind in columns.features.items() if kind == "number")
    return raw.assign(**{name: ["many", *raw[name][1:]]})


def with_a_repeated_key(raw, columns):
    return pd.concat([raw, raw.head(1)])


def with_a_missing_key(raw, columns):
    return raw.assign(**{columns.key: [np.nan, *raw[columns.key][1:]]})


def with_a_missing_target(raw, columns):
    return raw.assign(**{columns.target: [None, *raw[columns.target][1:]]})


def without_rows(raw, columns):
    return raw.head(0)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (without("key"), "missing column"),
        (without("target"), "missing column"),
        (without_first_feature, "missing column"),
        (with_text_among_numbers, "should hold numbers"),
        (with_a_repeated_key, "repeat a value of the key"),
        (with_a_missing_key, "no value of the key"),
        (with_a_missing_target, "target"),
        (without_rows, "no rows"),
    ],
)
def test_bad_raw_data_is_refused_with_its_reason(
    separate, raw, parameters, spoil, sentence
):
    with pytest.raises(DataValidationError, match=sentence):
        separate(spoil(raw, parameters["columns"]))
