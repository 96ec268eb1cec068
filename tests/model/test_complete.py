"""Queries with a continuous signal of every stage: the closed form against fixed nodes, which serve all."""

import numpy as np
import pytest
import xarray as xr
from helpers.logs import make_log
from scipy import special

from bayescascade.inference.pointwise import log_likelihood_of
from bayescascade.model import design as design_of_log
from bayescascade.model import factor, query_rows
from bayescascade.model.complete import LABEL_NODE, LABEL_WEIGHT
from bayescascade.model.design import build_design
from bayescascade.model.factor import trapezoid
from bayescascade.model.options import check_options
from bayescascade.model.subsample import subsample

CASES = {
    "all continuous": {"pattern": "no atoms"},
    "some atoms": {"pattern": "top atom"},
    "stages that did not run": {"pattern": "no atoms", "holes": True},
    "tasks": {"pattern": "no atoms", "n": 240, "tasks": True},
    "an independent link": {"pattern": "no atoms", "copula": ("independence", "gaussian")},
    "a monotone curve": {"pattern": "no atoms", "calibration": "monotone"},
    "ranks of the margins": {"pattern": "no atoms", "ranked": 1.1},
    "a sample": {"pattern": "no atoms", "n": 400, "sample": 120},
    "a sample with tasks": {"pattern": "no atoms", "n": 900, "tasks": True, "sample": 120},
}


def many_nodes(monkeypatch):
    node, weight = np.polynomial.hermite_e.hermegauss(60)
    ease, log_weight = trapezoid(161, 8.0)
    names = ("label_node", "label_weight", "ease", "log_weight")
    for name, value in zip(names, (node, weight / weight.sum(), ease, log_weight), strict=True):
        monkeypatch.setitem(factor.NODES, name, value)


def values_of(design, seed=3, n=3):
    rng = np.random.default_rng(seed)
    task = {"task": len(design.tasks)} if design.tasks else {}
    stages = {**task, "stage": len(design.stages)}

    def some(least, most, **sizes):
        return ("chain", "draw", *sizes), rng.uniform(least, most, (1, n, *sizes.values()))

    return xr.Dataset(
        {
            "margin_split": some(0.3, 0.7, **stages, split=7),
            "tau": some(-0.3, 0.5, **task, link=len(design.stages) - 1),
            "intercept": some(-0.6, 0.6, **stages),
            "slope": some(0.4, 1.6, **stages),
            "atom_offset": some(-0.6, 0.6, **stages, atom=8),
            "bend": some(-0.5, 0.5, **stages, piece=4),
            "loading": some(0.1, 0.85, **stages),
            "discrimination": some(0.2, 1.6, **stages),
            "unanswerable": some(0.02, 0.2, **task),
        },
        coords={"chain": [0], "draw": np.arange(n)},
    )


@pytest.mark.parametrize("case", CASES)
def test_it_is_what_fixed_nodes_find(case, monkeypatch):
    options = {"copula": "gaussian", "calibration": "logistic", "n": 90, "tasks": False} | CASES[case]
    monkeypatch.setattr(query_rows, "RANKED", options.get("ranked", query_rows.RANKED))
    monkeypatch.setattr(design_of_log, "_MANY_COMPLETE", 5)  # both ways in one log
    log = whole = make_log(options["pattern"], n=options["n"], tasks=options["tasks"])
    log["correct"][:5] = np.nan
    if "holes" in options:
        for name in ("confidence", "correct", "cost"):
            log[name][10:14, 1:] = np.nan  # few enough for ranks to be observed
    if "sample" in options:
        log = subsample(whole, options["sample"], 1)
    names = check_options(options["copula"], "polya_tree", options["calibration"], log.sizes["stage"] - 1, True)
    many_nodes(monkeypatch)

    def found():
        design = build_design(log, names, whole=whole)
        values = log_likelihood_of(values_of(design), design, log["query"].values)["joint"].values
        return values, len(design.arrays.get("complete_task", [])), design

    closed, complete, design = found()
    sampled = design.sampled
    assert "sample" not in options or 0 < sampled.sum() < len(sampled)
    assert complete > 5
    assert design.structure.at_nodes == (complete < log.sizes["query"])
    monkeypatch.setattr(design_of_log, "complete_queries", lambda rows, shape: np.zeros(shape[0], dtype=bool))
    by_nodes, none, _ = found()
    assert none == 0
    np.testing.assert_allclose(closed, by_nodes, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("n_stages", "spread"), [(2, 0.95), (5, 0.8), (5, 0.4), (30, 0.3)])
def test_nine_nodes_are_enough_for_the_labels(n_stages, spread):
    rng = np.random.default_rng(n_stages)
    mean = rng.normal(0.0, np.sqrt(1.0 - spread**2), (500, 1, 1))
    logit, slope = rng.normal(1.0, 1.5, (500, 1, n_stages)), rng.uniform(0.3, 2.0, n_stages)
    chance = special.expit(logit + slope * (mean + spread * rng.normal(size=(500, 1, 1))))
    sign = np.where(rng.random(chance.shape) < chance, 1.0, -1.0)

    def log_chance(node, weight):
        theta = mean + spread * node[:, None]
        return np.log(special.expit(sign * (logit + slope * theta)).prod(axis=-1) @ weight)

    fine = trapezoid(401, 8.0)
    error = log_chance(LABEL_NODE, LABEL_WEIGHT) - log_chance(fine[0], np.exp(fine[1]))
    assert np.abs(error).max() < 0.02  # of a single query
    assert abs(error.sum()) < 0.05  # of 500
