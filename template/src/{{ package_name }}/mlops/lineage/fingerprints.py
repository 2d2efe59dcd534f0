"""What one data set is: where it lies, how it looks, and a digest of its content."""

import hashlib
import json
import os
import pickle
from pathlib import Path, PurePath
from typing import Any

STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated")


class _Sink:
    """A file that hashes what is written, and refuses more than a number of bytes."""

    def __init__(self, most: int) -> None:
        self.hash, self.left = hashlib.sha256(), most

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.left -= size
        if self.left < 0:
            raise OverflowError
        self.hash.update(data)
        return size


def digest_object(data: Any, most: int) -> str | None:
    """Return a digest of an object, None if it is too large or can't be pickled."""
    sink = _Sink(most)
    try:
        pickle.Pickler(sink, protocol=5).dump(_rows(data))
    except Exception:  # too large, or whatever a class's own pickling raises
        return None
    return f"sha256:{sink.hash.hexdigest()}"


def _rows(data: Any) -> Any:
    """Return what is the same for equal frames, which may be pickled differently."""
    import pandas as pd

    if not isinstance(data, pd.DataFrame):
        return data
    try:
        rows = pd.util.hash_pandas_object(data).to_numpy()
    except TypeError:  # cells that can't be hashed, such as lists
        return data
    return str(list(data.dtypes.items())), rows


def describe(
    dataset: Any, data: Any, most: int, project: Path, private: set[str]
) -> dict[str, Any]:
    """Return what is known of a data set that was just read or written.

    Content of up to ``most`` bytes is hashed. ``data`` is None where only what is
    stored counts.
    """
    facts = describe_data(data, most, private) | describe_storage(
        dataset, most, project
    )
    if "location" not in facts and type(dataset).__name__ != "MemoryDataset":
        facts["location"] = str(dataset._describe())
    if "digest" not in facts and data is not None:
        seen = [facts["location"], facts["version"]] if "version" in facts else data
        facts["digest"] = facts.get("content") or digest_object(seen, most)
    return facts


def describe_data(data: Any, most: int, private: set[str]) -> dict[str, Any]:
    """Return rows, types, bytes, statistics and a digest of a frame.

    Columns named in ``private`` get no statistics. Of what is no frame, only the
    version is told, if it has one.
    """
    import pandas as pd

    if not isinstance(data, pd.DataFrame):
        version = getattr(data, "version", None)
        return {"version": version} if isinstance(version, str) else {}
    size = int(data.memory_usage().sum())
    shown = data[[name for name in data.columns if str(name) not in private]]
    numbers, missing = shown.select_dtypes("number"), shown.isna().sum()
    columns = {"missing": missing, "mean": numbers.mean(), "std": numbers.std()}
    return {
        "rows": len(data),
        "types": {str(name): str(kind) for name, kind in data.dtypes.items()},
        "bytes": size,
        "statistics": json.loads(pd.DataFrame(columns).to_json(orient="index")),
        "content": digest_object(data, most) if size <= most else None,
    }


def locate(dataset: Any) -> tuple[Any, PurePath | None]:
    """Return the fsspec file system of a data set, and where it lies there, if it does.

    Kedro's file-based classes have no public name for either.
    """
    import fsspec

    system = getattr(dataset, "_fs", None) or getattr(dataset, "_filesystem", None)
    path = getattr(dataset, "_filepath", None) or getattr(dataset, "_path", None)
    if getattr(dataset, "_version", None):
        path = dataset._get_load_path()
    return system or fsspec.filesystem("file"), PurePath(path) if path else None


def describe_storage(dataset: Any, most: int, project: Path) -> dict[str, Any]:
    """Return location, version, bytes and a digest of what a data set stores."""
    system, path = locate(dataset)
    if path is None:
        return {}
    facts = measure(system, path.as_posix(), most)
    if path.is_relative_to(project):
        facts["location"] = path.relative_to(project).as_posix()
    else:
        facts["location"] = system.unstrip_protocol(path.as_posix())
    if getattr(dataset, "_version", None):
        facts["version"] = dataset.resolve_load_version()
    return facts


def measure(system: Any, path: str, most: int) -> dict[str, Any]:
    """Return bytes and digest of a file, or of all files below a folder.

    Up to ``most`` bytes, the content of local files is hashed. Otherwise it is what
    the storage knows of them: size and ETag, or size and time.
    """
    from fsspec.implementations.local import LocalFileSystem

    local = isinstance(system, LocalFileSystem)
    path = os.path.realpath(path) if local else path
    found = system.find(path, detail=True)
    size = sum(info["size"] or 0 for info in found.values())
    kind = "sha256" if local and size <= most else "metadata"
    digest = hashlib.sha256()
    for name, info in sorted(found.items()):
        digest.update(name[len(path) :].encode())
        if kind == "sha256":
            with open(name, "rb") as file:
                while block := file.read(2**20):
                    digest.update(block)
        else:
            stamps = [str(info[key]) for key in STAMPS if info.get(key)]
            digest.update(f"{info['size']} {stamps[:1]}".encode())
    known = {"bytes": size, "files": len(found)}
    return known | {"digest": f"{kind}:{digest.hexdigest()}"} if found else {}
