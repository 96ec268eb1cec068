"""Which signal is best: the areas against scikit-learn's and plain loops, and what the table says of them."""

import numpy as np
import pandas as pd
import pytest

import bayescascade as bc
from bayescascade.analysis.signal_quality import signal_quality
from bayescascade.errors import CascadeError


def candidates(n=200, seed=1):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    correct = (rng.uniform(size=n) < 1 / (1 + np.exp(-truth))).astype(float)
    signals = {
        "good": truth + 0.3 * rng.normal(size=n),
        "coarse": np.round(truth),
        "noise": rng.normal(size=n),
    }
    return pd.DataFrame({"query": np.arange(n), **signals, "correct": correct})


def area_by_loop(confidence, correct, weight):
    """Accuracy of the surest share, averaged over a fine grid of shares; equal confidences are mixed evenly."""
    order = np.argsort(-confidence, kind="stable")
    confidence, correct, weight = confidence[order], correct[order], weight[order] / weight.sum()
    knots, right = [0.0], [0.0]
    for value in pd.unique(confidence):
        tied = confidence == value
        knots.append(knots[-1] + weight[tied].sum())
        right.append(right[-1] + (weight * correct)[tied].sum())
    share = (np.arange(50_000) + 0.5) / 50_000
    return float(np.mean(np.interp(share, knots, right) / share))


def pairs_by_loop(confidence, correct):
    won = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a in confidence[correct == 1]
        for b in confidence[correct == 0]
    ]
    return np.mean(won)


@pytest.mark.parametrize("seed", range(3))
def test_areas_against_plain_loops(seed):
    table = candidates(seed=seed)
    found = signal_quality(table).loc["all answers"]
    for name in ("good", "coarse", "noise"):
        confidence, correct = table[name].to_numpy(), table["correct"].to_numpy()
        assert found["auroc"][name] == pytest.approx(pairs_by_loop(confidence, correct))
        assert found["auarc"][name] == pytest.approx(area_by_loop(confidence, correct, np.ones(200)), abs=1e-4)


def test_weighted_areas_against_scikit_learn_and_a_plain_loop():
    metrics = pytest.importorskip("sklearn.metrics")
    from bayescascade.analysis.signal_quality import _areas, _order

    table = candidates()
    weight = np.random.default_rng(5).standard_exponential((4, len(table)))
    correct = table["correct"].to_numpy()
    for name in ("good", "coarse"):
        auroc, auarc = _areas(*_order(table[name].to_numpy()), correct, weight)
        for draw in range(4):
            expected = metrics.roc_auc_score(correct, table[name], sample_weight=weight[draw])
            assert auroc[draw] == pytest.approx(expected)
            assert auarc[draw] == pytest.approx(
                area_by_loop(table[name].to_numpy(), correct, weight[draw]), abs=1e-4
            )


def test_the_best_comes_first_and_is_sure_of_it():
    found = signal_quality(candidates(n=2000)).loc["all answers"]
    assert list(found.index) == ["good", "coarse", "noise"]
    assert found["best"]["good"] > 0.6
    assert found["best"]["noise"] == 0.0
    assert found["best"].sum() == pytest.approx(1.0)
    for area in ("auroc", "auarc"):
        assert (found[f"{area}_low"] < found[area]).all()
        assert (found[area] < found[f"{area}_high"]).all()
    assert found["auroc_low"]["noise"] < 0.5 < found["auroc_high"]["noise"]
    assert found["auarc_low"]["noise"] < found["accuracy"]["noise"] < found["auarc_high"]["noise"]


def test_intervals_cover_as_often_as_they_say():
    """A signal that says nothing has an area of a half, whatever the log."""
    rng = np.random.default_rng(8)
    covered = []
    for _ in range(60):
        table = pd.DataFrame({"x": rng.normal(size=60), "correct": rng.integers(0, 2, 60)})
        found = signal_quality(table).iloc[0]
        covered.append(found["auroc_low"] <= 0.5 <= found["auroc_high"])
    assert 0.75 <= np.mean(covered) < 1.0


def test_equal_signals_share_the_lead():
    table = candidates()
    found = signal_quality(table.assign(twice=2 * table["good"]), ["good", "twice"])
    assert found["best"].tolist() == [0.5, 0.5]


def test_what_was_not_seen_counts_as_least_sure():
    table = candidates()
    lost = table["query"] % 4 == 0
    found = signal_quality(table.assign(half=table["good"].where(~lost)), ["half"]).iloc[0]
    lowest = table["good"].where(~lost, table["good"].min() - 1)
    assert found["seen"] == 0.75
    assert found["n"] == 200
    assert found["auroc"] == pytest.approx(pairs_by_loop(lowest.to_numpy(), table["correct"].to_numpy()))


def test_answers_without_a_label_are_left_out():
    table = candidates()
    unknown = table.assign(correct=table["correct"].where(table["query"] < 150))
    pd.testing.assert_frame_equal(signal_quality(unknown), signal_quality(table[table["query"] < 150]))


def test_every_stage_of_a_log_is_judged_apart():
    log = bc.simulate(300, n_stages=2, random_seed=2)
    alone = signal_quality(log)
    assert alone.index.tolist() == [("small", "probability"), ("large", "probability")] or len(alone) == 2
    noise = np.random.default_rng(1).normal(size=log["confidence"].shape)
    stacked = np.stack([noise, log["confidence"].values], axis=-1)
    log["candidate"] = (("query", "stage", "signal"), stacked)
    log = log.assign_coords(signal=["noise", "mine"])
    found = signal_quality(log)
    for stage in log["stage"].values:
        assert list(found.loc[stage].index) == ["mine", "noise"]
        assert found.loc[(stage, "mine"), "auroc"] == alone.loc[(stage, "probability"), "auroc"]
    rows = log[["candidate", "correct"]].to_dataframe().reset_index()
    wide = rows.pivot(index=["query", "stage", "correct"], columns="signal", values="candidate").reset_index()
    assert signal_quality(wide).loc["small", "auroc"].to_dict() == found.loc["small", "auroc"].to_dict()


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_answers_that_are_all_alike_tell_nothing(label):
    found = signal_quality(candidates().assign(correct=label))
    assert found["auroc"].isna().all()
    assert np.allclose(found["auarc"], label)


@pytest.mark.parametrize(
    ("table", "signals", "message"),
    [
        ([1, 2], None, "from a log or a DataFrame, not from a list"),
        (candidates().drop(columns="correct"), None, "no column 'correct'; it has 'query', 'good'"),
        (candidates()[["query", "correct"]], None, "no column with a confidence"),
        (candidates(), ["god"], "no column with a confidence"),
        (candidates(), ["good", "god"], "there is no signal 'god'; there are 'good'"),
        (candidates().assign(correct=np.nan), None, "has no labelled answer"),
        (candidates().assign(correct=0.5), None, "should be 0 or 1"),
    ],
)
def test_mistakes(table, signals, message):
    with pytest.raises(CascadeError, match=message):
        signal_quality(table, signals)
