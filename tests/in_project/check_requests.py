"""What a request may hold: each check, and what MLflow makes of the same body."""

import asyncio
import dataclasses
import io
import json
import sys
import threading
import time

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.pyfunc.scoring_server import invocations
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from models import EXAMPLE, load, save, serving, settings
from pydantic import ValidationError
from starlette.exceptions import HTTPException

cloudpickle.register_pickle_by_value(sys.modules[__name__])

KINDS = {
    "number": ("double", True),
    "small": ("float", True),
    "whole": ("long", True),
    "short": ("integer", True),
    "flag": ("boolean", True),
    "text": ("string", True),
    "day": ("datetime", True),
    "raw": ("binary", True),
    "number_or_null": ("double", False),
    "text_or_null": ("string", False),
    "flag_or_null": ("boolean", False),
    "day_or_null": ("datetime", False),
    "whole_or_null": ("long", False),
}
GOOD = {
    "number": 1.5, "small": 0.5, "whole": 2**53, "short": 7, "flag": True,
    "text": "ü", "day": "2026-01-31T12:30:00", "raw": "aGk=", "number_or_null": 1.0,
    "text_or_null": "x", "flag_or_null": False, "day_or_null": "2026-02-01",
    "whole_or_null": 3,
}  # fmt: skip


def described(rows, artifact, factor):
    text = [
        repr([type(v).__name__ if v == v else "null" for v in row])
        for row in rows.itertuples(index=False)
    ]
    return pd.DataFrame(
        {"answer": text, "types": str(list(map(str, rows.dtypes)))}, index=rows.index
    )


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    inputs = Schema(
        [ColSpec(kind, name, required) for name, (kind, required) in KINDS.items()]
    )
    outputs = Schema([ColSpec("string", "answer"), ColSpec("string", "types")])
    params = ParamSchema([ParamSpec("factor", "double", 3.0)])
    example = (
        pd.DataFrame([GOOD] * 2)
        .assign(day=pd.Timestamp(0), day_or_null=pd.Timestamp(0), raw=b"hi")
        .astype({"small": "float32", "short": "int32"})
    )
    signature = ModelSignature(inputs, outputs, params)
    return save(
        tmp_path_factory.mktemp("kinds"), described, example, signature=signature
    )


@pytest.fixture(scope="module")
def served(uri):
    return load(uri)


def read(served, body, kind="application/json"):
    """Return checked columns, or the refusal's status and reason."""
    bodies = serving("bodies")
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        found = bodies.read_invocation(data, kind, 100)
        rows = found.rows(100)
        served.schema.check_params(found.params)
        columns = served.schema.check(found.columns, rows, found.text)
    except HTTPException as refused:
        return refused.status_code, refused.detail
    except ValidationError as error:
        return 400, serving("schema").reason_of(error)
    return 200, served.schema.frame(columns)


def records(**changes):
    """Return a body of one good row with changes; ``...`` leaves a column out."""
    row = {k: v for k, v in {**GOOD, **changes}.items() if v is not ...}
    return {"dataframe_records": [row]}


