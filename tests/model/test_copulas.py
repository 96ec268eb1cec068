"""Pair copulas against references, known limits, brute-force integration and finite differences."""

import warnings
from decimal import Decimal, localcontext
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kendalltau, norm

from bayescascade.errors import CascadeError
from bayescascade.model.copulas.family import FAMILIES, get_family, rotate_180
from bayescascade.model.copulas.namespace import NUMPY, pytensor_namespace

TAUS = [0.05, 0.3, 0.5, 0.8, 0.95]
CORNERS = [1e-12, 1e-6, 0.01, 0.5, 0.99, 1 - 1e-6, 1 - 1e-12]
NAMES = sorted(FAMILIES)
DEPENDENT = [name for name in NAMES if name != "independence"]
BASE = [name for name in DEPENDENT if not FAMILIES[name].rotated]
TWO_SIDED = [name for name in NAMES if FAMILIES[name].tau_range[0] < 0]
gumbel = get_family("gumbel")


def with_taus(names, taus):
    """Pairs of family and tau, with -tau where the family has it."""
    return [(name, s * tau) for name in names for s in (1, -1) if s > 0 or name in TWO_SIDED for tau in taus]


@pytest.fixture
def bulk():
    return np.random.default_rng(7).uniform(0.01, 0.99, (400, 2))


@pytest.fixture(scope="module")
def compiled():
    """Every PyTensor formula of each family, with the gradients in u, v and tau of its sum."""
    return {name: compile_family(family) for name, family in FAMILIES.items()}


def compile_family(family, mode=None):
    import pytensor
    import pytensor.tensor as pt

    # by default the interpreter: what is tested is the graph, and compiling it takes longer than running it here.
    # It adds no more than 32 terms at once, so sums stay as they were written.
    mode = mode or pytensor.compile.get_mode("FAST_COMPILE").excluding("add_mul_fusion", "canonicalize")

    xp = pytensor_namespace()
    u, v, tau, low_u, low_v = inputs = [pt.dvector(name) for name in ("u", "v", "tau", "low_u", "low_v")]
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
    function = pytensor.function(inputs, outputs, mode=mode, on_unused_input="ignore")

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


def parameter(name, tau):
    return float(FAMILIES[name].tau_to_parameter(tau, NUMPY))


def textbook_cdf(name, u, v, theta):
    """C(u, v) of an Archimedean family as books print it, in decimals enough to absorb every cancellation."""
    if name == "clayton":
        return (u**-theta + v**-theta - 1) ** (-1 / theta)
    if name == "gumbel":
        return (-(((-u.ln()) ** theta + (-v.ln()) ** theta) ** (1 / theta))).exp()
    if name == "joe":
        a, b = (1 - u) ** theta, (1 - v) ** theta
        return 1 - (a + b - a * b) ** (1 / theta)
    a, b, c = ((-theta * x).exp() - 1 for x in (u, v, Decimal(1)))
    return -(1 + a * b / c).ln() / theta


@pytest.mark.parametrize(
    ("name", "tau"), with_taus(["gumbel", "clayton", "joe", "frank"], [1e-6, 0.05, 0.5, 0.98])
)
def test_archimedean_families_are_their_textbook_formulas(name, tau):
    family, theta = get_family(name), Decimal(parameter(name, tau))
    step = Decimal("1e-30")
    points = [0.004, 0.3, 0.31, 0.8, 0.996]
    with localcontext(prec=240):
        for u, v in ((Decimal(a), Decimal(b)) for a in points for b in points):
            near = {
                (i, j): textbook_cdf(name, u + i * step, v + j * step, theta)
                for i in (-1, 0, 1)
                for j in (-1, 0, 1)
            }
            h2 = (near[0, 1] - near[0, -1]) / (2 * step)
            # the densities of points far off the diagonal are too small for steps of this size
            density = (near[1, 1] - near[1, -1] - near[-1, 1] + near[-1, -1]) / (4 * step * step)
            at = float(u), float(v), tau
            assert family.cdf(*at) == pytest.approx(float(near[0, 0]), rel=1e-8, abs=1e-13)
            assert family.hfunc2(*at) == pytest.approx(float(h2), rel=1e-8, abs=1e-13)
            assert family.pdf(*at) == pytest.approx(float(density), rel=1e-8, abs=1e-30)


