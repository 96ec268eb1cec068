"""What labels do to a promise: closed forms, a plain simulation, and what users see."""

import numpy as np
import pytest
import xarray as xr
from helpers.labels import Shrunk
from scipy.stats import norm

import bayescascade as bc
from bayescascade.analysis import label_value as labels
from bayescascade.analysis.evsi import Learning, make_space
from bayescascade.analysis.label_limit import Frontier, _net, describe_limit
from bayescascade.analysis.label_value import label_value
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.replicate import replicate_draw

FEW = {"n_simulations": 12, "random_seed": 1}
N = 20_000
Z = norm.ppf(0.9)


def frontier_of(mean, sd, *, margin=0.0, shift=0.0, cost=(1.0,)):
    """Rows whose errors move together by normal numbers, each as far from its promise as a normal one is."""
    mean, cost = np.atleast_1d(mean).astype(float), np.asarray(cost, dtype=float)
    z = norm.ppf((np.random.default_rng(1).permutation(N) + 0.5) / N)
    error = mean + sd * z[:, None]
    same = np.ones(len(mean))
    space = make_space(_net(error))
    variance = error.var(axis=0)
    return Frontier([], np.arange(len(mean)), cost, mean, variance, shift * same, margin * same, Z * same, space)


def learning_of(share, half=100.0):
    return Learning(np.eye(1), np.array([share]), np.array([half]))


def zs(seed=2):
    return norm.ppf((np.random.default_rng(seed).permutation(N) + 0.5) / N)


@pytest.mark.parametrize("m", [25, 100, 400])
def test_the_spread_that_labels_leave(m):
    """The mean moves by what is learned, and the distance to the limit shrinks to what is not."""
    frontier, share = frontier_of(0.25, 0.02), m / (m + 100.0)
    found = frontier.limits(learning_of(1.0), m, zs())[:, 0]
    assert found.mean() == pytest.approx(0.25 + Z * 0.02 * np.sqrt(1.0 - share), abs=2e-4)
    assert found.std() == pytest.approx(0.02 * np.sqrt(share), rel=0.01)


def test_without_labels_all_draws_say_the_same():
    found = frontier_of(0.25, 0.02, margin=0.02, shift=0.01).limits(None, 0, zs())
    np.testing.assert_allclose(found, 0.26 + Z * np.hypot(0.02, 0.02), rtol=1e-3)


@pytest.mark.parametrize("shift", [-0.02, 0.0, 0.02])
def test_the_discrepancy_is_learned_as_a_normal_mean_is(shift):
    """Against a plain simulation: a discrepancy is drawn, labels show it, its posterior is one-sided."""
    margin, m, rng = 0.02, 200, np.random.default_rng(3)
    frontier = frontier_of(0.25, 1e-9, margin=margin, shift=shift)
    found = frontier.limits(learning_of(1.0), m, zs())[:, 0]
    noise = np.sqrt(0.25 * 0.75 / m)
    delta = rng.normal(shift, margin, 50 * N)
    seen = rng.normal(delta, noise)
    precision = 1 / margin**2 + 1 / noise**2
    mean = (shift / margin**2 + seen / noise**2) / precision
    plain = 0.25 + np.maximum(mean, 0.0) + Z * precision**-0.5
    assert found.mean() == pytest.approx(plain.mean(), abs=4 * plain.std() / np.sqrt(N))
    assert found.std() == pytest.approx(plain.std(), rel=0.05)
    kept = frontier.limits(learning_of(1.0), m, zs(), all_stages=False)
    # labels at some stages say nothing of whole answers, so nothing of what the model misses in them
    np.testing.assert_allclose(kept, 0.25 + max(shift, 0.0) + Z * margin, rtol=1e-6)


def test_outlook_of_a_frontier():
    frontier = frontier_of([0.30, 0.25, 0.20], 1e-9, cost=[1.0, 2.0, 4.0])
    limits = np.array([[0.32, 0.28, 0.24], [0.28, 0.24, 0.26], [0.40, 0.36, 0.35]])
    found = frontier.outlook(limits, 0.30, 3.0)
    # halfway between rows both cost and limit are halfway; where nothing keeps the limit, the nearest counts
    np.testing.assert_allclose(found["cost"], [1.5, 1.0, 4.0])
    np.testing.assert_allclose(found["limit"], [0.26, 0.24, 0.355])
    np.testing.assert_allclose(found["lowest"], [0.24, 0.24, 0.35])
    assert found["p_kept"].tolist() == [1.0, 1.0, 0.0]


# ---- what users see


@pytest.fixture
def shrunk(monkeypatch):
    monkeypatch.setattr(labels, "Refits", Shrunk)


def test_result(example_fit, shrunk):
    today = bc.tune(example_fit, max_error=0.3)
    found = label_value(example_fit, max_error=0.3, n_labels=(25, 100, 400), stages="each", **FEW)
    data, first = found.data, found.data.isel(labelled=0)
    assert data.attrs["limit_now"] == today.upper_bounds["error"]
    # the thresholds of today are a point of the frontier, so its cost is that of tune, up to its grid
    assert data.attrs["cost_now"] == pytest.approx(1000 * float(today.cost.mean()), rel=0.02)
    for name in ("limit", "lowest", "cost"):
        assert (np.diff(first[name]) < 0).all(), name
        assert (first[f"{name}_low"] < first[name]).all()
        assert (first[name] < first[f"{name}_high"]).all()
    assert (first["limit"] < data.attrs["limit_now"]).all()
    assert (first["lowest"] < first["limit"]).all()
    np.testing.assert_allclose(data["evsi"], data.attrs["cost_now"] - data["cost"])
    assert (data["evsi"] < found.evpi).all()
    # labels of one stage leave the safety margin as it is
    assert (data["limit"].values[1:] > data["limit"].values[0]).all()
    assert "With 400 more queries, labelled at all stages, you could promise an error of at most" in found.text
    assert "expected values, from 12 simulated refits" in found.text
    assert found.plot().get_ylabel() == "error you can promise at today's cost"


