"""`score` of an aggregate is `score` of its log, to the last query."""

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import bayescascade as bc
from bayescascade.aggregates.aggregate import Aggregate, total
from bayescascade.errors import CascadeError, CascadeWarning

INF = float("inf")
POINTS = np.array([[0.8, 0.9, -INF], [1.0, 1.0, -INF], [-INF, 0.3, -INF], [0.5, INF, -INF]])
REJECT = np.array([[0.2, -INF, 0.5], [-INF, 0.6, INF], [-INF, 0.3, -INF], [0.5, 0.4, 0.9]])


def full_log(n=150, seed=6):
    made = bc.simulate(n, n_stages=3, top_atom=0.2, random_seed=seed)
    rng = np.random.default_rng(seed)
    latency = rng.gamma(4.0, [[50.0, 100.0, 400.0]], size=(n, 3))
    latency[rng.uniform(size=latency.shape) < 0.1] = np.nan
    return made.assign(latency=(("query", "stage"), latency, {"units": "ms"}))


def with_holes(n=150, seed=6):
    """As a cascade at work leaves it, some queries further than others."""
    log, rng = full_log(n, seed), np.random.default_rng(seed)
    run = np.ones((n, 3), dtype=bool)
    run[:, 1] = (log["confidence"].values[:, 0] < 0.85) | (rng.uniform(size=n) < 0.3)
    run[:, 2] = run[:, 1] & (log["confidence"].values[:, 1] < 0.8)
    run[7] = [False, True, True]
    log = log.where(run)
    kept = {name: rng.uniform(size=(n, 3)) < share for name, share in (("correct", 0.7), ("cost", 0.9))}
    return log.assign({name: log[name].where(where) for name, where in kept.items()})


def same(found, expected):
    assert set(found.data_vars) == set(expected.data_vars)
    for name in expected.data_vars:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, atol=1e-15, err_msg=name)
    assert found.attrs == expected.attrs
    assert found["latency"].attrs == expected["latency"].attrs


@pytest.mark.filterwarnings("ignore::bayescascade.CascadeWarning")
@pytest.mark.parametrize("make", [full_log, with_holes])
@pytest.mark.parametrize("reject", [None, REJECT])
@pytest.mark.parametrize("cost", ["mean", "queries"])
def test_the_numbers_are_those_of_the_log(make, reject, cost):
    log = make()
    counted = bc.aggregate(log, POINTS, reject)
    same(bc.score(counted, POINTS, reject, cost=cost), bc.score(log, POINTS, reject, cost=cost))
    for point in range(4):  # any of them alone, too
        low = None if reject is None else reject[point]
        same(bc.score(counted, POINTS[point], low, cost=cost), bc.score(log, POINTS[point], low, cost=cost))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(0, 3), min_size=60, max_size=60), st.data())
def test_however_the_log_is_cut(seed, part, data):
    log, part = with_holes(60, seed), np.array(part)
    levels = st.sampled_from([*np.nanquantile(log["confidence"].values, [0.2, 0.5, 0.9]), INF, -INF])
    thresholds = [data.draw(levels), data.draw(levels), -INF]
    whole = log.isel(query=np.flatnonzero(np.isfinite(log["confidence"].values).any(axis=1)))
    edges = bc.aggregate(whole, thresholds).edges
    part = part[: whole.sizes["query"]]
    counted = total(Aggregate.of_log(whole.isel(query=part == i), edges) for i in range(4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CascadeWarning)
        try:
            expected = bc.score(whole, thresholds)
        except CascadeError:
            with pytest.raises(CascadeError, match="no query of the log ran the stages"):
                bc.score(counted, thresholds)
            return
        same(bc.score(counted, thresholds), expected)


def test_stages_may_be_left_out_and_named(example_log):
    policy = bc.Policy(["small", "large"], [0.8, -INF], "probability")
    counted = bc.aggregate(example_log, policy)
    xr.testing.assert_allclose(bc.score(counted, policy), bc.score(example_log, policy))
    # what was counted for three stages tells of two of them, too
    counted = bc.aggregate(example_log, [0.8, 0.9, -INF])
    xr.testing.assert_allclose(bc.score(counted, policy), bc.score(example_log, policy))


def test_what_to_expect_is_said_beside_it(example_log, example_fit):
    solution = bc.tune(example_fit, max_error=0.35)
    counted = bc.aggregate(example_log, solution)
    expected = bc.score(example_log, solution)
    assert bc.score(counted, solution).attrs == expected.attrs
    assert "as expected" in expected.attrs["text"]
    found = bc.score(counted, solution.thresholds, fit=example_fit)
    xr.testing.assert_allclose(found, bc.score(example_log, solution.thresholds, fit=example_fit))


def test_what_cannot_be_followed_or_judged_is_said():
    log = with_holes()
    thresholds = [0.95, 0.9, -INF]
    with pytest.warns(CascadeWarning) as memory:
        bc.score(log, thresholds)
    with pytest.warns(CascadeWarning) as counted:
        bc.score(bc.aggregate(log, thresholds), thresholds)
    assert len(memory) == len(counted) == 2
    for one, other in zip(memory, counted, strict=True):
        assert str(one.message).split(" (")[0] == str(other.message).split(" (")[0]
        assert other.filename == __file__
    assert "first at stage 'small'" in str(counted[0].message)


def test_a_decayed_log_counts_for_less():
    thresholds = POINTS[0]
    old, new = (bc.aggregate(full_log(seed=seed), thresholds) for seed in (1, 2))
    errors = [float(bc.score(day, thresholds)["error"]) for day in (old, new)]
    found = bc.score(old.decayed(0.25) + new, thresholds)
    assert float(found["error"]) == pytest.approx((0.25 * errors[0] + errors[1]) / 1.25)
    assert found.attrs["n_queries"] == round((150 * 1.25) ** 2 / (150 * (1 + 0.25**2)))


def test_other_thresholds_are_refused(example_log):
    counted = bc.aggregate(example_log, [0.8, 0.9, -INF])
    with pytest.raises(CascadeError, match=r"at stage 'medium' it tells apart 0.9, but 0.7 is asked for"):
        bc.score(counted, [0.8, 0.7, -INF])
    assert float(bc.score(counted, [INF, -INF, -INF])["reach"][1]) == 1.0
    with pytest.raises(CascadeError, match="cost='median' is not known"):
        bc.score(counted, [0.8, 0.9, -INF], cost="median")