def test_a_frame_has_the_declared_types_whatever_the_rows_hold(served):
    declared = served.schema.frame([[] for _ in KINDS]).dtypes
    nulls = {
        name: None
        for name in KINDS
        if name.endswith("null") and name != "whole_or_null"
    }
    for body in (records(), records(**nulls), records(number=1)):
        status, frame = read(served, body)
        assert status == 200, frame
        pd.testing.assert_series_equal(frame.dtypes, declared)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"number": ...}, "Column 'number' is missing"),
        ({"number": None}, "Column 'number', row 1"),
        ({"number": "1"}, "Column 'number', row 1"),
        ({"number": True}, "Column 'number', row 1"),
        ({"number": [1]}, "Column 'number', row 1"),
        ({"number": 10**400}, "Column 'number', row 1"),
        ({"small": 1e39}, "Column 'small', row 1"),
        ({"whole": 2**63}, "Column 'whole', row 1"),
        ({"whole": 1.5}, "Column 'whole', row 1"),
        ({"whole": None}, "Column 'whole', row 1"),
        ({"whole_or_null": None}, "Column 'whole_or_null', row 1"),
        ({"short": 2**31}, "Column 'short', row 1"),
        ({"flag": 1}, "Column 'flag', row 1"),
        ({"text": 5}, "Column 'text', row 1"),
        ({"text": None}, "Column 'text', row 1"),
        ({"text": {}}, "Column 'text', row 1"),
        ({"day": "yesterday"}, "Column 'day', row 1"),
        ({"day": 5}, "Column 'day', row 1"),
        ({"day": "2026-01-01T00:00:00+01:00"}, "Column 'day', row 1"),
        ({"day": "1500-01-01"}, "Column 'day', row 1"),
        ({"raw": "?"}, "Column 'raw', row 1"),
    ],
)
def test_a_wrong_value_is_refused_with_its_column_and_reason(served, changes, reason):
    status, found = read(served, records(**changes))
    assert (status, found[: len(reason)]) == (400, reason)
    assert len(found) < 300


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"9" * 5_000, "not valid JSON"),
        (b"[]", "must be an object"),
        (b"{}", "exactly one of"),
        (b'{"instances": [], "inputs": []}', "exactly one of"),
        (b'{"instances": 5}', "list of objects"),
        (b'{"dataframe_records": {}}', "list of objects"),
        (b'{"dataframe_records": [1]}', "list of objects"),
        (b'{"dataframe_split": []}', "valid dictionary"),
        (b'{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}', "Row 1 should"),
        (b'{"dataframe_split": {"columns": ["a"], "data": [5]}}', "'data', item 1"),
        (b'{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}', "twice"),
        (b'{"dataframe_split": {"columns": [1], "data": [[1]]}}', "'columns', item 1"),
        (b'{"inputs": {"a": [1], "b": [1, 2]}}', "differ"),
        (b'{"instances": [{"a": 1, "a": 2}]}', "'a' is there twice"),
        (b'{"params": {}, "params": {}}', "'params' is there twice"),
    ],
)
def test_a_broken_body_is_refused_with_a_reason(served, body, reason):
    status, found = read(served, body)
    assert status == 400
    assert reason in found


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_no_number_is_refused_in_a_required_column(served, value):
    body = json.dumps(records(number=0)).replace('"number": 0', f'"number": {value}')
    status, found = read(served, body.encode())
    assert (status, found[:22]) == (400, "Column 'number', row 1")


def test_nan_is_null_where_null_is_allowed(served):
    status, frame = read(
        served, json.dumps(records(number_or_null=float("nan"))).encode()
    )
    assert status == 200
    assert np.isnan(frame["number_or_null"][0])


@pytest.mark.parametrize(
    "params",
    [
        {"factor": "2"},
        {"factor": True},
        {"factor": None},
        {"factor": 1e999},
        {"factor": [1.0]},
        [],
        "x",
        5,
    ],
)
def test_a_parameter_of_a_wrong_type_is_refused(served, params):
    assert read(served, records() | {"params": params or [0]})[0] == 400


def test_an_integer_is_a_number_for_a_parameter(served):
    assert served.schema.check_params({"factor": 2}) == {"factor": 2}


def test_csv_and_parquet_give_the_same_frame_as_json(served):
    rows = pd.DataFrame([GOOD] * 3)
    _, expected = read(served, {"dataframe_records": [GOOD] * 3})
    _, from_csv = read(served, rows.to_csv(index=False).encode(), "text/csv")
    pd.testing.assert_frame_equal(from_csv, expected)
    typed = rows.assign(
        raw=b"hi", day=pd.to_datetime(rows["day"]),
        day_or_null=pd.to_datetime(rows["day_or_null"]),
    ).astype({"small": "float32", "short": "int32"})  # fmt: skip
    file = io.BytesIO()
    typed.to_parquet(file)
    status, frame = read(served, file.getvalue(), "application/vnd.apache.parquet")
    assert status == 200, frame
    pd.testing.assert_frame_equal(frame, expected)
    status, reason = read(served, b"PAR1", "application/vnd.apache.parquet")
    assert (status, "not valid" in reason) == (400, True)
    many = io.BytesIO()
    pd.DataFrame({"number": np.zeros(101)}).to_parquet(many)
    assert read(served, many.getvalue(), "application/vnd.apache.parquet")[0] == 413


def test_all_json_forms_give_the_same_frame(served):
    _, expected = read(served, {"dataframe_records": [GOOD] * 2})
    split = {"columns": list(GOOD), "data": [list(GOOD.values())] * 2, "index": [7, 8]}
    for body in (
        {"dataframe_split": split},
        {"instances": [GOOD] * 2},
        {"inputs": [GOOD] * 2},
        {"inputs": {name: [value] * 2 for name, value in GOOD.items()}},
    ):
        status, frame = read(served, body)
        assert status == 200, (body, frame)
        pd.testing.assert_frame_equal(frame, expected)


