"""Write template/constraints.txt: a dated resolution of what a project depends on."""

import subprocess
import sys
import tempfile
from pathlib import Path

import copier

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "template" / "constraints.txt"

HEADER = """\
# What this release was tested with: the newest versions of {date}, for every Python
# and platform that the project supports. It bounds what is installed under it:
#
#   uv add --constraints constraints.txt kedro-mlflow    (makes uv.lock)
#   pip install --constraint constraints.txt --group dev --editable .
#
# Made by: {command}
"""


def resolve(project: Path, date: str) -> str:
    """Return every package that a project may install, pinned, with a header."""
    command = (
        *("uv", "pip", "compile", "--universal", "--python-version", "3.11"),
        *("--exclude-newer", date, "--group", "dev"),
        "pyproject.toml",
    )
    plain = ("--quiet", "--no-config", "--no-header", "--no-annotate")
    resolved = subprocess.run(
        (*command, *plain), cwd=project, check=True, stdout=subprocess.PIPE, text=True
    )
    return HEADER.format(date=date, command=" ".join(command)) + resolved.stdout


def main(date: str) -> None:
    """Render a default project and write what it resolves to on a date."""
    with tempfile.TemporaryDirectory() as folder:
        copier.run_copy(str(ROOT), folder, vcs_ref="HEAD", defaults=True, quiet=True)
        CONSTRAINTS.write_text(resolve(Path(folder), date), encoding="utf-8")
    print(f"Wrote {CONSTRAINTS.relative_to(ROOT)}.")


if __name__ == "__main__":
    main(sys.argv[1])
