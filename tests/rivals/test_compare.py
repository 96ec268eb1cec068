"""`compare`: everyone learns from the same queries and is measured the same way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import norm, wilcoxon

import bayescascade as bc
from bayescascade._common.pareto import efficient
from bayescascade.cascade.rules import Route
from bayescascade.rivals import cells as _cells
from bayescascade.rivals.base import (
    StageDecisions,
    SubsetDecisions,
    ThresholdDecisions,
    area_of,
    area_under,
    complete_arrays,
    measure,
    spread,
)
from bayescascade.rivals.comparison import Comparison
from bayescascade.rivals.ours import _Keyed
from bayescascade.rivals.registry import METHODS, choose, make


@pytest.fixture(scope="module")
def log() -> xr.Dataset:
    return bc.load_example()


@dataclass
class Fixed:
    """Thresholds that are the same whatever is learnt; keeps what it was shown."""

    thresholds: tuple[float, ...]
    name: str = "fixed"
    needs_text: bool = False

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> Fixed:
        self.learnt, self.seed = train, random_seed
        return self

    def decide(self, log: xr.Dataset) -> Route:
        self.judged = log
        row = np.array([*self.thresholds, -np.inf])[-log.sizes["stage"] :]
        return ThresholdDecisions(row[None]).decide(log)

    def __repr__(self) -> str:
        return f"Fixed({self.thresholds})"


class GivesUp:
    """A method that cannot."""

    name = "gives_up"

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> Fixed:
        raise bc.CascadeError("too little to learn from.")


# ---- measuring


def test_measure_counts_what_score_counts(log: xr.Dataset) -> None:
    rows = np.array([[0.7, 0.8, -np.inf], [np.inf, np.inf, -np.inf], [0.5, 0.95, -np.inf]])
    error, cost = measure(ThresholdDecisions(rows).decide(log), log)
    found = bc.score(log, rows)
    np.testing.assert_allclose(error, found["error"].values, atol=1e-12)
    np.testing.assert_allclose(cost, found["cost"].values, rtol=1e-12)


def test_area_by_hand() -> None:
    # stages cost 1 and 3 and err .5 and .1; points (2, .3) and (2, .4) are averaged
    found = area_under(
        np.array([0.3, 0.4]), np.array([2.0, 2.0]), mean=np.array([1.0, 3.0]), alone=np.array([0.5, 0.1])
    )
    assert found == pytest.approx(((0.5 + 0.35) / 2 * 1.0 + (0.35 + 0.1) / 2 * 2.0) / 3.0)


def test_points_outside_the_range_of_costs_bend_the_line_but_add_no_area() -> None:
    ends = {"mean": np.array([1.0, 3.0]), "alone": np.array([0.5, 0.1])}
    outside = area_under(np.array([0.9]), np.array([0.5]), **ends)
    assert outside == pytest.approx(area_under(np.empty(0), np.empty(0), **ends))


def test_efficient_points_are_those_that_none_beats() -> None:
    rng = np.random.default_rng(1)
    error, cost = rng.integers(0, 8, (2, 60)) / 8.0
    kept = efficient(error, cost)
    for i in range(60):
        beaten = np.any((error <= error[i]) & (cost <= cost[i]) & ((error < error[i]) | (cost < cost[i])))
        same = np.any((error[kept] == error[i]) & (cost[kept] == cost[i]))
        assert same != beaten


def test_spread_keeps_the_ends() -> None:
    cost = np.random.default_rng(1).exponential(size=200)
    kept = spread(np.arange(200), cost, 20)
    assert len(kept) <= 20
    assert {int(cost.argmin()), int(cost.argmax())} <= set(kept.tolist())


def test_single_stages_pay_for_themselves_only(log: xr.Dataset) -> None:
    error, cost = measure(StageDecisions(np.array([0, 2])).decide(log), log)
    np.testing.assert_allclose(cost, log["cost"].mean("query").values[[0, 2]])
    np.testing.assert_allclose(error, 1.0 - log["correct"].mean("query").values[[0, 2]])


def test_a_part_of_the_stages_runs_as_its_own_cascade(log: xr.Dataset) -> None:
    decisions = SubsetDecisions(((0, 2), (1,)), (np.array([0.8, -np.inf]), np.array([-np.inf])))
    error, cost = measure(decisions.decide(log), log)
    found = bc.score(log.isel(stage=[0, 2]), [0.8, -np.inf])
    alone = log.isel(stage=1)
    np.testing.assert_allclose(error, [found["error"], 1.0 - alone["correct"].mean()])
    np.testing.assert_allclose(cost, [found["cost"], alone["cost"].mean()])


def test_only_whole_queries_are_known(log: xr.Dataset) -> None:
    part = log.copy(deep=True)
    part["correct"][3, 1] = np.nan
    assert len(complete_arrays(part).wrong) == log.sizes["query"] - 1
    part["correct"][:, 1] = np.nan
    part["correct"][0, 1], part["correct"][0, 2] = 1.0, np.nan
    with pytest.raises(bc.CascadeError, match="none of the"):
        complete_arrays(part)


def test_a_posterior_is_shared_by_equal_logs_only(log: xr.Dataset) -> None:
    assert _Keyed(log) == _Keyed(log.copy(deep=True))
    assert _Keyed(log) != _Keyed(log.assign_attrs(confidence_kind="score"))
    assert _Keyed(log) != _Keyed(log.assign_coords(stage=["a", "b", "c"]))
    assert _Keyed(log) != _Keyed(log.isel(query=slice(1, None)))


# ---- comparing


def test_methods_learn_from_train_and_never_see_the_labels_they_are_judged_by(log: xr.Dataset) -> None:
    train, test = log.isel(query=slice(0, 150)), log.isel(query=slice(150, None))
    method = Fixed((0.7, 0.8))
    found = bc.compare(train, test, methods=[method], n=60, seeds=[4], progressbar=False)
    assert "correct" not in method.judged
    assert method.learnt.sizes["query"] == 60
    assert set(method.learnt["query"].values) <= set(train["query"].values)
    assert method.seed == 4
    played = ThresholdDecisions(np.array([[0.7, 0.8, -np.inf]])).decide(test)
    assert float(found.data["auc"].squeeze()) == pytest.approx(area_of(played, test))


def test_queries_without_labels_stay_with_whoever_has_a_use_for_them(log: xr.Dataset) -> None:
    part = log.copy(deep=True)
    part["correct"][50:] = np.nan
    method = Fixed((0.7, 0.8))
    bc.compare(part, log, methods=[method], n=20, seeds=[3], progressbar=False)
    labelled = method.learnt["correct"].notnull().all("stage")
    assert int(labelled.sum()) == 20
    assert int((~labelled).sum()) == log.sizes["query"] - 50
    bc.compare(part, methods=[method], seeds=[0], progressbar=False)
    assert method.judged.sizes["query"] == 10
    assert method.learnt.sizes["query"] == log.sizes["query"] - 10
    found = bc.compare(part, log, methods=["ascent_calibrated", "learn_then_test"], progressbar=False)
    assert np.isfinite(found.data["auc"].values).all()


def test_cross_validation_judges_every_query_once(log: xr.Dataset) -> None:
    method = Fixed((0.7, 0.8))
    judged = []
    for seed in range(5):
        bc.compare(log, methods=[method], seeds=[seed], progressbar=False)
        judged += method.judged["query"].values.tolist()
        assert not set(method.learnt["query"].values) & set(method.judged["query"].values)
    assert sorted(judged) == sorted(log["query"].values.tolist())


def test_resampled_areas_are_those_of_the_resampled_log(log: xr.Dataset) -> None:
    played = ThresholdDecisions(np.array([[0.7, 0.8, -np.inf], [0.5, 0.9, -np.inf]])).decide(log)
    found = _cells.resample(played, log, 3)
    n = log.sizes["query"]
    counts = np.random.default_rng(n).multinomial(n, np.full(n, 1.0 / n), size=3)
    for value, count in zip(found, counts, strict=True):
        rows = np.repeat(np.arange(n), count)
        again = Route(played.reach[:, :, rows], played.accepted[:, :, rows])
        assert value == pytest.approx(area_of(again, log.isel(query=rows)))


def test_table_against_sums_by_hand(log: xr.Dataset) -> None:
    methods = [Fixed((0.7, 0.8), "first"), Fixed((0.6, 0.9), "second")]
    found = bc.compare(log, methods=methods, seeds=10, cascades="all", progressbar=False)
    auc = found.data["auc"].isel(n=0)
    gap = (auc.sel(rival="second") - auc.sel(rival="first")).transpose("cascade", "seed").values
    row = found.table().loc["all", "second"]
    scale = 100.0 / float(auc.sel(rival="first").mean())
    assert row["difference"] == pytest.approx(scale * gap.mean())
    replicates = found.data["auc_replicate"].isel(n=0).mean(("cascade", "seed"))
    noise = np.var((replicates.sel(rival="second") - replicates.sel(rival="first")).values, ddof=1)
    noise += np.var(gap.mean(axis=0), ddof=1) / 10
    half = scale * norm.ppf(0.95) * np.sqrt(noise)
    assert row["high"] - row["difference"] == pytest.approx(half)
    # a log that was run with one seed has no noise of seeds, and dilutes the other's
    other = bc.compare(log, methods=methods, seeds=[0], cascades="all", progressbar=False)
    both = Comparison.join({"a": found, "b": other})
    row_of_both = both.table().loc["all", "second"]
    replicates = both.data["auc_replicate"].isel(n=0).stack(run=("cascade", "seed")).dropna("run").mean("run")
    joint = np.var((replicates.sel(rival="second") - replicates.sel(rival="first")).values, ddof=1)
    joint += (40 / 44) ** 2 * np.var(gap.mean(axis=0), ddof=1) / 10
    scale_of_both = 100.0 / float(both.data["auc"].isel(n=0).sel(rival="first").mean())
    half_of_both = scale_of_both * norm.ppf(0.95) * np.sqrt(joint)
    assert row_of_both["high"] - row_of_both["difference"] == pytest.approx(half_of_both)
    # four cascades are too few for the test, so it is over runs
    assert row["p_value"] == pytest.approx(wilcoxon(gap.ravel()).pvalue)
    assert row["worse"] == pytest.approx(np.mean(gap > 0))
    assert row["runs"] == gap.size


@pytest.mark.slow
def test_intervals_hold_the_true_difference_as_often_as_they_say() -> None:
    """Two thresholds on logs of one simulation: the difference on a huge log is the truth."""
    methods = [Fixed((0.5,), "first"), Fixed((0.8,), "second")]

    def logs(n: int, seed: int) -> xr.Dataset:
        rng = np.random.default_rng(seed)
        confidence = rng.beta(2, 1.5, (n, 2))
        correct = rng.random((n, 2)) < np.column_stack([confidence[:, 0], np.full(n, 0.85)])
        data = {
            "confidence": (("query", "stage"), confidence),
            "correct": (("query", "stage"), correct.astype(float)),
            "cost": (("query", "stage"), np.tile([1.0, 6.0], (n, 1))),
        }
        coords = {"query": np.arange(n), "stage": ["small", "large"]}
        return xr.Dataset(data, coords=coords, attrs={"confidence_kind": "probability"})

    def gap(test: xr.Dataset) -> tuple[float, float, float]:
        row = bc.compare(logs(20, 1), test, methods=methods, n_replicates=60, progressbar=False).table()
        return tuple(row.loc["all", "second"][["difference", "low", "high"]])

    truth = gap(logs(60_000, 7))[0]
    inside = [low <= truth <= high for _, low, high in (gap(logs(250, 100 + i)) for i in range(60))]
    assert 48 <= sum(inside) <= 59  # 90% of 60; P(fewer than 48) and P(all) are below 0.01


def test_finished_cells_are_kept_and_not_run_again(log: xr.Dataset, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "new" / "cells"
    methods = [Fixed((0.7, 0.8)), GivesUp()]
    first = bc.compare(log, methods=methods, seeds=2, resume=folder, progressbar=False)
    (folder / ".left.0000.part.parquet").write_bytes(b"PAR1")  # a run was killed while it wrote

    def fails(*_: object) -> None:
        raise AssertionError("a finished cell was run again")

    with monkeypatch.context() as patch:
        patch.setattr("bayescascade.rivals.compare.run_cell", fails)
        again = bc.compare(log, methods=methods, seeds=2, resume=folder, progressbar=False)
    xr.testing.assert_identical(first.data, again.data)
    # the same numbers of another kind are another cell
    as_scores, kinds = log.assign_attrs(confidence_kind="score"), tmp_path / "kinds"
    other = bc.compare(as_scores, methods=[Fixed((0.7, 0.8))], seeds=[0], resume=kinds, progressbar=False)
    bc.compare(log, methods=[Fixed((0.7, 0.8))], seeds=[0], resume=kinds, progressbar=False)
    assert len(list(kinds.iterdir())) == 2 * other.data["auc"].size
    # other options are another cell
    bc.compare(log, methods=[Fixed((0.1, 0.8))], seeds=2, resume=folder, progressbar=False)
    assert len(list(folder.glob("[!.]*.parquet"))) == 6


def test_a_file_of_something_else_is_left_alone(log: xr.Dataset, tmp_path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("query,stage\n1,2\n")
    with pytest.raises(bc.CascadeError, match=r"log\.csv is a file; finished cells are kept in a folder"):
        bc.compare(log, methods=[Fixed((0.7, 0.8))], resume=path, progressbar=False)
    assert path.read_text() == "query,stage\n1,2\n"


@pytest.mark.parametrize("spoilt", ["text", "table"])
def test_a_cell_that_is_none_is_named_and_left_alone(log: xr.Dataset, tmp_path, spoilt: str) -> None:
    options = {"methods": [Fixed((0.7, 0.8))], "seeds": [0], "resume": tmp_path, "progressbar": False}
    bc.compare(log, **options)
    (path,) = tmp_path.iterdir()
    if spoilt == "text":
        path.write_text("somebody's notes")
    else:
        pd.DataFrame({"key": ["x"], "auc": [1.0]}).to_parquet(path)
    before = path.read_bytes()
    with pytest.raises(bc.CascadeError, match=rf"{path.name} cannot be read as a finished cell"):
        bc.compare(log, **options)
    assert path.read_bytes() == before


def test_who_gives_up_says_why_and_the_others_go_on(log: xr.Dataset) -> None:
    found = bc.compare(log, methods=[Fixed((0.7, 0.8)), GivesUp()], seeds=1, progressbar=False)
    assert "gives_up gave up in 1 runs, first with: too little" in found.text
    assert np.isnan(found.table().loc["all", "gives_up"]["auc"])
    assert np.isfinite(found.table().loc["all", "fixed"]["auc"])


def test_joined_logs_keep_their_names(log: xr.Dataset) -> None:
    parts = {
        "a": bc.compare(log, methods=[Fixed((0.7, 0.8))], seeds=1, progressbar=False),
        "b": bc.compare(log, methods=[Fixed((0.7, 0.8))], seeds=2, progressbar=False),
    }
    both = Comparison.join(parts)
    assert both.data["cascade"].values.tolist() == ["a: 0-1-2", "b: 0-1-2"]
    assert both.table().loc["all", "fixed"]["runs"] == 3
    assert "lowest area" in both.text


def test_picture_and_page(log: xr.Dataset) -> None:
    methods = [Fixed((0.7, 0.8), "first"), Fixed((0.6, 0.9), "<second>")]
    found = bc.compare(log, methods=methods, n=[40, None], seeds=2, progressbar=False)
    ax = found.plot()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["<second>"]
    page = found._repr_html_()
    assert "&lt;second&gt;" in page
    assert "<second>" not in page


# ---- mistakes


def test_every_name_makes_a_method_with_that_name() -> None:
    assert [make(name).name for name in METHODS] == list(METHODS)


def test_methods_that_read_prompts_are_left_out_where_there_are_none() -> None:
    without, whole = choose(None, False), choose(None, True)
    assert len(without) < len(whole) == len(METHODS)
    two = {m.name for m in whole} - {m.name for m in choose(None, True, two_stages=False)}
    assert {"margin_sampling", "hybrid_llm", "bayes_gain"} <= two
    assert not {"bayes", "best_pair", "frugalgpt_cascade"} & two
    reader = next(method.name for method in whole if method.needs_text)
    with pytest.raises(bc.CascadeError, match="reads what was asked"):
        choose([reader], False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["nobody"]}, "'nobody' is not known"),
        ({"methods": []}, "methods is empty"),
        ({"methods": [Fixed((0.1,)), Fixed((0.2,))]}, "two methods are called 'fixed'"),
        ({"methods": [object()]}, "is not a method"),
        ({"n": 10_000}, "more than the"),
        ({"n": 0}, "n=0 is not allowed"),
        ({"n": [30, 1.5]}, "n=1.5 is not allowed"),
        ({"seeds": 0}, "seeds=0"),
        ({"cascades": "some"}, "cascades='some'"),
        ({"cascades": [["small"]]}, "is not a cascade"),
        ({"cascades": []}, "names no cascade"),
        ({"n_replicates": 1}, "n_replicates=1"),
    ],
)
def test_mistakes_are_sentences(log: xr.Dataset, options: dict, message: str) -> None:
    with pytest.raises(bc.CascadeError, match=message):
        bc.compare(log, **({"methods": [Fixed((0.7, 0.8))], "progressbar": False} | options))


def test_logs_that_do_not_go_together(log: xr.Dataset) -> None:
    with pytest.raises(bc.CascadeError, match="same stages"):
        bc.compare(log, log.isel(stage=[0, 1]), progressbar=False)
    with pytest.raises(bc.CascadeError, match="of kind"):
        bc.compare(log, log.assign_attrs(confidence_kind="score"), progressbar=False)
    part = log.copy(deep=True)
    part["correct"][0, 0] = np.nan
    with pytest.raises(bc.CascadeError, match=r"1 of the .* queries of test miss"):
        bc.compare(log, part, progressbar=False)
    part["correct"][:, 0] = np.nan
    part["correct"][0, 0], part["correct"][0, 1] = 1.0, np.nan
    with pytest.raises(bc.CascadeError, match="every stage are too few"):
        bc.compare(part, progressbar=False)
    with pytest.raises(bc.CascadeError, match="has labelled, every stage"):
        bc.compare(part, log, progressbar=False)
    found = bc.compare(log, methods=[Fixed((0.7, 0.8))], seeds=1, progressbar=False)
    with pytest.raises(bc.CascadeError, match="reference='us' was not run"):
        found.table("us")


def test_a_cell_is_a_plain_table(log: xr.Dataset, tmp_path) -> None:
    bc.compare(log, methods=[Fixed((0.7, 0.8))], seeds=1, resume=tmp_path, progressbar=False)
    (path,) = tmp_path.iterdir()
    table = pd.read_parquet(path)
    assert len(table) == 1
    assert set(table) == {"key", "error", "cost", "auc", "replicates", "seconds", "failed"}
