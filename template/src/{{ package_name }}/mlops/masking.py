"""Keep secrets out of what is logged: by key, by value, and inside addresses."""

import os
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from pydantic import BaseModel

MASK = "***"
SHORTEST = 6  # a shorter value would be found in other words
ENVIRONMENT = re.compile(r"\$\{(?:oc\.)?env:\s*([A-Za-z_]\w*)")
SIGN_IN = re.compile(r"(://[^\s/:@'\"]*):[^\s'\"]+@")
QUERY = re.compile(r"([?&;][\w-]*(?:pass|pwd|secret|token|sig|key)[\w-]*=)[^&;\s'\"]+")
ASSIGNED = re.compile(r"([\w.-]+)[=:]")


class Masker:
    """Knows which keys are secret, and the secret values that it was shown."""

    def __init__(self) -> None:
        self.patterns: list[str] = []
        self._values: set[str] = set()

    def is_secret(self, key: object) -> bool:
        """Tell whether a key, or the last part of a dotted one, matches a pattern."""
        name = str(key).lower().removeprefix("params:").rpartition(".")[2]
        return any(fnmatchcase(name, pattern.lower()) for pattern in self.patterns)

    def learn(self, data: Any) -> None:
        """Remember every text and number in ``data`` as a secret value."""
        for value in leaves(data):
            if isinstance(value, str | int) and len(str(value)) >= SHORTEST:
                self._values.add(str(value))

    def learn_environment(self, configuration: str) -> None:
        """Remember the variables that a text names, and those with a secret's name."""
        named = set(ENVIRONMENT.findall(configuration))
        for name, value in os.environ.items():
            if name in named or self.is_secret(name):
                self.learn(value)

    def text(self, text: str) -> str:
        """Return the text without passwords in addresses and without known secrets."""
        text = QUERY.sub(rf"\1{MASK}", SIGN_IN.sub(rf"\1:{MASK}@", text))
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, MASK)
        return text

    def command(self, arguments: list[str]) -> str:
        """Return a command line; arguments that set a secret key are masked whole."""
        shown = []
        for argument in arguments:
            secret = any(map(self.is_secret, ASSIGNED.findall(argument)))
            shown.append(MASK if secret else argument)
        return self.text(" ".join(shown))

    def tree(self, data: Any) -> Any:
        """Return nested data with secret keys' values masked, and learn them."""
        if isinstance(data, BaseModel):
            data = data.model_dump(by_alias=True)
        if isinstance(data, dict):
            return {key: self._item(key, value) for key, value in data.items()}
        if isinstance(data, list | tuple):
            return [self.tree(item) for item in data]
        return self.text(data) if isinstance(data, str) else data

    def _item(self, key: Any, value: Any) -> Any:
        if not self.is_secret(key) or value is None:
            return self.tree(value)
        if not any(leaf == MASK or "${" in str(leaf) for leaf in leaves(value)):
            self.learn(value)
        return MASK


def leaves(data: Any) -> Iterable[Any]:
    """Yield what nested dictionaries and lists hold, except booleans and None."""
    if isinstance(data, dict | list | tuple):
        for item in data.values() if isinstance(data, dict) else data:
            yield from leaves(item)
    elif data is not None and not isinstance(data, bool):
        yield data


MASKER = Masker()
"""What every hook of this process masks with."""
