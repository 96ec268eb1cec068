"""A Dask cluster within the process of the tests, and fits that cost nothing."""

from functools import wraps

import pandas as pd
import pytest

import bayescascade as bc
from bayescascade.checks.results import CheckResult
from bayescascade.posterior.schema import data_hash
from bayescascade.tenants import fit_tasks as module


@pytest.fixture
def logs():
    return {
        name: bc.simulate(40 + 5 * i, n_stages=3, random_seed=i) for i, name in enumerate(["law", "a/b", "zoo"])
    }


@pytest.fixture
def quick(example_fit, monkeypatch):
    """In the place of fitting: the fit of the example, with what it was asked for; calls are kept."""
    calls = {}

    @wraps(module.fit)
    def fit(log, **options):
        bc.validate_log(log)
        calls[data_hash(log)] = options
        made = example_fit.copy(deep=True)
        made.attrs["data_hash"] = data_hash(log)
        return made

    def check(fit):
        return [
            CheckResult(name, passed, pd.DataFrame(), "") for name, passed in (("loo", None), ("margins", False))
        ]

    monkeypatch.setattr(module, "fit", fit)
    monkeypatch.setattr(module, "check", check)
    return calls
