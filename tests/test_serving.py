"""The server of the default project, asked over HTTP as its clients ask it."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from . import support
from .support import Project

JSON = "application/json"
HERE = Path(__file__).parent

# A second version whose every probability is the share of the target: told at a glance.
SECOND_VERSION = """
import shutil, sys
import cloudpickle, mlflow, pandas as pd
from pathlib import Path
from sklearn.dummy import DummyClassifier

name = sys.argv[1]
client = mlflow.MlflowClient()
source = Path(mlflow.artifacts.download_artifacts(f"models:/{name}@champion"))
copy = shutil.copytree(source, Path.cwd() / "second", dirs_exist_ok=True)
file = copy / "artifacts" / "model.pkl"
names = cloudpickle.loads(file.read_bytes()).feature_names_in_
frame = pd.DataFrame([[0.0] * len(names)] * 4, columns=names)
dummy = DummyClassifier(strategy="prior").fit(frame, [0, 0, 0, 1])
file.write_bytes(cloudpickle.dumps(dummy))
version = client.create_model_version(name, copy.as_uri()).version
client.set_registered_model_alias(name, "challenger", version)
"""
MOVE_ALIAS = """
import json, sys, time, urllib.request
import mlflow

client, (name, moves, url) = mlflow.MlflowClient(), sys.argv[1:]
for move in range(int(moves)):
    version = str(2 - move % 2)
    client.set_registered_model_alias(name, "champion", version)
    served = None
    while served != [version]:
        time.sleep(0.1)
        answer = urllib.request.urlopen(f"{url}/v2/models/{name}").read()
        served = json.loads(answer)["versions"]
"""
BROKEN_VERSION = """
import sys
import mlflow

client, name = mlflow.MlflowClient(), sys.argv[1]
version = client.create_model_version(name, "file:///nowhere").version
client.set_registered_model_alias(name, "champion", version)
"""


class Answer:
    """A response that was read."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers = response.status, response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def ask(
    url: str,
    path: str,
    body: Any = None,
    method: str | None = None,
    **headers: str,
) -> Answer:
    """Send a request with a body as JSON, or as it is if it is bytes."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    method = method or ("GET" if body is None else "POST")
    connection.request(method, path, data, {"Content-Type": JSON} | named)
    try:
        return Answer(connection.getresponse())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def project(worked_project: Callable[..., Project]) -> Project:
    """The default project, run once."""
    return worked_project()


@pytest.fixture(scope="module")
def url(project: Project) -> Iterator[str]:
    """A server of the default project."""
    with project.serve() as url:
        yield url


@pytest.fixture(scope="module")
def rows(project: Project) -> list[dict[str, Any]]:
    """The held-out rows without their key."""
    return rows_of(project)


def rows_of(project: Project) -> list[dict[str, Any]]:
    """Return the held-out rows of a project without their key."""
    script = """
import pandas as pd
frame = pd.read_csv("data/05_model_input/held_out_instances.csv", index_col=0)
print(frame.to_json(orient="records"))
"""
    return json.loads(project.ask(script))


@pytest.fixture(scope="module")
def expected(project: Project) -> list[dict[str, Any]]:
    """What the plain model answers for each of the rows."""
    return plain_answers(project, "champion")


def plain_answers(project: Project, alias: str) -> list[dict[str, Any]]:
    """Return what the plain model answers for each of the held-out rows."""
    script = f"""
