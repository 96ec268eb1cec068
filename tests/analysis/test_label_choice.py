"""Which queries to label."""

import numpy as np
import pytest

import bayescascade as bc
from bayescascade.analysis.label_choice import draw_queries


@pytest.fixture
def partly(example_fit):
    """The last 40 of the example's queries have no labels, and ten of these did not reach the last stage."""
    fit = example_fit.copy(deep=True)
    log = fit["observed_data"].to_dataset().transpose("query", "stage").copy(deep=True)
    log["correct"][-40:] = np.nan
    log["confidence"][-10:, 2] = np.nan
    fit["observed_data"] = log
    return fit


def ids_of(fit):
    return fit["observed_data"]["query"].values


def test_only_queries_without_labels_are_drawn_and_each_once(partly):
    found = draw_queries(partly, 30, random_seed=1)
    assert set(found) == set(ids_of(partly)[-40:-10])
    first = draw_queries(partly, 12, random_seed=1)
    np.testing.assert_array_equal(first, found[:12])
    assert not np.array_equal(draw_queries(partly, 12, random_seed=2), first)


def test_of_some_stages_more_queries_can_be_labelled(partly):
    assert len(draw_queries(partly, 40, stages=["small"], random_seed=1)) == 40


def test_draws_are_uniform(partly):
    """Each of 30 queries comes first as often as any other: chi-square below its 99.9% point."""
    first = [draw_queries(partly, 1, random_seed=seed)[0] for seed in range(900)]
    counts = np.array([first.count(query) for query in ids_of(partly)[-40:-10]])
    assert counts.sum() == 900
    assert np.sum((counts - 30.0) ** 2 / 30.0) < 58.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 31}, "not 31 queries to label: the log holds 30"),
        ({"n": 0}, "n=0 is not allowed"),
        ({"n": 3, "stages": ["tiny"]}, r"stages=\['tiny'\] is not allowed"),
    ],
)
def test_mistakes(partly, arguments, message):
    with pytest.raises(bc.CascadeError, match=message):
        draw_queries(partly, **arguments)
