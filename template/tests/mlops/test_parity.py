"""The same rows give the same predictions, whichever way they are asked for."""

import mlflow
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def expected(infer, held_out):
    """Return what the inference pipeline answers for the held-out rows."""
    return infer(held_out).reset_index(drop=True)


def test_the_registered_model_answers_like_the_pipeline(trained, held_out, expected):
    model = mlflow.pyfunc.load_model(f"models:/{trained['champion'].name}@champion")
    answer = model.predict(held_out.reset_index(drop=True))
    pd.testing.assert_frame_equal(answer, expected)


def test_batch_inference_answers_like_the_pipeline(trained, held_out, expected):
    scored = trained.load("scored").set_index(held_out.index.name)
    answer = scored.loc[held_out.index, list(expected.columns)]
    pd.testing.assert_frame_equal(answer.reset_index(drop=True), expected)
