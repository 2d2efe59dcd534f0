"""Stop before the first node what would lose a model, or hang."""

import logging
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from .errors import BlueprintError
from .lineage.shared_run import shared_run_id
from .packaging import is_paired

logger = logging.getLogger(__name__)
SECONDS_TO_ANSWER = 10


class GuardHooks:
    """Checks that run before kedro-mlflow opens a run."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Refuse a server that does not answer, and a database of another MLflow."""
        from .migration.schema import require_current_schema

        server = context.config_loader["mlflow"].get("server", {})
        # Only what `kedro model migrate` migrates, which the refusal names.
        require_current_schema(server.get("mlflow_tracking_uri") or "")
        for key in ("mlflow_tracking_uri", "mlflow_registry_uri"):
            uri = server.get(key) or ""
            if uri.startswith(("http://", "https://")):
                require_answer(uri)

    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Refuse a run that lacks an input or would not log its model whole."""
        if unknown := sorted(n for n in pipeline.inputs() if n not in catalog):
            raise BlueprintError(
                f"conf/ has no {', '.join(unknown)}: add it to parameters_*.yml or "
                "catalog*.yml, or correct the name there."
            )
        from kedro.framework.project import pipelines

        named = run_params["pipeline_names"] or []
        paired = {name: whole for name, whole in pipelines.items() if is_paired(whole)}
        for name, whole in paired.items():
            fitting = set(whole.nodes) - set(whole.inference.nodes)
            logs_model = is_paired(pipeline) and name in named
            # A shared run logs the model when it is closed.
            waits = shared_run_id() and not is_paired(pipeline)
            if waits or not (logs_model or fitting & set(pipeline.nodes)):
                continue
            if reason := why_lossy(name, whole, pipeline, run_params):
                alone = f"run it alone: `kedro run --pipelines {name}`"
                raise BlueprintError(f"{reason}; {alone}.")
            warn_if_untraceable(Path(run_params["project_path"]))


def why_lossy(name: str, whole: Any, pipeline: Pipeline, run_params: Any) -> str | None:
    """Return why a run would not log a paired pipeline whole, None if it would."""
    if not is_paired(pipeline):
        return f"'{name}' would lose its model when joined with others"
    if set(pipeline.nodes) != set(whole.nodes):
        return f"A part of '{name}' would log no whole model"
    if "ParallelRunner" in run_params["runner"]:
        return f"ParallelRunner can't track '{name}' (ThreadRunner can)"
    if run_params["only_missing_outputs"]:
        return f"--only-missing-outputs would log '{name}' without its metrics"
    return None


def require_answer(uri: str) -> None:
    """Refuse a server that gives no HTTP answer at all; a refusal is an answer."""
    import requests
    from mlflow import environment_variables as settings

    verify = settings.MLFLOW_TRACKING_SERVER_CERT_PATH.get() or (
        not settings.MLFLOW_TRACKING_INSECURE_TLS.get()
    )
    try:
        address = f"{uri.rstrip('/')}/health"
        requests.get(address, timeout=SECONDS_TO_ANSWER, verify=verify)
    except requests.RequestException as error:
        raise BlueprintError(
            f"The MLflow server at {uri} does not answer ({type(error).__name__}): "
            "is it running, and is MLFLOW_TRACKING_URI right?"
        ) from error


def warn_if_untraceable(project: Path) -> None:
    """Warn if the version can't be traced to a commit or to a lock file."""
    if not any((folder / ".git").exists() for folder in (project, *project.parents)):
        logger.warning("No git repository: no commit is recorded (`git init`).")
    if not (project / "uv.lock").is_file():
        logger.warning("No uv.lock: the environment is not pinned (`uv lock`).")