def test_a_list_of_values_is_the_only_column(small):
    for body in ({"inputs": [1.0, 2.0]}, {"instances": [1.0, 2.0]}):
        status, frame = read(small, body)
        assert (status, frame["size"].tolist()) == (200, [1.0, 2.0])


# Where we differ from MLflow on purpose; docs/serving.md has the same list.
STRICTER = {
    "an integer that overflows": records(whole=2**63),
    "null in a required column": records(number=None),
    "null text in a required column": records(text=None),
    "a whole number as text": records(text=5),
    "a number that is text": records(number="1"),
    "true as a number": records(number=True),
    "1 as true": records(flag=1),
    "a number cut to an integer": records(whole=1.5),
    "a date without a unit": records(day=5),
}
SAME = {
    "good": records(),
    "an optional null": records(number_or_null=None),
    "null in an optional date": records(day_or_null=None),
    "an integer as a number": records(number=1),
    "a missing column": records(number=...),
    "text for a number": records(number="x"),
    "no text for a date": records(day="x"),
    "a zone": records(day="2026-01-01T00:00:00+01:00"),
    "an extra column": records(other=1),
    "split": {
        "dataframe_split": {"columns": list(GOOD), "data": [list(GOOD.values())]}
    },
    "a wrong parameter": records() | {"params": {"factor": "x"}},
    "an unknown parameter": records() | {"params": {"other": 1}},
    "no rows": {"dataframe_records": []},
}


def mlflow_answers(model, body):
    """Return whether MLflow's own server takes a body, and its predictions."""
    schema = model.metadata.get_input_schema()
    try:
        found = invocations(json.dumps(body), "application/json", model, schema)
    except Exception:
        return None
    return json.loads(found.response)["predictions"]


@pytest.mark.parametrize("name", [*SAME, *STRICTER])
def test_mlflow_makes_the_same_of_a_body_but_for_the_documented(uri, served, name):
    model = mlflow.pyfunc.load_model(uri)
    body = {**SAME, **STRICTER}[name]
    theirs = mlflow_answers(model, body)
    status, frame = read(served, body)
    ours = status == 200 and len(frame) > 0
    if name in SAME:
        assert ours == (theirs is not None), (frame, theirs)
        if ours:
            answer = served.batcher.predict(frame, served.schema.check_params(None))
            assert answer["answer"].tolist() == [one["answer"] for one in theirs]
    else:
        assert (ours, theirs is not None) == (False, True)


def test_an_optional_column_that_is_left_out_is_null_where_mlflow_has_no_column(
    uri, served
):
    body = records(number_or_null=..., text_or_null=...)
    status, frame = read(served, body)
    assert status == 200
    assert frame[["number_or_null", "text_or_null"]].isna().all(axis=None)
    (theirs,) = mlflow_answers(mlflow.pyfunc.load_model(uri), body)
    assert len(frame.columns) - 2 == theirs["types"].count(",") + 1


# Batching ---------------------------------------------------------------------------
def batcher_of(predict, served, together=True, **options):
    batching = serving("batching")
    return batching.Batcher(predict, served.schema, together, settings(**options))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    def size(rows, artifact, factor):
        return rows[["size"]] * factor

    return load(save(tmp_path_factory.mktemp("small"), size, EXAMPLE[["size"]]))


def test_requests_that_wait_are_predicted_together_and_each_gets_its_own(small):
    seen = []

    def predict(frame, params):
        seen.append(len(frame))
        time.sleep(0.03)  # slow: so it runs in its thread
        return frame * params["factor"]

    async def main():
        batcher = batcher_of(predict, small)
        first = batcher.submit([[0.0]], 1, {"factor": 1.0})
        await asyncio.sleep(0.01)
        others = [
            batcher.submit([[float(i)] * 2], 2, {"factor": 1.0}) for i in range(20)
        ]
        apart = batcher.submit([[5.0]], 1, {"factor": 2.0})
        found = await asyncio.gather(first, *others, apart)
        return [one.columns["size"] for one in found]

    found = asyncio.run(main())
    assert found == [[0.0], *([float(i)] * 2 for i in range(20)), [10.0]]
    assert seen == [1, 40, 1]


