"""Serve a registered model over REST with MLflow's own scoring server, in process."""

import logging
import socket

from .errors import BlueprintError


def serve(model_uri: str, host: str, port: int) -> None:
    """Load the model and answer ``/invocations``, ``/ping`` and ``/version``.

    MLflow's command would start its server through a shell and PATH; its application
    is the same one, so it is run here.

    Raises:
        BlueprintError: if the port is in use, before the model is loaded.
    """
    require_free_port(host, port)
    import mlflow
    import uvicorn
    from mlflow.pyfunc import scoring_server

    for name in ("kedro", "kedro_mlflow", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    application = scoring_server.init(mlflow.pyfunc.load_model(model_uri))
    print(f"Serving {model_uri} at http://{host}:{port}/invocations", flush=True)  # noqa: T201
    uvicorn.run(application, host=host, port=port, log_level="warning")


def require_free_port(host: str, port: int) -> None:
    """Refuse a port that another process listens on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BlueprintError(
                f"Port {port} of {host} can't be used ({error.strerror}): stop what "
                f"listens there, or choose another with `--port {port + 1}`."
            ) from error
