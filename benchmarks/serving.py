"""The server against what users would pick instead, in one run, in turns.

Usage: python benchmarks/serving.py PROJECT [--rounds 3] [--seconds 4]

PROJECT is a rendered classification example in which `kedro run` was done. Compared:
  mlflow        `mlflow models serve` on the same version, as a user gets it: outside
                the project, whose conf/logging.yml would quieten it
  mlflow quiet  the same with every log at WARNING
  by hand       a FastAPI that calls the same functions on the fitted objects
  ours          `kedro model serve`
"""

import argparse
import csv
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

CLIENTS = (1, 8, 32)
FLOORS = {  # against what, at how many clients: the least ratio
    "mlflow": {1: 4, 8: 15, 32: 45},
    "mlflow quiet": {1: 1.8, 8: 7, 32: 25},
    "by hand": {1: 0.9, 8: 3, 32: 8},
}
BY_HAND = """
import pickle
from pathlib import Path

import pandas as pd
from fastapi import FastAPI
from PACKAGE.pipelines.training.nodes import transform
from PACKAGE.pipelines.training.predicting import predict

folder = Path("FOLDER")
preprocessor = pickle.loads((folder / "preprocessor.pkl").read_bytes())
model = pickle.loads((folder / "model.pkl").read_bytes())
app = FastAPI()


@app.get("/ping")
def ping():
    return {}


@app.post("/invocations")
def invocations(body: dict):
    frame = pd.DataFrame(**body["dataframe_split"])
    answer = predict(transform(frame, preprocessor), model, 0.5)
    return {"predictions": answer.to_dict("records")}
"""
QUIET = """
version: 1
disable_existing_loggers: false
root: {level: WARNING}
loggers:
  kedro: {level: WARNING}
  kedro_mlflow: {level: WARNING}
"""


def main() -> None:
    """Measure, print a table and the ratios, and fail if a floor is not reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    project = options.project.resolve()
    with tempfile.TemporaryDirectory() as folder:
        bodies = prepared_requests(project, Path(folder))
        commands = contestants(project, Path(folder))
        found = {name: {"start": [], "start cpu": [], "rss": []} for name in commands}
        for number in range(options.rounds):
            order = list(commands) if number % 2 == 0 else list(reversed(commands))
            for name in order:
                measure(project, *commands[name], bodies, options.seconds, found[name])
                print(f"round {number + 1}: {name} done", file=sys.stderr)
    if not report(found):
        sys.exit(1)


def prepared_requests(project: Path, folder: Path) -> Path:
    """Write one request body a line, one held-out row each."""
    with (project / "data/05_model_input/held_out_instances.csv").open() as file:
        rows = list(csv.DictReader(file))[:200]
    key = next(iter(rows[0]))
    bodies = folder / "bodies.jsonl"
    with bodies.open("w") as file:
        for row in rows:
            del row[key]
            values = [number(value) for value in row.values()]
            split = {"columns": list(row), "data": [values]}
            file.write(json.dumps({"dataframe_split": split}) + "\n")
    return bodies


def number(text: str) -> float | str:
    """Return a number if the text is one."""
    try:
        return float(text)
    except ValueError:
        return text


def contestants(project: Path, folder: Path) -> dict[str, tuple[list[str], dict, int]]:
    """Return command, environment and port of each server."""
    package = next(
        p.name for p in (project / "src").iterdir() if (p / "mlops").exists()
    )
    objects = project / "data/06_models"
    code = BY_HAND.replace("PACKAGE", package).replace("FOLDER", str(objects))
    (folder / "by_hand.py").write_text(code)
    (folder / "quiet.yml").write_text(QUIET)
    quiet = {
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "KEDRO_LOGGING_CONFIG": str(folder / "quiet.yml"),
        "UVICORN_LOG_LEVEL": "warning",
    }
    registry = {"MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlflow.db'}"}
    uri = f"models:/{package}@champion"
    ports = iter(free_ports(4))

    def mlflow(port: int) -> list[str]:
        serve = ["mlflow", "models", "serve", "-m", uri, "--env-manager", "local"]
        return [*serve, "--host", "127.0.0.1", "--port", str(port)]

    found = {}
    port = next(ports)
    found["mlflow"] = (mlflow(port), registry, port)
    port = next(ports)
    found["mlflow quiet"] = (mlflow(port), registry | quiet, port)
    port = next(ports)
    uvicorn = ["uvicorn", "by_hand:app", "--app-dir", str(folder), "--port", str(port)]
    found["by hand"] = ([*uvicorn, "--log-level", "warning"], {}, port)
    port = next(ports)
    found["ours"] = (["kedro", "model", "serve", "--port", str(port)], {}, port)
    return found


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def measure(project, command, environment, port, bodies, seconds, found) -> None:
    """Start a server, wait until it answers, load it, stop it."""
    path = f"{project / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": path} | environment
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's is not set
    cwd = project if command[0] == "kedro" else bodies.parent
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        server = subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            wait_until_ready(port, server)
            found["start"].append(time.perf_counter() - started)
            found["start cpu"].append(processor_seconds(server.pid))
            for clients in CLIENTS:
                run_load(project, port, clients, 1, bodies)
                before = processor_seconds(server.pid)
                result = run_load(project, port, clients, seconds, bodies)
                spent = processor_seconds(server.pid) - before
                result["cpu"] = spent / sum(result["statuses"].values()) * 1e3
                if set(result["statuses"]) != {"200"}:
                    raise SystemExit(f"{command}: {result['statuses']}")
                found.setdefault(clients, []).append(result)
            found["rss"].append(resident_megabytes(server.pid))
        finally:
            os.killpg(server.pid, 15)
            server.wait()
            wait_until_gone(port)


def wait_until_ready(port: int, server: subprocess.Popen) -> None:
    """Poll ``/ping`` until it answers 200."""
    while server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("A server ended before it was ready.")


def wait_until_gone(port: int) -> None:
    """Wait until nobody listens: MLflow's workers outlive the command a little."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)
    raise SystemExit(f"A server that was stopped still listens on {port}.")


