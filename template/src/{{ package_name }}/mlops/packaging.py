"""Log the trained pipeline as one self-contained model, prove it, register it."""

import ast
import functools
import importlib.metadata
import json
import logging
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Generator
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DataCatalog
from kedro.runner import SequentialRunner

from .errors import BlueprintError
from .stores import project_path
from .tracking import fail_run

logger = logging.getLogger(__name__)
PACKAGE = __name__.partition(".")[0]
EXAMPLE_ROWS = 5
IMPORT = ast.Import | ast.ImportFrom
OURS = re.compile(rf"from \.|\b{PACKAGE}\b")  # of the project, in such a statement


class PackagingHooks:
    """Wraps kedro-mlflow's logging of a paired pipeline."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read the registered model's name and whether a first version may serve."""
        config = context.config_loader
        self._name = config["globals"]["registered_model"]
        self._first_serves = config["gates"]["first_version"] == "serves"

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Any) -> None:
        """Pickle the project's code by value, so that a version keeps its own code."""
        if not is_paired(pipeline):
            return
        import cloudpickle

        refuse_late_imports(Path(__file__).parents[1])
        cloudpickle.register_pickle_by_value(sys.modules[PACKAGE])
        start_bare_process()

    @hook_impl(wrapper=True)
    def after_pipeline_run(
        self, pipeline: Any, catalog: CatalogProtocol
    ) -> Generator[None, Any, Any]:
        """Add signature, example and requirements; then prove and register it."""
        import mlflow

        from .promotion.evaluation import introduce
        from .promotion.versions import log_training_rows
        from .registry import register

        run = mlflow.active_run()
        if run is None or not is_paired(pipeline):
            return (yield)
        try:
            description, expected = describe(pipeline, catalog)
            pipeline.log_model_kwargs.update(description)
            result = yield
            logged = mlflow.last_logged_model()
            assert logged is not None  # noqa: S101 (kedro-mlflow has just logged it)
            check_answers(logged.model_id, expected)
            labels: Any = "labels" in pipeline.inputs() and catalog.load("labels")
            if "held_out" in getattr(labels, "columns", ()):  # not just a namesake
                log_training_rows(run.info.run_id, labels)
            version, alias = register(self._name, logged.model_id, self._first_serves)
            introduce(self._name, version, alias)
            logger.info("Registered %s version %s as %s", self._name, version, alias)
        except BaseException as error:
            mlflow.end_run("FAILED")
            # kedro-mlflow may have closed the run already, as finished.
            fail_run(run.info.run_id, error)
            raise
        return result


def is_paired(pipeline: Any) -> bool:
    """Tell whether kedro-mlflow will log a model at the end of this pipeline."""
    return hasattr(pipeline, "inference")


def describe(pipeline: Any, catalog: CatalogProtocol) -> tuple[dict[str, Any], Any]:
    """Return what to log with the model, and its answer to the input example."""
    from mlflow.models import infer_signature

    instances = catalog.load(pipeline.input_name)
    example = mix_rows(instances, EXAMPLE_ROWS)
    known = {
        name: catalog.load(name)
        for name in pipeline.inference.inputs() - {pipeline.input_name}
    }
    inputs = DataCatalog()
    for name, data in {**known, pipeline.input_name: example}.items():
        inputs[name] = data
    (output,) = SequentialRunner().run(pipeline.inference, inputs).values()
    expected = output.load()
    params = {
        name.removeprefix("params:"): value
        for name, value in known.items()
        if name.startswith("params:") and isinstance(value, bool | int | float | str)
    }
    return {
        "signature": infer_signature(instances, expected, params or None),
        "input_example": example,
        "pip_requirements": requirements(),
    }, expected


def mix_rows(instances: Any, rows: int) -> Any:
    """Return rows whose columns are drawn separately, so that none is a real one."""
    import pandas as pd

    columns = [
        instances[name].sample(rows, replace=True, random_state=i, ignore_index=True)
        for i, name in enumerate(instances.columns)
    ]
    return pd.concat(columns, axis="columns")


def requirements() -> list[str]:
    """Return what the project depends on and pickles need, as it is installed."""
    from packaging.requirements import Requirement

    declared = importlib.metadata.requires(distribution()) or []
    wanted = [Requirement(line) for line in (*declared, "cloudpickle", "numpy")]
    return sorted(
        {
            f"{needed.name}=={importlib.metadata.version(needed.name)}"
            for needed in wanted
            if needed.marker is None or needed.marker.evaluate({"extra": ""})
        }
    )


def distribution() -> str:
    """Return the name under which the project is installed."""
    file = project_path() / "pyproject.toml"
    declared = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
    ours = declared.get("tool", {}).get("kedro", {}).get("package_name") == PACKAGE
    return str(declared.get("project", {}).get("name", PACKAGE)) if ours else PACKAGE


@functools.cache
def start_bare_process() -> subprocess.Popen[str]:
    """Start a Python that can't import the project; it waits for a model to load.

    It starts early and imports while training runs; when this process ends, it does.
    """
    script = Path(__file__).with_name("bare_process.py")
    return subprocess.Popen(  # noqa: S603 (our own script)
        [sys.executable, "-P", str(script), PACKAGE],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_answers(model_id: str, expected: Any) -> None:
    """Refuse a model that fails, or answers otherwise, without the project."""
    import mlflow
    import pandas as pd

    process = start_bare_process()
    start_bare_process.cache_clear()
    with tempfile.TemporaryDirectory() as folder:
        model = mlflow.artifacts.download_artifacts(f"models:/{model_id}")
        result = Path(folder, "answer.json")
        _, stderr = process.communicate(json.dumps([model, str(result)]))
        if process.returncode:
            raise BlueprintError(
                "The model does not work without the project, so it was not "
                f"registered: {stderr.strip().splitlines()[-1]}"
            )
        answer = pd.DataFrame(json.loads(result.read_text()))
    pd.testing.assert_frame_equal(
        answer, expected.reset_index(drop=True), check_dtype=False, rtol=1e-9
    )


def refuse_late_imports(package: Path) -> None:
    """Refuse imports of the project inside functions: a version would run new code."""
    for file in sorted(package.rglob("*.py")):
        if file.parent == package or "mlops" in file.parts:
            continue
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            inside = isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for line in ast.walk(function) if inside else ():
                if isinstance(line, IMPORT) and OURS.search(ast.unparse(line)):
                    raise BlueprintError(
                        f"{file}:{line.lineno}: imported inside a function, so an old "
                        "version would run new code: move it to the file's top."
                    )
