"""Projects of teams that have never heard of the template."""

from pathlib import Path
from textwrap import dedent

from .support import commit_all

# A team's own style: hooks, settings, namespaces, a catalog with factories, parameters
# and data sets named like the template's that are something else, requirements.txt.
CHURN = {
    "pyproject.toml": """
        [build-system]
        requires = ["setuptools>=77"]
        build-backend = "setuptools.build_meta"

        [project]
        name = "acme-churn-models"
        version = "3.4.0"
        requires-python = ">=3.11"
        dynamic = ["dependencies"]

        [tool.setuptools.dynamic]
        dependencies = { file = ["requirements.txt"] }

        [tool.setuptools.packages.find]
        where = ["src"]

        [tool.kedro]
        package_name = "churn"
        project_name = "Churn Models"
        kedro_init_version = "1.7.0"
        source_dir = "src"
        """,
    "requirements.txt": """
        # What we need
        kedro>=1.7,<2
        kedro-datasets[pandas-csvdataset]>=9.6
        pandas>=3.0.1
        scikit-learn>=1.9
        """,
    ".gitignore": """
        .venv/
        __pycache__/
        *.egg-info/
        data/0[2-8]*/
        """,
    "README.md": """
        # Churn

        Ask Ada.
        """,
    "conf/logging.yml": """
        version: 1
        disable_existing_loggers: false
        handlers:
          console: {class: logging.StreamHandler}
        root: {level: INFO, handlers: [console]}
        """,
    "conf/base/globals.yml": """
        layer: data
        """,
    "conf/base/parameters.yml": """
        columns: [tenure, calls]
        regularisation: 1.0
        """,
    "conf/base/catalog.yml": """
        customers_raw:
          type: pandas.CSVDataset
          filepath: ${globals:layer}/01_raw/customers.csv

        customers:
          type: pandas.CSVDataset
          filepath: ${globals:layer}/02_intermediate/customers.csv

        labels:
          type: pandas.CSVDataset
          filepath: ${globals:layer}/02_intermediate/labels.csv

        "{namespace}.{name}_model":
          type: pickle.PickleDataset
          filepath: ${globals:layer}/06_models/${half:12}/{namespace}_{name}.pkl
        """,
    "conf/local/.gitkeep": "",
    "src/churn/__init__.py": '"""Churn."""\n',
    "src/churn/hooks.py": """
        from pathlib import Path

        from kedro.framework.hooks import hook_impl


        class JournalHooks:
            @hook_impl
            def after_node_run(self, node):
                journal = Path("data/08_reporting/journal.txt")
                journal.parent.mkdir(parents=True, exist_ok=True)
                with journal.open("a") as file:
                    file.write(node.name + "\\n")
        """,
    "src/churn/settings.py": """
        from churn.hooks import JournalHooks

        HOOKS = [JournalHooks()]
        CONFIG_LOADER_ARGS = {
            "base_env": "base",
            "default_run_env": "local",
            "custom_resolvers": {"half": lambda number: int(number) // 2},
        }
        """,
    "src/churn/pipeline_registry.py": """
        from kedro.pipeline import pipeline

        from churn.pipelines.cleaning import create_cleaning
        from churn.pipelines.risk import create_fitting, create_scoring


        def register_pipelines():
            outside = {"customers": "customers"}
            fitting = pipeline(
                create_fitting(),
                namespace="risk",
                inputs={"customers", "labels"},
                parameters={"params:regularisation", "params:columns"},
            )
            scoring = pipeline(
                create_scoring(),
                namespace="risk",
                inputs=outside,
                parameters={"params:columns"},
            )
            cleaning = create_cleaning()
            return {
                "__default__": cleaning + fitting,
                "clean": cleaning,
                "fit": fitting,
                "score": scoring,
            }
        """,
    "src/churn/pipelines/__init__.py": "",
    "src/churn/pipelines/cleaning.py": """
        from kedro.pipeline import Pipeline, node


        def split(raw, columns):
            known = raw.dropna()
            return known[columns], known["left"]


        def create_cleaning():
            outputs = ["customers", "labels"]
            inputs = ["customers_raw", "params:columns"]
            return Pipeline([node(split, inputs, outputs, name="split")])
        """,
    "src/churn/pipelines/risk.py": """
        import pandas as pd
        from kedro.pipeline import Pipeline, node
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler


        def fit(customers, labels, columns, regularisation):
            model = make_pipeline(
                StandardScaler(), LogisticRegression(C=regularisation)
            )
            return model.fit(customers[columns], labels["left"])


        def score(customers, model, columns):
            risk = model.predict_proba(customers[columns])[:, 1]
            return pd.DataFrame({"risk": risk}, index=customers.index)


        def create_fitting():
            inputs = ["customers", "labels", "params:columns", "params:regularisation"]
            return Pipeline([node(fit, inputs, "churn_model", name="fit")])


        def create_scoring():
            inputs = ["customers", "churn_model", "params:columns"]
            return Pipeline([node(score, inputs, "risks", name="score")])
        """,
    "src/churn/project_cli.py": '''
        """The team's own commands."""

        import click


        @click.group()
        def cli():
            """Commands of the team."""


        @cli.command()
        def greet():
            """Greet."""
            click.echo("Hello from the churn team.")
        ''',
    "tests/test_risk.py": """
        from churn.pipelines.risk import create_scoring


        def test_scoring_takes_customers():
            assert "customers" in create_scoring().inputs()
        """,
}

