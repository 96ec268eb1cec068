"""The worth of labels: the mathematics against closed forms, refits against full fits, and what users see."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.labels import Shrunk
from scipy.stats import betabinom, norm

import bayescascade as bc
from bayescascade.analysis import label_value as labels
from bayescascade.analysis.evsi import (
    Learning,
    contenders,
    fit_curve,
    gains,
    learn,
    leave_one_out,
    make_space,
    plan,
)
from bayescascade.analysis.label_value import label_value
from bayescascade.analysis.refits import Decisions, Refits
from bayescascade.posterior.draws import get_draws
from bayescascade.signals.kinds import to_signal

SIZES = np.array([10, 30, 100, 300])
FEW = {"n_simulations": 12, "random_seed": 1}


def worth(net, refit, rng, n=28):
    """Mean gains at SIZES and their Monte Carlo errors, with ``refit(draw, m)`` in place of a sampler."""
    space = make_space(net)
    index, size = plan(space.z[:, 0], n, SIZES[0], SIZES[-1], rng)
    covariance = np.array([space.covariance(refit(i, m)) for i, m in zip(index, size, strict=True)])
    better = np.array([gains(space, learn(size, covariance), m) for m in SIZES])
    spread = better.std(axis=1) / np.sqrt(len(net))
    return better.mean(axis=1), np.hypot(spread, leave_one_out(space, size, covariance, SIZES))


@pytest.mark.parametrize("mean", [-0.4, 0.0, 1.0])
def test_normal_prior_and_data(mean):
    rng, sd, noise = np.random.default_rng(1), 0.8, 5.0
    theta = rng.normal(mean, sd, 6000)

    def refit(i, m):
        precision = 1 / sd**2 + m / noise**2
        seen = rng.normal(theta[i], noise / np.sqrt(m))
        centre = (mean / sd**2 + m / noise**2 * seen) / precision
        draws = rng.normal(centre, precision**-0.5, 500)
        return np.column_stack([np.zeros(500), draws])

    found, mcse = worth(np.column_stack([np.zeros(6000), theta]), refit, rng)
    spread = sd * np.sqrt(SIZES / (SIZES + noise**2 / sd**2))
    # Raiffa & Schlaifer's unit normal loss
    exact = spread * norm.pdf(mean / spread) + mean * norm.cdf(mean / spread) - max(0.0, mean)
    np.testing.assert_array_less(np.abs(found - exact), 4 * mcse + 1e-4)
    np.testing.assert_allclose(found, exact, rtol=0.15)


def test_beta_prior_and_binomial_data():
    rng, a, b, bar = np.random.default_rng(2), 14.0, 6.0, 0.75
    theta = rng.beta(a, b, 6000)

    def refit(i, m):
        right = rng.binomial(m, theta[i])
        return np.column_stack([np.zeros(500), rng.beta(a + right, b + m - right, 500) - bar])

    found, mcse = worth(np.column_stack([np.zeros(6000), theta - bar]), refit, rng)
    exact = []
    for m in SIZES:
        right = np.arange(m + 1)
        gain = np.maximum((a + right) / (a + b + m) - bar, 0.0)
        exact.append(betabinom.pmf(right, m, a, b) @ gain)
    # few data are worth so little here that the shape of their distribution, matched in spread only, shows
    np.testing.assert_array_less(np.abs(found - exact), 4 * mcse + 0.1 * np.array(exact))


def test_three_decisions_and_a_part_that_is_never_learned():
    """Two parameters of which data tell about the first and, less, the second; the third stays as it is."""
    rng, sd, noise = np.random.default_rng(3), np.array([0.7, 0.5, 0.3]), np.array([4.0, 8.0])
    pay = np.array([[0.0, 0.0, 0.0], [1.0, 0.2, 0.5], [0.3, 1.0, -0.6]])
    off = np.array([0.0, -0.1, 0.05])
    theta = rng.normal(0.0, sd, (8000, 3))

    def posterior(theta, m, rng):
        precision = 1 / sd[:2] ** 2 + m / noise**2
        seen = rng.normal(theta[..., :2], noise / np.sqrt(m))
        return (m / noise**2 * seen) / precision, precision**-0.5

    def refit(i, m):
        centre, spread = posterior(theta[i], m, rng)
        draws = np.column_stack([rng.normal(centre, spread, (500, 2)), rng.normal(0.0, sd[2], 500)])
        return draws @ pay.T + off

    found, mcse = worth(theta @ pay.T + off, refit, rng)
    many = np.random.default_rng(4)
    exact = []
    for m in SIZES:
        centre, _ = posterior(many.normal(0.0, sd, (400_000, 3)), m, many)
        exact.append((centre @ pay[:, :2].T + off).max(axis=1).mean() - off.max())
    np.testing.assert_array_less(np.abs(found - exact), 4 * mcse + 2e-3)


def test_curve_is_recovered():
    m = np.array([10, 20, 40, 80, 160, 320])
    assert fit_curve(m, 0.7 * m / (m + 60.0)) == pytest.approx((0.7, 60.0), rel=1e-3)
    rng = np.random.default_rng(5)
    many = np.repeat(m, 400)
    noisy = 0.7 * many / (many + 60.0) + rng.normal(0.0, 0.1, len(many))
    assert fit_curve(many, noisy) == pytest.approx((0.7, 60.0), rel=0.15)


@pytest.mark.parametrize(("share", "expected"), [(-0.05, 0.0), (1.2, 1.0)])
def test_curve_stays_a_share(share, expected):
    s, h = fit_curve(np.array([50, 100, 200]), np.full(3, share))
    assert s == expected
    assert 0.0 < h < np.inf


def test_space_holds_the_differences():
    rng = np.random.default_rng(6)
    net = rng.normal(size=(3000, 2)) @ rng.normal(size=(2, 5)) + np.array([0.0, 0.1, 0.5, 0.2, 0.3])
    space = make_space(net)
    assert space.best == 2
    np.testing.assert_allclose(space.mean + space.z @ space.load, net - net[:, [2]], atol=1e-9)
    np.testing.assert_allclose(np.cov(space.z, rowvar=False), np.eye(2), atol=1e-9)
    np.testing.assert_allclose(space.covariance(net), np.eye(2), atol=1e-9)
    np.testing.assert_allclose(space.covariance(0.5 * net), 0.25 * np.eye(2), atol=1e-9)


def test_gains_end_at_nothing_and_at_everything():
    rng = np.random.default_rng(7)
    net = rng.normal(size=(2000, 3))
    space = make_space(net)
    nothing = Learning(np.eye(2), np.zeros(2), np.ones(2))
    np.testing.assert_allclose(gains(space, nothing, 50), 0.0, atol=1e-12)
    everything = Learning(np.linalg.qr(rng.normal(size=(2, 2)))[0], np.ones(2), np.full(2, 1e-9))
    exact = net.max(axis=1).mean() - net.mean(axis=0).max()
    assert gains(space, everything, 1000).mean() == pytest.approx(exact, rel=1e-6)


def test_decisions_that_nothing_can_make_best_are_left_out():
    net = np.column_stack([np.zeros(100), np.linspace(-2.0, 1.0, 100), np.full(100, -3.0)])
    assert contenders(net).tolist() == [True, True, False]


def test_one_decision_has_nothing_to_learn():
    space = make_space(np.random.default_rng(8).normal(size=(100, 1)))
    assert space.z.shape[1] == 0
    covariance = np.array([space.covariance(np.ones((5, 1)))] * 3)
    learning = learn(np.array([10, 20, 30]), covariance)
    assert gains(space, learning, 10).max() == 0.0


# ---- the queries that draws make


@pytest.fixture(scope="module")
def atom_fit():
    """Few draws of a log with atoms, of which a quarter is labelled."""
    log = bc.simulate(120, n_stages=3, top_atom=[0.3, 0.1, 0.0], n_labelled=30, random_seed=3)
    with pytest.warns(bc.CascadeWarning):
        return bc.fit(log, difficulty=False, draws=40, tune=60, chains=2, random_seed=1, progressbar=False)


def refits_of(fit, options=((0, 1, 2),), queries="new"):
    return Refits(fit, get_draws(fit), [list(option) for option in options], queries, 1)


def test_new_queries_come_from_the_draw(atom_fit):
    refits, draws = refits_of(atom_fit), get_draws(atom_fit)
    log, right, given = refits._with_new(5, 4000, np.random.default_rng(1))
    assert bc.validate_log(log).sizes["query"] == 4120
    assert np.isnan(right[:120]).all()
    one = draws.take(slice(5, 6))
    signal = to_signal(log["confidence"].values[120:], draws.kind)
    top = one.margins[0].high[-1]
    assert np.mean(signal[:, 0] == top) == pytest.approx(one.mass[0, 0, len(one.margins[0].low) - 1], abs=0.03)
    for j, margin in enumerate(draws.margins):
        # each new signal is counted in its segment
        places = np.bincount(margin.segment_of(signal[:, j]), minlength=len(margin.low))
        np.testing.assert_allclose(places / 4000, one.mass[0, j, : len(places)], atol=0.035)
        np.testing.assert_allclose(given.margins[j].count, margin.count + places)
        assert np.mean(right[120:, j]) == pytest.approx(
            float(np.sum(one.mass[0, j] * one.segment_correct()[0, j])), abs=0.035
        )
    np.testing.assert_allclose(log["cost"].values[120:].mean(axis=0), one.cost[0], rtol=0.02)


def test_labels_go_to_logged_queries_without_any(atom_fit):
    refits = refits_of(atom_fit, queries="logged")
    old = atom_fit["observed_data"]["correct"].transpose("query", "stage").values
    assert refits.n_free == 90
    log, right = refits._with_labels(5, 60, np.random.default_rng(1))
    assert np.isfinite(right).all(axis=1).sum() == 60
    assert not (np.isfinite(right) & np.isfinite(old)).any()
    np.testing.assert_array_equal(log["confidence"], atom_fit["observed_data"]["confidence"])


# ---- what users see


@pytest.fixture
def shrunk(monkeypatch):
    monkeypatch.setattr(labels, "Refits", Shrunk)


def test_result(example_fit, shrunk):
    found = label_value(
        example_fit, error_price=0.02, n_labels=(50, 25, 100), stages="each", label_price=0.001, **FEW
    )
    data = found.data
    assert data["labelled"].values.tolist() == ["all stages", "small", "medium", "large"]
    assert data["n_labels"].values.tolist() == [25, 50, 100]
    assert (np.diff(data["evsi"].values, axis=1) > 0).all()
    assert (data["evsi"] < found.evpi).all()
    assert (data["evsi_mcse"] > 0).all()
    assert (np.diff(data["error_width"].values, axis=1) < 0).all()
    assert (data["error_width"] < data.attrs["error_width_now"]).all()
    # the draws are shrunk by sqrt(1 - m / (m + 100)), and with them the interval
    kept = np.sqrt(1.0 - np.array([25, 50, 100]) / (np.array([25, 50, 100]) + 100.0))
    np.testing.assert_allclose(data["error_width"][0] / data.attrs["error_width_now"], kept, rtol=0.12)
    np.testing.assert_allclose(data["label_cost"][0], [0.075, 0.15, 0.3])
    np.testing.assert_allclose(data["label_cost"][2], [0.025, 0.05, 0.1])
    np.testing.assert_allclose(data["pays_from"] * data["evsi"] / 1000, data["label_cost"])
    assert found.best is None
    assert "they pay once" in found.text
    assert "Of labels at a single stage those at" in found.text
    assert found.text in repr(found)
    assert "<table" in found._repr_html_()
    assert len(found.table) == 12


def test_horizon_decides_how_many_pay(example_fit, shrunk):
    ask = {"error_price": 0.02, "n_labels": (25, 50, 100), "label_price": 0.001, **FEW}
    few = label_value(example_fit, horizon=100, **ask)
    assert (few.best, few.best_stages) == (0, None)
    assert "none of these numbers of labels pays" in few.text
    many = label_value(example_fit, horizon=10**9, **ask)
    assert (many.best, many.best_stages) == (100, "all stages")
    net = many.data["net"].values[0]
    np.testing.assert_allclose(net, 1e6 * many.data["evsi"].values[0] - many.data["label_cost"].values[0])
    assert "100 queries, labelled at all stages, pay most" in many.text


def test_some_stages_by_name(example_fit, shrunk):
    found = label_value(example_fit, error_price=0.02, n_labels=(25,), stages=["large", "small"], **FEW)
    assert found.data["labelled"].values.tolist() == ["small, large"]
    assert found.data["label_cost"].item() == 0.0
    assert "25 more queries, labelled at small, large, are worth" in found.text


def test_same_seed_same_result(example_fit, shrunk):
    ask = {"error_price": 0.02, "n_labels": (25, 100), "n_simulations": 8}
    first, second, other = (label_value(example_fit, random_seed=seed, **ask) for seed in (1, 1, 2))
    assert first.data.identical(second.data)
    assert not first.data.equals(other.data)


def test_plot_names_axes_and_units(example_fit, shrunk):
    found = label_value(example_fit, error_price=0.02, n_labels=(25, 100), stages="each", **FEW)
    ax = found.plot()
    assert ax.get_xlabel() == "queries labelled"
    assert ax.get_ylabel() == "worth per 1,000 queries"
    shown = {text.get_text() for text in ax.get_legend().get_texts()}
    assert {"all stages", "small"} <= shown
    assert any(text.startswith("knowing everything") for text in shown)
    assert found.plot(ax) is ax


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"error_price": -1.0}, "error_price=-1.0 is not allowed"),
        ({"error_price": None}, "asked for one goal, but none came"),
        ({"max_error": 0.3}, "asked for one goal, but two came"),
        ({"prob": 0.9}, "prob=0.9 goes with a limit; give max_error"),
        ({"doubt": 0.1}, "doubt=0.1 goes with a limit"),
        ({"error_price": None, "max_error": 1.0}, "max_error=1.0 is not allowed"),
        ({"error_price": None, "max_error": 0.3, "prob": 90}, "prob=90 is not allowed"),
        ({"n_labels": ()}, r"n_labels=.* give whole numbers"),
        ({"n_labels": (0, 10)}, r"n_labels=.* give whole numbers"),
        ({"n_labels": (2.5,)}, r"n_labels=.* give whole numbers"),
        ({"stages": "tiny"}, "stages='tiny' is not allowed; give 'all', 'each'"),
        ({"stages": []}, r"stages=.* is not allowed"),
        ({"queries": "old"}, "queries='old' is not known"),
        ({"label_price": -0.1}, "label_price=-0.1 is not allowed"),
        ({"horizon": 0}, "horizon=0 is not allowed"),
        ({"n_simulations": 3}, "n_simulations=3 is not allowed"),
        ({"queries": "logged"}, "more than the 0 queries"),
    ],
)
def test_mistakes(example_fit, arguments, message):
    with pytest.raises(bc.CascadeError, match=message):
        label_value(example_fit, **{"error_price": 0.02, **arguments})


def test_a_fit_of_one_task_out_of_several_cannot_be_fitted_again(example_fit):
    fit = example_fit.copy()
    fit.attrs["task"] = "law"
    with pytest.raises(bc.CascadeError, match="fit of the task 'law'"):
        label_value(fit, error_price=0.02)


def test_decisions_are_the_cascades_and_the_stages(example_fit):
    draws = get_draws(example_fit)
    decisions = Decisions(np.array([[0.0, 0.0, 0.0], [99.0, 0.0, 0.0]]), [1])
    error, cost = decisions.outcomes(draws)
    # a first stage that accepts all is that stage alone; one that defers all pays for both
    np.testing.assert_allclose(cost[:, 0], draws.cost[:, 0])
    np.testing.assert_allclose(error[:, 1], error[:, 2], atol=1e-6)
    np.testing.assert_allclose(cost[:, 1] - cost[:, 2], draws.cost[:, 0], rtol=1e-6)
    only = decisions.take(np.array([False, False, True]))
    np.testing.assert_array_equal(only.outcomes(draws)[0], error[:, 2:])


# ---- with the sampler


@pytest.mark.slow
def test_calibration_alone_is_that_of_the_whole(atom_fit, monkeypatch):
    """A refit without signals draws the same calibration as one with them."""
    monkeypatch.setattr("bayescascade.analysis.refits._DRAWS", 2000)
    whole, alone = refits_of(atom_fit, ([0, 2], [0, 2])).after(5, 80, 0)
    for name in ("intercept", "slope", "atom_offset"):
        first, second = whole.curve[name], alone.curve[name]
        assert not np.array_equal(first, second)
        error = np.hypot(first.std(axis=0), second.std(axis=0)) / np.sqrt(400)
        np.testing.assert_array_less(np.abs(first.mean(axis=0) - second.mean(axis=0)), 4.5 * error)
        np.testing.assert_allclose(first.std(axis=0), second.std(axis=0), rtol=0.2)
    np.testing.assert_array_equal(whole.tau, alone.tau)


@pytest.mark.slow
def test_labels_of_a_small_log(atom_fit):
    """More labels are worth more and narrow the interval; the same labels at fewer stages are worth less."""
    found = label_value(
        atom_fit, error_price=0.02, n_labels=(30, 300), stages="each", n_simulations=16, random_seed=1
    )
    evsi, mcse = found.data["evsi"].values, found.data["evsi_mcse"].values
    assert (evsi[:, 1] > evsi[:, 0] - 2 * mcse[:, 0]).all()
    assert (evsi[1:, 1] < evsi[0, 1] + 3 * np.hypot(mcse[1:, 1], mcse[0, 1])).all()
    assert evsi.max() < found.evpi
    assert found.data["error_width"].values[0, 1] < 0.8 * found.data.attrs["error_width_now"]


@pytest.mark.slow
def test_labels_of_logged_queries(atom_fit):
    found = label_value(
        atom_fit, error_price=0.02, n_labels=(20, 80), queries="logged", n_simulations=8, random_seed=1
    )
    assert "80 are worth" in found.text
    assert "of the logged queries" in found.text
    assert 0.0 <= found.data["evsi"].values[0, 0] < found.evpi
    assert found.data["error_width"].values[0, 1] < found.data.attrs["error_width_now"]


def test_stand_in_has_what_is_used_of_refits():
    used = SimpleNamespace(**{name: True for name in dir(Shrunk) if not name.startswith("_")})
    assert {name for name in vars(used)} == {name for name in dir(Refits) if not name.startswith("_")}
