"""A check of a log that has nothing for it says so; it does not pass."""

import numpy as np
import pytest
import xarray as xr

import bayescascade as bc
from bayescascade.checks.results import verdict

ALL = ["convergence", "margins", "calibration", "dependence", "own signal", "sensitivity", "loo", "cascade"]
THRESHOLDS = [0.6, 0.7, -np.inf]


def with_log(fit, change, keep=slice(None)):
    """The fit beside another log of its own queries, without terms of labels and queries that are left out."""
    out = fit.copy(deep=True)
    log = out["observed_data"].to_dataset().copy(deep=True)
    change(log)
    out["observed_data"] = xr.DataTree(log.isel(query=keep))
    if "log_likelihood" in out.children:
        terms = out["log_likelihood"].to_dataset().isel(query=keep).copy(deep=True)
        terms["correct"] = terms["correct"] * log["correct"].notnull().any("stage").isel(query=keep).values
        out["log_likelihood"] = xr.DataTree(terms)
    return out


def few_labels(log, n=1):
    log["correct"].values[n:] = np.nan


def all_right(log):
    log["correct"].values[log["correct"].notnull().values] = 1.0


def last_hardly_ran(log):
    for name in ("confidence", "correct", "cost"):
        log[name].values[5:, 2] = np.nan


def no_pair_of_three(log):
    """Each query ran two of the three stages; no query ran the first and the last."""
    for name in ("confidence", "correct", "cost"):
        log[name].values[::2, 0] = np.nan
        log[name].values[1::2, 2] = np.nan


def one_pair_alone(log):
    for name in ("confidence", "correct", "cost"):
        log[name].values[1:, 0] = np.nan


def constant_confidence(log):
    log["confidence"].values[:] = 0.7


def all_wrong_of_forty(log):
    log["correct"].values[40:] = np.nan
    log["correct"].values[:40] = 0.0


CASES = {
    "labels that the curve follows": (all_wrong_of_forty, ["calibration", "own signal"]),
    "confidences that never vary": (constant_confidence, ["margins", "dependence", "own signal"]),
    "one label": (few_labels, ["calibration", "own signal", "cascade"]),
    "all answers right": (all_right, ["own signal"]),
    "a last stage that hardly ran": (last_hardly_ran, ["margins", "calibration", "dependence", "own signal"]),
    "first and last never together": (no_pair_of_three, ["dependence"]),
    "one query that ran the first": (one_pair_alone, ["margins", "calibration", "dependence"]),
}
SAID = (
    "too few",
    "Not tested:",
    "No stage has",
    "No two stages",
    "cannot be scored",
    "Log more",
    "nothing",
)


SLOW = ("all answers right", "first and last never together", "one query that ran the first")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in CASES])
def test_checks_with_nothing_to_look_at_do_not_pass(example_fit, name):
    change, blind = CASES[name]
    found = bc.check(with_log(example_fit, change), thresholds=THRESHOLDS)
    assert [result.name for result in found] == ALL
    for check in blind:
        result = found[check]
        assert result.passed is not True, result
        assert any(word in result.text for word in SAID) or result.passed is False, result


def test_one_query_gives_no_verdict_but_of_the_sampler(example_fit):
    found = bc.check(with_log(example_fit, lambda log: None, keep=slice(1)), thresholds=THRESHOLDS)
    for name in ("margins", "calibration", "dependence", "own signal", "cascade"):
        assert found[name].passed is None, found[name]
        assert any(word in found[name].text for word in SAID), found[name]


def test_few_labels_are_no_evidence_for_thresholds(example_fit):
    """One answer's cost is far from the mean, and nine answers may all be right."""
    result = bc.check(with_log(example_fit, lambda log: few_labels(log, 9)), thresholds=THRESHOLDS)["cascade"]
    assert result.passed is None
    assert result.text.startswith("Fewer than 10 queries of the fit's own log have labels")


def test_a_verdict_is_given_where_all_was_seen():
    assert verdict([], []) is True
    assert verdict([], ["large"]) is None
    assert verdict(["small"], ["large"]) is False
