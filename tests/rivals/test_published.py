"""The published method by maximum likelihood: its parts against SciPy, its expectations against simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import approx_fprime
from scipy.special import expit

import bayescascade as bc
from bayescascade.rivals.base import complete_arrays
from bayescascade.rivals.published.beta_mixture import BetaMixture, fit_beta, fit_mixture
from bayescascade.rivals.published.mle import PublishedCopula, expected, loss_at, minimise
from bayescascade.rivals.published.model import (
    ACCEPT_ALL,
    DEFER_ALL,
    HIGH,
    LOW,
    SMOOTH,
    calibrator,
    extremes,
    finite_signal,
    fit_tables,
    learn,
    pair_tau,
)
from bayescascade.signals.kinds import to_signal

POSITIONS = [np.array(x) for x in ([0.5, 0.5], [0.2, 0.9], [1.0, 0.4], [0.7, 1.0], [0.0, 0.3], [0.6, DEFER_ALL])]


@pytest.fixture(scope="module")
def known():
    return complete_arrays(bc.simulate(150, n_stages=3, top_atom=(0.3, 0.0, 0.2), random_seed=12))


@pytest.fixture(scope="module")
def stages(known):
    return learn(known)


@pytest.fixture(scope="module")
def tables(stages):
    return fit_tables(stages, 301)


def test_em_never_lowers_the_likelihood():
    rng = np.random.default_rng(1)
    z = np.concatenate([rng.beta(1.0, 6.0, 100), rng.beta(8.0, 0.7, 60)]).clip(1e-9, 1 - 1e-9)
    mixture, values = BetaMixture(), []
    for _ in range(40):
        values.append(mixture.loglik(z))
        mixture = mixture.step(z)
    assert np.all(np.diff(values) >= -1e-9)
    assert values[-1] > values[0] + 10.0
    truth = np.log(100 / 160 * stats.beta.pdf(z, 1.0, 6.0) + 60 / 160 * stats.beta.pdf(z, 8.0, 0.7)).sum()
    assert fit_mixture(z).loglik(z) > truth


def test_the_likelihood_is_scipys():
    z = np.array([0.1, 0.4, 0.8])
    mixture = BetaMixture(0.3, ((2.0, 3.0), (0.5, 4.0)))
    parts = 0.3 * stats.beta.pdf(z, 2.0, 3.0) + 0.7 * stats.beta.pdf(z, 0.5, 4.0)
    assert mixture.loglik(z) == pytest.approx(np.log(parts).sum())
    np.testing.assert_allclose(
        mixture.cdf(mixture.quantile(np.linspace(0, 1, 50))), np.linspace(0, 1, 50), atol=1e-5
    )


@pytest.mark.parametrize("shapes", [(2.0, 5.0), (0.3, 0.6), (40.0, 3.0)])
def test_a_beta_distribution_is_scipys(shapes):
    z = stats.beta.rvs(*shapes, size=300, random_state=2).clip(1e-9, 1 - 1e-9)
    a, b, *_ = stats.beta.fit(z, floc=0.0, fscale=1.0)
    assert fit_beta(z) == pytest.approx((a, b), rel=1e-4)
    # a weight of two is the same value twice
    assert fit_beta(z, np.where(np.arange(300) < 100, 2.0, 1.0)) == pytest.approx(
        fit_beta(np.concatenate([z, z[:100]])), rel=1e-6
    )


def test_too_few_values_are_uniform():
    np.testing.assert_allclose(fit_mixture(np.array([0.2, 0.2, 0.7])).cdf(np.array([0.3])), [0.3])


def test_the_calibrator_is_logistic_regression(known):
    linear = pytest.importorskip("sklearn.linear_model")
    signal, wrong = known.signal[:, 1], known.wrong[:, 1]
    model = linear.LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(signal[:, None], 1.0 - wrong)
    assert calibrator(signal, wrong) == pytest.approx((model.intercept_[0], model.coef_[0, 0]), rel=1e-3)


def test_separated_labels_and_one_class_do_not_crash(known):
    signal = known.signal[:, 1]
    for wrong in ((signal < 1.0).astype(float), np.zeros(len(signal)), (signal > 1.0).astype(float)):
        intercept, slope = calibrator(signal, wrong)
        assert np.isfinite(intercept)
        assert slope > 0.0
    log = bc.simulate(8, n_stages=3, random_seed=3)
    assert PublishedCopula(n_nodes=51).fit(log).thresholds.shape[1] == 3


def test_infinite_signals_become_the_finite_extremes():
    confidence = np.array([-np.inf, -3.0, -0.5, -0.01, 0.0, 0.0])
    low, high = extremes(confidence, "p_true")
    signal = finite_signal(confidence, "p_true", low, high)
    inner = to_signal(confidence[1:4], "p_true")
    np.testing.assert_allclose(signal, [inner[0], *inner, inner[2], inner[2]])
    assert extremes(np.array([0.0, -np.inf]), "p_true") == (None, None)


def test_positions_are_shares_of_training(known, stages):
    for stage, confidence in zip(stages, known.confidence.T, strict=True):
        deferred = [(confidence < stage.threshold(x)).mean() for x in (ACCEPT_ALL, 0.0, 1.0, DEFER_ALL)]
        np.testing.assert_allclose(deferred, [0.0, stage.masses[LOW], 1.0 - stage.masses[HIGH], 1.0])
        inner = [stage.threshold(x) for x in np.linspace(0.0, 1.0, 30)]
        assert np.all(np.diff(inner) >= 0.0)
        # between the atoms the share is as good as the mixture's fit
        middle = (confidence < stage.threshold(0.5)).mean()
        assert middle == pytest.approx(stage.masses[LOW] + 0.5 * stage.masses[SMOOTH], abs=0.1)


def draw_pair(before, stage, n, rng):
    """z and cells of n draws of a link's model, cell by cell."""
    pairs = list(zip(before.cell, stage.cell, strict=True))
    chosen = np.array(pairs)[rng.integers(len(pairs), size=n)]
    both = np.array([p == (SMOOTH, SMOOTH) for p in pairs])
    theta = 1.0 / (1.0 - max(pair_tau(before.z[both], stage.z[both]), 0.0))
    # Marshall and Olkin: a positive stable variable shared by two exponential ones
    alpha, angle = 1.0 / theta, rng.uniform(0.0, np.pi, n)
    w = rng.exponential(size=n)
    stable = (
        np.sin(alpha * angle)
        / np.sin(angle) ** (1.0 / alpha)
        * (np.sin((1.0 - alpha) * angle) / w) ** ((1.0 - alpha) / alpha)
    )
    uniforms = np.exp(-((rng.exponential(size=(2, n)) / stable) ** alpha))
    out = []
    for side, (own, other) in enumerate(((before, stage), (stage, before))):
        z = own.mixture.quantile(uniforms[side])
        cell, beside = chosen[:, side], chosen[:, 1 - side]
        for atom in (LOW, HIGH):
            here = (cell == SMOOTH) & (beside == atom)
            seen = own.z[(own.cell == SMOOTH) & (other.cell == atom)]
            if len(np.unique(seen)) >= 3:
                z[here] = stats.beta.rvs(*fit_beta(seen.clip(1e-6, 1 - 1e-6)), size=here.sum(), random_state=rng)
        out.append((np.where(cell == LOW, 0.0, np.where(cell == HIGH, 1.0, z)), cell))
    return out


