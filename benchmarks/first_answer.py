"""From nothing to the first REST answer: this template, and the same by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import free_port

from .journey import BenchmarkError, Journey

BY_HAND = Path(__file__).with_name("by_hand")
DATA = "mortgage_applications.csv"
ROW = {
    "debt_to_income": 0.221,
    "housing_to_income": 0.221,
    "loan_to_value": 0.8,
    "consumer_credit_score": 5,
    "mortgage_credit_score": 2,
    "public_bad_record": "no",
    "industry_unemployment": 3.9,
    "self_employed": "no",
    "insurance_denied": "no",
    "condominium": "no",
    "high_school": "yes",
}
REQUEST = {"dataframe_records": [ROW]}


def with_template(folder: Path, template: Path) -> Journey:
    """Copy the template, run the project, serve its champion, ask it."""
    journey, port = Journey(folder), free_port()
    journey.run(f"uv tool run copier copy --defaults {template} my-project")
    journey.enter("my-project")
    journey.run("uv run kedro run")
    serve = f"uv run kedro model serve --port {port}"
    check(journey.serve_and_ask(serve, port, REQUEST))
    return journey


def by_hand(folder: Path, data: Path) -> Journey:
    """Do what the documentation of Kedro, kedro-mlflow and MLflow says.

    Its traps are known and stepped around: the project is installed since the served
    model imports it, MLflow is told the store since it does not read kedro-mlflow's
    configuration, and the request has the form that MLflow takes.
    """
    journey, port = Journey(folder), free_port()
    journey.run("uv venv")
    journey.activate(".venv")
    journey.run("uv pip install kedro")
    journey.run("kedro new --name 'By Hand' --tools data --example no --telemetry no")
    journey.enter("by-hand")
    write(journey, "requirements.txt")
    journey.run("uv pip install -r requirements.txt")
    journey.run("kedro mlflow init")
    write(journey, "conf/local/mlflow.yml")
    journey.run(f"cp {data} data/01_raw/{DATA}")
    journey.run("kedro pipeline create training")
    write(journey, "conf/base/catalog.yml")
    write(journey, "conf/base/parameters_training.yml")
    write(journey, "src/by_hand/pipelines/training/nodes.py")
    write(journey, "src/by_hand/pipelines/training/pipeline.py")
    write(journey, "src/by_hand/pipeline_registry.py")
    journey.run("uv pip install -e .")
    journey.run("kedro run --pipelines training")
    journey.export("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    # A person reads the run's id in the log, where it is broken into lines.
    (model,) = journey.folder.glob("mlruns/*/models/*")
    serve = f"mlflow models serve -m models:/{model.name} -p {port} --env-manager local"
    check(journey.serve_and_ask(serve, port, REQUEST))
    return journey


def write(journey: Journey, file: str) -> None:
    """Write one of the files that are kept beside this one."""
    journey.write(file, (BY_HAND / file).read_text("utf-8"))


def check(answer: Any) -> None:
    """Refuse an answer without one prediction for the one row that was sent."""
    if not isinstance(answer, dict) or len(answer.get("predictions", [])) != 1:
        raise BenchmarkError(f"The server gave no prediction: {answer}")


def measure(
    rounds: int, folder: Path, template: Path, data: Path, say: Callable[[str], None]
) -> list[dict[str, Journey]]:
    """Do both journeys once to fill the package cache, then in alternating order.

    No folder is deleted in between: ext4 does not use a deleted file's inode again for
    minutes, and looks at each of them whenever a file is written.
    """
    ways: dict[str, Callable[[Path], Journey]] = {
        "template": lambda place: with_template(place, template),
        "by hand": lambda place: by_hand(place, data),
    }
    done = []
    for number in range(rounds + 1):
        done.append({})
        for name in sorted(ways, reverse=bool(number % 2)):
            place = folder / f"round{number}" / name.replace(" ", "-")
            place.mkdir(parents=True)
            done[-1][name] = ways[name](place)
            label = f"round {number}" if number else "warm-up"
            say(f"first answer, {label}, {name}: {done[-1][name].seconds:.1f} s")
    return done[1:]
