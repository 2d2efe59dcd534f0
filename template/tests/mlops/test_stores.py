"""Runs and models have one place, whatever the working directory."""

from pathlib import Path

import mlflow


def test_stores_do_not_follow_the_working_directory(module, tmp_path, monkeypatch):
    stores = module("mlops.stores")
    before = stores.sqlite_uri("mlflow.db"), stores.folder_uri("mlartifacts")
    monkeypatch.chdir(tmp_path)
    assert (stores.sqlite_uri("mlflow.db"), stores.folder_uri("mlartifacts")) == before
    project = Path(__file__).resolve().parents[2]
    assert before[0] == f"sqlite:///{(project / 'mlflow.db').as_posix()}"


def test_these_tests_write_to_the_sandbox_only(sandbox, trained):
    assert mlflow.get_tracking_uri().endswith((sandbox.folder / "mlflow.db").as_posix())
    version = mlflow.MlflowClient().get_model_version_by_alias(
        trained["champion"].name, "champion"
    )
    run = mlflow.get_run(version.run_id)
    assert run.info.artifact_uri.startswith(sandbox.folder.as_uri())
