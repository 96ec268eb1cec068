"""A fit that every operation is quick on."""

import pytest


@pytest.fixture(scope="session")
def few_draws(example_fit):
    return example_fit.isel(draw=slice(25))
