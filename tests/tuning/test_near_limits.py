"""Next to the lowest limit that can be kept, where few draws see another side of it than all."""

import numpy as np
from helpers.draws import make_draws

from bayescascade.tuning import threshold_search
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.threshold_search import search_thresholds


def test_what_keeps_a_limit_is_found_for_every_limit_above_it(monkeypatch):
    monkeypatch.setattr(threshold_search, "SEARCH_LATENT", 60)
    draws = make_draws(2, "no atoms", seed=1, n_draws=250, loading=0.8, discrimination=1.5, copula="gaussian")

    def kept(limit):
        return search_thresholds(draws, TuningSpec(max_error=limit)).feasible

    low, high = 0.3, 0.5
    while high - low > 2e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if kept(middle) else (middle, high)
    found = [kept(limit) for limit in np.linspace(high, high + 0.02, 8)]
    assert all(found), found
