"""Bets: each is fair or worse under its hypothesis, the capital is a supermartingale, and ranks are uniform."""

import numpy as np
import pytest
from scipy import integrate, stats

from bayescascade.cascade.reference import Quantiles
from bayescascade.monitoring.betting import (
    N_BETS,
    SHARES,
    beta_of,
    bets_on_dependence,
    bets_on_errors,
    bets_on_ranks,
    error_interval,
    even_prior,
    log_capital,
    predictive_rank,
    prior_of_rates,
    rates_above,
)

GRID = (np.arange(20_000) + 0.5) / 20_000


def test_bets_on_a_uniform_rank_are_fair():
    for payoff in (bets_on_ranks(GRID), bets_on_dependence(GRID, np.full(len(GRID), -0.7))):
        assert payoff.shape == (len(GRID), N_BETS)
        assert payoff.min() >= 0.0
        np.testing.assert_allclose(payoff.mean(axis=0), 1.0, atol=1e-6)


@pytest.mark.parametrize("limit", [0.02, 0.25, 0.9])
def test_bets_on_errors_are_fair_at_the_limit_and_worse_below_it(limit):
    payoff = bets_on_errors(np.array([0.0, 1.0]), limit)
    for rate, fair in ((limit, True), (0.5 * limit, False)):
        mean = (1.0 - rate) * payoff[0] + rate * payoff[1]
        assert mean[0] == 1.0
        assert (mean <= 1.0 + 1e-12).all()
        assert np.allclose(mean, 1.0) == fair
    assert (np.diff(rates_above(limit)) > 0).all()


def test_what_is_not_known_wins_and_loses_nothing():
    nothing = np.full(3, np.nan)
    for payoff in (bets_on_ranks(nothing), bets_on_dependence(nothing, np.ones(3)), bets_on_errors(nothing, 0.2)):
        assert (payoff == 1.0).all()
    assert log_capital(np.ones((3, N_BETS)), even_prior()) == pytest.approx(np.zeros(3), abs=1e-12)


def test_capital_is_what_dealing_out_by_hand_makes_it():
    rng = np.random.default_rng(1)
    payoff, prior = rng.uniform(0.5, 1.6, (30, 4)), np.array([0.4, 0.3, 0.2, 0.1])
    total = np.zeros(30)
    for share in SHARES:
        held = prior.copy()
        for t in range(30):
            held = (1.0 - share) * held + share * prior * held.sum()
            held *= payoff[t]
            total[t] += held.sum() / len(SHARES)
    np.testing.assert_allclose(np.exp(log_capital(payoff, prior)), total)
    both = log_capital(np.stack([payoff, payoff[::-1]], axis=1), np.stack([prior, prior]))
    np.testing.assert_allclose(both[:, 0], np.log(total))


def test_the_next_capital_is_expected_to_be_the_last():
    """Over all that may come next, from a past in which much was won and lost: to the last digits."""
    rng = np.random.default_rng(2)
    past = rng.beta(2.0, 1.0, 40)
    before = log_capital(bets_on_ranks(past), even_prior())[-1]
    nodes, weights = np.polynomial.legendre.leggauss(8)  # exact on either side of the kink at one half
    u = np.concatenate([0.25 + 0.25 * nodes, 0.75 + 0.25 * nodes])
    after = [log_capital(bets_on_ranks(np.append(past, x)), even_prior())[-1] for x in u]
    mean = (0.25 * np.tile(weights, 2) * np.exp(np.array(after) - before)).sum()
    assert mean == pytest.approx(1.0, abs=1e-12)


def test_capital_does_not_overflow():
    payoff = bets_on_ranks(np.full(20_000, 0.999))
    assert log_capital(payoff, even_prior())[-1] > 5_000.0


def test_no_capital_of_uniform_ranks_often_grows():
    """Ville: the share of streams in which it ever reaches 1 / a is at most a."""
    ranks = np.random.default_rng(3).uniform(size=(400, 2_000))
    best = log_capital(bets_on_ranks(ranks), even_prior()).max(axis=0)
    for a in (0.2, 0.05, 0.01):
        assert np.mean(best >= -np.log(a)) <= a + 3.0 * np.sqrt(a * (1.0 - a) / 2_000)
    assert np.mean(best >= np.log(5.0)) > 0.02  # and it is not so because nothing is ever won