@pytest.mark.parametrize(("name", "tau"), with_taus(["gumbel", "clayton", "frank", "gaussian"], TAUS))
def test_families_are_statsmodels(bulk, name, tau):
    from statsmodels.distributions.copula import api

    if name == "frank" and tau > 0.5:
        pytest.skip("statsmodels' Frank cancels: its density at tau 0.8 is 4 % off, and NaN at 0.95")
    build = {"gumbel": api.GumbelCopula, "clayton": api.ClaytonCopula, "frank": api.FrankCopula}.get(name)
    theta = parameter(name, tau)
    reference = build(theta=theta) if build else api.GaussianCopula(corr=theta)
    u, v = bulk.T
    np.testing.assert_allclose(get_family(name).pdf(u, v, tau), reference.pdf(bulk), rtol=1e-8, atol=1e-300)
    np.testing.assert_allclose(get_family(name).cdf(u, v, tau), reference.cdf(bulk), rtol=1e-8, atol=1e-12)
    # its Debye function is 1e-11 off, and wrong for negative arguments
    if name != "frank" or tau > 0:
        assert tau == pytest.approx(reference.tau(), abs=1e-10)


@pytest.mark.parametrize(("name", "tau"), with_taus(DEPENDENT, TAUS))
def test_families_are_pyvinecopulib(bulk, name, tau):
    import pyvinecopulib as pv

    family, theta = get_family(name), parameter(name, tau)
    if abs(theta) > {"clayton": 28, "frank": 35, "joe": 30}.get(family.base, 50):
        pytest.skip("beyond the parameters that pyvinecopulib allows")
    reference = pv.Bicop(
        getattr(pv.families, family.base), rotation=180 * family.rotated, parameters=np.array([[theta]])
    )
    u, v = bulk.T
    # theirs cancels for Frank at tau 0.8, and cuts densities off at 1e-20
    loose = 100 if name == "frank" and tau > 0.5 else 1
    assert reference.tau == pytest.approx(tau, abs=1e-10)
    np.testing.assert_allclose(family.pdf(u, v, tau), reference.pdf(bulk), rtol=1e-8, atol=1e-19)
    np.testing.assert_allclose(family.cdf(u, v, tau), reference.cdf(bulk), rtol=loose * 1e-8, atol=1e-12)
    # hfunc1 conditions on the first argument, hfunc2 on the second, here as there
    np.testing.assert_allclose(family.hfunc1(u, v, tau), reference.hfunc1(bulk), atol=loose * 1e-10)
    np.testing.assert_allclose(family.hfunc2(u, v, tau), reference.hfunc2(bulk), atol=loose * 1e-10)
    # ours are hinv1(p, u) and hinv2(p, v), theirs take rows of (u, p) and (p, v); theirs bisect to 1e-10
    np.testing.assert_allclose(family.hinv1(v, u, tau), reference.hinv1(bulk), atol=1e-8)
    np.testing.assert_allclose(family.hinv2(u, v, tau), reference.hinv2(bulk), atol=1e-8)


@pytest.mark.parametrize(("name", "tau"), with_taus(DEPENDENT, [0.001, 0.4, 0.9]))
def test_h_functions_condition_on_the_argument_they_name(name, tau):
    family, step = get_family(name), 1e-6
    u, v = np.random.default_rng(3).uniform(0.05, 0.95, (2, 300))
    by_u = (family.cdf(u + step, v, tau) - family.cdf(u - step, v, tau)) / (2 * step)
    by_v = (family.cdf(u, v + step, tau) - family.cdf(u, v - step, tau)) / (2 * step)
    np.testing.assert_allclose(family.hfunc1(u, v, tau), by_u, atol=1e-7)
    np.testing.assert_allclose(family.hfunc2(u, v, tau), by_v, atol=1e-7)
    log_h = family.loghfunc2(u, v, tau)
    np.testing.assert_allclose(np.exp(log_h), np.maximum(by_v, 0.0), atol=1e-7)


@pytest.mark.parametrize("name", DEPENDENT)
def test_tau_and_parameter_are_inverse(name):
    family = get_family(name)
    tau = np.concatenate([10.0 ** np.arange(-6, -1), np.linspace(0.02, 0.98, 97)])
    if name in TWO_SIDED:
        tau = np.concatenate([-tau, tau])
    back = family.parameter_to_tau(family.tau_to_parameter(tau, NUMPY))
    # a relative 1e-9 of the parameter is this much of tau; 1e-15 is the rounding of tau itself
    np.testing.assert_array_less(np.abs(back - tau), 1e-9 * np.minimum(np.abs(tau), 1 - np.abs(tau)) + 1e-15)


