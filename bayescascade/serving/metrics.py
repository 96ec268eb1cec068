"""What a server counts, in the format that Prometheus reads."""

from __future__ import annotations

import math
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from bayescascade.runtime.result import Result

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0)


class Metrics:
    """Counts of one app, in a registry of its own, so that several may live in one process.

    Examples
    --------
    >>> metrics = Metrics("0a1b", "bayescascade")
    >>> metrics.responded(200, 0.3)
    >>> b'bayescascade_requests_total{status="200"} 1.0' in metrics.text()
    True
    """

    def __init__(self, policy_id: str, model: str) -> None:
        self._registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self._registry, "namespace": "bayescascade"}
        Info("policy", "The policy that is served.", **own).info({"id": policy_id, "model": model})
        self.open = Gauge("requests_open", "Requests that run or wait.", **own)
        self._requests = Counter("requests", "Requests, by the status of the response.", ["status"], **own)
        self._seconds = Histogram("request_seconds", "From the request to its response.", buckets=SECONDS, **own)
        self._queries = Counter("queries", "Queries, by stage and how they ended.", ["stage", "decision"], **own)
        self._calls = Counter("calls", "Calls of stages, by what was decided.", ["stage", "decision"], **own)
        self._cost = Counter("cost", "Cost of the calls, where it is known.", ["stage"], **own)
        self._latency = Histogram("call_seconds", "Seconds of a call.", ["stage"], buckets=SECONDS, **own)

    def responded(self, status: int, seconds: float) -> None:
        """Count a response."""
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def ended(self, result: Result) -> None:
        """Count a query that was run, and its calls."""
        self._queries.labels(result.stage, result.decision).inc()
        for step in result.decisions:
            self._calls.labels(step.stage, step.decision).inc()
            if step.cost >= 0.0:
                self._cost.labels(step.stage).inc(step.cost)
            if not math.isnan(step.latency):
                self._latency.labels(step.stage).observe(step.latency)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)
