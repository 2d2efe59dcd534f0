"""A script: load a logged model where the project can't be imported, and ask it."""

import gc
import json
import sys
from pathlib import Path


def main() -> None:
    """Import first, then read ``[model path, result path]`` and write the answer."""
    gc.disable()  # a short life; everything imported is needed until its end
    # From now on, importing the project fails as if it were not installed.
    sys.modules[sys.argv[1]] = None  # type: ignore[assignment]
    # What most models need, imported while training still runs.
    import kedro_mlflow.mlflow  # noqa: F401
    import mlflow.pyfunc
    import sklearn.ensemble  # noqa: F401

    if not (job := sys.stdin.readline()):
        return
    model_path, result_path = json.loads(job)
    # To look for packages of other versions takes longer than to load the model.
    model = mlflow.pyfunc.load_model(model_path, suppress_warnings=True)
    answer = model.predict(model.input_example)
    Path(result_path).write_text(json.dumps(answer.to_dict(orient="list")))
    gc.freeze()


if __name__ == "__main__":
    main()
