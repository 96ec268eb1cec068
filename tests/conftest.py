"""The log and the fit that most test modules share."""

import warnings

import pytest
from helpers.fits import stored_fit

import bayescascade as bc


@pytest.fixture(scope="session")
def example_log():
    return bc.load_example()


@pytest.fixture(scope="session")
def example_fit(example_log):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)  # so few draws do not satisfy R-hat
        return stored_fit(example_log, draws=200, tune=200, chains=2, random_seed=1, progressbar=False)