def test_a_failing_request_fails_alone(small):
    def predict(frame, params):
        if (frame["size"] < 0).any():
            raise ValueError("negative")
        return frame

    async def main():
        batcher = batcher_of(predict, small)
        asked = [batcher.submit([[float(i)]], 1, {}) for i in (1, 2, -3, 4, 5)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        return found

    found = asyncio.run(main())
    assert [isinstance(one, HTTPException) for one in found] == [
        False,
        False,
        True,
        False,
        False,
    ]
    assert found[4].columns == {"size": [5.0]}


def test_a_batch_whose_rows_were_dropped_or_moved_is_predicted_one_by_one(small):
    def predict(frame, params):
        return frame.sort_values("size") if len(frame) > 1 else frame

    async def main():
        batcher = batcher_of(predict, small)
        found = await asyncio.gather(
            *(batcher.submit([[float(-i)]], 1, {}) for i in range(6))
        )
        return [one.columns["size"] for one in found], batcher.together

    assert asyncio.run(main()) == ([[float(-i)] for i in range(6)], False)


def test_a_request_that_was_taken_back_costs_no_prediction(small):
    seen, let = [], threading.Event()

    def predict(frame, params):
        seen.extend(frame["size"])
        let.wait(5)
        return frame

    async def main():
        batcher = batcher_of(predict, small)
        first = batcher.submit([[1.0]], 1, {})
        await asyncio.sleep(0.05)
        gone = batcher.submit([[2.0]], 1, {})
        last = batcher.submit([[3.0]], 1, {})
        gone.cancel()
        let.set()
        await asyncio.gather(first, last)

    asyncio.run(main())
    assert seen == [1.0, 3.0]


def test_a_full_queue_refuses_with_429_and_says_when_to_come_back(small):
    async def main():
        batcher = batcher_of(
            lambda frame, params: frame, small, max_queue=3, max_rows=10
        )
        asked = [batcher.submit([[1.0]], 1, {}) for _ in range(3)]
        with pytest.raises(HTTPException) as refused:
            batcher.submit([[1.0]], 1, {})
        await asyncio.gather(*asked)
        asked = [batcher.submit([[1.0] * 10], 10, {}) for _ in range(2)]
        with pytest.raises(HTTPException):
            batcher.submit([[1.0]], 1, {})
        await asyncio.gather(*asked)
        return refused.value

    refused = asyncio.run(main())
    assert (refused.status_code, refused.headers) == (429, {"retry-after": "1"})


def test_an_idle_model_answers_without_waiting_for_company(small):
    async def main():
        batcher = batcher_of(lambda frame, params: frame, small)
        await batcher.submit([[1.0]], 1, {})
        started = time.perf_counter()
        for _ in range(20):
            await batcher.submit([[1.0]], 1, {})
        taken = time.perf_counter() - started
        slept = asyncio.sleep
        calls = []

        async def counted(seconds):
            calls.append(seconds)
            await slept(seconds)

        serving("batching").asyncio.sleep, kept = counted, slept
        try:
            await batcher.submit([[1.0]], 1, {})
        finally:
            serving("batching").asyncio.sleep = kept
        return taken, calls

    assert asyncio.run(main())[1] == []


# Time limits ------------------------------------------------------------------------
async def answered(app, *messages):
    """Return the status that an application answers."""
    sent, given = [], list(messages)
    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/invocations", "root_path": ""}

    async def receive():
        return given.pop(0) if given else await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    await app({**scope, "query_string": b"", "headers": headers}, receive, send)
    return sent[0]["status"]


def application(served, predict, **options):
    """Return an application that serves a model with another ``predict``."""
    app = serving("app").Application(settings(**options))
    batcher = batcher_of(predict, served, **options)
    app._variants[0].served = dataclasses.replace(served, batcher=batcher)
    return app


WHOLE = {"type": "http.request", "body": b'{"inputs": [1.0]}', "more_body": False}
PART = {"type": "http.request", "body": b'{"inp', "more_body": True}
GONE = {"type": "http.disconnect"}


@pytest.mark.parametrize(
    ("seconds", "messages", "status"),
    [
        (0, [WHOLE], 200),
        (1, [WHOLE], 504),  # the model is slow
        (0, [PART], 408),  # the client is
        (1, [WHOLE, GONE], 499),  # as it is logged: nobody reads it
        (0, [PART, GONE], 499),
    ],
)
def test_a_request_gets_its_time_and_no_more(small, seconds, messages, status):
    def predict(frame, params):
        time.sleep(seconds)
        return frame

    app = application(small, predict, timeout=0.4)
    started = time.perf_counter()
    found = asyncio.run(measured(answered(app, *messages)))
    assert found[0] == status
    assert found[1] - started < 0.8


async def measured(asked):
    """Return an answer, and when it came."""
    return await asked, time.perf_counter()