import mlflow, pandas as pd
frame = pd.read_csv("data/05_model_input/held_out_instances.csv", index_col=0)
model = mlflow.pyfunc.load_model("models:/{project.package}@{alias}")
print(model.predict(frame).to_json(orient="records", double_precision=15))
"""
    return json.loads(project.ask(script).splitlines()[-1])


# Compiled and checked ---------------------------------------------------------------
@pytest.mark.run
def test_compiling_checking_and_batching_keep_what_they_promise(
    project: Project, tmp_path: Path
) -> None:
    # In a folder of its own: pytest would import this suite's conftest, whose
    # packages a project does not have.
    tests = shutil.copytree(HERE / "in_project", tmp_path / "in_project")
    done = project.run(
        *(project.python, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", tests),
        *("-p", "no:cacheprovider", "-o", "python_files=check_*.py", tests),
        env={"PACKAGE": project.package},
        check=False,
    )
    assert not done.returncode, done.stdout[-6000:]


def test_every_row_is_answered_as_the_plain_model_answers_it(
    url: str, rows: list[dict[str, Any]], expected: list[dict[str, Any]]
) -> None:
    together = ask(url, "/invocations", {"dataframe_records": rows}).json["predictions"]
    assert same(together, expected)
    for row, answer in zip(rows[:40], expected, strict=False):
        alone = ask(url, "/invocations", {"dataframe_records": [row]})
        assert same(alone.json["predictions"], [answer])


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """Tell whether answers agree, up to what JSON keeps of a probability."""
    return len(found) == len(expected) and all(
        one["prediction"] == other["prediction"]
        and abs(one["probability"] - other["probability"]) < 1e-12
        for one, other in zip(found, expected, strict=True)
    )


def test_an_inference_parameter_is_honoured_and_checked(
    url: str, rows: list[dict[str, Any]]
) -> None:
    def predictions(params: Any) -> Answer:
        return ask(url, "/invocations", {"instances": rows[:50], "params": params})

    ones = [
        sum(p["prediction"] for p in predictions({"threshold": t}).json["predictions"])
        for t in (0, 0.5, 1)
    ]
    assert ones[0] == 50
    assert ones[2] == 0
    refused = predictions({"threshold": "high"})
    assert refused.status == 400
    assert "Parameter 'threshold'" in refused.json["message"]


def test_mlflows_client_works_unchanged(project: Project, url: str) -> None:
    script = """
import sys
import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
host, port = sys.argv[1].removeprefix("http://").split(":")
client = ScoringServerClient(host, int(port))
client.wait_server_ready()
frame = pd.read_csv("data/05_model_input/held_out_instances.csv", index_col=0)
answer = client.invoke(frame.head(7), params={"threshold": 0.0})
print(client.get_version(), answer.get_predictions()["prediction"].tolist())
"""
    version, _, predictions = project.ask(script, url).strip().partition(" ")
    assert version[0].isdigit()
    assert json.loads(predictions) == [1] * 7


@pytest.mark.run
def test_kserves_client_works_unchanged(
    project: Project, url: str, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    script = """
import asyncio, json, sys
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceRESTClient, RESTConfig

async def main(url, name, rows):
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_ready(url)
    assert await client.is_server_live(url)
    assert await client.is_model_ready(url, name)
    inputs = []
    for column, value in rows[0].items():
        kind = "BYTES" if isinstance(value, str) else "FP64"
        data = [row[column] for row in rows]
        inputs.append(InferInput(column, [len(rows)], kind, data=data))
    request = InferRequest(name, inputs, request_id="7", parameters={"threshold": 0.0})
    answer = await client.infer(url, request, model_name=name)
    outputs = {one.name: (one.datatype, one.data) for one in answer.outputs}
    print(json.dumps([answer.id, answer.model_name, outputs]))

asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
"""
    (tmp_path / "client.py").write_text(script)
    done = support.run(
        *("uv", "run", "--quiet", "--no-project", "--python", str(project.bare_python)),
        *("--with", "kserve>=0.16", "python", "client.py"),
        *(url, project.package, json.dumps(rows[:3])),
        cwd=tmp_path,
        timeout=600,
    )
    id_, name, outputs = json.loads(done.stdout.splitlines()[-1])
    assert (id_, name) == ("7", project.package)
    assert outputs["prediction"] == ["INT64", [1, 1, 1]]
    assert outputs["probability"][0] == "FP64"


# Protocols --------------------------------------------------------------------------
def tensors(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows as the tensors of the open inference protocol."""
    return [
        {
            "name": name,
            "shape": [len(rows)],
            "datatype": "BYTES" if isinstance(value, str) else "FP64",
            "data": [row[name] for row in rows],
        }
        for name, value in rows[0].items()
    ]


