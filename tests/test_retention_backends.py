"""`kedro prune` on an MLflow server over HTTP, and on S3-compatible storage."""

import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from . import support
from .retention_support import MODEL, Store, actions, did

pytest.importorskip("moto", reason="needs the dependency group `retention`")

pytestmark = pytest.mark.run
BUCKETS = ("plain", "versioned")


def sign_in(address: str) -> dict[str, str]:
    """Return the settings with which MLflow finds the buckets at an address."""
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": address,
    }


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3-compatible server with a plain and a versioned bucket."""
    import boto3

    port = support.free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "--port", str(port)]
    folder = tmp_path_factory.mktemp("s3")
    with (
        pytest.MonkeyPatch.context() as patch,
        support.served(command, f"{address}/moto-api/", folder, support.environment()),
    ):
        for name, value in sign_in(address).items():
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=address)
        for bucket in BUCKETS:
            client.create_bucket(Bucket=bucket)
        versioning = {"Status": "Enabled"}
        client.put_bucket_versioning(
            Bucket="versioned", VersioningConfiguration=versioning
        )
        yield address


@pytest.fixture(scope="module")
def proxies(
    retention: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory, s3: str
) -> Iterator[Callable[[str], str]]:
    """Return a function that starts a real MLflow server once for each place."""
    started: dict[str, str] = {}
    with ExitStack() as stack:

        def start(place: str) -> str:
            if place not in started:
                folder = tmp_path_factory.mktemp("server")
                shutil.copy(retention.empty_database, folder / "server.db")
                artifacts = (
                    "s3://plain/proxied" if place == "s3" else folder / "proxied"
                )
                port = support.free_port()
                started[place] = f"http://127.0.0.1:{port}"
                command = [
                    *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                    *("--host", "127.0.0.1", "--port", str(port)),
                    *("--backend-store-uri", f"sqlite:///{folder / 'server.db'}"),
                    *("--artifacts-destination", str(artifacts)),
                ]
                health = f"{started[place]}/health"
                env = support.environment(**sign_in(s3))
                stack.enter_context(support.served(command, health, folder, env))
            return started[place]

        yield start


def files_of(uri: str) -> int:
    """Return how many files are below an artifact location."""
    from mlflow.artifacts import list_artifacts

    found = list_artifacts(artifact_uri=uri)
    return sum(
        files_of(f"{uri}/{i.path.split('/')[-1]}") if i.is_dir else 1 for i in found
    )


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_over_http_the_same_goes_and_the_same_stays(
    retention: SimpleNamespace,
    tmp_path: Path,
    proxies: Callable[[str], str],
    place: str,
) -> None:
    server = Store(retention, tmp_path, uri=proxies(place))
    champion, pinned = server.run(100), server.run(100)
    gone = server.run(100, {"a/b/c.txt": 10, "d.txt": 5})
    some = server.run(20, {"e.pt": 3, "deep/f.pt": 4, "g.txt": 2})
    models = {run: server.model(run) for run in (champion, gone)}
    server.version(models[champion], alias="champion")
    served_once = server.run(100)
    retired_model = server.model(served_once)
    retired = server.version(retired_model)
    server.client.set_tag(pinned, "blueprint.pin", "true")
    orphan = server.model(server.run(5))
    server.client.delete_logged_model(orphan)
    globs = [{"match": ["*.pt"], "after_days": 10}]
    prune = {"all_after_days": 30, "artifacts": globs, "orphans": True}
    server.rules(prune=prune, versions=[{"name": MODEL}])
    plan = server.plan()
    goes = {gone, some, models[gone], orphan, f"{MODEL}/{retired}"}
    assert actions(plan).keys() == goes
    frees = {item.id: item.frees for item in plan.items}
    assert (frees[gone], frees[some], frees[models[gone]]) == (15, 7, 510)
    done = server.apply(plan)
    assert {line["did"] for line in done} == {"deleted"}
    left = {
        run: files_of(uri_of(server, run)) for run in (champion, pinned, gone, some)
    }
    assert left == {champion: 1, pinned: 1, gone: 0, some: 1}
    model = server.client.get_logged_model(models[champion])
    assert files_of(model.artifact_location) == 2
    assert "blueprint.pruned" in server.tags(gone)
    left = {served_once, retired_model}
    assert actions(server.plan()).keys() == left, "its version is gone now"


def uri_of(store: Store, run: str) -> str:
    return store.client.get_run(run).info.artifact_uri


def test_over_http_a_mark_can_be_taken_back(
    retention: SimpleNamespace, tmp_path: Path, proxies: Callable[[str], str]
) -> None:
    server = Store(retention, tmp_path, uri=proxies("folder"))
    run = server.run()
    server.rules(grace_days=7)
    assert did(server.apply(server.plan()), run) == "marked"
    assert files_of(uri_of(server, run)) == 1
    assert server.retention.apply.unmark(server.rules_file, ()) == 1
    assert server.tags(run) == {}


def test_a_server_that_does_not_proxy_its_folder_is_named_in_the_plan(
    retention: SimpleNamespace, tmp_path: Path, proxies: Callable[[str], str]
) -> None:
    server = Store(retention, tmp_path, uri=proxies("folder"))
    elsewhere = "file:///folder/of/the/server"
    other = server.client.create_experiment("unreachable", elsewhere)
    run = server.client.create_run(other, start_time=1).info.run_id
    server.client.set_terminated(run)
    rules = [{"name": "unreach*", "keep": {}, "prune": {"all_after_days": 1}}]
    server.rules(experiments=rules)
    plan = server.plan()
    assert "the folder is on the server, which does not proxy it" in plan.notes[0]
    assert actions(plan) == {}


@pytest.mark.parametrize("bucket", BUCKETS)
def test_more_than_1000_objects_go_from_s3(
    s3: str, retention: SimpleNamespace, tmp_path: Path, bucket: str
) -> None:
    import boto3

    store = Store(retention, tmp_path, root=f"s3://{bucket}/mlflow")
    client = boto3.client("s3", endpoint_url=s3)
    run, kept = store.run(100, {}), store.run(1)
    folder = f"mlflow/{run}/artifacts"
    count = 1010 if bucket == "plain" else 10  # a page of a listing holds 1,000
    with ThreadPoolExecutor(8) as threads:
        for number in range(count):
            key = f"{folder}/many/{number}"
            threads.submit(client.put_object, Bucket=bucket, Key=key, Body=b"xy")
    neighbour = f"mlflow/{run}0/artifacts/file"
    client.put_object(Bucket=bucket, Key=neighbour, Body=b"x")
    store.rules(keep={"younger_than_days": 10}, prune={"all_after_days": 30})
    plan = store.plan()
    assert {item.id: item.frees for item in plan.items}[run] == 2 * count
    done = store.apply(plan)
    assert did(done, run) == "deleted", [x.get("error") for x in done]
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix="mlflow/"
    )
    keys = {found["Key"] for page in pages for found in page.get("Contents", [])}
    assert keys == {neighbour, f"mlflow/{kept}/artifacts/out.bin"}
    named = [note for note in plan.notes if "is versioned" in note]
    assert bool(named) == (bucket == "versioned")
    versions = client.list_object_versions(Bucket=bucket, Prefix=folder)
    assert ("DeleteMarkers" in versions) == (bucket == "versioned")


def test_without_access_the_plan_says_so_and_nothing_is_tagged(
    s3: str, retention: SimpleNamespace, tmp_path: Path
) -> None:
    store = Store(retention, tmp_path, root="s3://no-such-bucket/mlflow")
    run = store.run(100, {})
    store.rules(prune={"all_after_days": 1, "metadata": "delete"})
    plan = store.plan()
    assert "nothing can be measured or deleted there" in plan.notes[0]
    store.apply(plan)
    assert store.tags(run) == {}
    assert store.client.get_run(run).info.lifecycle_stage == "active"


def test_databricks_is_named_as_a_place_where_nothing_can_be_deleted(
    retention: SimpleNamespace, tmp_path: Path
) -> None:
    store = Store(retention, tmp_path, root="dbfs:/databricks/mlflow-tracking/1")
    store.client.create_run(store.experiment, start_time=1)
    store.rules()
    assert "Databricks does not let MLflow" in store.plan().notes[0]
