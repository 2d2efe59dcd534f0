"""The files under one experiment's artifact root: listed, measured, deleted."""

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from mlflow import get_tracking_uri
from mlflow.entities import Experiment
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from .rules import Item

ID = re.compile(r"(?:m-|tr-)?[0-9a-f]{32}")
FOLDERS = {"": "", "m": "models/", "tr": "traces/"}  # by the prefix of an id


class Storage:
    """An artifact root: `<run>/…`, `models/<model>/…` and `traces/<trace>/…`."""

    def __init__(self, experiment: Experiment) -> None:
        self.name, self.id = experiment.name, experiment.experiment_id
        self.root = experiment.artifact_location.rstrip("/")
        self.limit = self.unreachable = ""
        try:
            self._open()
        except Exception as error:  # whatever a backend raises is a limit
            self.unreachable = f"nothing can be measured or deleted there: {error}"

    def _open(self) -> None:
        if self.root.startswith(("dbfs:", "databricks:")):
            raise OSError("Databricks does not let MLflow's client delete artifacts")
        self.repository: Any = get_artifact_repository(self.root)
        local = getattr(self.repository, "artifact_dir", None)
        self.folder = Path(local).resolve() if local else None
        remote = get_tracking_uri().startswith("http")
        if remote and self.folder and not self.folder.is_dir():
            raise OSError("the folder is on the server, which does not proxy it")
        any(self._list("anything"))  # raises where nothing can be listed
        if self.root.startswith("s3:"):
            import boto3

            place = os.environ.get("MLFLOW_S3_ENDPOINT_URL")
            bucket = urlparse(self.root).netloc
            s3 = boto3.client("s3", endpoint_url=place)
            if s3.get_bucket_versioning(Bucket=bucket).get("Status"):
                self.limit = (
                    f"bucket {bucket} is versioned: apply hides objects, and their "
                    "bytes stay until a lifecycle rule expires noncurrent versions"
                )

    def ids(self) -> Iterator[str]:
        """Yield the name of each folder that is where that of a row would be."""
        for parent in FOLDERS.values() if not self.unreachable else ():
            for path, size in self._list(parent.rstrip("/")):
                name = path.removeprefix(parent)
                if size is None and ID.fullmatch(name) and path == path_of(name):
                    yield name

    def refuses(self, item_id: str, uri: str) -> str:
        """Return why an item's artifacts can't be deleted, or nothing."""
        if uri not in ("", f"{self.root}/{path_of(item_id)}/artifacts"):
            return f"{uri} is outside the artifact root {self.root}"
        return self.unreachable

    def measure(self, item: Item, globs: list[str]) -> None:
        """Set an item's bytes, and those of the artifacts that globs match."""
        for path, size in self._files(path_of(item.id)):
            item.bytes += size
            item.matched += size if matches(path, globs) else 0

    def delete(self, item: Item) -> None:
        """Delete an item's whole folder, or the artifacts that its globs match."""
        path = path_of(item.id)
        if self.folder and (self.folder / path).resolve() != self.folder / path:
            raise OSError(f"{self.folder / path} leads elsewhere")
        if item.globs:
            self._delete_matching(path, item.globs)
        else:
            self._delete(path)

    def _delete_matching(self, path: str, globs: list[str]) -> bool:
        """Delete what globs match, and folders left empty; tell if nothing is left."""
        left = 0
        for name, size in list(self._list(path)):
            if size is None:
                goes = self._delete_matching(name, globs)
            else:
                goes = matches(name, globs)
            if goes:
                self._delete(name)
            left += not goes
        return not left

    def _delete(self, path: str) -> None:
        self.repository.delete_artifacts(path)
        if any(self._files(path)):
            raise OSError(f"{self.root}/{path} is still there")

    def _files(self, path: str) -> Iterator[tuple[str, int]]:
        """Yield the files below a folder and their bytes, folder by folder."""
        for name, size in self._list(path):
            if size is None:
                yield from self._files(name)
            else:
                yield name, size

    def _list(self, path: str) -> Iterator[tuple[str, int | None]]:
        """Yield names below the root, with the bytes of files and None of folders."""
        if self.folder is None:
            for info in self.repository.list_artifacts(path or None):
                yield info.path, None if info.is_dir else int(info.file_size or 0)
        elif os.path.isdir(place := f"{self.folder}/{path}"):
            for entry in os.scandir(place):  # MLflow would follow links
                is_folder = entry.is_dir(follow_symlinks=False)
                size = entry.stat(follow_symlinks=False).st_size
                yield f"{path}/{entry.name}".lstrip("/"), None if is_folder else size


def path_of(item_id: str) -> str:
    """Return an item's folder below its experiment's root."""
    return FOLDERS.get(item_id.rpartition("-")[0], "") + item_id


def matches(path: str, globs: list[str]) -> bool:
    """Tell whether one of the globs matches a file of a run's artifacts."""
    artifact = path.partition("/artifacts/")[2]
    return any(fnmatchcase(artifact, glob) for glob in globs)
