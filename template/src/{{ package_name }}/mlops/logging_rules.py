"""What `logging:` in artifacts.yml may say: what is logged at all."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel


class LoggingRules(BaseModel, extra="forbid"):
    """Rules at the door."""

    def problems(self, catalog: Any) -> Iterable[tuple[tuple[str | int, ...], str]]:
        """Yield where a rule matches nothing, and why."""
        return ()
