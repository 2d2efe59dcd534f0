"""Figures for Prometheus; several processes share a folder of files."""

import os
from functools import partial

import prometheus_client as prometheus
from prometheus_client import multiprocess

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ROWS = [2**power for power in range(15)]
ANSWER, SERVES = ["route", "status", "variant"], ["variant", "version", "compiled"]
counter = partial(prometheus.Counter, namespace="model_server")
histogram = partial(prometheus.Histogram, namespace="model_server")
gauge = partial(prometheus.Gauge, namespace="model_server")

requests = histogram("request_seconds", "Time to answer", ANSWER, buckets=SECONDS)
batch_rows = histogram("batch_rows", "Rows predicted together", buckets=ROWS)
extra = counter("extra", "Unknown columns and parameters")
reloads = counter("reloads", "Changes of a version", ["result"])
payload_rows = counter("payload_rows", "Rows of the payload log", ["result"])
# The mode says how the processes' gauges make one.
queue = gauge("queue", "Requests that wait", multiprocess_mode="livesum")
model = gauge("model", "1 for what serves", SERVES, multiprocess_mode="livemax")


def text() -> bytes:
    """Return all figures in Prometheus' text format."""
    registry = prometheus.REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = prometheus.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return prometheus.generate_latest(registry)


def close() -> None:
    """Take this process's gauges out of the shared folder."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]