@pytest.mark.parametrize("theta", [-12.0, -1.5, -0.4, 0.01, 1.49, 1.51, 30.0, 190.0])
def test_tau_of_frank_is_the_debye_integral(theta):
    debye, _ = quad(lambda t: t / np.expm1(t) if t else 1.0, 0, theta, epsabs=1e-13, epsrel=1e-13, limit=200)
    tau = 1 - 4 / theta * (1 - debye / theta)
    assert float(get_family("frank").parameter_to_tau(theta)) == pytest.approx(tau, rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("theta", [1.01, 1.9, 2.0, 2.00001, 2.1, 8.0, 90.0])
def test_tau_of_joe_is_the_integral_of_its_generator(theta):
    # 1 + 4 times the integral of phi / phi' (Genest & MacKay 1986), phi = -log(1 - (1 - t)^theta), t = 1 - s
    def ratio(s):
        power = s**theta
        return np.log1p(-power) * (1 - power) / (theta * s ** (theta - 1))

    tau = 1 + 4 * quad(ratio, 0, 1, epsabs=1e-13, epsrel=1e-13, limit=200)[0]
    assert float(get_family("joe").parameter_to_tau(theta)) == pytest.approx(tau, abs=1e-11)


@pytest.mark.parametrize("name", DEPENDENT)
def test_without_dependence_is_independence(bulk, name):
    family, independence = get_family(name), get_family("independence")
    u, v = bulk.T
    for formula in ("logpdf", "cdf", "hfunc1", "hfunc2"):
        ours, limit = getattr(family, formula)(u, v, 0.0), getattr(independence, formula)(u, v, 0.0)
        np.testing.assert_allclose(ours, limit, atol=1e-6, err_msg=formula)
    np.testing.assert_allclose(family.hinv1(u, v, 0.0), u, atol=1e-7)


@pytest.mark.parametrize("name", DEPENDENT)
def test_near_tau_one_is_comonotone(bulk, name):
    family = get_family(name)
    u, v = bulk.T
    np.testing.assert_allclose(family.cdf(u, v, 0.9999), np.minimum(u, v), atol=1e-4)
    if name in TWO_SIDED:
        np.testing.assert_allclose(family.cdf(u, v, -0.9999), np.maximum(u + v - 1, 0), atol=1e-4)


@pytest.mark.parametrize(("name", "tau"), with_taus(NAMES, [1e-6, *TAUS, 0.98]))
def test_edges_of_the_square(name, tau):
    family = get_family(name)
    u = np.array([1e-12, 1e-9, 0.1, 0.5, 0.9, 1 - 1e-9, 1 - 1e-12])
    zero, one = np.zeros(u.size), np.ones(u.size)
    np.testing.assert_allclose(family.cdf(u, one, tau), u, rtol=0, atol=1e-12)
    np.testing.assert_allclose(family.cdf(one, u, tau), u, rtol=0, atol=1e-12)
    np.testing.assert_allclose(family.cdf(u, zero, tau), 0.0, atol=1e-12)
    np.testing.assert_allclose(family.cdf(zero, u, tau), 0.0, atol=1e-12)
    for corner in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)):
        assert float(family.cdf(*corner, tau)) == pytest.approx(min(corner), abs=1e-12)
    # 1e-20, the least 1 - u, is not yet nothing beside 1e-12 where dependence is weak
    np.testing.assert_allclose(family.hfunc2(one, u, tau), 1.0, atol=1e-9)
    np.testing.assert_allclose(family.hfunc2(zero, u, tau), 0.0, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("formula", ["logpdf", "pdf", "cdf", "hfunc1", "hfunc2", "loghfunc2", "hinv1", "hinv2"])
def test_arguments_broadcast(name, formula):
    call = getattr(get_family(name), formula)
    u, v, tau = np.array([[[0.2], [0.6]]]), np.array([[[0.1, 0.5, 0.9]]]), np.array([0.2, 0.7])[:, None, None]
    out = call(u, v, tau)
    assert out.shape == (2, 2, 3)  # (draw, segment, segment)
    assert out[1, 0, 2] == pytest.approx(float(call(0.2, 0.9, 0.7)), rel=1e-9)
    assert call(u, v, 0.3).shape == (1, 2, 3)
    assert call(0.5, 0.5, tau).shape == (2, 1, 1)


@pytest.mark.parametrize(("name", "tau"), with_taus(NAMES, [1e-6, 0.01, 0.3, 0.7, 0.95, 0.98]))
def test_corners_are_finite_in_value_and_gradient(compiled, name, tau):
    check_corners(compiled[name], tau)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in NAMES if not get_family(name).rotated])  # same formulas
