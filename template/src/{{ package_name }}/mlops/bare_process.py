"""A script: load a logged model where the project can't be imported, and ask it."""

import json
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any


class WithoutProject(MetaPathFinder):
    """Finds everything but one package, as in a process that does not have it."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        """Refuse the package and its modules; leave the others to the next finder."""
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named '{name}' without the project")


def main() -> None:
    """Import first, then read ``[model path, result path]`` and write the answer."""
    sys.meta_path.insert(0, WithoutProject(sys.argv[1]))
    # What most models need, imported while training still runs.
    import kedro_mlflow.mlflow  # noqa: F401
    import mlflow.pyfunc
    import sklearn.compose
    import sklearn.ensemble  # noqa: F401

    if not (job := sys.stdin.readline()):
        return
    model_path, result_path = json.loads(job)
    model = mlflow.pyfunc.load_model(model_path)
    answer = model.predict(model.input_example)
    Path(result_path).write_text(json.dumps(answer.to_dict(orient="list")))


if __name__ == "__main__":
    main()