def test_the_open_inference_protocol_is_whole(
    project: Project,
    url: str,
    rows: list[dict[str, Any]],
    expected: list[dict[str, Any]],
) -> None:
    name = project.package
    assert set(ask(url, "/v2").json) == {"name", "version", "extensions"}
    assert ask(url, "/v2/health/live").json == {"live": True}
    assert ask(url, "/v2/health/ready").json["ready"] is True
    model = ask(url, f"/v2/models/{name}").json
    assert model["versions"] == ["1"]
    assert [one["name"] for one in model["inputs"]] == list(rows[0])
    assert [one["datatype"] for one in model["outputs"]] == ["INT64", "FP64"]
    assert ask(url, f"/v2/models/{name}/ready").json["ready"] is True
    for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/1"):
        answer = ask(url, f"{path}/infer", {"id": "7", "inputs": tensors(rows[:3])})
        found = answer.json
        assert (found["id"], found["model_version"]) == ("7", "1")
        outputs = {one["name"]: one["data"] for one in found["outputs"]}
        assert outputs["probability"] == pytest.approx(
            [one["probability"] for one in expected[:3]]
        )
    asked = [{"name": "probability"}]
    body = {"inputs": tensors(rows[:2]), "outputs": asked}
    (output,) = ask(url, f"/v2/models/{name}/infer", body).json["outputs"]
    assert (output["name"], output["shape"]) == ("probability", [2])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"shape": [2]}, "shape is [1] or [1, 1]"),
        ({"shape": [True]}, "'inputs', item 1, 'shape', item 1"),
        ({"shape": [1, 2]}, "shape is [1] or [1, 1]"),
        ({"datatype": 5}, "'inputs', item 1, 'datatype'"),
        ({"data": "x"}, "'inputs', item 1, 'data'"),
        ({"data": [["x"]]}, "Column 'debt_to_income', row 1"),
        ({"data": [True]}, "Column 'debt_to_income', row 1"),
        ({"name": None}, "'inputs', item 1, 'name'"),
    ],
)
def test_a_wrong_tensor_is_refused_with_its_column(
    project: Project, url: str, rows: list[dict[str, Any]], change: Any, reason: str
) -> None:
    inputs = tensors(rows[:1])
    inputs[0] |= change
    path = f"/v2/models/{project.package}/infer"
    answer = ask(url, path, {"inputs": inputs})
    assert answer.status == 400
    assert reason in answer.json["error"]


def test_a_version_is_labelled_with_its_number_and_another_model_with_its_id(
    project: Project,
) -> None:
    script = """
import mlflow
from PACKAGE.mlops.serving.settings import Settings
from PACKAGE.mlops.serving.versions import load

version = mlflow.MlflowClient().get_model_version("PACKAGE", "1")
for uri in ("models:/PACKAGE/1", version.source):
    found = load(uri, "champion", Settings(uri, "PACKAGE", None, ())).version
    print(found, version.source.endswith(found))
""".replace("PACKAGE", project.package)
    registered, logged = project.ask(script).splitlines()[-2:]
    assert registered == "1 False"
    assert logged.startswith("m-")
    assert logged.endswith(" True")


def test_an_answer_is_labelled_and_logged_under_the_clients_id(
    project: Project, url: str, rows: list[dict[str, Any]]
) -> None:
    body = {"instances": rows[:1]}
    answer = ask(url, "/invocations", body, X_Request_Id="mine-1")
    assert answer.headers["X-Request-Id"] == "mine-1"
    assert answer.headers["X-Model-Version"] == "1"
    assert answer.headers["X-Model-Variant"] == "champion"
    hostile = ask(url, "/invocations", body, X_Request_Id='a"} {')
    assert len(hostile.headers["X-Request-Id"]) == 32
    ask(url, "/ping", X_Request_Id="probe")
    ask(url, "/metrics", X_Request_Id="last")
    logged = {line["id"]: line for line in logged_until(project, "last")}
    mine = {name: logged["mine-1"][name] for name in ("status", "rows", "version")}
    assert mine == {"status": 200, "rows": 1, "version": "1"}
    assert logged["mine-1"]["ms"] > 0
    assert "probe" not in logged


