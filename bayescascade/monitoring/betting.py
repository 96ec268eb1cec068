"""Bets against "nothing has changed", whose winnings are evidence that something has.

A *bet* pays, at each query, a factor e_t >= 0 on what is staked, and is fair or worse as long as the hypothesis
holds: E[e_t | what was known before] <= 1. Somebody starts with a capital of 1 and splits it anew among bets
before each query, by whatever rule that looks at the past only. With shares w_tk of the capital C_{t-1},

    C_t = sum_k w_tk C_{t-1} e_tk,    so    E[C_t | past] = C_{t-1} sum_k w_tk E[e_tk | past] <= C_{t-1}.

C is thus a test supermartingale, and by Ville's inequality P(C_t >= 1 / a for any t) <= a: one may look after
every query and stop at will. The average of such capitals is one again. All that follows only chooses bets and
shares.

References
----------
Shafer & Vovk (2019), Game-Theoretic Foundations for Probability and Finance. Vovk et al. (2021), Retrain or not
retrain: conformal test martingales for change-point detection, PMLR 152: the shares that jump. Waudby-Smith &
Ramdas (2024), Estimating means of bounded random variables by betting, doi:10.1093/jrsssb/qkad009. Waudby-Smith
& Ramdas (2020), Confidence sequences for sampling without replacement, NeurIPS: the prior-posterior ratio.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betaln, expit, logit, logsumexp
from scipy.stats import beta

# How much of the capital is dealt out anew before each query: a change after t queries is then met by about this
# share of the capital. The average over shares needs no guess of when the change will come.
SHARES = np.array([1e-4, 1e-3, 1e-2])
STAKES = np.array([-1.0, -0.5, 0.5, 1.0])
N_BETS = 1 + 2 * len(STAKES)
# Odds of an error beside those of the limit, on which is bet that a promise is broken.
_ODDS = np.array([1.15, 1.4, 1.75, 2.25, 3.0, 4.5, 7.0, 12.0])
# Labels that the posterior counts for in a bet. One surer than that would need as many labels again to be moved.
_WORTH = 20.0


def log_capital(payoff: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Log of the capital after each query (query, ...), for factors that bets pay (query, ..., bet).

    Before each query a share of the capital is dealt out among the bets as ``prior`` (..., bet) says; the rest
    stays where it was won. The first bet should be to keep the money, a factor of 1.
    """
    share = SHARES.reshape(-1, *(1,) * (payoff.ndim - 1))
    wealth = np.broadcast_to(prior, (len(SHARES), *payoff.shape[1:])).copy()  # sums to 1: the rest is in the log
    log_total = np.zeros(wealth.shape[:-1])
    out = np.empty(payoff.shape[:-1])
    for t, factor in enumerate(payoff):
        wealth += share * (prior - wealth)
        wealth *= factor
        total = wealth.sum(axis=-1)
        wealth /= total[..., None]
        log_total += np.log(total)
        out[t] = logsumexp(log_total, axis=0)
    return out - np.log(len(SHARES))


def predictive_rank(counts: np.ndarray, place: np.ndarray, lot: np.ndarray, own: float = 0.0) -> np.ndarray:
    """Rank of each value among all before it, in (0, 1), by lot within its bin (query,).

    With ``own=0`` and the spacings of `Quantiles` for ``counts`` (bin,), the next value falls into bin b, given
    all before it, with probability counts_b / sum(counts), where values seen count, too: shares of spacings are
    Dirichlet, so this is the posterior predictive, exactly, whatever the distribution. Its distribution function
    at the value, by lot within the bin, is therefore uniform given the past: ranks are independent and uniform.

    With ``own=1`` ``counts`` are of other values in bins that were fixed beforehand, such as right and wrong. The
    value's rank by lot among all so far, itself included, is uniform and independent of earlier ranks if the order
    of all values means nothing (Vovk, Gammerman & Shafer 2022, Algorithmic Learning in a Random World, ch. 2).
    """
    bins = place[:, None] == np.arange(len(counts))
    before = counts + np.cumsum(bins, axis=0) - bins
    below = np.where(np.arange(len(counts)) < place[:, None], before, 0.0).sum(axis=1)
    here = np.take_along_axis(before, place[:, None], axis=1)[:, 0] + own
    return (below + lot * here) / (before.sum(axis=1) + own)


