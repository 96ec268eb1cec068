"""Fits that several test modules share, so that the model compiles once in a session."""

import warnings

import matplotlib
import pytest

import bayescascade as bc

matplotlib.use("Agg")


@pytest.fixture(scope="session")
def example_log():
    return bc.load_example()


@pytest.fixture(scope="session")
def example_fit(example_log):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)  # so few draws do not satisfy R-hat
        return bc.fit(example_log, draws=200, tune=200, chains=2, random_seed=1, progressbar=False)