def below(z, cell, stage, position):
    if position in (ACCEPT_ALL, DEFER_ALL):
        return np.full(len(z), position == DEFER_ALL)
    return (cell == LOW) | ((cell == SMOOTH) & (z < stage.mixture.quantile(np.array([position]))[0]))


def test_expectations_are_those_of_the_factorised_model(known, stages, tables):
    """Each stage given the event before, by Monte Carlo of each link alone."""
    rng, n = np.random.default_rng(5), 400_000
    links = [draw_pair(a, b, n, rng) for a, b in itertools.pairwise(stages)]
    assert pair_tau(stages[0].z, stages[1].z) > 0.2
    for positions in POSITIONS:
        places = [*positions, ACCEPT_ALL]
        first = stages[0]
        low, high = first.range
        z = first.mixture.quantile(rng.uniform(size=n))
        cell = rng.choice(3, size=n, p=first.masses)
        z = np.where(cell == LOW, 0.0, np.where(cell == HIGH, 1.0, z))
        defer = below(z, cell, first, places[0])
        right, reach = ((low + z * (high - low)) * ~defer).mean(), defer.mean()
        cost = known.cost[0]
        for j in (1, 2):
            (a, a_cell), (b, b_cell) = links[j - 1]
            came = below(a, a_cell, stages[j - 1], places[j - 1])
            defer = below(b, b_cell, stages[j], places[j])
            low, high = stages[j].range
            cost += reach * known.cost[j]
            if came.any():
                right += reach * ((low + b * (high - low)) * ~defer)[came].mean()
                reach *= defer[came].mean()
        found = expected(tables, known.cost, positions)
        # four standard errors; where few come by, these are larger
        assert found[0] == pytest.approx(1.0 - right, abs=0.004)
        assert found[1] == pytest.approx(cost, rel=0.01)


