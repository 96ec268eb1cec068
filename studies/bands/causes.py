"""What breaks the bands on the real logs: prints the numbers that ``docs/evidence/bands.md`` quotes.

Run from the project's root: ``python -m studies.bands.causes``. Needs the logs in ``../shared/data``.
A quick run looks at the slope only.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize

import bayescascade as bc
from bayescascade.cascade.evaluate import forward_all
from bayescascade.cascade.positions import to_positions, to_thresholds, with_last
from bayescascade.cascade.rules import route
from bayescascade.induction.price_sweep import sweep
from bayescascade.model.copulas.family import get_family
from bayescascade.posterior.draws import get_draws
from bayescascade.rivals.empirical_risk import descend, price_range
from bayescascade.signals.kinds import to_signal
from studies.common import resplits as rs
from studies.common.command import parse
from studies.common.logs import arrays, require_logs

FAMILIES = ("gumbel", "clayton", "frank", "gaussian", "joe", "gumbel_180", "clayton_180", "joe_180")


def regression(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """P(y = 1) by logistic regression with hardly any ridge (query,)."""

    def loss(b: np.ndarray) -> tuple[float, np.ndarray]:
        eta = x @ b
        value = np.logaddexp(0.0, -(2 * y - 1) * eta).sum() + 1e-3 * b @ b
        return value, x.T @ (1 / (1 + np.exp(-eta)) - y) + 2e-3 * b

    best = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return 1 / (1 + np.exp(-x @ best))


def features(signal: np.ndarray) -> np.ndarray:
    """Standardised signal, held constant beyond the continuous values, and an indicator of each large atom."""
    value, count = np.unique(signal, return_counts=True)
    atoms = value[count > 0.02 * len(signal)]
    free = signal[~np.isin(signal, atoms)]
    z = (np.clip(signal, free.min(), free.max()) - free.mean()) / free.std()
    return np.column_stack([z, *(signal == a for a in atoms)])


def expected_wrong(parts: list[np.ndarray], wrong: np.ndarray, earlier: int) -> np.ndarray:
    """P(wrong) by regressions on the features of the own signal and of so many earlier ones (query, stage)."""
    one = np.ones((len(wrong), 1))
    columns = [
        [one, part, *(parts[i][:, :1] for i in range(j) if j - i <= earlier)] for j, part in enumerate(parts)
    ]
    return np.stack([1 - regression(np.hstack(x), 1 - wrong[:, j]) for j, x in enumerate(columns)], axis=1)


def labels() -> None:
    """Error by regressions on own, previous or all earlier signals less the log's, along a frontier: no copula."""
    for name in rs.LOGS:
        for k in rs.CASCADES:
            log = rs.pooled(name, k)
            confidence, wrong, cost = arrays(log)
            parts = [features(to_signal(c, log.attrs["confidence_kind"])) for c in confidence.T]
            own = expected_wrong(parts, wrong, 0)
            points = np.unique(descend(confidence, own, cost, price_range(cost, 200)), axis=0)
            paid = route(confidence, points).reach.mean(axis=2) @ cost
            at = np.linspace(paid.min(), paid.max(), 9)[1:-1]
            points = points[np.abs(paid[:, None] - at).argmin(axis=0)]
            routes = route(confidence, points)
            seen = routes.loss(wrong).mean(axis=1)
            known = (own, expected_wrong(parts, wrong, 1), expected_wrong(parts, wrong, k))
            gaps = [(routes.loss(p).mean(axis=1) - seen).mean() for p in known]
            print(f"{name} k={k}: error {seen.mean():.3f}; own, previous, all:", *(f"{g:+.4f}" for g in gaps))


def families() -> None:
    """Bias of error with all labels, the links' families exchanged at equal tau."""
    how: dict[str, Any] = {
        "draws": 40,
        "tune": 150,
        "chains": 1,
        "cores": 1,
        "log_likelihood": False,
        "progressbar": False,
    }
    for k in (2, 4):
        for name in rs.LOGS:
            log = rs.pooled(name, k)
            draws = get_draws(bc.fit(log, random_seed=1, **how))
            thresholds = with_last(to_thresholds(sweep(draws, 30)[0], draws))
            held = bc.score(log, thresholds)["error"].values
            gaps = []
            for family in FAMILIES:
                other = replace(draws, families=[get_family(family)] * len(draws.families))
                gaps.append(
                    (forward_all(other, to_positions(thresholds, draws))[0].mean(axis=0) - held)[3:-3].mean()
                )
            print(k, name, *(f"{f} {g:+.4f}" for f, g in zip(FAMILIES, gaps, strict=True)), flush=True)


def checks() -> None:
    """Which checks fail at n = 200; convergence does for want of draws."""
    for name in rs.LOGS:
        for k in (2, 4):
            results = bc.check(rs.make_fit(rs.resplit(name, k, 200, 0)[0], 0))
            print(name, k, [result.name for result in results if result.passed is False], flush=True)


def slope() -> None:
    """Accuracy by eighths of the confidence, first stage of triviaqa.llama."""
    confidence, wrong, _ = arrays(rs.pooled("triviaqa.llama", 2))
    parts = np.array_split(np.argsort(confidence[:, 0], kind="stable"), 8)
    print([round(1 - float(wrong[part, 0].mean()), 2) for part in parts])


def luck() -> None:
    """Share of top confidences among the labelled less that held out, in standard deviations: seeds 0-9, 10-19."""
    name = "triviaqa.qwen_oai"
    for n in rs.SIZES:
        z = []
        for seed in range(20):
            labelled, held_out = (arrays(part)[0][:, 0] == 0 for part in rs.resplit(name, 2, n, seed))
            p = np.append(labelled, held_out).mean()
            z.append((labelled.mean() - held_out.mean()) / np.sqrt(p * (1 - p) * (1 / n + 1 / len(held_out))))
        print(n, f"{np.mean(z[:10]):+.2f} {np.mean(z[10:]):+.2f}")


PARTS = {"labels": labels, "families": families, "checks": checks, "slope": slope, "luck": luck}


def main(argv: Sequence[str] | None = None) -> None:
    asked = parse("bands", __doc__, argv, module="causes", parts=PARTS)
    require_logs()
    warnings.simplefilter("ignore", bc.CascadeWarning)
    for part in ("slope",) if asked.quick else asked.parts:
        PARTS[part]()


if __name__ == "__main__":
    main()