def logged_until(project: Project, last: str) -> list[dict[str, Any]]:
    """Return what the running server has logged, once the last one is there."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        text = "".join(log.read_text() for log in project.path.glob("server-*.log"))
        lines = [line for line in text.splitlines() if re.match(r"{.*}$", line)]
        found = [json.loads(line) for line in lines]
        if any(line["id"] == last for line in found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"No request {last} is logged:\n{text}")


def test_an_extra_column_is_ignored_and_counted(
    url: str, rows: list[dict[str, Any]]
) -> None:
    before = figure(url, "model_server_extra_total")
    body = {"instances": [rows[0] | {"other": 1}], "params": {"unknown": 2}}
    assert ask(url, "/invocations", body).status == 200
    assert figure(url, "model_server_extra_total") == before + 2


def figure(url: str, name: str, **headers: str) -> float:
    """Return a figure of /metrics, summed over its labels."""
    text = ask(url, "/metrics", **headers).body.decode()
    lines = [line for line in text.splitlines() if line.startswith(name)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_prometheus_finds_requests_batches_queue_and_version(
    url: str, rows: list[dict[str, Any]]
) -> None:
    assert ask(url, "/invocations", {"instances": rows[:1]}).status == 200
    text = ask(url, "/metrics").body.decode()
    for expected in (
        'request_seconds_count{route="invocations",status="200",variant="champion"}',
        "batch_rows_count",
        "queue 0.0",
        'model{compiled="True",variant="champion",version="1"} 1.0',
    ):
        assert f"model_server_{expected}" in text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/invocations", 405),
        ("DELETE", "/v2/models/NAME/infer", 405),
        ("POST", "/v2/health/live", 405),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/NAME/versions/9", 404),
    ],
)
def test_what_is_not_there_is_said_so(
    project: Project, url: str, method: str, path: str, status: int
) -> None:
    answer = ask(url, path.replace("NAME", project.package), {}, method)
    assert answer.status == status
    assert answer.json["message"] == answer.json["error"]
    assert (status == 405) == ("Allow" in answer.headers)


def test_an_answer_on_a_kept_connection_waits_for_no_acknowledgement(url: str) -> None:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    seconds = []
    for _ in range(60):
        started = time.perf_counter()
        connection.request("GET", "/v2/health/live")
        assert Answer(connection.getresponse()).status == 200
        seconds.append(time.perf_counter() - started)
    connection.close()
    # Systems acknowledge after 40 ms, but the first ones of a connection at once.
    assert min(seconds[-20:]) < 0.03


# Limits -----------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["text/html", "", "application/json; charset=latin-1"])
def test_another_content_type_is_refused(project: Project, url: str, kind: str) -> None:
    for path in ("/invocations", f"/v2/models/{project.package}/infer"):
        answer = ask(url, path, {}, Content_Type=kind)
        assert (answer.status, repr(kind) in answer.json["message"]) == (415, True)


def test_a_large_body_is_refused_before_it_is_sent(url: str) -> None:
    with connect(url) as sender:
        sender.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/json\r\n"
            b"Content-Length: 1000000000\r\n\r\n"
        )
        sender.settimeout(5)
        assert sender.recv(64).startswith(b"HTTP/1.1 413")


def test_a_body_without_a_length_is_cut_off_at_the_limit(url: str) -> None:
    with connect(url) as sender:
        sender.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        part = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        sender.settimeout(10)
        for _ in range(12):
            sender.sendall(part)
        assert sender.recv(64).startswith(b"HTTP/1.1 413")


@contextmanager
def connect(url: str) -> Iterator[socket.socket]:
    """Open a connection."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        yield connection


def test_too_many_rows_are_refused(url: str, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    data = [list(rows[0].values())] * 10_001
    split = {"columns": names, "data": data}
    answer = ask(url, "/invocations", {"dataframe_split": split})
    assert (answer.status, "1 to 10000 rows" in answer.json["message"]) == (413, True)


def test_a_slow_client_does_not_hold_others_up(
    url: str, rows: list[dict[str, Any]]
) -> None:
    with connect(url) as slow:
        slow.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        )
        started = time.monotonic()
        assert ask(url, "/invocations", {"instances": rows[:1]}).status == 200
        assert time.monotonic() - started < 5


def test_good_requests_among_bad_ones_get_their_own_answers(
    url: str, rows: list[dict[str, Any]], expected: list[dict[str, Any]]
) -> None:
    soak(url, rows, expected, seconds=3, clients=8)


@pytest.mark.run
@pytest.mark.skipif("SOAK_SECONDS" not in os.environ, reason="make bench soaks longer")
def test_a_soak_leaves_the_memory_flat(
    project: Project, rows: list[dict[str, Any]], expected: list[dict[str, Any]]
) -> None:
    seconds = float(os.environ["SOAK_SECONDS"])
    with running(project) as (url, process):
        soak(url, rows, expected, seconds / 4, clients=32)
        before = resident(process.pid)
        soak(url, rows, expected, seconds, clients=32)
        assert resident(process.pid) < before * 1.05


