"""Models of a margin: masses against SciPy's formulas, priors and draws of segments against their moments."""

import numpy as np
import pytensor.tensor as pt
import pytest
from helpers.reference_likelihood import plain_masses
from pytensor import function, grad
from scipy.stats import kstest

from bayescascade.errors import CascadeError
from bayescascade.model.copulas.namespace import NUMPY, pytensor_namespace
from bayescascade.model.margins.models import MARGIN_MODELS, get_margin_model
from bayescascade.model.margins.segments import build_margin

WHOLE = (-np.inf, np.inf)
MODELS = sorted(MARGIN_MODELS)


def margins():
    """Margins that differ in their atoms, as the columns of one model."""
    rng = np.random.default_rng(4)
    smooth = rng.logistic(size=240)
    top = np.where(smooth > 1.0, 7.0, smooth)
    inner = np.where(rng.uniform(size=240) < 0.2, 0.5, smooth)
    return {
        "no atoms": build_margin(smooth, bounds=WHOLE),
        "top atom": build_margin(top, bounds=WHOLE),
        "both ends": build_margin(np.where(smooth < -1.0, -6.0, top), bounds=WHOLE),
        "inner atoms": build_margin(np.where(rng.uniform(size=240) < 0.1, -0.7, inner), bounds=WHOLE),
        "ends and inner": build_margin(
            np.where(np.abs(smooth) < 0.3, 0.0, np.clip(smooth, -2, 1.5)), bounds=WHOLE
        ),
        "all atoms": build_margin(rng.integers(1, 9, 240) / 8, discrete=True, bounds=(0.0, 1.0)),
        "one atom": build_margin(np.full(30, 0.4), bounds=WHOLE),
        "skewed": build_margin(rng.pareto(0.8, 240), bounds=WHOLE),
    }


MARGINS = margins()
COLUMNS = list(MARGINS.values())
N_COLUMNS = len(COLUMNS)


def splits_of(name, rng, n, n_columns=N_COLUMNS):
    """Random splits of a model's tree (draw, column, split)."""
    return rng.uniform(0.02, 0.98, (n, n_columns, get_margin_model(name).splits))


def test_the_margins_have_the_atoms_they_are_named_for():
    ends = {name: (m.is_atom[0], m.is_atom[-1], m.is_atom[1:-1].any()) for name, m in MARGINS.items()}
    assert ends["no atoms"] == ends["skewed"] == (False, False, False)
    assert ends["top atom"] == (False, True, False)
    assert ends["both ends"] == (True, True, False)
    assert ends["inner atoms"] == (False, False, True)
    assert ends["ends and inner"] == (True, True, True)
    assert MARGINS["all atoms"].is_atom.all()
    assert len(MARGINS["one atom"].low) == 1


@pytest.mark.parametrize("name", MODELS)
def test_masses_of_the_cells_sum_to_one(name):
    model = get_margin_model(name)
    used = model.cell_used(COLUMNS)
    mass = model.mass(splits_of(name, np.random.default_rng(1), 50), model.arrays(COLUMNS), NUMPY)
    assert mass.shape[-2:] == used.shape
    np.testing.assert_allclose((mass * used).sum(axis=-1), 1.0, rtol=1e-12)
    assert (mass >= 0.0).all()
    # a cell that is none of the column's segments has no mass, but for leaves, which `cell_used` takes out
    if model.by == "segment":
        np.testing.assert_allclose(mass * (1.0 - used), 0.0, atol=1e-300)
        assert used.sum(axis=1).tolist() == [len(m.low) for m in COLUMNS]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("case", MARGINS)
def test_masses_are_those_of_scipy(name, case):
    model, margin = get_margin_model(name), MARGINS[case]
    column = list(MARGINS).index(case)
    split = splits_of(name, np.random.default_rng(2), 3)
    mass = model.mass(split, model.arrays(COLUMNS), NUMPY)
    for draw in range(3):
        expected = plain_masses(name, margin, split[draw, column])
        got = mass[draw, column]
        got = got[margin.leaf] * margin.share if model.by == "leaf" else got[: len(margin.low)]
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", MODELS)
def test_pytensor_and_numpy_are_the_same_and_gradients_are_finite_differences(name):
    model = get_margin_model(name)
    arrays = model.arrays(COLUMNS)
    split = splits_of(name, np.random.default_rng(3), 1)[0]
    given = pt.tensor("split", shape=split.shape, dtype="float64")
    mass = model.mass(given, {k: pt.as_tensor(a) for k, a in arrays.items()}, pytensor_namespace())
    # weights of random sign tell all masses apart
    weight = np.random.default_rng(4).normal(size=model.cell_used(COLUMNS).shape) * model.cell_used(COLUMNS)
    scalar = (pt.log(pt.maximum(mass, 1e-18)) * weight).sum()
    compiled = function([given], [mass, grad(scalar, given)], mode="FAST_COMPILE")
    got, gradient = compiled(split)
    np.testing.assert_allclose(got, model.mass(split, arrays, NUMPY), rtol=1e-10, atol=1e-14)

    def at(moved):
        mass = model.mass(moved, arrays, NUMPY)
        return np.sum(np.log(np.maximum(mass, 1e-18)) * weight)

    rng, step = np.random.default_rng(5), 1e-6
    assert np.isfinite(gradient).all()
    for _ in range(4):
        direction = rng.normal(size=gradient.shape)
        up, down = (at(split + s * step * direction) for s in (1, -1))
        assert np.sum(gradient * direction) == pytest.approx((up - down) / (2 * step), rel=2e-5, abs=1e-4)


