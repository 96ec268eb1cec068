"""A later stage that costs more and is right less often: called only where it helps."""

from dataclasses import replace

import numpy as np
from helpers.draws import make_draws, tune_by_hand


def draws_of(*intercepts, slopes=(1.0, 1.0)):
    draws = make_draws(2, "no atoms", n_draws=20)
    curve = {
        "intercept": np.zeros((20, 2)) + intercepts,
        "slope": np.zeros((20, 2)) + slopes,
        "atom_offset": 0.0 * draws.curve["atom_offset"],
    }
    return replace(draws, curve=curve)


def test_a_worse_stage_is_not_called_after_a_better_one():
    """Unsure queries of the first are unsure ones of the second too, which is worse at every confidence."""
    draws = draws_of(2.0, 0.0)
    for goal in ({"error_price": 100.0}, {"max_error": 0.45}, {"max_cost": 10.0}):
        found = tune_by_hand(draws, stages=None, **goal)
        assert list(found.thresholds["stage"].values) == ["s0"], goal


def test_it_is_called_where_it_knows_what_the_better_one_does_not():
    """The better one on the whole guesses where it is unsure; the worse one there is right more often."""
    draws = draws_of(1.5, 0.5, slopes=(4.0, 0.01))
    alone = tune_by_hand(draws, stages=["s0"], error_price=100.0)
    other = tune_by_hand(draws, stages=["s1"], error_price=100.0)
    both = tune_by_hand(draws, stages=None, error_price=100.0)
    assert float(alone.error.mean()) < float(other.error.mean())
    assert list(both.thresholds["stage"].values) == ["s0", "s1"]
    assert float(both.error.mean()) < float(alone.error.mean())
