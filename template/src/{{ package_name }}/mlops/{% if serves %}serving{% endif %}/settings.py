"""What a server is told when it starts: the options of ``kedro model serve``."""

from dataclasses import dataclass, field
from typing import Any


def option(default: Any, help: str) -> Any:
    """Return a field that is an option of the command as well."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Settings:
    """The options, what the configuration says, and the accepted tokens."""

    model_uri: str
    model_name: str
    env: str | None
    tokens: tuple[str, ...]
    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0: every network.")
    port: int = option(8000, "Port to listen on.")
    workers: int = option(1, "Processes, each with the model in its memory.")
    threads: int = option(1, "Numeric threads of a process.")
    batching: bool = option(True, "Predict requests that wait together.")
    strict: bool = option(False, "Refuse what the signature does not name.")
    max_rows: int = option(10_000, "Rows of a request.")
    max_body_bytes: int = option(10_000_000, "Bytes of a request.")
    max_queue: int = option(1_000, "Requests that may wait; others get 429.")
    timeout: float = option(30.0, "Seconds for a request.")
    reload_seconds: float = option(10.0, "How often to look where the alias points.")
    drain_seconds: float = option(1.0, "How long to be unready before stopping.")
    challenger_share: float = option(0.0, "Share of ids that the challenger answers.")
    split_by: str = option("X-Request-Id", "Header with the id; else a request's id.")
    payload_log: str = option("", "Folder for Parquet files, or catalog:DATASET.")
    payload_share: float = option(1.0, "Share of requests in the payload log.")
    payload_max_bytes: int = option(10**9, "Size of its folder; old files go.")
    payload_exclude: str = option("", "Columns that are never logged, by commas.")
    token_file: str = option("", "Tokens, one a line; or set MODEL_SERVER_TOKENS.")
