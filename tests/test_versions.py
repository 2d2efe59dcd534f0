"""A version answers with the code that it was logged with, beside any other."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from .support import Project

pytestmark = pytest.mark.run
Answers = dict[str, list[float]]

# Squaring centred columns is not monotone: trees fitted on one power answer otherwise
# to another.
OWN_TRANSFORMER = '''"""A transformer of the project's own."""

from typing import Any

from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin

POWER = {power}


class Raise(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Raises every value to a power that its code holds."""

    def fit(self, rows: Any, target: Any = None) -> "Raise":
        """Learn how many columns there are."""
        self.n_features_in_ = rows.shape[1]
        return self

    def transform(self, rows: Any) -> Any:
        """Raise every value."""
        return rows**POWER
'''
# Prints what each version answers, loaded in the order of the arguments.
COMPARE = """
import json, sys
import mlflow, pandas as pd
folder, package, with_project, *versions = sys.argv[1:]
if with_project == "with":
    from kedro.framework.project import pipelines
    from kedro.framework.startup import bootstrap_project
    bootstrap_project(folder)
    assert pipelines["inference"].nodes
rows = pd.read_parquet(f"{folder}/data/03_primary/instances.parquet").head(50)
rows = rows.reset_index(drop=True)
models = {v: mlflow.pyfunc.load_model(f"models:/{package}/{v}") for v in versions}
answers = {v: m.predict(rows)["probability"].tolist() for v, m in models.items()}
imported = f"{package}.pipelines.training.nodes" in sys.modules
assert imported == (with_project == "with")
print(json.dumps(answers))
"""


@dataclass
class Versions:
    """A project with versions whose code differs, and what each answered alone."""

    project: Project
    alone: Answers

    def ask(self, *versions: str, with_project: bool) -> Answers:
        """Load the versions in this order into one process, and ask each."""
        answered = self.project.ask(
            COMPARE,
            str(self.project.path),
            self.project.package,
            "with" if with_project else "without",
            *versions,
            bare=not with_project,
        )
        return json.loads(answered.splitlines()[-1])


def write_code(project: Project, power: int, node_factor: float) -> None:
    """Change a transformer class of the project, and a node."""
    training = project.path / "src" / project.package / "pipelines" / "training"
    text = OWN_TRANSFORMER.format(power=power)
    (training / "raising.py").write_text(text)
    nodes = (training / "nodes.py").read_text()
    if "Raise" not in nodes:
        nodes = nodes.replace(
            "from .estimator import",
            "from .raising import Raise\nfrom .estimator import",
        ).replace(
            '("number", StandardScaler(), numbers)',
            '("number", make_pipeline(StandardScaler(), Raise()), numbers)',
        )
        nodes = nodes.replace(
            "from sklearn.preprocessing",
            "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing",
        )
        assert nodes.count("Raise()") == 1
        (training / "nodes.py").write_text(nodes)
    original = project.path.parent / "predicting.py"
    if not original.exists():
        original.write_text((training / "predicting.py").read_text())
    line = "model.predict_proba(features)[:, 1]"
    predicting = original.read_text()
    assert predicting.count(line) == 1
    (training / "predicting.py").write_text(
        predicting.replace(line, f"{line} * {node_factor}")
    )


@pytest.fixture(scope="module")
def versions(
    worked_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> Versions:
    """Train three versions: then another class, then another node."""
    project = worked_project().copy(tmp_path_factory.mktemp("versions"))
    versions = Versions(project, {})
    for number, factors in {
        "2": (1.0, 1.0),
        "3": (-1.0, 1.0),
        "4": (-1.0, 0.5),
    }.items():
        write_code(project, *factors)
        few = "estimator.arguments.max_iter=5"
        project.run("kedro", "run", "--pipelines", "training", "--params", few)
        versions.alone |= versions.ask(number, with_project=False)
    return versions


def test_the_versions_differ_by_class_and_by_node(versions: Versions) -> None:
    """Else the other tests could not fail."""
    alone = versions.alone
    assert alone["2"] != pytest.approx(alone["3"], abs=0.01)
    assert alone["4"] == pytest.approx([each / 2 for each in alone["3"]])


@pytest.mark.parametrize("with_project", [True, False], ids=["inside", "outside"])
@pytest.mark.parametrize("order", ["234", "432"])
def test_each_version_gives_its_own_answers(
    versions: Versions, order: str, with_project: bool
) -> None:
    assert versions.ask(*order, with_project=with_project) == versions.alone


def test_a_version_pickled_by_reference_would_be_noticed(
    versions: Versions, tmp_path: Path
) -> None:
    """Without its code inside, a version does not work where the project is not."""
    project = versions.project.copy(tmp_path)
    packaging = project.path / "src" / project.package / "mlops" / "packaging.py"
    line = "cloudpickle.register_pickle_by_value(sys.modules[PACKAGE])"
    text = packaging.read_text()
    assert text.count(line) == 1
    packaging.write_text(text.replace(line, "cloudpickle.register_pickle_by_value"))
    few = "estimator.arguments.max_iter=5"
    failed = project.run(
        *("kedro", "run", "--pipelines", "training", "--params", few), check=False
    )
    assert failed.returncode == 1
    assert "does not work without the project" in failed.stderr
