"""The log and the fit that most test modules share."""

import warnings

import matplotlib.pyplot as plt
import pytest
from helpers.fits import stored_fit

import bayescascade as bc


@pytest.fixture(autouse=True)
def _no_figure_stays_open():
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def example_log():
    return bc.load_example()


@pytest.fixture(scope="session")
def hard_log():
    """Queries with a difficulty that raises or lowers all of their signals and answers."""
    how = {"loading": 0.7, "discrimination": 1.2, "tau": 0.1, "copula": "gaussian", "top_atom": [0.2, 0.0, 0.1]}
    how["unanswerable"] = 0.04
    return bc.simulate(400, n_stages=3, random_seed=3, **how)


@pytest.fixture(scope="session")
def hard_fit(hard_log):
    """A fit of it that knows of the difficulty."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        how = {"draws": 150, "tune": 200, "chains": 2, "random_seed": 1, "progressbar": False}
        return stored_fit(hard_log, difficulty=True, **how)


@pytest.fixture(scope="session")
def example_fit(example_log):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)  # so few draws do not satisfy R-hat
        return stored_fit(
            example_log, difficulty=False, draws=200, tune=200, chains=2, random_seed=1, progressbar=False
        )


@pytest.fixture(scope="session")
def client():
    """A Dask cluster of two workers within the process of the tests."""
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0"
        )
        with cluster, distributed.Client(cluster) as client:
            yield client
