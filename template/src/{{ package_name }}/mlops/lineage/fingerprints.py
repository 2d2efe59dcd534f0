"""What one data set is: where it lies, how it looks, and a digest of its content."""

import hashlib
import json
import pickle
from pathlib import Path, PurePath
from typing import Any


class _Sink:
    """A file that hashes what is written, and stops at a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.hash, self.size, self.max_bytes = hashlib.sha256(), 0, max_bytes

    def write(self, data: Any) -> int:
        self.size += memoryview(data).nbytes
        if self.size > self.max_bytes:
            raise OverflowError
        self.hash.update(data)
        return memoryview(data).nbytes


def describe_data(data: Any, max_bytes: int, private: set[str]) -> dict[str, Any]:
    """Return rows, columns, types, bytes, statistics and a digest of a frame.

    Columns named in ``private`` get no statistics. What is no frame is only named,
    since its file, if it has one, says more.
    """
    import pandas as pd

    if isinstance(data, pd.Series):
        data = data.to_frame()
    if not isinstance(data, pd.DataFrame):
        version = getattr(data, "version", None)
        return {"version": version} if isinstance(version, str) else {}
    size = int(data.memory_usage(index=True).sum())
    facts = {
        "rows": len(data),
        "types": {str(name): str(kind) for name, kind in data.dtypes.items()},
        "bytes": size,
        "statistics": _statistics(data, private),
    }
    if size <= max_bytes:
        facts["content"] = _frame_digest(data, max_bytes)
    return facts


def _statistics(data: Any, private: set[str]) -> dict[str, dict[str, Any]]:
    from pandas.api.types import is_float_dtype, is_integer_dtype

    found: dict[str, dict[str, Any]] = {}
    for position, name in enumerate(data.columns):
        if str(name) in private:
            continue
        values = data.iloc[:, position]
        found[str(name)] = {"missing": int(values.isna().sum())}
        if is_float_dtype(values) or is_integer_dtype(values):
            found[str(name)]["mean"] = _number(values.mean())
            found[str(name)]["std"] = _number(values.std())
    return found


def _number(value: Any) -> float | None:
    import pandas as pd

    return None if pd.isna(value) else float(value)


def _frame_digest(data: Any, max_bytes: int) -> str:
    import pandas as pd

    try:
        rows = pd.util.hash_pandas_object(data, index=True)
    except (TypeError, ValueError):  # cells that can't be hashed, such as lists
        return digest_object(data, max_bytes) or ""
    header = repr([(str(name), str(kind)) for name, kind in data.dtypes.items()])
    content = header.encode() + rows.to_numpy().tobytes()
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def digest_object(data: Any, max_bytes: int) -> str | None:
    """Return a digest of any object, None if it is too large or can't be pickled."""
    sink = _Sink(max_bytes)
    try:
        sink.write(json.dumps(data, sort_keys=True).encode())
    except (TypeError, ValueError):
        try:
            pickle.Pickler(sink, protocol=5).dump(data)
        except OverflowError:
            return None
        except Exception:  # whatever a class's own pickling raises: it has no digest
            return None
    except OverflowError:
        return None
    return f"sha256:{sink.hash.hexdigest()}"


def storage_path(dataset: Any) -> PurePath | None:
    """Return where a data set of Kedro's file-based classes lies, in its version."""
    if getattr(dataset, "_version", None):
        return PurePath(dataset._get_load_path())
    path = getattr(dataset, "_filepath", None) or getattr(dataset, "_path", None)
    return PurePath(path) if path else None


def filesystem(dataset: Any) -> Any:
    """Return the fsspec file system of a data set, the local one if it has none."""
    import fsspec

    found = getattr(dataset, "_fs", None) or getattr(dataset, "_filesystem", None)
    return found or fsspec.filesystem("file")


def is_local(system: Any) -> bool:
    """Tell whether a file system is this machine's."""
    return "file" in (
        system.protocol if isinstance(system.protocol, tuple) else [system.protocol]
    )


def describe_storage(dataset: Any, max_bytes: int, project: Path) -> dict[str, Any]:
    """Return location, version, bytes and a digest of what a data set stores.

    Up to ``max_bytes`` a local file's content is hashed; otherwise the digest is one
    of the storage's own metadata: size and ETag, or size and time.
    """
    path = storage_path(dataset)
    if path is None:
        return {}
    system = filesystem(dataset)
    facts = {"location": _location(path, system, project)}
    if getattr(dataset, "_version", None):
        facts["version"] = dataset.resolve_load_version()
    return facts | measure_files(system, path.as_posix(), max_bytes)


def measure_files(system: Any, path: str, max_bytes: float) -> dict[str, Any]:
    """Return bytes and digest of a file, or of all files below a folder."""
    if not system.exists(path):
        return {}
    found = system.find(path, detail=True)
    size = sum(info["size"] or 0 for info in found.values())
    by_content = is_local(system) and size <= max_bytes
    digests = {
        name: _file_digest(name) if by_content else _metadata_digest(info)
        for name, info in found.items()
    }
    kind = "sha256" if by_content else "metadata"
    if len(digests) == 1 and not system.isdir(path):
        digest = next(iter(digests.values()))
        return {"bytes": size, "files": 1, "digest": f"{kind}:{digest}"}
    listing = "".join(f"{d} {n[len(path) :]}\n" for n, d in sorted(digests.items()))
    digest = hashlib.sha256(listing.encode()).hexdigest()
    return {"bytes": size, "files": len(found), "digest": f"{kind}:{digest}"}


def _location(path: PurePath, system: Any, project: Path) -> str:
    if not is_local(system):
        return str(system.unstrip_protocol(path.as_posix()))
    if path.is_relative_to(project):
        return path.relative_to(project).as_posix()
    return path.as_posix()


def _file_digest(name: str) -> str:
    with open(name, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _metadata_digest(info: dict[str, Any]) -> str:
    keys = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated")
    stamp = next((str(info[key]) for key in keys if info.get(key)), "")
    return hashlib.sha256(f"{info['size']} {stamp}".encode()).hexdigest()
