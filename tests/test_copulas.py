"""Pair copulas against references, known limits, brute-force integration and finite differences."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import dblquad, quad
from scipy.stats import kendalltau

from bayescascade.copulas import FAMILIES, NUMPY, get_family, pytensor_namespace
from bayescascade.errors import CascadeError
from bayescascade.simulation import draw_uniforms

TAUS = [0.05, 0.3, 0.5, 0.8, 0.95]
CORNERS = [1e-12, 1e-6, 0.01, 0.5, 0.99, 1 - 1e-6, 1 - 1e-12]
gumbel = get_family("gumbel")


@pytest.fixture
def bulk():
    return np.random.default_rng(7).uniform(0.01, 0.99, (400, 2))


@pytest.fixture(scope="module")
def compiled():
    """Every PyTensor formula of each family, with the gradients in u, v and tau of its sum."""
    import pytensor
    import pytensor.tensor as pt

    xp = pytensor_namespace()
    u, v, tau, low_u, low_v = inputs = [pt.dvector(name) for name in ("u", "v", "tau", "low_u", "low_v")]

    def build(family):
        formulas = {
            "logpdf": family.logpdf(u, v, tau, xp),
            "cdf": family.cdf(u, v, tau, xp),
            "hfunc1": family.hfunc1(u, v, tau, xp),
            "hfunc2": family.hfunc2(u, v, tau, xp),
            "log_strip": family.log_strip(low_u, u, v, tau, xp),
            "log_rectangle": family.log_rectangle(low_u, u, low_v, v, tau, xp),
        }
        grads = [pt.grad(x.sum(), [u, v, tau], disconnected_inputs="ignore") for x in formulas.values()]
        outputs = [*formulas.values(), *(g for row in grads for g in row)]
        # the interpreter: what is tested is the graph, and compiling it takes longer than running it here
        function = pytensor.function(inputs, outputs, mode="FAST_COMPILE", on_unused_input="ignore")

        def call(u, v, tau, low_u=None, low_v=None):
            u, v, tau = (np.ravel(x).astype(float) for x in np.broadcast_arrays(u, v, tau))
            low_u, low_v = u / 2 if low_u is None else low_u, v / 2 if low_v is None else low_v
            out = function(u, v, tau, low_u, low_v)
            n = len(formulas)
            return {
                name: SimpleNamespace(value=out[i], grad=out[n + 3 * i : n + 3 * i + 3])
                for i, name in enumerate(formulas)
            }

        return call

    return {name: build(family) for name, family in FAMILIES.items()}


@pytest.mark.parametrize("tau", TAUS)
def test_gumbel_is_statsmodels(bulk, tau):
    from statsmodels.distributions.copula.api import GumbelCopula

    reference = GumbelCopula(theta=1 / (1 - tau))
    u, v = bulk.T
    np.testing.assert_allclose(gumbel.pdf(u, v, tau), reference.pdf(bulk), rtol=1e-8)
    np.testing.assert_allclose(gumbel.cdf(u, v, tau), reference.cdf(bulk), rtol=1e-8)


@pytest.mark.parametrize("tau", TAUS)
def test_gumbel_is_pyvinecopulib(bulk, tau):
    import pyvinecopulib as pv

    reference = pv.Bicop(pv.families.gumbel, parameters=np.array([[1 / (1 - tau)]]))
    u, v = bulk.T
    np.testing.assert_allclose(gumbel.pdf(u, v, tau), reference.pdf(bulk), rtol=1e-8)
    # hfunc1 conditions on the first argument, hfunc2 on the second, here as there
    np.testing.assert_allclose(gumbel.hfunc1(u, v, tau), reference.hfunc1(bulk), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(gumbel.hfunc2(u, v, tau), reference.hfunc2(bulk), rtol=1e-8, atol=1e-12)
    # ours is hinv1(p, u), theirs takes rows of (u, p)
    np.testing.assert_allclose(gumbel.hinv1(v, u, tau), reference.hinv1(bulk), atol=1e-8)


def test_h_functions_condition_on_the_argument_they_name(bulk):
    u, v = bulk.T
    step = 1e-6
    by_u = (gumbel.cdf(u + step, v, 0.4) - gumbel.cdf(u - step, v, 0.4)) / (2 * step)
    by_v = (gumbel.cdf(u, v + step, 0.4) - gumbel.cdf(u, v - step, 0.4)) / (2 * step)
    np.testing.assert_allclose(gumbel.hfunc1(u, v, 0.4), by_u, atol=1e-7)
    np.testing.assert_allclose(gumbel.hfunc2(u, v, 0.4), by_v, atol=1e-7)


def test_gumbel_without_dependence_is_independence(bulk):
    u, v = bulk.T
    independence = get_family("independence")
    for name in ("logpdf", "cdf", "hfunc1", "hfunc2"):
        ours, limit = getattr(gumbel, name)(u, v, 0.0), getattr(independence, name)(u, v, 0.0)
        np.testing.assert_allclose(ours, limit, atol=1e-12, err_msg=name)


def test_gumbel_near_tau_one_is_comonotone(bulk):
    u, v = bulk.T
    np.testing.assert_allclose(gumbel.cdf(u, v, 0.9999), np.minimum(u, v), atol=1e-4)


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.parametrize("tau", TAUS)
def test_edges_of_the_square(name, tau):
    family = get_family(name)
    u = np.array([1e-9, 0.1, 0.5, 0.9, 1 - 1e-9])
    np.testing.assert_allclose(family.cdf(u, np.ones(5), tau), u, rtol=1e-12)
    np.testing.assert_allclose(family.cdf(np.ones(5), u, tau), u, rtol=1e-12)
    np.testing.assert_allclose(family.cdf(u, np.zeros(5), tau), 0.0, atol=1e-12)
    np.testing.assert_allclose(family.hfunc2(np.ones(5), u, tau), 1.0, atol=1e-6)
    np.testing.assert_allclose(family.hfunc2(np.zeros(5), u, tau), 0.0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.parametrize("tau", [0.01, 0.3, 0.7, 0.95])
def test_corners_are_finite_in_value_and_gradient(compiled, name, tau):
    u, v = (x.ravel() for x in np.meshgrid(CORNERS, CORNERS))
    # an atom up to the corner, one of ordinary size, and one so thin that its mass is rounding noise
    for low in (lambda x: np.zeros_like(x), lambda x: 0.9 * x, lambda x: x * (1 - 1e-15)):
        for formula, got in compiled[name](u, v, tau, low(u), low(v)).items():
            assert np.isfinite(got.value).all(), formula
            for by, grad in zip(("u", "v", "tau"), got.grad, strict=True):
                assert np.isfinite(grad).all(), f"d {formula} / d {by}"


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9])
def test_gradients_are_finite_differences(compiled, bulk, name, tau):
    u, v = bulk[:60].T
    fixed = {"low_u": 0.5 * u, "low_v": 0.5 * v}
    taus = np.full_like(u, tau)
    here = compiled[name](u, v, taus, **fixed)
    step = 1e-6
    for i in range(3):
        moved = [
            compiled[name](*(x + s * step * (i == k) for k, x in enumerate((u, v, taus))), **fixed)
            for s in (1, -1)
        ]
        for formula, got in here.items():
            up, down = moved[0][formula].value, moved[1][formula].value
            difference = (up - down) / (2 * step)
            size = 1 + np.abs(difference)
            # the difference of a small mass drowns in the rounding, 1e-16, of what it is a difference of
            firm = got.value > -12.0 if formula.startswith("log_") else slice(None)
            np.testing.assert_allclose(
                (got.grad[i] / size)[firm],
                (difference / size)[firm],
                atol=2e-5,
                err_msg=f"{formula}, argument {i}",
            )


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_numpy_and_pytensor_agree(compiled, bulk, name):
    family = get_family(name)
    u, v = np.concatenate([bulk[:100], np.array(np.meshgrid(CORNERS, CORNERS)).reshape(2, -1).T]).T
    for tau in TAUS:
        got = compiled[name](u, v, tau)
        for formula in ("logpdf", "cdf", "hfunc1", "hfunc2"):
            value = getattr(family, formula)(u, v, tau, NUMPY)
            np.testing.assert_allclose(got[formula].value, value, rtol=1e-12, atol=1e-12, err_msg=formula)
        strip, rectangle = (
            family.log_strip(u / 2, u, v, tau, NUMPY),
            family.log_rectangle(u / 2, u, v / 2, v, tau, NUMPY),
        )
        # as masses: the logarithm magnifies the last digit of a difference without bound
        np.testing.assert_allclose(np.exp(got["log_strip"].value), np.exp(strip), atol=1e-12)
        np.testing.assert_allclose(np.exp(got["log_rectangle"].value), np.exp(rectangle), atol=1e-12)


@pytest.mark.parametrize("tau", [0.0, 0.2, 0.5, 0.8])
def test_simulated_pairs_have_the_tau_they_should(tau):
    u = draw_uniforms(gumbel, np.array([tau]), 20_000, np.random.default_rng(3))
    # standard error of Kendall's tau at 20,000 pairs is at most 0.0047, under independence
    assert kendalltau(*u.T).statistic == pytest.approx(tau, abs=0.015)


@pytest.mark.parametrize("tau", [0.05, 0.5, 0.9])
def test_inverse_h_function_round_trip(bulk, tau):
    p, u = bulk.T
    v = gumbel.hinv1(p, u, tau)
    assert ((v >= 0) & (v <= 1)).all()
    np.testing.assert_allclose(gumbel.hfunc1(u, v, tau), p, atol=1e-8)


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.parametrize("tau", [0.2, 0.6])
@pytest.mark.parametrize(("low", "high"), [(0.0, 0.13), (0.35, 0.6), (0.87, 1.0)])
def test_strip_and_rectangle_are_integrals_of_the_density(name, tau, low, high):
    family = get_family(name)
    for v in (0.04, 0.5, 0.97):
        strip, _ = quad(lambda u, v=v: float(family.pdf(u, v, tau)), low, high, epsabs=1e-11, limit=200)
        assert np.exp(family.log_strip(low, high, v, tau)) == pytest.approx(strip, abs=1e-8)
    for v_low, v_high in ((0.1, 0.4), (0.5, 0.95)):
        mass, _ = dblquad(
            lambda v, u: float(family.pdf(u, v, tau)), max(low, 1e-9), min(high, 1 - 1e-9), v_low, v_high
        )
        assert np.exp(family.log_rectangle(low, high, v_low, v_high, tau)) == pytest.approx(mass, abs=1e-7)


def test_density_integrates_to_one_over_cells():
    edges = np.linspace(0, 1, 9)
    u, v = (x.ravel() for x in np.meshgrid(edges[:-1], edges[:-1]))
    mass = np.exp(gumbel.log_rectangle(u, u + 1 / 8, v, v + 1 / 8, 0.7))
    assert mass.sum() == pytest.approx(1.0, abs=1e-12)


def test_unknown_family_is_named():
    with pytest.raises(CascadeError, match=r"copula='frankk' is not a known family; choose one of 'gumbel'"):
        get_family("frankk")
