"""The files under one experiment's artifact root: listed, measured, deleted."""

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from .rules import Thing

FOLDERS = {"": "", "m": "models/", "tr": "traces/"}  # by the prefix of an id


class Storage:
    """An artifact root: `<run>/…`, `models/<model>/…` and `traces/<trace>/…`."""

    def __init__(self, root: str, remote_tracking: bool) -> None:
        """Refuse with OSError a root that this process can't reach or delete from."""
        self.root, self.folder = root.rstrip("/"), None
        parts = urlparse(root)
        if parts.scheme in ("dbfs", "databricks"):
            raise OSError("Databricks does not let MLflow's client delete artifacts")
        is_uri = parts.scheme == "file"
        if is_uri or len(parts.scheme) < 2:  # or a drive's letter
            self.folder = Path(url2pathname(parts.path) if is_uri else root)
            if remote_tracking and not self.folder.is_dir():
                raise OSError("the folder is on the server, which does not proxy it")
        self.repository = get_artifact_repository(self.root)
        any(self._list("anything"))  # raises where nothing can be listed

    def limits(self) -> str:
        """Return what deleting can't do here, or nothing."""
        if not self.root.startswith("s3:"):
            return ""
        import boto3

        s3 = boto3.client("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL"))
        bucket = urlparse(self.root).netloc
        if s3.get_bucket_versioning(Bucket=bucket).get("Status") is None:
            return ""
        return (
            f"bucket {bucket} is versioned: apply hides objects, and their bytes stay "
            "until a lifecycle rule of the bucket expires noncurrent versions"
        )

    def names(self) -> Iterator[str]:
        """Yield the name of each folder that is where that of a row would be."""
        for folder in FOLDERS.values():
            for path, size in self._list(folder.rstrip("/")):
                name = path.removeprefix(folder)
                if size is None and path == path_of(name):
                    yield name

    def holds(self, thing: Thing) -> bool:
        """Tell whether a thing has a folder here."""
        return any(self._list(path_of(thing.id)))

    def is_in_place(self, thing: Thing) -> bool:
        """Tell whether a thing's artifacts are where MLflow puts them."""
        return thing.uri in ("", f"{self.root}/{path_of(thing.id)}/artifacts")

    def measure(self, thing: Thing, globs: list[str]) -> None:
        """Set a thing's bytes, and those of the artifacts that globs match."""
        for name, size in self.files(path_of(thing.id)):
            thing.bytes += size
            thing.matched += size if matches(thing, name, globs) else 0

    def delete(self, thing: Thing, globs: list[str]) -> None:
        """Delete a thing's whole folder, or the artifacts that globs match."""
        if not self.is_in_place(thing):
            raise OSError(f"{thing.uri} is outside the artifact root {self.root}")
        if globs:
            self._delete_matching(thing, path_of(thing.id), globs)
        else:
            self._delete(path_of(thing.id))

    def _delete_matching(self, thing: Thing, path: str, globs: list[str]) -> bool:
        """Delete what globs match, and folders left empty; tell if nothing is left."""
        left = 0
        for name, size in list(self._list(path)):
            if size is None:
                goes = self._delete_matching(thing, name, globs)
            else:
                goes = matches(thing, name, globs)
            if goes:
                self._delete(name)
            left += not goes
        return not left

    def _delete(self, path: str) -> None:
        if self.folder:
            place, root = self.folder / path, self.folder.resolve()
            if not place.parent.resolve().is_relative_to(root):
                raise OSError(f"{place} leads out of the artifact root")
            if place.is_symlink():
                place.unlink()
                return
        self.repository.delete_artifacts(path)
        if any(self.files(path)):
            raise OSError(f"{self.root}/{path} is still there")

    def files(self, path: str) -> Iterator[tuple[str, int]]:
        """Yield the files below a folder and their bytes, folder by folder."""
        for name, size in self._list(path):
            if size is None:
                yield from self.files(name)
            else:
                yield name, size

    def _list(self, path: str) -> Iterator[tuple[str, int | None]]:
        """Yield names below the root, with the bytes of files and None of folders."""
        if self.folder is None:
            for info in self.repository.list_artifacts(path or None):
                yield info.path, None if info.is_dir else int(info.file_size or 0)
        elif (self.folder / path).is_dir():
            with os.scandir(self.folder / path) as entries:
                for entry in entries:
                    name = f"{path}/{entry.name}" if path else entry.name
                    is_folder = entry.is_dir(follow_symlinks=False)
                    size = entry.stat(follow_symlinks=False).st_size
                    yield name, None if is_folder else size


def path_of(thing_id: str) -> str:
    """Return a thing's folder below its experiment's root."""
    return FOLDERS.get(thing_id.rpartition("-")[0], "") + thing_id


def matches(thing: Thing, name: str, globs: list[str]) -> bool:
    """Tell whether one of the globs matches a file of a thing's artifacts."""
    artifact = name.removeprefix(f"{path_of(thing.id)}/artifacts/")
    return any(fnmatchcase(artifact, glob) for glob in globs)
