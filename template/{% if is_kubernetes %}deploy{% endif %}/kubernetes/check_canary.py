"""Compare a canary with what is stable, by the figures that both servers count.

    uv run python deploy/kubernetes/check_canary.py \
        --stable http://127.0.0.1:8001 --canary http://127.0.0.1:8002 --seconds 300

Exit status: 0 widen it, 1 back out, 2 too few requests to tell. Only predictions
count. One fails if it ends with 400 (the model could not answer) or with 500 and above.
A server whose figures can't be read is a reason to back out. MODEL_SERVER_TOKENS, if
set, signs in.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.request import Request, urlopen

from prometheus_client.parser import text_string_to_metric_families as parse

PREDICTIONS = ("invocations", "infer")


@dataclass
class Figures:
    """What servers counted: predictions, failed ones, and the time that they took."""

    requests: float = 0
    failed: float = 0
    seconds: float = 0

    def __sub__(self, before: "Figures") -> "Figures":
        """Return what was counted in between."""
        return Figures(
            self.requests - before.requests,
            self.failed - before.failed,
            self.seconds - before.seconds,
        )

    @property
    def failing(self) -> float:
        """The share of predictions that failed."""
        return self.failed / self.requests if self.requests else 0

    @property
    def latency(self) -> float:
        """The mean time of a prediction in seconds."""
        return self.seconds / self.requests if self.requests else 0


def read_figures(urls: Iterable[str]) -> Figures:
    """Return what several servers counted so far, added up."""
    total = Figures()
    token = os.environ.get("MODEL_SERVER_TOKENS", "").split()[:1]
    headers = {"Authorization": f"Bearer {token[0]}"} if token else {}
    for url in urls:
        request = Request(f"{url}/metrics", headers=headers)  # noqa: S310
        with urlopen(request, timeout=10) as answer:  # noqa: S310
            families = list(parse(answer.read().decode()))
        for sample in (sample for family in families for sample in family.samples):
            if sample.labels.get("route") not in PREDICTIONS:
                continue
            if sample.name == "model_server_request_seconds_count":
                status = int(sample.labels["status"])
                total.requests += sample.value
                total.failed += sample.value * (status == 400 or status >= 500)
            elif sample.name == "model_server_request_seconds_sum":
                total.seconds += sample.value
    return total


def judge(
    stable: Figures, canary: Figures, least: int, more: float, slower: float
) -> tuple[int, str]:
    """Return the exit status, and the sentence that goes with it."""
    said = (
        f"canary: {canary.requests:.0f} predictions, {canary.failing:.1%} failed, "
        f"{canary.latency * 1000:.1f} ms; stable: {stable.requests:.0f}, "
        f"{stable.failing:.1%}, {stable.latency * 1000:.1f} ms."
    )
    if canary.failed >= least / 10 and canary.failing > stable.failing + more:
        return 1, f"Back out, it fails more often: {said}"
    if min(stable.requests, canary.requests) < least:
        return 2, f"Too early to tell, {least} predictions of each are needed: {said}"
    if canary.latency > stable.latency * slower:
        return 1, f"Back out, it is {slower:g} times as slow: {said}"
    return 0, f"Widen it: {said}"


def main() -> int:
    """Read the figures twice, and say what to do."""
    parser = argparse.ArgumentParser(description="Judge a canary by its figures.")
    parser.add_argument("--stable", action="append", required=True, metavar="URL")
    parser.add_argument("--canary", action="append", required=True, metavar="URL")
    parser.add_argument("--seconds", type=float, default=300, help="How long to watch.")
    parser.add_argument("--least", type=int, default=100, help="Predictions of each.")
    parser.add_argument("--more", type=float, default=0.01, help="Extra failures.")
    parser.add_argument("--slower", type=float, default=2, help="Times as slow.")
    options = parser.parse_args()
    try:
        before = read_figures(options.stable), read_figures(options.canary)
        time.sleep(options.seconds)
        after = read_figures(options.stable), read_figures(options.canary)
    except OSError as error:
        sys.stdout.write(f"Back out, a server does not answer: {error}\n")
        return 1
    stable, canary = (now - then for now, then in zip(after, before, strict=True))
    status, sentence = judge(
        stable, canary, options.least, options.more, options.slower
    )
    sys.stdout.write(f"{sentence}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
