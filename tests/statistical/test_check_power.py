"""The check that is there to find a violation fails on it, and the others mostly pass."""

import re
import warnings

import numpy as np
import pytest
from helpers.fits import stored_fit

import bayescascade as bc
from studies.check_power import run as study


def quick_fit(log, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        return stored_fit(
            log, draws=250, tune=250, chains=2, random_seed=1, progressbar=False, **{"difficulty": False} | options
        )


@pytest.mark.parametrize("name", ["order", "previous", "clayton", "top"])
def test_a_violation_fails_its_own_check_and_hardly_another(name):
    failed = [check for check, passed in study.verdicts(name, 101).items() if passed is False]
    assert study.SCENARIOS[name].finds in failed
    assert len(failed) <= 2


@pytest.mark.slow
def test_power_and_level():
    n = 3
    table = study.power(n)
    for name, scenario in study.SCENARIOS.items():
        others = table.loc[name].drop(scenario.finds, errors="ignore")
        assert others.max() <= (0.6 if name in ("clayton", "joe") else 0.4), table
        if scenario.finds and name != "joe":
            assert table.loc[name, scenario.finds] >= 0.66, table
    nothing_wrong = table.loc[["model", "atoms", "atom"]].to_numpy() * n
    assert nothing_wrong.sum() <= 3, table  # of 54 verdicts at 1%: P(more than 3) is below 1%


def test_another_family_is_named(example_fit):
    log = study.of_family("clayton")(np.random.default_rng(5))
    result = bc.check(quick_fit(log))["dependence"]
    assert re.search("looks like (clayton|joe_180)", result.text)
    assert "copula='auto'" in result.text
    assert bc.check(example_fit)["dependence"].table.xs("family", level="statistic")["p"].min() > 0.01