def test_corners_are_finite_as_the_sampler_compiles_them(name):
    # with fast-math; a formula that numba cannot compile by itself warns of object mode, and a warning is an error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        function = compile_family(get_family(name), mode="NUMBA")
        for _, tau in with_taus([name], [1e-9, 1e-6, 0.01, 0.3, 0.7, 0.95, 0.98, 0.9999]):
            check_corners(function, tau)


def check_corners(function, tau):
    corners = [0.0, 1e-20, *CORNERS, 1.0]
    u, v = (x.ravel() for x in np.meshgrid(corners, corners))
    # an atom up to the corner, one of ordinary size, and one so thin that its mass is rounding noise
    for low in (lambda x: np.zeros_like(x), lambda x: 0.9 * x, lambda x: x * (1 - 1e-15)):
        for formula, got in function(u, v, tau, low(u), low(v)).items():
            assert np.isfinite(got.value).all(), formula
            for by, grad in zip(("u", "v", "tau"), got.grad, strict=True):
                assert np.isfinite(grad).all(), f"d {formula} / d {by}"


@pytest.mark.parametrize(("name", "tau"), with_taus(NAMES, [0.1, 0.5, 0.9]))
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


@pytest.mark.parametrize("tau", [0.0, 1e-9, -1e-9, 1e-6, -1e-6])
def test_gradient_in_tau_passes_through_independence(compiled, bulk, tau):
    u, v = bulk.T
    frank, gaussian = (compiled[name](u, v, tau)["cdf"].grad[2] for name in ("frank", "gaussian"))
    np.testing.assert_allclose(frank, 4.5 * u * (1 - u) * v * (1 - v), rtol=1e-4)
    np.testing.assert_allclose(gaussian, np.pi / 2 * norm.pdf(norm.ppf(u)) * norm.pdf(norm.ppf(v)), rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_numpy_and_pytensor_agree(compiled, bulk, name):
    family = get_family(name)
    u, v = np.concatenate([bulk[:100], np.array(np.meshgrid(CORNERS, CORNERS)).reshape(2, -1).T]).T
    for _, tau in with_taus([name], TAUS):
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


@pytest.mark.parametrize(("name", "tau"), [("gumbel", 0.0), *with_taus(DEPENDENT, [0.2, 0.7])])
def test_simulated_pairs_have_the_tau_they_should(name, tau):
    u, p = np.random.default_rng(3).uniform(size=(2, 20_000))
    v = get_family(name).hinv1(p, u, tau)
    # standard error of Kendall's tau at 20,000 pairs is at most 0.0047, under independence
    assert kendalltau(u, v).statistic == pytest.approx(tau, abs=0.015)


@pytest.mark.parametrize(("name", "tau"), with_taus(NAMES, [1e-9, 0.05, 0.5, 0.9, 0.98]))
def test_inverse_h_function_round_trip(bulk, name, tau):
    family = get_family(name)
    p, known = np.concatenate(
        [bulk, np.array(np.meshgrid([1e-6, 0.5, 1 - 1e-6], CORNERS[1:-1])).reshape(2, -1).T]
    ).T
    v = family.hinv1(p, known, tau)
    assert ((v >= 0) & (v <= 1)).all()
    back = family.hfunc1(known, v, tau)
    # v has steps of 1e-16, which the density there turns into steps of p
    np.testing.assert_allclose((back - p) / (1 + 1e-6 * family.pdf(known, v, tau)), 0.0, atol=1e-9)
    np.testing.assert_array_equal(family.hinv2(p, known, tau), v)


@pytest.mark.parametrize("name", NAMES)
def test_inverse_h_function_at_its_ends(name):
    family, known = get_family(name), np.array([1e-6, 0.3, 0.999])
    for _, tau in with_taus([name], [1e-6, 0.4, 0.9]):
        for p in (0.0, 1.0):
            np.testing.assert_allclose(family.hinv1(p, known, tau), p, atol=1e-6)


def integration_nodes(low, high):
    """Nodes and weights of the tanh-sinh rule, which bears singular ends."""
    t = np.linspace(-3.1, 3.1, 249)
    node = 0.5 * (1 + np.tanh(np.pi / 2 * np.sinh(t)))
    weight = 0.25 * np.pi * np.cosh(t) / np.cosh(np.pi / 2 * np.sinh(t)) ** 2 * (t[1] - t[0])
    return low + (high - low) * node, (high - low) * weight


@pytest.mark.parametrize(("name", "tau"), with_taus(NAMES, [0.2, 0.6]))
@pytest.mark.parametrize(("low", "high"), [(0.0, 0.13), (0.35, 0.6), (0.87, 1.0)])
def test_strip_and_rectangle_are_integrals_of_the_density(name, tau, low, high):
    family = get_family(name)
    u, weight = integration_nodes(low, high)
    for v in (0.04, 0.5, 0.97):
        strip = weight @ family.pdf(u, v, tau)
        assert np.exp(family.log_strip(low, high, v, tau)) == pytest.approx(strip, abs=1e-9)
    for v_low, v_high in ((0.0, 0.2), (0.1, 0.4), (0.5, 0.95)):
        v, v_weight = integration_nodes(v_low, v_high)
        mass = weight @ family.pdf(u[:, None], v, tau) @ v_weight
        assert np.exp(family.log_rectangle(low, high, v_low, v_high, tau)) == pytest.approx(mass, abs=1e-9)


@pytest.mark.parametrize(("name", "tau"), with_taus(NAMES, [0.7]))
def test_density_integrates_to_one_over_cells(name, tau):
    edges = np.linspace(0, 1, 9)
    u, v = (x.ravel() for x in np.meshgrid(edges[:-1], edges[:-1]))
    mass = np.exp(get_family(name).log_rectangle(u, u + 1 / 8, v, v + 1 / 8, tau))
    assert mass.sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("name", "tau"), with_taus(NAMES, [0.1, 0.3]))
