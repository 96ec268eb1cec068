"""How many nodes integrate the difficulty out: rules against a fine one, on the log-likelihoods of 300 queries.

Run from the project's root: ``python -m studies.quadrature.run``. Writes ``docs/evidence/quadrature.md``.
"""

from collections.abc import Sequence
from unittest.mock import patch

import numpy as np
import xarray as xr

import bayescascade as bc
from bayescascade.inference import pointwise
from bayescascade.model import design as designs
from bayescascade.model.complete import LABEL_NODE
from bayescascade.model.design import Design, build_design
from bayescascade.model.factor import EASE, LOG_WEIGHT, N_NODES, NODES, trapezoid
from bayescascade.model.options import check_options
from studies.common.command import parse

N_QUERIES, N_DRAWS = 300, 40
Rule = tuple[np.ndarray, np.ndarray]
# stages, least and largest loading, share of queries at the highest confidence
CASES = ((2, 0.3, 0.6, 0.0), (5, 0.3, 0.6, 0.0), (5, 0.6, 0.8, 0.0), (5, 0.6, 0.8, 0.3), (5, 0.8, 0.92, 0.0))


def hermite(n: int) -> Rule:
    """Gauss-Hermite nodes and log weights for a standard normal."""
    node, weight = np.polynomial.hermite_e.hermegauss(n)
    return node, np.log(weight / weight.sum())


def rules() -> dict[str, Rule]:
    """The rules that are compared for nodes that all queries share, by name."""
    found = {f"Gauss-Hermite, {n}": hermite(n) for n in (7, 9, 13, 17, 21)}
    reaches = {7: 3.0, 9: 3.3, 11: 3.3, 13: 3.6, 15: 3.6, 17: 3.8, 21: 4.0}
    found |= {f"trapezoid, {n} within {reach}": trapezoid(n, reach) for n, reach in reaches.items()}
    return found | {f"trapezoid, {n} within 4.0": trapezoid(n, 4.0) for n in (13, 15, 17)}


def rules_of_labels() -> dict[str, Rule]:
    """Those that are compared for labels given the signals, by name."""
    reaches = ((7, 3.0), (9, 3.6), (11, 3.8))
    found = {f"Gauss-Hermite, {n}": hermite(n) for n in (5, 7, 9, 11)}
    return found | {f"trapezoid, {n} within {reach}": trapezoid(n, reach) for n, reach in reaches}


def values(n_stages: int, low: float, high: float) -> xr.Dataset:
    """Parameters drawn from realistic ranges, with the dims of a posterior."""
    rng = np.random.default_rng(5)

    def some(least: float, most: float, **sizes: int) -> tuple[tuple[str, ...], np.ndarray]:
        return ("chain", "draw", *sizes), rng.uniform(least, most, (1, N_DRAWS, *sizes.values()))

    return xr.Dataset(
        {
            "margin_split": some(0.35, 0.65, stage=n_stages, split=7),
            "tau": some(-0.1, 0.4, link=n_stages - 1),
            "intercept": some(-0.8, 1.8, stage=n_stages),
            "slope": some(0.5, 1.5, stage=n_stages),
            "atom_offset": some(-0.8, 0.8, stage=n_stages, atom=8),
            "loading": some(low, high, stage=n_stages),
            "discrimination": some(0.4, 2.0, stage=n_stages),
            "unanswerable": some(0.01, 0.06),
        },
        coords={"chain": [0], "draw": np.arange(N_DRAWS)},
    )


def log_likelihood(posterior: xr.Dataset, design: Design, rule: Rule, of_labels: bool) -> np.ndarray:
    """Log-likelihood of each query under each draw by a rule (draw, query)."""
    names = ("label_node", "label_weight") if of_labels else ("ease", "log_weight")
    value = rule[0], np.exp(rule[1]) if of_labels else rule[1]
    with patch.dict(NODES, dict(zip(names, value, strict=True))):
        found = pointwise.log_likelihood_of(posterior, design, np.arange(N_QUERIES))
    return np.asarray(found["joint"].values[0])


def errors(case: tuple[int, float, float, float], of_labels: bool = False) -> dict[str, tuple[float, float]]:
    """For each rule, the largest error of a query, and of the sum over queries.

    With ``of_labels`` the signals are integrated in closed form, which takes queries without an atom.
    """
    n_stages, low, high, atom = case
    log = bc.simulate(N_QUERIES, n_stages=n_stages, top_atom=atom, random_seed=2)
    options = check_options("gaussian", "polya_tree", "logistic", n_stages - 1, True)
    if of_labels:
        design = build_design(log, options)
    else:
        with patch.object(designs, "complete_queries", lambda rows, shape: np.zeros(shape[0], dtype=bool)):
            design = build_design(log, options)
    posterior = values(n_stages, low, high)
    fine = log_likelihood(posterior, design, trapezoid(241, 6.5), of_labels)
    out = {}
    for name, rule in (rules_of_labels() if of_labels else rules()).items():
        error = log_likelihood(posterior, design, rule, of_labels) - fine
        out[name] = float(np.abs(error).max()), float(np.abs(error.sum(axis=1)).max())
    return out


def table(cases: Sequence[tuple[int, float, float, float]], of_labels: bool) -> str:
    """Errors of each rule in each case."""
    found = [errors(case, of_labels) for case in cases]
    heads = [
        f"{k} stages, loadings {low} to {high}{f', top atom {atom:.0%}' if atom else ''}"
        for k, low, high, atom in cases
    ]
    lines = [
        f"| {name} | " + " | ".join(f"{of[name][0]:.4f} / {of[name][1]:.3f}" for of in found) + " |"
        for name in found[0]
    ]
    return "\n".join([f"| rule, nodes | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|", *lines])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every rule in every case, and write the table."""
    run = parse("quadrature", __doc__, argv)
    cases = CASES[:1] if run.quick else CASES
    reach = float(EASE.max())
    moments = [float(np.exp(LOG_WEIGHT) @ EASE**2), float(np.exp(LOG_WEIGHT) @ EASE**4)]
    run.write(f"""# Nodes for the difficulty

`python -m studies.quadrature.run`: {N_QUERIES} simulated queries with all labels, {N_DRAWS} draws of parameters (tau of a link -.1 to .4,
discriminations .4 to 2), Gaussian links. Largest error of a query's log-likelihood / of the sum over all queries, against 241 nodes.

A query with a continuous signal of every stage needs no nodes for its signals: they are normal scores, and the integral has a closed form
(`bayescascade/model/complete.py`). Its labels are integrated over the difficulty that the signals leave, with nodes of its own. All other queries share fixed nodes.

## Nodes that all queries share

{table(cases, False)}

For these the model uses the trapezoid rule with {N_NODES} nodes within {reach:.1f} standard deviations, equally spaced and with normal weights that add up to one;
their second and fourth moments are {moments[0]:.3f} and {moments[1]:.3f}. With so many stages and such loadings a query's own posterior of its difficulty is
narrow, and equal gaps of {2 * reach / (N_NODES - 1):.3f} follow it where the nodes of Gauss-Hermite, as many, are too far apart. What is left comes from single queries
far out, whose tail is cut off. A rule's weights add up to one, so whatever its error, it is a model by itself: of queries of {N_NODES} grades of difficulty.

## Nodes for the labels given the signals

{table([case for case in cases if not case[3]], True)}

The model uses Gauss-Hermite with {len(LABEL_NODE)} nodes about the mean of a query's difficulty given its signals. P(labels) is smooth there, since the signals leave a
narrow range of difficulties.
""")


if __name__ == "__main__":
    main()
