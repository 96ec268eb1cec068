"""Margins whose ranks are observed: each as its own signals say, and together as the queries they share say."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import beta, kstest

from bayescascade.inference.margin_draws import draw_margins, shared_columns
from bayescascade.model.design import build_design
from bayescascade.model.margins.tree import N_LEAVES, tree_paths
from bayescascade.model.options import check_options
from bayescascade.model.simulate import simulate

N_DRAWS = 4000


def design_of(log, **options):
    how = {"margin": "polya_tree", "calibration": "logistic", "difficulty": True} | options
    return build_design(log, check_options("gaussian", how["margin"], how["calibration"], 1, how["difficulty"]))


def sampled(design, value=0.123):
    """Splits as the sampler might have left them."""
    n_splits = design.arrays["split_prior"].shape[2]
    split = np.full((2, N_DRAWS // 2, len(design.margins), n_splits), value)
    return xr.Dataset({"margin_split": (("chain", "draw", "stage", "split"), split)})


def draws_of(design, seed=1):
    return draw_margins(sampled(design), design, np.random.default_rng(seed))


def with_second_stage(same):
    """A log of two stages whose second confidence is the first's, or has nothing to do with it."""
    log = simulate(120, n_stages=2, top_atom=[0.2, 0.0], random_seed=4)
    confidence = log["confidence"].transpose("query", "stage").values.copy()
    confidence[:, 1] = confidence[:, 0] if same else np.random.default_rng(5).permutation(confidence[:, 0])
    return log.assign(confidence=(("query", "stage"), confidence))


def test_each_stage_has_the_posterior_of_its_own_signals():
    design = design_of(simulate(60, n_stages=2, top_atom=[0.3, 0.0], random_seed=2))
    assert shared_columns(design).all()
    split = draws_of(design)[0]
    left, right = tree_paths()
    for column, margin in enumerate(design.margins):
        here = design.row_column == column
        leaf = np.bincount(margin.leaf[design.row_segment[here]], minlength=N_LEAVES)
        for s in np.flatnonzero(margin.split_used):
            a, b = design.arrays["split_prior"][:, column, s]
            posterior = beta(a + leaf @ left[:, s], b + leaf @ right[:, s])
            assert kstest(split[:, column, s], posterior.cdf).pvalue > 1e-3
        together = np.corrcoef(split[:, column, margin.split_used].T)
        assert np.abs(together - np.eye(len(together))).max() < 0.06  # as they are under a Polya tree


@pytest.mark.parametrize("same", [True, False])
def test_stages_that_saw_the_same_queries_err_together(same):
    design = design_of(with_second_stage(same))
    split, mass = draws_of(design)
    first, second = design.margins
    np.testing.assert_array_equal(first.leaf, second.leaf)
    correlation = np.corrcoef(split[:, 0, 0], split[:, 1, 0])[0, 1]
    if same:  # but for the prior, which is worth two queries of 120
        assert correlation > 0.95
        np.testing.assert_allclose(mass[:, 0], mass[:, 1], atol=0.06)
    else:
        assert abs(correlation) < 0.25
    np.testing.assert_allclose(mass.sum(axis=2), 1.0)


def test_masses_are_those_of_bootstrapped_queries():
    log = with_second_stage(True)
    design = design_of(log)
    mass = draws_of(design)[1]
    # Rubin's bootstrap, one weight for each query, written out
    weight = np.random.default_rng(7).dirichlet(np.ones(120), size=N_DRAWS)
    for column, margin in enumerate(design.margins):
        rows = design.row_column == column
        segment = np.empty(120, dtype=int)
        segment[design.row_query[rows]] = design.row_segment[rows]
        for at in range(0, len(margin.low), 5):
            below = (segment <= at).astype(float)
            plain, ours = weight @ below, mass[:, column, : at + 1].sum(axis=1)
            assert ours.mean() == pytest.approx(plain.mean(), abs=0.02)
            assert ours.std() == pytest.approx(plain.std(), rel=0.12, abs=2e-3)


@pytest.mark.parametrize("options", [{"difficulty": False}, {"margin": "bernstein"}])
def test_elsewhere_splits_are_as_they_were_sampled(options):
    design = design_of(simulate(60, n_stages=2, random_seed=2), **options)
    assert not shared_columns(design).any()
    assert (draws_of(design)[0] == 0.123).all()


def test_a_stage_that_ran_for_some_queries_keeps_its_sampled_splits():
    log = simulate(80, n_stages=2, random_seed=2)
    ran = xr.DataArray(np.arange(80) % 4 > 0, dims="query") | (log["stage"] == "small")
    design = design_of(log.assign({name: log[name].where(ran) for name in ("confidence", "correct")}))
    np.testing.assert_array_equal(shared_columns(design), [True, False])
    split, mass = draws_of(design)
    assert (split[:, 1] == 0.123).all()
    assert np.ptp(split[:, 0, 0]) > 0
    np.testing.assert_allclose(mass.sum(axis=2), 1.0)