def test_with_all_accepted_it_is_the_calibrated_mean(known, stages, tables):
    error, cost = expected(tables, known.cost, np.array([ACCEPT_ALL, ACCEPT_ALL]))
    assert cost == known.cost[0]
    low, high = stages[0].range
    assert error == pytest.approx(1.0 - (low + (high - low) * stages[0].z).mean(), abs=0.02)
    # an unpenalised calibrator is right on average
    for stage, confidence, wrong in zip(stages, known.confidence.T, known.wrong.T, strict=True):
        signal = finite_signal(confidence, known.kind, *extremes(confidence, known.kind))
        assert expit(stage.intercept + stage.slope * signal).mean() == pytest.approx(1.0 - wrong.mean(), abs=1e-4)


def test_gradients_are_those_of_the_loss(known, tables):
    rng = np.random.default_rng(6)
    price = 0.2 / known.cost.sum()
    for positions in rng.uniform(ACCEPT_ALL + 0.01, DEFER_ALL - 0.01, size=(20, 2)):
        slope = approx_fprime(positions, lambda x: loss_at(tables, known.cost, price, x)[0], 1e-7)
        np.testing.assert_allclose(loss_at(tables, known.cost, price, positions)[1], slope, atol=1e-5)


def test_the_search_ends_near_the_best_of_a_grid(known, tables):
    """From some starts L-BFGS-B comes to the lowest loss that a grid of positions shows."""
    axis = np.concatenate([[ACCEPT_ALL], np.linspace(0.0, 1.0, 41), [DEFER_ALL]])
    for share in (0.05, 0.2, 0.6):
        price = share / known.cost.sum()
        least = min(loss_at(tables, known.cost, price, np.array([a, b]))[0] for a in axis for b in axis)
        starts = [np.array([a, b]) for a in (0.2, 0.8, 1.5) for b in (0.2, 0.8, 1.5)]
        found = min(loss_at(tables, known.cost, price, minimise(tables, known.cost, price, x))[0] for x in starts)
        assert found <= least + 1e-3


def test_a_common_unit_of_cost_changes_nothing():
    log = bc.simulate(80, n_stages=3, random_seed=13)
    # a power of two, so that nothing is rounded
    other = log.assign(cost=log["cost"] * 128.0)
    first = PublishedCopula(n_nodes=51).fit(log).thresholds
    second = PublishedCopula(n_nodes=51, per=1e6 / 128.0).fit(other).thresholds
    np.testing.assert_allclose(
        np.nan_to_num(first, posinf=9, neginf=-9), np.nan_to_num(second, posinf=9, neginf=-9)
    )
