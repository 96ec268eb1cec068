"""Empirical Bayes against the joint fit of the same tenants, and against the tenants alone."""

import warnings

import numpy as np
import pytest
from arviz_stats import mcse
from helpers.fits import stored_fit

import bayescascade as bc
from bayescascade.posterior.population import population_of

pytestmark = [pytest.mark.slow, pytest.mark.long]  # three models are compiled

SIZES = (15, 40, 150)
HOW = {
    "draws": 500,
    "chains": 2,
    "random_seed": 1,
    "progressbar": False,
    "difficulty": False,
    "log_likelihood": False,
}


@pytest.fixture(scope="module")
def fits():
    """Posteriors of each tenant: jointly, alone under the joint fit's population, and alone."""
    rng = np.random.default_rng(5)
    logs = {
        f"t{n}": bc.simulate(n, intercept=np.array([0.2, 1.1, 2.0]) + 0.5 * rng.normal(), random_seed=n)
        for n in SIZES
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        joint = stored_fit(bc.combine_tasks(logs), **HOW)
        population = population_of(joint)
        return {
            name: {
                "joint": bc.select_task(joint, name),
                "pooled": bc.fit(log, population=population, **HOW),
                "alone": bc.fit(log, **HOW),
            }
            for name, log in logs.items()
        }


def of(fit, name):
    values = fit["posterior"].to_dataset()[[name]]
    return [
        found[name].values
        for found in (values.mean(("chain", "draw")), values.std(("chain", "draw")), mcse(values))
    ]


@pytest.mark.parametrize("name", ["intercept", "log_slope", "tau"])
@pytest.mark.parametrize("n", SIZES)
def test_pooled_fits_are_near_the_joint_fit(fits, n, name):
    """A tenant of three is in its own prior, which moves that by a third of what its log says of it, at most."""
    (mean, sd, error), (pooled, pooled_sd, pooled_error) = (
        of(fits[f"t{n}"][way], name) for way in ("joint", "pooled")
    )
    off = np.abs(pooled - mean) / sd
    print(n, name, off.round(2), (pooled_sd / sd).round(2))
    assert (off < 1.0 / len(SIZES) + 4.0 * np.hypot(error, pooled_error) / sd).all()
    assert (np.abs(pooled_sd / sd - 1.0) < 1.0 / len(SIZES)).all()


def test_a_small_tenant_alone_is_further_from_the_joint_fit(fits):
    """By slopes and intercepts together, which its own few labels hardly know."""
    small = fits[f"t{SIZES[0]}"]
    off = {}
    for way in ("pooled", "alone"):
        parts = [
            np.abs(of(small[way], name)[0] - of(small["joint"], name)[0]) for name in ("intercept", "log_slope")
        ]
        off[way] = float(np.concatenate(parts).mean())
    print(off)
    assert off["pooled"] < 0.5 * off["alone"]
