"""Generate a default project and use it, from training to an answer over REST.

Example: python scripts/demo.py --port 8123
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests import support  # noqa: E402

FOLDER = ROOT / "build" / "demo" / "mortgage-approval"
STARTED = time.perf_counter()
SCORED = "data/07_model_output/predictions.csv"
ASKED = "data/05_model_input/held_out_instances.csv"
# One row of each file, as JSON; run by the project's interpreter, which has pandas.
FIRST_ROWS = f"""
import json, pandas
rows = [pandas.read_csv(name).head(1) for name in ("{ASKED}", "{SCORED}")]
print(json.dumps([row.to_dict("records")[0] for row in rows]))
"""


class DemoError(Exception):
    """A step that failed, with a message for people."""


def say(text: str) -> None:
    """Print a step with the seconds since the start."""
    print(f"[{time.perf_counter() - STARTED:5.1f} s] {text}", flush=True)


def environment() -> dict[str, str]:
    """Return the environment of a user's shell, without this repository's own."""
    dropped = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    return {k: v for k, v in os.environ.items() if k not in dropped}


def do(what: str, *command: str, cwd: Path) -> None:
    """Say what is done, show its output, and stop the demo if it fails."""
    say(f"{what}: {' '.join(command)}")
    done = subprocess.run(command, cwd=cwd, env=environment(), stdin=subprocess.DEVNULL)
    if done.returncode:
        raise DemoError(f"`{' '.join(command)}` ended with {done.returncode} in {cwd}.")


def generate(folder: Path) -> None:
    """Render a default project from a snapshot of this working tree."""
    say(f"Generate: copier copy --defaults <this repository> {folder}")
    shutil.rmtree(folder.parent, ignore_errors=True)
    template = support.snapshot_template(folder.parent / "template")
    support.render_template(template, folder)


@contextmanager
def served(folder: Path, port: int):
    """Run `kedro model serve` until the block ends; yield once it answers."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise DemoError(
                f"Port {port} is in use: stop what listens there, or choose another "
                f"one, `make demo PORT={port + 1}`."
            )
    command = ["uv", "run", "kedro", "model", "serve", "--port", str(port)]
    say(f"Serve: {' '.join(command)}")
    server = subprocess.Popen(command, cwd=folder, env=environment(), process_group=0)
    try:
        deadline = time.monotonic() + 120
        while not is_up(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"`{' '.join(command)}` did not answer.")
            time.sleep(0.1)
        yield
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=30)
        say("The server is stopped")


def is_up(port: int) -> bool:
    """Tell whether the server is ready."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as answer:
            return answer.status == 200
    except (URLError, ConnectionError, TimeoutError):
        return False


def ask(port: int, instance: dict[str, object]) -> dict[str, object]:
    """Send one instance to ``/invocations`` and return its prediction."""
    request = Request(
        f"http://127.0.0.1:{port}/invocations",
        data=json.dumps({"dataframe_records": [instance]}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)["predictions"][0]


def compare(folder: Path, port: int) -> None:
    """Show the answer over REST beside the batch prediction of the same row."""
    rows = subprocess.run(
        ["uv", "run", "python", "-c", FIRST_ROWS],
        cwd=folder,
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    instance, scored = json.loads(rows.stdout)
    key, value = next(iter(instance.items()))
    answer = ask(port, {name: v for name, v in instance.items() if name != key})
    batch = {name: scored[name] for name in answer}
    say(f"Ask about {key} {value}:")
    print(f"    over REST           {answer}")
    print(f"    in the scored file  {batch}")
    if any(abs(answer[name] - batch[name]) > 1e-9 for name in answer):
        raise DemoError("The answers differ.")


def main() -> None:
    """Do every step; stop at the first that fails, with its message."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    options = parser.parse_args()
    try:
        generate(FOLDER)
        do("Train, register, score", "uv", "run", "kedro", "run", cwd=FOLDER)
        with served(FOLDER, options.port):
            compare(FOLDER, options.port)
    except DemoError as error:
        sys.exit(f"The demo stopped: {error}")
    say(f"Done. The project is in {FOLDER}")
    print("    See its runs and its model at http://127.0.0.1:5000 with")
    print(f"    cd {FOLDER} && uv run kedro mlflow ui")


if __name__ == "__main__":
    main()
