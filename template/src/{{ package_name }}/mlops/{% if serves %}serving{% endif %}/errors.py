"""What a client is told when a request is not answered with predictions."""

from typing import Any


class Refused(Exception):  # noqa: N818 (it is an answer)
    """A request that gets ``status`` and one sentence, never a stack trace."""

    def __init__(self, status: int, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason
        self.headers = {k.replace("_", "-"): v for k, v in headers.items()}


def show(value: Any) -> str:
    """Return a short form of a value, for a message."""
    text = ascii(value) if not isinstance(value, int) else str(value)[:41]
    return text if len(text) <= 40 else f"{text[:37]}..."
