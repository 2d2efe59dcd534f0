"""Ask the server of this pod what the champion's own example asks; fail if it can't.

Run inside a pod: `kubectl exec --stdin deployment/model-server -- python - MODEL`.
"""

import json
import os
import sys
from urllib.request import Request, urlopen

import mlflow


def main(model: str, url: str = "http://127.0.0.1:8000") -> None:
    """Send the example that is kept with a model, and show which version answered."""
    body = mlflow.artifacts.load_text(f"{model}/serving_input_example.json")
    headers = {"Content-Type": "application/json"}
    if tokens := os.environ.get("MODEL_SERVER_TOKENS", "").split():
        headers["Authorization"] = f"Bearer {tokens[0]}"
    request = Request(f"{url}/invocations", body.encode(), headers)  # noqa: S310
    with urlopen(request, timeout=60) as answer:  # noqa: S310
        version = answer.headers["X-Model-Version"]
        rows = len(json.load(answer)["predictions"])
    sys.stdout.write(f"Version {version} answered {rows} rows.\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
