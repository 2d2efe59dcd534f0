"""Which version answers: aliases followed, and a sticky share for the challenger."""

import asyncio
import hashlib
import logging

from starlette.exceptions import HTTPException

from ..registry import version_of
from . import metrics
from .loading import Served, load
from .settings import Settings

logger = logging.getLogger(__name__)


class Variant:
    """One alias (or a fixed model): the version that answers, and its successor."""

    def __init__(self, name: str, uri: str, settings: Settings) -> None:
        self.name, self._uri, self._settings = name, uri, settings
        self.served: Served | None = None
        self._model, _, self._alias = uri.removeprefix("models:/").partition("@")

    async def refresh(self) -> None:
        """Load what the alias points at now beside what serves, then switch."""
        old, new, version, uri = self.served, None, None, self._uri
        if self._alias:
            version = await asyncio.to_thread(version_of, self._model, self._alias)
            if version is None and self.name == "champion":
                raise LookupError(f"{self._model} has no champion")
            if version == (old and old.version):
                return
            uri = f"models:/{self._model}/{version}"
        if version or not self._alias:
            asked = (uri, self.name, version, self._settings)
            new = await asyncio.to_thread(load, *asked)
        self.served = new
        for served, value in ((old, 0), (new, 1)):
            if served:
                labels = (self.name, served.version, served.compiled)
                metrics.model.labels(*labels).set(value)
        if old:
            metrics.reloads.labels("ok").inc()
            await old.batcher.close()

    async def follow(self) -> None:
        """Refresh for ever; after a failure the old version serves on."""
        while self._alias:
            await asyncio.sleep(self._settings.reload_seconds)
            try:
                await self.refresh()
            except Exception:
                metrics.reloads.labels("failed").inc()
                logger.exception("%s was not reloaded; the old one serves", self.name)


def choose(
    variants: list[Variant], settings: Settings, key: str, version: str | None
) -> Served:
    """Return what answers an id, always the same, or serves the version asked for.

    Raises:
        HTTPException: 503 before the model is loaded, 404 for another version.
    """
    ready = {one.name: one.served for one in variants if one.served}
    if "champion" not in ready:
        raise HTTPException(503, "The model is not loaded.", {"retry-after": "1"})
    if version is not None:
        for served in ready.values():
            if served.version == version:
                return served
        raise HTTPException(404, f"Version {version} is not served.")
    text = f"{settings.model_name}:{key}".encode()
    place = int.from_bytes(hashlib.sha256(text).digest()[:8]) / 2**64
    chosen = place < settings.challenger_share and "challenger" in ready
    return ready["challenger" if chosen else "champion"]