def test_a_limit_that_is_out_of_reach_today(example_fit, shrunk):
    today = bc.tune(example_fit, max_error=0.2)
    assert not today.feasible
    found = label_value(example_fit, max_error=0.2, n_labels=(25, 400), label_price=0.01, **FEW)
    assert found.data.attrs["lowest_now"] == today.lowest_limits["error"]
    assert np.isnan(found.evpi)
    assert np.isnan(found.data["evsi"]).all()
    assert (found.best, found.best_stages) == (None, None)
    assert "cannot be promised today; the lowest that can is" in found.text
    assert "could be promised with a probability of" in found.text
    assert "pay" not in found.text
    assert found.plot().get_ylabel() == "error you can promise at any cost"


def test_horizon_and_prices(example_fit, shrunk):
    ask = {"max_error": 0.3, "n_labels": (25, 100), "label_price": 0.001, **FEW}
    assert label_value(example_fit, horizon=10, **ask).best == 0
    many = label_value(example_fit, horizon=10**9, **ask)
    assert many.best == 100
    assert "100 queries, labelled at all stages, pay most" in many.text


def test_where_labels_do_not_help_it_is_said():
    numbers = {"limit": 0.3, "limit_mcse": 0.001, "limit_low": 0.28, "limit_high": 0.31, "p_kept": 0.9}
    numbers |= {"cost": 1.0, "cost_mcse": 0.01}
    data = xr.Dataset(
        {name: (("labelled", "n_labels"), [[value]]) for name, value in numbers.items()},
        coords={"labelled": ["all stages"], "n_labels": [50]},
        attrs={
            "feasible_now": 1,
            "limit_now": 0.301,
            "max_error": 0.3,
            "queries": "new",
            "n_simulations": 8,
            "cost_now": 1.0,
        },
    )
    told = describe_limit(data)
    assert told[0] == "More labels are not expected to help here."
    assert "With a probability of 10% the labels would show that no thresholds keep it" in told[2]
    assert describe_limit(data.assign_attrs(limit_now=0.31))[0].startswith("With 50 more queries")


# ---- with the sampler


@pytest.mark.slow
@pytest.mark.long  # eight logs are fitted and tuned anew
@pytest.mark.filterwarnings("ignore:sampling did not converge")  # short chains, whose noise is averaged out
def test_against_brute_force():
    """New queries are simulated, all is fitted anew by `fit`, with segments cut anew, and tuned anew by `tune`."""
    m, n, how = 100, 8, {"difficulty": False, "tune": 200, "chains": 4, "progressbar": False}
    log = bc.simulate(150, n_stages=2, random_seed=3)
    fit = bc.fit(log, draws=500, random_seed=1, **how)
    draws, ask = get_draws(fit), {"max_error": 0.42, "prob": 0.9}
    today = bc.tune(fit, **ask)
    level = bc.evaluate(fit, today)["error"].transpose("chain", "draw").values.ravel()
    order, old = np.argsort(level, kind="stable"), log.transpose("query", "stage")

    def promised(fit):
        return 1000 * float(bc.tune(fit, **ask).cost.mean()), bc.tune(fit, max_error=0.05).lowest_limits["error"]

    found, moved = [], []
    for number in range(n):
        index, rng = int(order[int((number + 0.5) / n * len(order))]), np.random.default_rng([7, number])
        confidence, right = replicate_draw(draws, index, m, rng)
        cost = np.tile(draws.cost[index], (m, 1))
        new = {"confidence": confidence, "correct": right, "cost": cost}
        both = {name: (("query", "stage"), np.concatenate([old[name].values, of])) for name, of in new.items()}
        more = xr.Dataset(both, {"query": np.arange(150 + m), "stage": old["stage"]}, old.attrs)
        after = bc.fit(more, draws=300, random_seed=number, **how)
        found.append(promised(after))
        moved.append(float(bc.evaluate(after, today)["error"].mean()) - level.mean())
    # the mean error after labels is on average that of today, which takes most of the noise out
    values, moved = np.array(found), np.array(moved)
    slope = (moved - moved.mean()) @ values / np.sum((moved - moved.mean()) ** 2)
    rest = values - moved[:, None] * slope
    cost, lowest = rest.mean(axis=0)
    cost_error, lowest_error = rest.std(axis=0, ddof=2) / np.sqrt(n)
    worth = label_value(fit, **ask, n_labels=(25, m, 400), n_simulations=12, random_seed=1).data.isel(labelled=0)
    at = worth.sel(n_labels=m)
    assert float(at["lowest"]) < promised(fit)[1]
    assert abs(float(at["lowest"]) - lowest) < 3.0 * np.hypot(lowest_error, float(at["lowest_mcse"])) + 0.002
    assert abs(float(at["cost"]) - cost) < 3.0 * np.hypot(cost_error, float(at["cost_mcse"])) + 0.01
