"""100,000 rows through the compiled pipeline and through the fitted objects, in turns.

Run in a project, by its interpreter: python bulk.py PACKAGE
"""

import importlib
import logging
import statistics
import sys
import time

import mlflow
import pandas as pd

ROWS, ROUNDS, FLOOR = 100_000, 7, 0.9


def main() -> None:
    """Print the ratio of the speeds; fail if it is below the floor."""
    package = sys.argv[1]
    compiling = importlib.import_module(f"{package}.mlops.serving.compile")
    training = importlib.import_module(f"{package}.pipelines.training.nodes")
    predicting = importlib.import_module(f"{package}.pipelines.training.predicting")
    model = mlflow.pyfunc.load_model(f"models:/{package}@champion")
    logging.getLogger("kedro").setLevel(logging.CRITICAL)
    compiled = compiling.compile_pipeline(model)
    objects = compiled.artifacts
    file = "data/05_model_input/held_out_instances.csv"
    rows = pd.read_csv(file, index_col=0).sample(ROWS, replace=True, random_state=0)
    rows = rows.reset_index(drop=True)

    def by_hand() -> pd.DataFrame:
        features = training.transform(rows, objects["preprocessor"])
        return predicting.predict(features, objects["model"], 0.5)

    ours, theirs = [], []
    contestants = [(lambda: compiled(rows, {}), ours), (by_hand, theirs)]
    for number in range(ROUNDS):
        for predict, times in contestants if number % 2 else reversed(contestants):
            started = time.process_time()
            predict()
            times.append(time.process_time() - started)
    pd.testing.assert_frame_equal(compiled(rows, {}), by_hand())
    ratio = statistics.median(theirs) / statistics.median(ours)
    speed = ROWS / statistics.median(ours)
    print(
        f"{speed:,.0f} rows a second compiled; {ratio:.2f} of the fitted objects alone"
    )
    sys.exit(ratio < FLOOR)


if __name__ == "__main__":
    main()
