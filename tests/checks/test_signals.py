"""Kendall's tau within strata, with which signals are checked."""

import numpy as np

from bayescascade.checks.signals import partial_tau


def test_partial_tau_compares_within_strata_only():
    x = np.array([[1.0, 2.0, 3.0, 9.0, 8.0, 7.0]])
    strata = [np.arange(3), np.arange(3, 6)]
    # rising together within each stratum, whatever stands between the strata
    assert partial_tau(x, np.array([[4.0, 5.0, 6.0, 3.0, 2.0, 1.0]]), strata) == 1.0
    assert partial_tau(x, -x, strata) == -1.0
