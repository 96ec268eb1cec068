"""What a log shows at thresholds: order statistics, ties by lot, and only the queries that reach a stage."""

import numpy as np
import pytest
from scipy import stats

from bayescascade.cascade.reference import LEAST, Quantiles, reference_of
from bayescascade.cascade.rules import DecisionRule

INF = float("inf")


@pytest.mark.parametrize("n", [0, 1, 9, 10, 57, 300, 5_000])
def test_bins_hold_all_spacings(n):
    rng = np.random.default_rng(n)
    quantiles = Quantiles.of(rng.normal(size=n), rng)
    assert quantiles.spacings.sum() == n + 1
    assert len(quantiles.spacings) == len(quantiles.values) + 1 <= 20
    assert np.ptp(quantiles.spacings) <= 1.0 + (n > 0)
    again = Quantiles.from_json(quantiles.to_json())
    assert (again.values == quantiles.values).all()


@pytest.mark.parametrize("draw", [lambda rng, n: rng.normal(size=n), lambda rng, n: rng.binomial(3, 0.8, size=n)])
def test_a_new_value_falls_into_bins_as_spacings_say_whatever_the_distribution(draw):
    """Also where nearly all values are equal. Over logs and new values, so that the error is that of a share."""
    rng = np.random.default_rng(1)
    counts = 0
    for _ in range(4_000):
        quantiles = Quantiles.of(draw(rng, 29).astype(float), rng)
        counts = counts + np.bincount(quantiles.place(draw(rng, 1), rng.uniform(size=1)), minlength=6)
    assert stats.chisquare(counts, 4_000 * quantiles.spacings / 30).pvalue > 0.001


def test_values_without_a_finite_end():
    values = np.array([-INF] * 30 + [-1.0] * 30)
    quantiles = Quantiles.of(values, np.random.default_rng(0))
    placed = quantiles.place(values, np.random.default_rng(1).uniform(size=60))
    assert placed[:30].max() <= placed[30:].min()
    assert quantiles.mean == -1.0


def test_a_stage_is_seen_by_the_queries_that_reach_it(example_log):
    rule = DecisionRule.from_any([0.8, 0.6, -INF], ["small", "medium", "large"], "probability")
    small, medium, large = reference_of(example_log, rule)
    confidence = example_log["confidence"].values
    reaches = confidence[:, 0] < 0.8
    assert (small["reached"], small["deferred"]) == (len(confidence), reaches.sum()) == (300, medium["reached"])
    assert large["reached"] == medium["deferred"] == (reaches & (confidence[:, 1] < 0.6)).sum()
    assert sum(part["n"] for part in medium["confidence"]) == medium["reached"]
    assert len(medium["previous"]) + 1 == len(medium["confidence"])
    graded = medium["graded"]
    right = example_log["correct"].values[reaches, 1]
    assert (sum(graded["labels"]), sum(graded["right"])) == (np.isfinite(right).sum(), (right == 1).sum())
    # a class of its own below the threshold
    assert graded["labels"][0] == (reaches & (confidence[:, 1] < 0.6) & np.isfinite(right_of(example_log))).sum()
    assert small["latency"] is None


def right_of(log):
    return log["correct"].values[:, 1]


def test_what_the_log_does_not_know_is_left_out(example_log):
    rule = DecisionRule.from_any([0.8, 0.6, -INF], ["small", "medium", "large"], "probability")
    log = example_log.copy(deep=True)
    log["cost"][LEAST - 1 :, 0] = np.nan
    log["correct"][:, 2] = np.nan
    log["confidence"][:, 1] = np.nan
    small, medium, large = reference_of(log, rule)
    assert small["cost"] is None
    assert medium["reached"] == large["reached"] == 0
    assert large["graded"]["labels"] == [0]
