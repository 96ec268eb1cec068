"""Masses of cells under the Gaussian copula, by Mehler's series: against Owen's function at every corner."""

import numpy as np
import pytest
from helpers.draws import make_draws

from bayescascade.model.copulas import gaussian
from bayescascade.model.copulas.family import get_family
from bayescascade.model.copulas.link import Link
from bayescascade.model.copulas.namespace import NUMPY

TAUS = [-0.84, -0.6, -0.2, -1e-3, 0.0, 1e-9, 0.3, 0.7, 0.84]


def some_edges(n, n_draws, rng):
    """Edges of cells (draw, edge), two of them the same, and some next to 0 and 1."""
    inner = np.sort(rng.uniform(size=(n_draws, n)), axis=1)
    inner[:, 4] = inner[:, 3]
    inner[:, 0], inner[:, -1] = 1e-12, 1.0 - 1e-9
    return np.concatenate([np.zeros((n_draws, 1)), inner, np.ones((n_draws, 1))], axis=1)


def masses(left, right, tau):
    """Those of the series."""
    return gaussian.cell_masses(gaussian.point(left, NUMPY), gaussian.point(right, NUMPY), tau)


def by_owen(left, right, tau):
    c = np.zeros((len(tau), left.shape[1], right.shape[1]))
    inside = get_family("gaussian").cdf(left[:, 1:-1, None], right[:, None, 1:-1], tau[:, None, None])
    c[:, 1:-1, 1:-1], c[:, -1], c[:, :, -1] = inside, right, left
    return np.diff(np.diff(c, axis=1), axis=2)


def test_cells_have_the_masses_that_owens_function_gives():
    rng = np.random.default_rng(1)
    tau = np.array(TAUS)
    left, right = (some_edges(n, len(tau), rng) for n in (12, 17))
    for i in range(len(tau)):  # each alone, since the longest series serves all
        one = slice(i, i + 1)
        got = masses(left[one], right[one], tau[one])
        np.testing.assert_allclose(got, by_owen(left[one], right[one], tau[one]), atol=2e-5)
    together = masses(left, right, tau)
    np.testing.assert_allclose(together, by_owen(left, right, tau), atol=2e-5)
    np.testing.assert_array_equal(together[:, 4], 0.0)
    np.testing.assert_allclose(together.sum(axis=2), np.diff(left), atol=2e-5)
    np.testing.assert_allclose(together.sum(axis=1), np.diff(right), atol=2e-5)
    independent = np.diff(left)[:, :, None] * np.diff(right)[:, None]
    np.testing.assert_allclose(together[TAUS.index(0.0)], independent[TAUS.index(0.0)], atol=1e-15)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_next_to_plus_and_minus_one_a_link_falls_back_on_owens_function(sign):
    left = some_edges(12, 2, np.random.default_rng(1))
    for end in (sign, 0.9 * sign):
        tau = np.array([0.2, end])
        assert masses(left, left, tau) is None
        found = Link(get_family("gaussian"), tau).cell_masses(left, left)
        np.testing.assert_allclose(found.sum(axis=2), np.diff(left), atol=1e-12)
    tau = np.array([sign])
    found = Link(get_family("gaussian"), tau).cell_masses(
        left[:1], (left if sign > 0 else 1.0 - left[:, ::-1])[:1]
    )
    together = found[0] if sign > 0 else found[0, :, ::-1]
    np.testing.assert_allclose(together, np.diag(np.diff(left[0])), atol=1e-7)


@pytest.mark.parametrize("pattern", ["both atoms", "discrete"])
def test_atoms_are_cells_like_others(pattern):
    draws = make_draws(2, pattern, n_draws=3, copula="gaussian")
    edges = draws.edges()
    found = masses(edges[:, 0], edges[:, 1], draws.tau[:, 0])
    np.testing.assert_allclose(found, by_owen(edges[:, 0], edges[:, 1], draws.tau[:, 0]), atol=2e-5)