def test_sticks_are_a_uniform_dirichlet_over_the_parts_that_a_margin_has():
    n_continuous = 8
    arrays = get_margin_model("bernstein").arrays(COLUMNS)
    first, second = arrays["split_prior"]
    n = 20_000
    split = np.random.default_rng(6).beta(first, second, (n, *first.shape))
    left, right = arrays["tree"]
    weight = np.exp(
        np.einsum("dcs,cks->dck", np.log(split), left) + np.einsum("dcs,cks->dck", np.log1p(-split), right)
    )
    # which parts there are, counted again: bottom atom, top atom, atoms between, kernels
    parts = {"no atoms": 0, "top atom": 1, "both ends": 2, "inner atoms": 1, "ends and inner": 3, "skewed": 0}
    for case, n_atoms in parts.items():
        column, margin = list(MARGINS).index(case), MARGINS[case]
        has = [margin.is_atom[0], margin.is_atom[-1], margin.is_atom[1:-1].any(), *[True] * n_continuous]
        mine = weight[:, column, np.array(has)]
        k = n_atoms + n_continuous
        assert mine.shape[1] == k
        np.testing.assert_allclose(mine.sum(axis=1), 1.0)
        np.testing.assert_allclose(
            mine.mean(axis=0), 1 / k, atol=5 * np.sqrt(k - 1) / k / np.sqrt(n * (k + 1)) + 1e-12
        )
        if k > 1:
            variance = (k - 1) / k**2 / (k + 1)
            np.testing.assert_allclose(mine.var(axis=0), variance, rtol=0.08)
            # each part alone has a Beta(1, k - 1) distribution
            assert min(kstest(x[:2000], "beta", args=(1, k - 1)).pvalue for x in mine.T) > 1e-5
            assert np.corrcoef(mine.T)[0, 1:] == pytest.approx(-1 / (k - 1), abs=0.03)
    # a margin of atoms only: at most the two ends and those between
    both = weight[:, list(MARGINS).index("all atoms"), :3]
    np.testing.assert_allclose(both.sum(axis=1), 1.0)
    np.testing.assert_allclose(weight[:, list(MARGINS).index("one atom"), 0], 1.0)


@pytest.mark.parametrize("name", MODELS)
def test_segments_sum_to_one_and_padding_is_empty(name):
    model, n = get_margin_model(name), 20
    rng = np.random.default_rng(7)
    mass = model.segment_masses(splits_of(name, rng, n), COLUMNS, rng)
    assert mass.shape == (n, len(COLUMNS), max(len(m.low) for m in COLUMNS))
    np.testing.assert_allclose(mass.sum(axis=2), 1.0)
    assert (mass >= 0).all()
    for column, margin in enumerate(COLUMNS):
        assert not mass[:, column, len(margin.low) :].any()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("case", MARGINS)
def test_segments_have_the_masses_of_the_model_on_average(name, case):
    """And within a group they vary as a Dirichlet with the segments' counts does."""
    model, margin, n = get_margin_model(name), MARGINS[case], 10_000
    rng = np.random.default_rng(8)
    one = splits_of(name, rng, 1, 1)
    expected = plain_masses(name, margin, one[0, 0])
    mass = model.segment_masses(np.repeat(one, n, axis=0), [margin], rng)[:, 0]
    group = groups_again(name, margin)
    spread = np.zeros_like(expected)
    for g in np.unique(group):
        mine = group == g
        total, count = expected[mine].sum(), margin.count[mine]
        share = count / count.sum()
        np.testing.assert_allclose(mass[:, mine].sum(axis=1), total, rtol=1e-9, atol=1e-15)
        spread[mine] = total * np.sqrt(share * (1 - share) / (count.sum() + 1))
    assert (np.abs(mass.mean(axis=0) - expected) <= 5 * spread / np.sqrt(n) + 1e-12).all()
    moves = spread > 1e-9
    np.testing.assert_allclose(mass[:, moves].std(axis=0), spread[moves], rtol=0.06)
    np.testing.assert_allclose(mass[:, ~moves].std(axis=0), 0.0, atol=1e-8)


def groups_again(name, margin):
    """Segments whose shares a model leaves to the Bayesian bootstrap have the same number."""
    if name == "polya_tree":
        return margin.leaf
    inner = margin.is_atom.copy()
    inner[[0, -1]] = False
    return np.where(inner, -1, np.arange(len(inner)))


@pytest.mark.parametrize("name", MODELS)
def test_a_split_is_used_where_it_changes_a_mass(name):
    model = get_margin_model(name)
    split, arrays = splits_of(name, np.random.default_rng(7), 1), model.arrays(COLUMNS)
    mass = model.mass(split, arrays, NUMPY) * model.cell_used(COLUMNS)
    changes = np.zeros(split.shape[1:], dtype=bool)
    for k in range(model.splits):
        moved = split.copy()
        moved[..., k] = 1.0 - moved[..., k]
        gap = model.mass(moved, arrays, NUMPY) * model.cell_used(COLUMNS) - mass
        changes[:, k] = np.abs(gap[0]).max(axis=1) > 1e-12
    np.testing.assert_array_equal(model.split_used(COLUMNS), changes)
    assert not changes.all()
    assert changes[0].any()


def test_an_unknown_model_is_named():
    with pytest.raises(CascadeError, match="margin='kde' is not known; choose one of 'polya_tree'"):
        get_margin_model("kde")
