"""What the model would get wrong with all labels: fits on whole pooled logs, held against the same logs.

Run from the project's root: ``python -m studies.bands.limit``. Keeps its table in ``build/bands_limit.csv``, which
`studies.bands.run` reads for ``docs/evidence/bands.md``. Needs the logs in ``../shared/data``.
"""

import warnings
from collections.abc import Sequence
from itertools import product
from typing import Any

import bayescascade as bc
from studies.common import resplits as rs
from studies.common.command import Run, parse
from studies.common.logs import require_logs
from studies.common.resume import Rows

HOW: dict[str, Any] = {"draws": 60, "tune": 150, "chains": 2, "cores": 1, "log_likelihood": False}


def table_of(run: Run) -> Rows:
    """Model and log along the frontier of each fit, by log and number of stages."""
    return run.rows(("log", "k"), "bands_limit")


def one(name: str, k: int) -> list[dict[str, float]]:
    """Error and cost along one frontier, as the model expects them and as the log has them."""
    log = rs.pooled(name, k)
    of = rs.curve(bc.fit(log, random_seed=1, progressbar=False, **HOW), log)
    means = of["error"].mean(axis=0), of["held_error"], of["cost"].mean(axis=0), of["held_cost"]
    names = ("point", "error", "held_error", "cost", "held_cost")
    return [dict(zip(names, (i, *row), strict=True)) for i, row in enumerate(zip(*means, strict=True))]


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("bands", __doc__, argv, module="limit", logs=rs.LOGS)
    require_logs()
    warnings.simplefilter("ignore", bc.CascadeWarning)
    rows = table_of(run)
    cells = [(name, k) for k, name in product(rs.CASCADES, run.logs)]
    for cell in rows.missing(cells[:1] if run.quick else cells):
        found = one(*cell)
        rows.add(cell, found)
        gap = sum(row["error"] - row["held_error"] for row in found) / len(found)
        print(*cell, round(float(gap), 4), flush=True)


if __name__ == "__main__":
    main()
