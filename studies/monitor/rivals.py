"""MAPIE's `RiskMonitoring` and River's ADWIN and Page-Hinkley on streams in a file, each with its own defaults.

Run by ``studies.monitor.run`` with the Python of an environment that has ``mapie`` and ``river``, as they need not
be in the project's own: ``python rivals.py streams.npz out.csv``.
"""

from __future__ import annotations

import sys

import numpy as np


def first(flags: np.ndarray) -> int:
    """The first place that is flagged, or -1."""
    return int(np.argmax(flags)) if flags.any() else -1


def risk_monitoring(wrong: np.ndarray, limit: float) -> int:
    """Where the lower bound of the error is above the limit; of its level of 5% half is for the bound."""
    from mapie.exchangeability_testing import RiskMonitoring

    monitor = RiskMonitoring(risk="accuracy", threshold=limit, warn=False)
    monitor.update(np.ones(len(wrong), dtype=int), 1 - wrong.astype(int))
    return first(monitor.online_risk_lower_bound_sequence_history > limit)


def drift(detector: object, log: np.ndarray, stream: np.ndarray) -> int:
    """Where a detector that has seen the log says so, or -1."""
    for x in log:
        detector.update(float(x))  # type: ignore[attr-defined]
    for t, x in enumerate(stream):
        detector.update(float(x))  # type: ignore[attr-defined]
        if detector.drift_detected:  # type: ignore[attr-defined]
            return t
    return -1


def measure(source: str, target: str) -> None:
    from river.drift import ADWIN, PageHinkley

    held = np.load(source)
    lines = ["stream,method,at"]
    for i in range(len(held["confidence"])):
        pairs = {"confidence": (held["log_confidence"][i], held["confidence"][i])}
        pairs["error"] = held["log_wrong"][i], held["wrong"][i]
        found = {"RiskMonitoring on errors": risk_monitoring(held["wrong"][i], float(held["limit"]))}
        for name, (log, stream) in pairs.items():
            found[f"ADWIN on {name}"] = drift(ADWIN(clock=1), log, stream)
            found[f"Page-Hinkley on {name}"] = drift(PageHinkley(), log, stream)
        lines += [f"{i},{name},{at}" for name, at in found.items()]
    with open(target, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    measure(*sys.argv[1:])
