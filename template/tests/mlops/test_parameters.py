"""A parameter that nobody reads, or of the wrong type, is an error."""

import pytest
from kedro.validation import ParameterValidationError


@pytest.mark.parametrize(
    ("pipeline", "parameters"),
    [
        ("data_processing", {"columns": {"featurs": {}}}),
        ("data_processing", {"columns": {"features": {"height": "metres"}}}),
        ("training", {"estimator": {"class": "sklearn.NoSuchEstimator"}}),
        ("training", {"estimator": {"arguments": "none"}}),
    ],
)
def test_a_wrong_parameter_stops_before_the_first_node(sandbox, pipeline, parameters):
    session = sandbox.session(**parameters)
    with pytest.raises(ParameterValidationError):
        session.run(pipeline_names=[pipeline])
