"""New queries beside what an earlier fit expects of them: silent without a change, and sure of one."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from helpers.draws import make_draws

from bayescascade.checks.update import check_update
from bayescascade.inference.shift import compare_with_new
from bayescascade.posterior.replicate import replicate_draw


@pytest.fixture(scope="module", params=["no atoms", "both atoms"])
def draws(request):
    return make_draws(3, request.param, n_draws=100, seed=2)


def new_queries(draws, n, seed):
    """Queries that one of the draws replicates."""
    rng = np.random.default_rng(seed)
    confidence, correct = replicate_draw(draws, int(rng.integers(draws.n)), n, rng)
    variables = {"confidence": confidence, "correct": correct}
    return xr.Dataset(
        {name: (("query", "stage"), values) for name, values in variables.items()}, coords={"stage": draws.stages}
    )


def checked(draws, new):
    compared = compare_with_new(draws, new, 0)
    return check_update(SimpleNamespace(fit=xr.DataTree.from_dict({"update": compared})))


def test_without_a_change_z_is_standard_normal(draws):
    z = np.stack([compare_with_new(draws, new_queries(draws, 150, i), 0)["z"] for i in range(100)])
    assert np.abs(z.mean(axis=0)).max() < 0.4
    # randomised in each draw, ranks within an atom average out, so that z of a stage with atoms varies less
    assert z.std(axis=0).min() > 0.5
    assert z.std(axis=0).max() < 1.25


def test_a_stage_that_is_right_less_often_fails_with_advice(draws):
    new = new_queries(draws, 400, 1)
    assert checked(draws, new).passed
    right = new["correct"].values.copy()
    right[:, 1] *= np.random.default_rng(2).uniform(size=400) < 0.75
    found = checked(draws, new.assign(correct=(("query", "stage"), right)))
    assert found.passed is False
    assert "The new queries are not like the earlier ones. Answers of s1 are right" in found.text
    assert found.text.endswith("Fit the new queries alone, or all queries since the change.")
    assert found.table.index[found.table["p"] < 0.01 / 9].tolist() == [("s1", "labels")]
    assert found.table.loc[("s1", "labels"), "observed"] == pytest.approx(right[:, 1].mean())


def test_confidences_that_moved_fail_without_any_label(draws):
    new = new_queries(draws, 300, 3)
    bare = new.assign(correct=new["correct"] * np.nan)
    assert checked(draws, bare).passed
    found = checked(draws, bare.assign(confidence=bare["confidence"] + 1.0))
    assert found.passed is False
    assert "Confidences of s0 are higher than expected." in found.text
    assert found.table["p"].isna().sum() == 3
    found = checked(draws, bare.assign(confidence=0.3 * bare["confidence"]))
    assert "Confidences of s0 lie closer together than expected." in found.text


def test_signals_of_stages_that_run_for_chosen_queries_are_not_compared(draws):
    new = new_queries(draws, 200, 4)
    unsure = new["confidence"].values[:, 0] <= np.median(new["confidence"].values[:, 0])
    thinned = new.where(xr.DataArray(unsure, dims="query") | (new["stage"] == "s0"))
    found = compare_with_new(draws, thinned, 0)
    assert np.isnan(found["p"].values[1:, 1:]).all()
    assert np.isfinite(found["p"].values[0]).all()
    assert np.isfinite(found["p"].values[:, 0]).all()


def test_too_few_queries_give_no_verdict_and_a_fit_that_is_no_update_no_check(draws):
    assert checked(draws, new_queries(draws, 8, 5)).passed is None
    assert check_update(SimpleNamespace(fit=xr.DataTree())) is None