def soak(
    url: str, rows: list[Any], expected: list[Any], seconds: float, clients: int
) -> None:
    """Ask for so long, a fifth of it wrongly; check each answer against its row."""
    stop = time.monotonic() + seconds
    bad = [
        ({"instances": [rows[0] | {"loan_to_value": "x"}]}, 400),
        ({"instances": [{}]}, 400),
        ({"dataframe_split": {"columns": [1]}}, 400),
        (b"{", 400),
        ({"instances": [rows[0] | {"loan_to_value": 10**400}]}, 400),
    ]

    def client(number: int) -> tuple[int, int]:
        right = wrong = 0
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        while time.monotonic() < stop:
            index = (number * 131 + right) % len(rows)
            body, status = {"instances": [rows[index]]}, 200
            if (right + wrong) % 5 == 4:
                body, status = bad[wrong % len(bad)]
            data = body if isinstance(body, bytes) else json.dumps(body)
            connection.request("POST", "/invocations", data, {"Content-Type": JSON})
            answer = Answer(connection.getresponse())
            assert answer.status == status, answer.body
            if status == 200:
                assert same(answer.json["predictions"], [expected[index]])
                right += 1
            else:
                assert "message" in answer.json
                wrong += 1
        connection.close()
        return right, wrong

    with ThreadPoolExecutor(clients) as pool:
        counts = list(pool.map(client, range(clients)))
    assert all(right and wrong for right, wrong in counts)


def resident(pid: int) -> int:
    """Return the resident pages of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])


@contextmanager
def running(
    project: Project, *options: str, **env: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a server; give its address and its process."""
    port = support.free_port()
    url = f"http://127.0.0.1:{port}"
    program = str(project.python.parent / "kedro")
    command = [program, "model", "serve", "--port", str(port), *options]
    with support.served(
        command, f"{url}/ping", project.path, project.environment(**env)
    ) as process:
        yield url, process


# Variants, payload log, tokens ------------------------------------------------------
@pytest.fixture(scope="module")
def two_versions(
    worked_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """A project with a champion and a challenger that answer differently."""
    project = worked_project().copy(tmp_path_factory.mktemp("two"))
    project.ask(SECOND_VERSION, project.package)
    return project


@pytest.mark.run
def test_two_variants_share_the_traffic_and_the_payload_log_tells_them_apart(
    two_versions: Project, tmp_path: Path
) -> None:
    rows, log = rows_of(two_versions), tmp_path / "payloads"
    tokens = tmp_path / "tokens"
    tokens.write_text("first\nsecond\n")
    with running(
        two_versions,
        *("--challenger-share", "0.3", "--split-by", "X-User"),
        *("--payload-log", str(log), "--payload-exclude", "self_employed"),
        *("--token-file", str(tokens), "--strict", "--timeout", "20"),
    ) as (url, _):
        body = {"instances": rows[:2]}
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"X_Api_Key": "firs"}):
            refused = ask(url, "/invocations", body, **headers)
            assert refused.status == 401
            assert "WWW-Authenticate" in refused.headers
        assert ask(url, "/metrics").status == 401
        assert ask(url, "/v2/health/ready").status == 200
        key = {"X_Api_Key": "second"}
        assert (
            ask(url, "/invocations", body, Authorization="Bearer first").status == 200
        )
        extra = {"instances": [rows[0] | {"other": 1}]}
        assert ask(url, "/invocations", extra, **key).status == 400
        users = [f"user-{number}" for number in range(60)]
        variants = []
        for user in users:
            answer = ask(url, "/invocations", body, X_User=user, **key)
            variant = answer.headers["X-Model-Variant"]
            challenger = answer.json["predictions"][0]["probability"] == 0.25
            version = answer.headers["X-Model-Version"]
            assert (challenger, version) == (variant == "challenger", "12"[challenger])
            variants.append(variant)
        again = [
            ask(url, "/invocations", body, X_User=user, **key).headers[
                "X-Model-Variant"
            ]
            for user in users
        ]
        assert again == variants
        assert 6 <= variants.count("challenger") <= 32
        name = two_versions.package
        infer = {"inputs": tensors(rows[:1])}
        path = f"/v2/models/{name}/versions/2/infer"
        assert ask(url, path, infer, **key).json["model_version"] == "2"
    script = """
import sys, pandas as pd
frame = pd.read_parquet(sys.argv[1])
print(frame.to_json(orient="records"))
"""
    logged = json.loads(two_versions.ask(script, str(log)))
    assert len(logged) == 2 + 2 * 2 * 60 + 1
    assert not any("self_employed" in name for name in logged[0])
    assert {one["variant"] for one in logged} == {"champion", "challenger"}
    for one in logged:
        assert (one["output.probability"] == 0.25) == (one["model_version"] == "2")
    wanted = {"request_id", "split_key", "time", "row", "input.loan_to_value"}
    assert wanted <= logged[0].keys()