def run_load(project, port, clients, seconds, bodies) -> dict:
    """Run the load generator in a process of its own."""
    script = Path(__file__).with_name("load.py")
    arguments = [str(port), str(clients), str(seconds), str(bodies)]
    done = subprocess.run(
        [sys.executable, str(script), *arguments], check=True, capture_output=True
    )
    return json.loads(done.stdout)


def resident_megabytes(group: int) -> float:
    """Return the resident memory of a group's processes, shared pages counted once.

    All of them are what a machine pays: MLflow's command stays beside its server.
    """
    kilobytes = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == group:
                lines = (folder / "smaps_rollup").read_text().splitlines()
                (size,) = (line for line in lines if line.startswith("Pss:"))
                kilobytes += int(size.split()[1])
        except (ProcessLookupError, FileNotFoundError):
            continue
    return kilobytes * 1024 / 1e6


def processor_seconds(group: int) -> float:
    """Return the processor time of a group: what a busy machine does not change."""
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == group:
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, stat[11:15]))
        except (ProcessLookupError, FileNotFoundError):
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def report(found: dict) -> bool:
    """Print medians and ratios; tell whether every floor is reached."""
    middle = statistics.median
    print("req/s (p50, p99 in ms; processor time of a request in ms)")
    print(f"{'':14}{'start s (cpu)':>14}{'MB':>6}", end="")
    print("".join(f"{f'{c} clients':>30}" for c in CLIENTS))
    rates: dict[str, dict[int, float]] = {}
    p50: dict[str, float] = {}
    p99: dict[str, float] = {}
    for name, one in found.items():
        cells = ""
        rates[name] = {}
        for clients in CLIENTS:
            rate, half, tail, cpu = (
                middle(result[key] for result in one[clients])
                for key in ("rate", "p50", "p99", "cpu")
            )
            rates[name][clients] = rate
            if clients == 8:
                p50[name], p99[name] = half, tail
            cells += f"{f'{rate:.0f} ({half:.1f}, {tail:.1f}; {cpu:.1f})':>30}"
        start = f"{middle(one['start']):.1f} ({middle(one['start cpu']):.1f})"
        print(f"{name:14}{start:>14}{middle(one['rss']):6.0f}{cells}")
    good = True
    for name, floors in FLOORS.items():
        for clients, floor in floors.items():
            ratio = rates["ours"][clients] / rates[name][clients]
            good &= shown(f"{clients:2} clients against {name}", ratio, floor)
    tail = p50["mlflow quiet"] / p99["ours"]
    good &= shown("p50 of mlflow quiet / our p99, 8 clients", tail, 1)
    start = middle(found["mlflow"]["start"]) / middle(found["ours"]["start"])
    good &= shown("start of mlflow / our start", start, 1 / 0.6)
    memory = middle(found["mlflow"]["rss"]) / middle(found["ours"]["rss"])
    good &= shown("memory of mlflow / our memory", memory, 1)
    return good


def shown(what: str, ratio: float, floor: float) -> bool:
    """Print a ratio and whether it reaches its floor."""
    mark = "ok" if ratio >= floor else "MISSED"
    print(f"{what:45}{ratio:7.2f}  (at least {floor:.2f}) {mark}")
    return ratio >= floor


if __name__ == "__main__":
    main()
