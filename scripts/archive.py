"""Releases as archives: `copier.yml` and `template/`, kept with their checksums."""

import hashlib
import io
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RELEASES = ROOT / "tests" / "releases"
SUMS = "SHA256SUMS"
Version = tuple[int, int, int]


def parse(version: str) -> Version:
    """Return the three numbers of a version such as 0.2.0.

    Raises:
        ValueError: if it is no such version.
    """
    major, minor, patch = map(int, version.split("."))
    return major, minor, patch


def released(folder: Path = RELEASES) -> list[str]:
    """Return the versions that are kept, oldest first."""
    names = [path.name.removesuffix(".tar.xz") for path in folder.glob("*.tar.xz")]
    return sorted(names, key=parse)


def checksums(folder: Path = RELEASES) -> dict[str, str]:
    """Return the SHA-256 that is written down for each archive, by its name."""
    lines = (folder / SUMS).read_text("utf-8").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def pack(files: dict[str, bytes], destination: Path) -> None:
    """Write files to an archive, the same bytes for the same files, whoever does it."""
    with tarfile.open(destination, "w:xz", preset=9) as archive:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def keep(version: str, files: dict[str, bytes], folder: Path = RELEASES) -> Path:
    """Archive a release and write its checksum down; return the archive."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{version}.tar.xz"
    pack(files, path)
    names = [f"{known}.tar.xz" for known in released(folder)]
    digests = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names
    }
    lines = [f"{digest}  {name}\n" for name, digest in digests.items()]
    (folder / SUMS).write_text("".join(lines), "utf-8")
    return path


def unpack(version: str, destination: Path, folder: Path = RELEASES) -> None:
    """Write a release's files into a folder.

    Raises:
        ValueError: if the archive is not the one whose checksum is written down.
    """
    name = f"{version}.tar.xz"
    content = (folder / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != checksums(folder).get(name):
        raise ValueError(f"{name} is not the archive that was released.")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(destination, filter="data")
