"""Which version answers: aliases followed, and a sticky share for the challenger."""

import asyncio
import hashlib
import logging

from .errors import Refused
from .loading import Served, load
from .metrics import Metrics
from .settings import Settings

logger = logging.getLogger(__name__)
SLOWEST = 32  # times the usual interval between two attempts after failures


class Variant:
    """One alias (or a fixed model): the version that answers, and its successor."""

    def __init__(
        self, name: str, uri: str, settings: Settings, metrics: Metrics
    ) -> None:
        self.name = name
        self.served: Served | None = None
        self._uri, self._settings, self._metrics = uri, settings, metrics
        self._model, _, self._alias = uri.removeprefix("models:/").partition("@")

    async def refresh(self) -> None:
        """Load what the alias points at now beside what serves, then switch."""
        from ..registry import version_of

        version, uri = None, self._uri
        if self._alias:
            try:
                version = await asyncio.to_thread(version_of, self._model, self._alias)
            except Exception:
                self._metrics.registry.set(0)
                raise
            self._metrics.registry.set(1)
            if version is None and self.name == "champion":
                raise LookupError(f"{self._model} has no champion any more")
            if version == (self.served.version if self.served else None):
                return
            uri = f"models:/{self._model}/{version}"
        new = None
        if version or not self._alias:
            new = await asyncio.to_thread(
                load, uri, version, self._settings, self._metrics
            )
        old, self.served = self.served, new
        for served, value in ((old, 0), (new, 1)):
            if served:
                labels = (served.version, served.compiled, served.batcher.together)
                self._metrics.model.labels(self.name, *labels).set(value)
        logger.info("%s is now version %s", self.name, new and new.version)
        if old:
            await old.batcher.close()

    async def follow(self) -> None:
        """Refresh for ever; after a failure the old version serves, less is tried."""
        pause = self._settings.reload_seconds
        while self._alias:
            await asyncio.sleep(pause)
            before = self.served
            try:
                await self.refresh()
            except Exception:
                self._metrics.reloads.labels("failed").inc()
                logger.exception("%s was not reloaded; the old one serves", self.name)
                pause = min(2 * pause, SLOWEST * self._settings.reload_seconds)
            else:
                pause = self._settings.reload_seconds
                if self.served is not before:
                    self._metrics.reloads.labels("ok").inc()


class Split:
    """Sends a share of the ids to the challenger, always the same ones."""

    def __init__(self, variants: list[Variant], settings: Settings) -> None:
        self.variants = variants
        self._share, self._salt = settings.challenger_share, settings.model_name

    def choose(self, key: str, version: str | None) -> tuple[str, Served]:
        """Return the variant for an id, or the one that serves an asked version."""
        ready = {one.name: one.served for one in self.variants if one.served}
        if "champion" not in ready:
            raise Refused(503, "The model is not loaded yet.", retry_after="1")
        if version is not None:
            for name, served in ready.items():
                if served.version == version:
                    return name, served
            raise Refused(404, f"Version {version} is not served.")
        chosen = fraction(f"{self._salt}:{key}") < self._share
        name = "challenger" if chosen and "challenger" in ready else "champion"
        return name, ready[name]


def fraction(text: str) -> float:
    """Return a number from 0 to 1 that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
