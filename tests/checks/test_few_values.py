"""Logs of few queries, or of few values: every check has a verdict or says why not, and the report is written."""

import warnings

import numpy as np
import pytest
import xarray as xr
from helpers.fits import stored_fit

import bayescascade as bc

pytestmark = pytest.mark.slow  # each of its logs is compiled and sampled


def log_of(values, n, kind="votes", right=(0.6, 0.8), seed=0):
    """Two stages, whose confidences are drawn from some values."""
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        {
            "confidence": (("query", "stage"), rng.choice(values, (n, 2))),
            "correct": (("query", "stage"), (rng.uniform(size=(n, 2)) < right).astype(float)),
            "cost": (("query", "stage"), np.tile([1e-4, 2e-3], (n, 1))),
        },
        coords={"query": np.arange(n), "stage": ["small", "large"]},
        attrs={"confidence_kind": kind, "stage_order": "as given"},
    )


CONTINUOUS = np.random.default_rng(1).uniform(size=200)
LOGS = {
    "votes of five": log_of(np.arange(6) / 5.0, 100),
    "yes or no": log_of([0.0, 1.0], 100, "probability"),
    "a judge's marks": log_of([1, 2, 3, 4, 5], 100, "score"),
    "one value": log_of([0.9], 60, "probability"),
    "one query": log_of(CONTINUOUS, 1),
    "two queries": log_of(CONTINUOUS, 2),
    "five queries": log_of(CONTINUOUS, 5),
    "nothing right": log_of(CONTINUOUS, 60, right=(0.0, 0.0)),
    "all right": log_of(CONTINUOUS, 60, right=(1.0, 1.0)),
}


@pytest.fixture(params=LOGS)
def fit(request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        return stored_fit(
            LOGS[request.param], difficulty=False, draws=150, tune=200, chains=2, random_seed=3, progressbar=False
        )


def test_every_check_speaks(fit, tmp_path):
    found = bc.check(fit, thresholds=[0.5, -np.inf])
    assert len(found) == 8
    for result in found:
        assert result.text.endswith(".")
        assert "nan" not in result.text.lower()
    # of a query or two nothing can be said
    assert any(result.passed for result in found) or fit.attrs["n_queries"] < 5
    bc.report(fit, tmp_path / "report.html")


def test_decisions_can_be_made(fit):
    assert np.isfinite(bc.tune(fit, error_price=0.01).error).all()
    assert bc.verdict(fit, error_price=0.01).table.notna().any(axis=None)
    assert np.isfinite(bc.frontier(fit).error).all()


def test_few_values_are_judged_at_their_atoms():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        fit = stored_fit(
            LOGS["votes of five"],
            difficulty=False,
            draws=150,
            tune=200,
            chains=2,
            random_seed=3,
            progressbar=False,
        )
    result = bc.check(fit)["calibration"]
    assert result.passed is True
    parts = set(result.table.index.get_level_values("part"))
    assert {"at 0", "at 0.2", "at 0.4", "at 0.6", "at 0.8", "at 1"} <= parts
    assert "agrees with predicted P(correct) in" in result.text


def test_a_part_that_nobody_looked_at_passes_nothing(example_log):
    """A link with nine pairs and a stage with nine labels are named beside those that were looked at."""
    thin = example_log.copy(deep=True)
    met = np.flatnonzero(thin["confidence"].notnull().all("stage"))[9:]
    for name in ("confidence", "correct", "cost"):
        thin[name][met, 2] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        found = bc.check(
            stored_fit(thin, difficulty=False, draws=150, tune=200, chains=2, random_seed=3, progressbar=False)
        )
    assert found["dependence"].passed is None
    assert (
        "Not tested: small > large, medium > large; run both stages on at least 10 queries."
        in found["dependence"].text
    )
    assert found["calibration"].passed is None
    assert "Not tested: large; label more answers there, at least 10." in found["calibration"].text
