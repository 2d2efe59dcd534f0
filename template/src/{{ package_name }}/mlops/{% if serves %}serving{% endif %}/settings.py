"""What a server is told when it starts: the options of ``kedro model serve``."""

from dataclasses import dataclass, field
from typing import Any

import click

COUNT, PORT = click.IntRange(1), click.IntRange(1, 65535)
SECONDS, SHARE = click.FloatRange(0, min_open=True), click.FloatRange(0, 1)


def option(default: Any, help: str, type: Any = None) -> Any:
    """Return a field that is an option of the command as well."""
    return field(default=default, metadata={"help": help, "type": type})


@dataclass(frozen=True)
class Settings:
    """The options, what the configuration says, and the accepted tokens."""

    model_uri: str
    model_name: str
    env: str | None
    tokens: tuple[bytes, ...]
    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0: every network.")
    port: int = option(8000, "Port to listen on.", PORT)
    workers: int = option(1, "Processes, each with the model in its memory.", COUNT)
    threads: int = option(1, "Numeric threads of a process.", COUNT)
    batching: bool = option(True, "Predict requests that wait together.")
    strict: bool = option(False, "Refuse what the signature does not name.")
    max_rows: int = option(10_000, "Most rows of a request.", COUNT)
    max_body_bytes: int = option(10_000_000, "Most bytes of a request.", COUNT)
    max_queue: int = option(1_000, "Requests that may wait; others get 429.", COUNT)
    timeout: float = option(30.0, "Seconds for a request.", SECONDS)
    reload_seconds: float = option(10.0, "Seconds between looks at the alias.", SECONDS)
    drain_seconds: float = option(1.0, "Seconds to be unready first when stopping.")
    challenger_share: float = option(0.0, "Share of ids for the challenger.", SHARE)
    split_by: str = option("X-Request-Id", "Header with the id; else a request's id.")
    payload_log: str = option("", "Folder for Parquet files, or catalog:DATASET.")
    payload_share: float = option(1.0, "Share of requests in the payload log.", SHARE)
    payload_max_bytes: int = option(10**9, "Most bytes in it; old files go.", COUNT)
    payload_exclude: str = option("", "Columns that are never logged, by commas.")
    token_file: str = option("", "Tokens, one a line; or set MODEL_SERVER_TOKENS.")

    @property
    def hidden(self) -> set[str]:
        """The columns that the payload log leaves out."""
        return {name.strip() for name in self.payload_exclude.split(",")} - {""}