def bets_on_ranks(rank: np.ndarray) -> np.ndarray:
    """Factors (query, bet) of bets that ranks are higher, lower, more or less spread; 1 where a rank is NaN.

    For a uniform rank U the means of 2 U - 1 and of 4 |U - 1/2| - 1 are 0, and both lie in [-1, 1]: one plus a
    stake of at most 1 times either is a fair bet.
    """
    return _staked(2.0 * rank - 1.0, 4.0 * np.abs(rank - 0.5) - 1.0)


def bets_on_dependence(rank: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Factors (query, bet) of bets that ranks move with, or against, a score in [-1, 1] that is known before."""
    moves = (2.0 * rank - 1.0) * score
    return _staked(moves, moves)


def _staked(*centred: np.ndarray) -> np.ndarray:
    """One plus stakes times what has mean 0, after the bet that keeps the money."""
    won = np.concatenate([np.multiply.outer(np.nan_to_num(x), STAKES) for x in centred], axis=-1)
    return np.concatenate([np.ones((*won.shape[:-1], 1)), 1.0 + won], axis=-1)


def even_prior() -> np.ndarray:
    """Half of the money kept, the rest on all other bets alike (bet,)."""
    return np.array([0.5] + [0.5 / (N_BETS - 1)] * (N_BETS - 1))


def bets_on_errors(wrong: np.ndarray, limit: float) -> np.ndarray:
    """Factors (query, bet) of bets that errors are more frequent than a limit; 1 where ``wrong`` is NaN.

    Each is the likelihood ratio of a rate q above the limit m, q / m for an error and (1 - q) / (1 - m) for
    none. Its mean is 1 if the rate of errors is m, and less if it is lower, as it rises in the rate: fair for
    "at most m".
    """
    rate = rates_above(limit)
    known, one = np.isfinite(wrong)[:, None], np.ones((len(wrong), 1))
    ratio = np.where(wrong[:, None] > 0.5, rate / limit, (1.0 - rate) / (1.0 - limit))
    return np.concatenate([one, np.where(known, ratio, 1.0)], axis=1)


def rates_above(limit: float) -> np.ndarray:
    """Rates of errors that are bet on (bet - 1,)."""
    return expit(logit(limit) + np.log(_ODDS))


def prior_of_rates(limit: float, mean: float, sd: float) -> np.ndarray:
    """The posterior of the error rate as shares of bets: below the limit, where money is kept, and near each rate.

    Where nothing is dealt out anew the capital is then the prior-posterior ratio at the limit, and what is bet
    before each query is the posterior predictive distribution, given that the promise is broken.
    """
    edges = expit(logit(limit) + np.log(np.sqrt(_ODDS[1:] * _ODDS[:-1])))
    cdf = beta.cdf([limit, *edges], *beta_of(mean, sd))
    shares = np.diff([0.0, *cdf, 1.0])
    return np.maximum(shares, 1e-6) / np.maximum(shares, 1e-6).sum()


def beta_of(mean: float, sd: float) -> tuple[float, float]:
    """The beta distribution with a mean, and an sd or what the bets' labels leave of it."""
    mean = min(max(mean, 1e-3), 1.0 - 1e-3)
    worth = min(max(mean * (1.0 - mean) / max(sd, 1e-9) ** 2 - 1.0, 1.0), _WORTH)
    return mean * worth, (1.0 - mean) * worth


def error_interval(wrong: int, n: int, mean: float, sd: float, prob: float) -> tuple[float, float]:
    """Rates that no capital has refuted so far: an interval that holds the rate after every label with ``prob``.

    The prior-posterior ratio at a rate r, prior(r) / posterior(r), is the capital of the bet by the posterior
    predictive against r; the interval is where it is below 1 / (1 - prob).
    """
    a, b = beta_of(mean, sd)
    rate = np.linspace(0.0, 1.0, 2001)[1:-1]
    log_won = (
        betaln(a + wrong, b + n - wrong) - betaln(a, b) - wrong * np.log(rate) - (n - wrong) * np.log1p(-rate)
    )
    held = rate[log_won < -np.log1p(-prob)]
    low, high = float(held[0]), float(held[-1])
    step = float(rate[1] - rate[0])
    return (0.0 if low <= step else low - step), (1.0 if high >= 1.0 - step else high + step)
