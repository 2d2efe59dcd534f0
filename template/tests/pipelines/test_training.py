"""What training promises: no peeking, sturdy predictions, the same again."""

import numpy as np
import pandas as pd
import pytest


def score(predictions):
    """Return the probability if there is one, else the predicted number."""
    return predictions.get("probability", predictions["prediction"])


def test_held_out_rows_do_not_shape_the_preprocessor(module, processed, parameters):
    nodes = module("pipelines.training.nodes")
    instances, labels = processed.load("instances"), processed.load("labels")
    spoiled = instances.copy()
    for name, kind in parameters["columns"].features.items():
        spoiled.loc[labels["held_out"], name] = 1e9 if kind == "number" else "spoiled"

    def features(frame):
        fitted = nodes.fit_preprocessor(frame, labels, parameters["columns"])
        return nodes.transform(instances, fitted)

    pd.testing.assert_frame_equal(features(spoiled), features(instances))


def test_predictions_of_held_out_rows_follow_the_truth(
    infer, held_out, trained, parameters
):
    predicted = score(infer(held_out))
    truth = trained.load("labels").loc[held_out.index, parameters["columns"].target]
    assert np.corrcoef(predicted, truth)[0, 1] > 0.2


def test_predictions_keep_the_row_key(infer, held_out):
    assert infer(held_out).index.equals(held_out.index)


def test_a_row_is_predicted_alike_alone_and_among_others(infer, held_out):
    among_others = score(infer(held_out))
    for key in held_out.index[:5]:
        alone = score(infer(held_out.loc[[key]]))
        assert alone.item() == pytest.approx(among_others[key])


@pytest.mark.parametrize("value", [None, "never seen"])
def test_missing_and_unseen_values_are_predicted(infer, held_out, parameters, value):
    rows = held_out.head(3).copy()
    for name, kind in parameters["columns"].features.items():
        rows[name] = np.nan if kind == "number" or value is None else value
    assert score(infer(rows.astype(held_out.dtypes))).notna().all()


def test_the_same_seed_fits_the_same_model(module, trained, parameters):
    nodes = module("pipelines.training.nodes")
    features = nodes.transform(trained.load("instances"), trained.load("preprocessor"))
    columns, estimator = parameters["columns"], parameters["estimator"]
    again = nodes.fit_model(
        features, trained.load("labels"), columns, estimator, parameters["seed"]
    )
    expected = trained.load("model").predict(features)
    np.testing.assert_allclose(again.predict(features), expected)
