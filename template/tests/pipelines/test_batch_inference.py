"""What a scored file holds, and which files are refused."""

import pandas as pd
import pytest
from kedro.validation import DataValidationError


class Champion:
    """Answers with the number of missing values of each row."""

    version = "7"

    def predict(self, instances):
        return pd.DataFrame({"prediction": instances.isna().sum(axis="columns")})


@pytest.fixture
def score(module, parameters):
    """Return ``score`` with the stand-in for the registry's champion."""
    nodes = module("pipelines.batch_inference.nodes")
    return lambda frame: nodes.score(frame, Champion(), parameters["columns"])


@pytest.fixture
def to_score(processed):
    """Return the first rows of the default file to score."""
    return processed.load("to_score").head(10)


def test_each_row_has_its_key_the_prediction_the_version_and_the_time(
    score, to_score, parameters
):
    key = parameters["columns"].key
    scored = score(to_score)
    assert list(scored.columns) == [key, "prediction", "model_version", "scored_at"]
    assert list(scored[key]) == list(to_score[key])
    assert set(scored["model_version"]) == {"7"}
    assert pd.to_datetime(scored["scored_at"]).dt.tz is not None


def test_other_columns_and_another_order_change_nothing(score, to_score):
    shuffled = to_score[to_score.columns[::-1]].assign(comment="from the branch")
    assert score(shuffled)["prediction"].equals(score(to_score)["prediction"])


def test_a_missing_value_reaches_the_model(score, to_score, parameters):
    feature = next(iter(parameters["columns"].features))
    scored = score(to_score.assign(**{feature: [None] * len(to_score)}))
    assert (scored["prediction"] >= 1).all()


def test_a_missing_column_is_refused(score, to_score, parameters):
    feature = next(iter(parameters["columns"].features))
    with pytest.raises(DataValidationError, match=f"missing column {feature}"):
        score(to_score.drop(columns=feature))
