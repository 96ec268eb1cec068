"""New queries beside what an earlier fit expects of them: silent without a change, and sure of one."""

import numpy as np
import pytest
import xarray as xr

import bayescascade as bc
from bayescascade.checks.evidence import gather
from bayescascade.checks.update import check_update
from bayescascade.inference.shift import compare_with_new
from bayescascade.posterior.draws import get_draws
from bayescascade.posterior.replicate import replicate_draw


def new_queries(fit, n, seed):
    """Queries that a draw of the fit replicates."""
    rng = np.random.default_rng(seed)
    draws = get_draws(fit)
    confidence, correct = replicate_draw(draws, int(rng.integers(draws.n)), n, rng)
    dims = ("query", "stage")
    return xr.Dataset(
        {"confidence": (dims, confidence), "correct": (dims, correct)}, coords={"stage": draws.stages}
    )


def checked(fit, new):
    fit = fit.copy()
    fit["update"] = xr.DataTree(compare_with_new(fit, new, 0))
    return check_update(gather(fit))


def test_without_a_change_z_is_standard_normal(example_fit):
    z = np.stack([compare_with_new(example_fit, new_queries(example_fit, 150, i), 0)["z"] for i in range(60)])
    assert np.abs(z.mean(axis=0)).max() < 4.0 / np.sqrt(60)
    assert z.std(axis=0).min() > 0.7
    assert z.std(axis=0).max() < 1.35


def test_a_stage_that_is_right_less_often_fails_with_advice(example_fit):
    new = new_queries(example_fit, 300, 1)
    assert checked(example_fit, new).passed
    right = new["correct"].values.copy()
    rng = np.random.default_rng(2)
    right[:, 1] *= rng.uniform(size=300) < 0.85  # 13 points fewer, of some 85
    found = checked(example_fit, new.assign(correct=(("query", "stage"), right)))
    assert found.passed is False
    name = str(new["stage"].values[1])
    assert f"Answers of {name} are right" in found.text
    assert found.text.endswith("Fit the new queries alone, or all queries since the change.")
    failed = found.table.index[found.table["p"] < 0.01 / 9].tolist()
    assert failed == [(name, "labels")]
    assert found.table.loc[(name, "labels"), "observed"] == pytest.approx(right[:, 1].mean())


def test_confidences_that_moved_fail_without_any_label(example_fit):
    new = new_queries(example_fit, 200, 3)
    bare = new.assign(correct=new["correct"] * np.nan)
    assert checked(example_fit, bare).passed
    higher = bare.assign(confidence=bare["confidence"] ** 0.5)
    found = checked(example_fit, higher)
    assert found.passed is False
    assert f"Confidences of {new['stage'].values[0]} are higher than expected." in found.text
    assert found.table["p"].isna().sum() == 3


def test_signals_of_stages_that_run_for_chosen_queries_are_not_compared(example_fit):
    new = new_queries(example_fit, 200, 4)
    ran = xr.DataArray(new["confidence"].values[:, 0] < new["confidence"].median("query").values[0], dims="query")
    thinned = new.where(ran | (new["stage"] == new["stage"][0]))
    found = compare_with_new(example_fit, thinned, 0)
    assert np.isnan(found["p"].values[1:, 1:]).all()
    assert np.isfinite(found["p"].values[:, 0]).all()


def test_too_few_queries_give_no_verdict_and_a_fit_that_is_no_update_no_check(example_fit):
    assert checked(example_fit, new_queries(example_fit, 8, 5)).passed is None
    assert check_update(gather(example_fit)) is None
    assert [result.name for result in bc.check(example_fit)][-1] == "cascade"
