"""Write deploy/compose/.env, which holds random passwords, unless it is there."""

import secrets
import sys
from pathlib import Path

FILE = Path(__file__).with_name(".env")
FIXED = {
    # For commands on this machine: `uv run --env-file deploy/compose/.env kedro run`.
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
    "MLFLOW_TRACKING_USERNAME": "admin",
}
RANDOM = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "MODEL_SERVER_TOKENS",
    "POSTGRES_PASSWORD",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
)


def main() -> None:
    """Write the file, readable by its owner alone; refuse where it is there."""
    settings = FIXED | {name: secrets.token_hex(20) for name in RANDOM}
    try:
        FILE.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        sys.exit(f"{FILE} is there: the database knows its passwords. Nothing changed.")
    lines = [f"{name}={value}\n" for name, value in settings.items()]
    FILE.write_text("".join(lines), "utf-8")
    sys.stdout.write(f"Wrote {FILE}; git ignores it.\n")


if __name__ == "__main__":
    main()