def test_tail_dependence_is_the_limit(name, tau):
    family, q = get_family(name), 1e-7
    lower, upper = family.tail_dependence(tau)
    assert float(lower) == pytest.approx(float(family.cdf(q, q, tau)) / q, abs=0.01)
    assert float(upper) == pytest.approx(np.exp(family.log_rectangle(1 - q, 1.0, 1 - q, 1.0, tau)) / q, abs=0.01)
    assert family.tail_dependence(np.array([0.1, 0.5]))[1].shape == (2,)


def test_tail_dependence_values():
    # Joe (2014), sections 4.6 to 4.8, at tau = 1/2: theta is 2 for Clayton and Gumbel
    expected = {"clayton": (2**-0.5, 0), "gumbel": (0, 2 - 2**0.5), "gaussian": (0, 0), "frank": (0, 0)}
    for name, pair in expected.items():
        assert get_family(name).tail_dependence(0.5) == pytest.approx(pair, abs=1e-12)
        if f"{name}_180" in FAMILIES:
            assert get_family(f"{name}_180").tail_dependence(0.5) == pytest.approx(pair[::-1], abs=1e-12)


@pytest.mark.parametrize("name", BASE)
def test_rotation_turns_the_density_by_180_degrees(bulk, name):
    family = get_family(name)
    turned = rotate_180(family)
    assert (turned.name, turned.base, turned.rotated) == (f"{name}_180", name, True)
    u, v = bulk.T
    np.testing.assert_allclose(turned.pdf(u, v, 0.4), family.pdf(1 - u, 1 - v, 0.4), rtol=1e-12)
    # P(U <= u, V <= v) of the turned pair is P(U > 1 - u, V > 1 - v)
    survival = np.exp(family.log_rectangle(1 - u, 1.0, 1 - v, 1.0, 0.4))
    np.testing.assert_allclose(turned.cdf(u, v, 0.4), survival, atol=1e-12)
    assert rotate_180(turned) == family
    symmetric = np.allclose(turned.pdf(u, v, 0.4), family.pdf(u, v, 0.4), rtol=1e-9)
    assert symmetric == (f"{name}_180" not in FAMILIES)


def test_names_are_keys():
    assert {name: family.name for name, family in FAMILIES.items()} == {name: name for name in FAMILIES}


def test_unknown_family_is_named():
    with pytest.raises(CascadeError, match=r"copula='frankk' is not a known family; choose one of 'clayton'"):
        get_family("frankk")
