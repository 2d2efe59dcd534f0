"""Registered versions and their aliases: who serves, and who comes next."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlflow
from kedro.io import AbstractDataset, DatasetError
from mlflow.exceptions import MlflowException

from .errors import BlueprintError


@dataclass(frozen=True)
class RegisteredModel:
    """A loaded version: ``predict`` answers with the code it was logged with."""

    version: str
    predict: Callable[..., Any]


class RegisteredModelDataset(AbstractDataset[Any, RegisteredModel]):
    """Loads a registered model by alias, together with the version it stood for."""

    def __init__(self, name: str, alias: str = "champion") -> None:
        self.name, self.alias = name, alias

    def load(self) -> RegisteredModel:
        """Return the version that the alias points at now."""
        from .migration.schema import load_logged

        version = version_of(self.name, self.alias)
        if version is None:
            raise BlueprintError(no_alias(self.name, self.alias))
        model = load_logged(f"models:/{self.name}/{version}")
        return RegisteredModel(version, model.predict)

    def save(self, data: Any) -> None:
        """Refuse: versions are registered by training."""
        raise DatasetError(f"{self.name} is written by training, not by a node.")

    def _describe(self) -> dict[str, Any]:
        return {"name": self.name, "alias": self.alias}


def no_alias(name: str, alias: str) -> str:
    """Return the sentence for an alias that points at nothing."""
    if alias not in ("champion", "challenger", "version"):
        return f"{name} has no version or alias {alias}: see `kedro model list`."
    return (
        f"{name} has no {alias} yet: `kedro run --pipelines training` registers a "
        "version, and the first one serves unless conf/base/gates.yml says otherwise."
    )


def version_of(name: str, alias: str) -> str | None:
    """Return the version that an alias points at, None if there is none."""
    try:
        found = mlflow.MlflowClient().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return str(found.version)


def register(name: str, model_id: str, first_serves: bool) -> tuple[str, str]:
    """Register a logged model; return its version and the alias it was given.

    A first version becomes ``champion`` if it may serve without approval; every
    other one becomes ``challenger``. If the alias can't be set, no version is left.
    """
    client = mlflow.MlflowClient()
    serves = first_serves and version_of(name, "champion") is None
    alias = "champion" if serves else "challenger"
    version = str(mlflow.register_model(f"models:/{model_id}", name).version)
    try:
        client.set_registered_model_alias(name, alias, version)
    except BaseException:
        client.delete_model_version(name, version)
        raise
    return version, alias