# Reload and stop --------------------------------------------------------------------
@pytest.mark.run
def test_alias_moves_lost_databases_and_signals_drop_no_request(
    worked_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = worked_project().copy(tmp_path)
    project.ask(SECOND_VERSION, project.package)
    rows = rows_of(project)
    first = plain_answers(project, "champion")
    moves = int(os.environ.get("ALIAS_MOVES", "2"))
    with running(project, "--reload-seconds", "0.2") as (url, process):
        found = Traffic(url, rows, first)
        project.ask(MOVE_ALIAS, project.package, str(moves), url)
        assert figure(url, 'model_server_reloads_total{result="ok"}') == moves
        assert set(found.versions) == {"1", "2"}
        project.ask(BROKEN_VERSION, project.package)
        eventually(lambda: figure(url, 'model_server_reloads_total{result="failed"}'))
        project.ask(MOVE_ALIAS, project.package, "1", url)
        failed = figure(url, 'model_server_reloads_total{result="failed"}')
        (project.path / "mlflow.db").write_bytes(b"This is no database. " * 1000)
        eventually(
            lambda: figure(url, 'model_server_reloads_total{result="failed"}') > failed
        )
        asked = sum(found.versions.values())
        time.sleep(1)
        assert sum(found.versions.values()) > asked
        process.terminate()
        found.end()
        process.wait(timeout=30)
    assert not found.failures


def eventually(holds: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "It did not happen in time."
        time.sleep(0.2)


class Traffic:
    """Clients that ask until the server no longer takes their connection."""

    def __init__(self, url: str, rows: list[Any], first: list[Any]) -> None:
        self.url, self.rows, self.first = url, rows, first
        self.versions: dict[str, int] = {}
        self.failures: list[str] = []
        self.threads = [
            threading.Thread(target=self.client, args=(n,)) for n in range(4)
        ]
        for thread in self.threads:
            thread.start()

    def client(self, number: int) -> None:
        """Ask, check label and answer, and connect anew when told to."""
        address = self.url.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=60)
        while True:
            index = number = (number * 7 + 1) % len(self.rows)
            try:
                connection.connect() if connection.sock is None else None
            except ConnectionRefusedError:
                return
            try:
                body = json.dumps({"instances": [self.rows[index]]})
                connection.request("POST", "/invocations", body, {"Content-Type": JSON})
                answer = Answer(connection.getresponse())
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                return
            version = answer.headers["X-Model-Version"]
            expected = self.first[index]["probability"] if version == "1" else 0.25
            found = answer.json.get("predictions", [{}])[0].get("probability", 0)
            if answer.status != 200 or abs(found - expected) > 1e-12:
                self.failures.append(f"{answer.status} {version} {answer.body!r}")
            self.versions[version] = self.versions.get(version, 0) + 1

    def end(self) -> None:
        """Wait until every client was refused a connection."""
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


PAYLOADS = """
payloads:
  type: partitions.PartitionedDataset
  path: data/08_reporting/payloads
  dataset: pandas.ParquetDataset
  filename_suffix: .parquet
"""


@pytest.mark.run
def test_several_workers_share_port_figures_and_data_set_and_stop_together(
    worked_project: Callable[..., Project], rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    project = worked_project().copy(tmp_path)
    (project.path / "conf/base/catalog_payloads.yml").write_text(PAYLOADS)
    options = ("--workers", "2", "--payload-log", "catalog:payloads")
    with running(project, *options) as (url, process):

        def one(_: int) -> int:
            return ask(url, "/invocations", {"instances": rows[:1]}).status

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(one, range(200))) == {200}
        assert figure(url, "model_server_batch_rows_count") > 0
        process.terminate()
        process.wait(timeout=30)
        with pytest.raises(ConnectionRefusedError):
            ask(url, "/ping")
        log = max(project.path.glob("server-*.log"))  # the newest by name
        assert "WARNING" not in log.read_text()
    script = """
import pandas as pd
print(pd.read_parquet("data/08_reporting/payloads")["request_id"].nunique())
"""
    assert project.ask(script).split() == ["200"]


@pytest.mark.run
def test_when_one_worker_ends_the_others_stop_and_the_command_fails(
    project: Project,
) -> None:
    with running(project, "--workers", "2") as (url, process):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        workers = [
            int(pid)
            for pid in children.read_text().split()
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        assert process.wait(timeout=30) == 1
        with pytest.raises(ConnectionRefusedError):
            ask(url, "/ping")
        log = max(project.path.glob("server-*.log"))  # the newest by name
        assert "can't be served: a worker ended" in log.read_text()


# Starting ---------------------------------------------------------------------------
def test_without_serving_there_is_no_server_and_no_command(
    render: Callable[..., Path],
) -> None:
    folder = render(serving="none")
    assert not list(folder.glob("src/*/mlops/serving*"))
    assert "prometheus" not in (folder / "pyproject.toml").read_text()


@pytest.mark.run
def test_a_model_that_cant_be_loaded_stops_the_server_with_one_sentence(
    project: Project,
) -> None:
    port, name = str(support.free_port()), project.package
    for uri, reason, *options in (
        ("models:/nothing/1", "not found", "--workers", "1"),
        ("models:/nothing/1", "not found", "--workers", "2"),
        (f"models:/{name}@other", f"{name} has no alias other"),
        (f"models:/{name}/1", "File exists", "--payload-log", "/dev/null"),
    ):
        done = project.run(
            *("kedro", "model", "serve", uri, "--port", port, *options),
            check=False,
            timeout=120,
        )
        assert done.returncode == 1
        assert f"Error: {uri} can't be served" in done.stderr
        assert reason in done.stderr
        assert "Traceback" not in done.stderr


def test_an_option_out_of_its_range_is_refused_before_anything_starts(
    project: Project,
) -> None:
    wrong = {
        "workers": "0",
        "port": "65536",
        "max-rows": "0",
        "timeout": "0",
        "reload-seconds": "-1",
        "challenger-share": "1.5",
    }
    script = """
import json, sys
from click.testing import CliRunner
from PACKAGE.mlops.serving.command import serve
for name, value in json.loads(sys.argv[1]).items():
    found = CliRunner().invoke(serve, [f"--{name}", value])
    print(found.exit_code, f"Invalid value for '--{name}'" in found.output)
""".replace("PACKAGE", project.package)
    printed = project.ask(script, json.dumps(wrong)).splitlines()
    assert printed == ["2 True"] * len(wrong)


@pytest.mark.run
def test_a_token_file_without_a_token_opens_no_server(
    project: Project, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    for file in (empty, tmp_path / "missing"):
        done = project.run(
            "kedro", "model", "serve", "--token-file", file, check=False, timeout=120
        )
        assert (done.returncode, f"no token in {file}" in done.stderr) == (1, True)


@pytest.mark.run
def test_numeric_libraries_are_told_one_thread_before_they_are_imported(
    project: Project,
) -> None:
    script = """
import os, sys
from click.testing import CliRunner
os.environ.pop("OMP_NUM_THREADS", None)
import PACKAGE.mlops.serving.command as command
import PACKAGE.mlops.serving.server as server
loaded = {}
server.serve = lambda settings: loaded.update(
    sklearn="sklearn" in sys.modules, threads=os.environ["OMP_NUM_THREADS"]
)
from kedro.framework.startup import bootstrap_project
bootstrap_project(".")
print(CliRunner().invoke(command.serve, ["--port", "PORT"]).output)
print(loaded)
""".replace("PACKAGE", project.package).replace("PORT", str(support.free_port()))
    printed = project.ask(script)
    assert "{'sklearn': False, 'threads': '1'}" in printed
