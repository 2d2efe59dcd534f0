"""Figures for Prometheus; several processes share a folder of files."""

import os
from typing import Any

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ROWS = [2**power for power in range(15)]
PREFIX = "model_server_"


class Metrics:
    """The server's counters, gauges and histograms, made once per process."""

    def __init__(self) -> None:
        self._shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        labels = ["route", "status", "variant"]
        self.requests = Counter(f"{PREFIX}requests", "Requests answered", labels)
        self.seconds = Histogram(
            f"{PREFIX}request_seconds", "Time to answer", ["route"], buckets=SECONDS
        )
        self.predict_seconds = Histogram(
            f"{PREFIX}predict_seconds", "Time of one prediction", buckets=SECONDS
        )
        self.batch_rows = Histogram(
            f"{PREFIX}batch_rows", "Rows predicted together", buckets=ROWS
        )
        self.queue = gauge("queue", "Requests that wait", "livesum")
        self.extra = Counter(f"{PREFIX}extra", "Unknown columns and parameters")
        labels = ["variant", "version", "compiled", "batching"]
        self.model = gauge("model", "1 for what serves a variant", "livemax", labels)
        self.reloads = Counter(f"{PREFIX}reloads", "Changes of a version", ["result"])
        self.registry = gauge("registry_reachable", "1 if it answered last", "livemin")
        self.payload_rows = Counter(f"{PREFIX}payload_rows", "Rows logged", ["result"])

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        registry = CollectorRegistry() if self._shared else REGISTRY
        if self._shared:
            multiprocess.MultiProcessCollector(registry)
        return generate_latest(registry)

    def close(self) -> None:
        """Take this process's gauges out of the shared folder."""
        if self._shared:
            multiprocess.mark_process_dead(os.getpid())


def gauge(name: str, text: str, mode: Any, labels: list[str] | None = None) -> Gauge:
    """Return a gauge, and how the gauges of several processes make one."""
    return Gauge(f"{PREFIX}{name}", text, labels or [], multiprocess_mode=mode)