@pytest.mark.parametrize(
    "draw", [lambda rng, n: rng.gamma(0.5, size=n), lambda rng, n: rng.binomial(2, 0.9, n) * 1.0]
)
def test_ranks_beside_a_small_log_are_uniform_and_independent(draw):
    """With the uncertainty of a log of 40 in them, also with atoms: moments over 4,000 logs and streams of 60."""
    rng = np.random.default_rng(4)
    ranks = np.empty((4_000, 60))
    for row in ranks:
        log = Quantiles.of(draw(rng, 40), rng)
        row[:] = predictive_rank(
            log.spacings, log.place(draw(rng, 60), rng.uniform(size=60)), rng.uniform(size=60)
        )
    assert stats.kstest(ranks[:, 0], "uniform").pvalue > 0.001
    assert stats.kstest(ranks[:, -1], "uniform").pvalue > 0.001
    # means over a stream vary as those of independent ranks do
    z = (ranks.mean(axis=1) - 0.5) * np.sqrt(12 * 60)
    assert (z.mean(), z.std()) == pytest.approx((0.0, 1.0), abs=0.05)
    # and bets win on them as often as on uniform numbers; the mean of the capital itself hangs on a few streams
    won = [
        log_capital(bets_on_ranks(x.T), even_prior()).max(axis=0) for x in (ranks, rng.uniform(size=ranks.shape))
    ]
    for capital in (2.0, 5.0):
        share, of_uniform = (np.mean(best >= np.log(capital)) for best in won)
        assert share <= 1.0 / capital
        assert share == pytest.approx(of_uniform, abs=4.0 * np.sqrt(2.0 * of_uniform / 4_000))


@pytest.mark.parametrize("rate", [0.03, 0.5, 0.9])
def test_ranks_of_right_answers_are_uniform(rate):
    rng = np.random.default_rng(5)
    ranks = np.empty((4_000, 30))
    for row in ranks:
        right = rng.binomial(25, rate)
        new = (rng.uniform(size=30) < rate).astype(int)
        row[:] = predictive_rank(np.array([25 - right, right]), new, rng.uniform(size=30), own=1.0)
    assert stats.kstest(ranks[:, 0], "uniform").pvalue > 0.001
    z = (ranks.mean(axis=1) - 0.5) * np.sqrt(12 * 30)
    assert (z.mean(), z.std()) == pytest.approx((0.0, 1.0), abs=0.05)


def test_a_log_that_was_drawn_otherwise_is_told():
    rng = np.random.default_rng(6)
    log = Quantiles.of(rng.normal(size=300), rng)
    new = log.place(rng.normal(0.5, 1.0, size=400), rng.uniform(size=400))
    capital = log_capital(bets_on_ranks(predictive_rank(log.spacings, new, rng.uniform(size=400))), even_prior())
    assert capital.max() > np.log(1_000)


def test_shares_on_rates_are_the_posterior():
    mean, sd, limit = 0.2, 0.03, 0.25
    prior = prior_of_rates(limit, mean, sd)
    assert prior.sum() == pytest.approx(1.0)
    assert prior[0] == pytest.approx(stats.beta(*beta_of(mean, sd)).cdf(limit))
    assert sum(beta_of(mean, sd)) == pytest.approx(20.0)  # no surer than that
    assert sum(beta_of(0.2, 0.2)) == pytest.approx(3.0)  # and no surer than it was


def test_the_interval_is_the_prior_posterior_ratio():
    a, b = beta_of(0.2, 0.05)
    low, high = error_interval(9, 30, 0.2, 0.05, 0.95)
    for rate in (low, high):
        ratio = stats.beta(a, b).pdf(rate) / stats.beta(a + 9, b + 21).pdf(rate)
        assert ratio == pytest.approx(20.0, rel=0.1)
    # it is the capital of bets by the posterior predictive, one label after another
    wrong, won = np.array([1, 0, 0, 1] * 5), 1.0
    for t, x in enumerate(wrong):
        p = (a + wrong[:t].sum()) / (a + b + t)
        won *= p / low if x else (1.0 - p) / (1.0 - low)
    n, s = len(wrong), wrong.sum()
    assert won == pytest.approx(stats.beta(a, b).pdf(low) / stats.beta(a + s, b + n - s).pdf(low))
    assert integrate.quad(lambda x: stats.beta(a, b).pdf(x), 0, 1)[0] == pytest.approx(1.0)


def test_the_interval_holds_the_rate_after_every_label():
    rng, missed = np.random.default_rng(7), 0
    for _ in range(300):
        wrong = np.cumsum(rng.uniform(size=150) < 0.3)
        ends = [error_interval(int(wrong[n - 1]), n, 0.2, 0.03, 0.9) for n in range(5, 151, 5)]
        missed += any(not low <= 0.3 <= high for low, high in ends)
    assert missed / 300 <= 0.1 + 3.0 * np.sqrt(0.09 / 300)