# Tracked with kedro-mlflow already: own mlflow.yml, a paired pipeline, metrics.
PRICING = {
    "pyproject.toml": """
        [build-system]
        requires = ["setuptools>=77"]
        build-backend = "setuptools.build_meta"

        [project]
        name = "pricing"
        version = "0.9.0"
        dependencies = [
            "kedro>=1.7,<2",
            "kedro-datasets[pandas-csvdataset]>=9.6",
            "kedro-mlflow>=2.0.3",
            "scikit-learn",
        ]

        [tool.setuptools.packages.find]
        where = ["src"]

        [tool.kedro]
        package_name = "pricing"
        project_name = "Pricing"
        kedro_init_version = "1.7.0"
        """,
    ".gitignore": """
        .venv
        __pycache__/
        *.egg-info/
        mlflow.db
        mlruns/
        data/0[2-8]*/
        """,
    "conf/base/mlflow.yml": """
        server:
          mlflow_tracking_uri: sqlite:///mlflow.db
        tracking:
          experiment:
            name: prices of 2026
        """,
    "conf/base/parameters.yml": """
        target: price
        """,
    "conf/base/catalog.yml": """
        offers:
          type: pandas.CSVDataset
          filepath: data/01_raw/offers.csv

        features:
          type: pandas.CSVDataset
          filepath: data/04_feature/features.csv

        regressor:
          type: pickle.PickleDataset
          filepath: data/06_models/regressor.pkl

        fit_metrics:
          type: kedro_mlflow.io.metrics.MlflowMetricsHistoryDataset
        """,
    "conf/local/.gitkeep": "",
    "src/pricing/__init__.py": "",
    "src/pricing/settings.py": '"""Kedro\'s defaults."""\n',
    "src/pricing/pipeline_registry.py": """
        from kedro.framework.project import find_pipelines
        from kedro.pipeline import Pipeline
        from kedro_mlflow.pipeline import pipeline_ml_factory

        from pricing.pipelines.modelling import create_pipeline


        def register_pipelines():
            pipelines = find_pipelines()
            pipelines["__default__"] = sum(pipelines.values(), Pipeline([]))
            both = create_pipeline()
            pipelines["modelling"] = pipeline_ml_factory(
                training=both,
                inference=both.only_nodes_with_tags("answer"),
                input_name="features",
            )
            return pipelines
        """,
    "src/pricing/pipelines/__init__.py": "",
    "src/pricing/pipelines/preparing/__init__.py": """
        from kedro.pipeline import Pipeline, node


        def prepare(offers):
            return offers.dropna()


        def create_pipeline():
            return Pipeline([node(prepare, "offers", "features")])
        """,
    "src/pricing/pipelines/modelling/__init__.py": """
        import pandas as pd
        from kedro.pipeline import Pipeline, node
        from sklearn.linear_model import LinearRegression


        def fit(features, target):
            frame = features.drop(columns=target)
            model = LinearRegression().fit(frame, features[target])
            score = model.score(frame, features[target])
            return model, {"r2": {"value": score, "step": 0}}


        def answer(features, regressor):
            frame = features[list(regressor.feature_names_in_)]
            return pd.DataFrame({"price": regressor.predict(frame)}, index=frame.index)


        def create_pipeline():
            fitting = ["features", "params:target"]
            return Pipeline(
                [
                    node(fit, fitting, ["regressor", "fit_metrics"]),
                    node(answer, ["features", "regressor"], "prices", tags="answer"),
                ]
            )
        """,
}

# What a reader of Kedro's own tutorial has after `kedro new`: one pipeline.
COUNTING = {
    "conf/base/catalog.yml": """
        orders:
          type: pandas.CSVDataset
          filepath: data/01_raw/orders.csv

        totals:
          type: pandas.CSVDataset
          filepath: data/03_primary/totals.csv
        """,
    "data/01_raw/orders.csv": """
        shop,amount
        a,1
        b,2
        a,3
        """,
    "src/plain_shop/pipelines/counting/__init__.py": """
        from kedro.pipeline import Pipeline, node


        def total(orders):
            return orders.groupby("shop", as_index=False).sum()


        def create_pipeline(**kwargs):
            return Pipeline([node(total, "orders", "totals", name="total")])
        """,
}


def write_project(folder: Path, files: dict[str, str]) -> Path:
    """Write a project's files over what is there, and commit them."""
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text).lstrip("\n"), "utf-8")
    commit_all(folder, "What the team has")
    return folder


def with_rows(files: dict[str, str], name: str, header: str) -> dict[str, str]:
    """Return a project's files and a table of 60 rows, the last number noisy."""
    rows = [
        f"{i},{i * 7 % 11},{int(i + i * 7 % 11 > 32)}"
        if header.endswith("left")
        else f"{i},{i * 7 % 11},{3 * i + i * 7 % 11}"
        for i in range(60)
    ]
    return files | {name: "\n".join([header, *rows, ""])}
