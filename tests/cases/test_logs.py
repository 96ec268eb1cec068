"""Logs that once went wrong, a row for each kind: read, or refused with a sentence that names the thing."""

import gzip
import io
import itertools
import json
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers.cases import STAGES, Rows, read, refused, run_row, table_of
from helpers.cli_fakes import assert_one_sentence, run
from helpers.fits import stored_fit

import bayescascade as bc

row = Rows()
FIT = ("--no-difficulty", "--draws", "30", "--chains", "2", "--seed", "1")


def written(table, path="log.csv", **options):
    table.to_csv(path, index=False, **options)
    return path


@row("votes", "few values at every stage, from end to end", pytest.mark.slow)
def _():
    table = table_of()
    for kind, values in {"votes": table["confidence"].mul(5).round() / 5, "score": table["correct"] + 1}.items():
        written(table.assign(confidence=values))
        fitted = run("fit", "log.csv", "--kind", kind, "-o", "fit.nc", *FIT)
        assert fitted.exit_code == 0, fitted.output
        for command in (("check",), ("report", "-o", "page.html"), ("tune", "--error-price", "0.01")):
            done = run(command[0], "fit.nc", *command[1:])
            assert done.exit_code == 0, done.output


@row("ids", "17 and 17.0, and stages that ran on no query together")
def _():
    table = table_of()
    twice = table.assign(query=table["query"].astype(str))
    twice.loc[twice["stage"] > 0, "query"] += ".0"
    assert "'0' and '0.0' are alike" in refused("alike", written(twice))
    renamed = table.assign(model=table["model"].where((table["query"] < 30) | (table["stage"] > 0), "small-v2"))
    renamed = renamed.drop(columns="stage")
    refused(
        "no query ran both 'small' .* and 'small-v2' .* renamed half way", renamed, stages=["small", "small-v2"]
    )


@row("names", "alike but for a space or for capitals")
def _():
    table = table_of()
    twins = ("small ", "SMALL", "\u00a0small", "small\u200b", "ｓmall")
    for name, twin in [
        *(("small", twin) for twin in twins),
        ("é", "e\u0301"),
        ("a b", "a  b"),
        ("a b", "a\u00a0b"),
    ]:
        model = table["model"].replace("small", name)
        model = model.where((table["query"] < 30) | (model != name), twin)
        refused("are alike", table.assign(model=model).drop(columns="stage"))
    for name, twin in [("q", "q "), ("é", "e\u0301"), ("q", "q\u200b")]:
        query = table["query"].astype(str).mask(table["query"] == 3, name).mask(table["query"] == 9, twin)
        refused("are alike", table.assign(query=query))


@row("free", "stages that cost nothing")
def _(few_draws):
    free = few_draws.copy(deep=True)
    posterior = free["posterior"].to_dataset()
    free["posterior"] = xr.DataTree(posterior.assign(cost=posterior["cost"] * 0.0))
    best = bc.tune(free, max_cost=1.0)
    promised = bc.tune(free, max_error=0.5)
    assert promised.feasible
    assert float(promised.error.mean()) == pytest.approx(float(best.error.mean()), abs=0.01)
    log, _ = read(table_of(cost=0.0))
    found = bc.compare(log, methods=["ascent_raw", "grid_search"], seeds=1, n_replicates=5)
    assert np.isfinite(found.table()["auc"]).all()


@row("cached", "calls that cost 0")
def _():
    table = table_of()
    cost = table["cost"].where((table["model"] != "large") | (table["query"] < 2), 0.0)
    log, said = read(table.assign(cost=cost).drop(columns="stage"))
    assert log["stage"].values.tolist() == STAGES
    assert "58 of the 60 calls of stage 'large' cost 0, as if answered from a cache" in said[0]


@row("graded", "labels only where the cascade answered", pytest.mark.slow)
def _(example_log):
    answer = example_log["confidence"].values >= np.array([0.8, 0.8, -np.inf])
    answers = answer & (np.cumsum(answer, axis=1) == 1)
    log = example_log.assign(correct=example_log["correct"].where(answers))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        fit = stored_fit(log, difficulty=False, draws=200, tune=200, chains=2, random_seed=1, progressbar=False)
    found = bc.tune(fit, max_error=0.3, stages=STAGES)
    assert 30 < found.margin.n_queries < 200  # of 300: those that are labelled, by their weights
    assert "safety margin included" in found.text
    assert float(bc.score(example_log, found)["error"]) < found.upper_bounds["error"]


@row("sizes", "one, two and five queries", pytest.mark.slow)
def _():
    for n in (1, 2, 5):
        written(table_of(n).assign(correct=[1, 1, 1] * n))
        fitted = run("fit", "log.csv", "--kind", "probability", "-o", "fit.nc", *FIT)
        assert fitted.exit_code == 0, fitted.output
        for command in (("check",), ("report", "-o", "page.html"), ("tune", "--error-price", "0.01")):
            done = run(command[0], "fit.nc", *command[1:])
            assert done.exit_code == 0, done.output
            assert "nan" not in done.stdout


@row("constant", "confidences, of the first stage or of all", pytest.mark.slow)
def _():
    table = table_of()
    first = table["confidence"].where(table["stage"] > 0, 0.7)
    for values, blind in ((first, []), (0.7, ["margins", "dependence"])):
        written(table.assign(confidence=values))
        assert run("fit", "log.csv", "--kind", "probability", "-o", "fit.nc", *FIT).exit_code == 0
        told = json.loads(run("check", "fit.nc", "--json").stdout)["checks"]
        assert {one["check"] for one in told if one["passed"] is None} >= set(blind)
        for goal in (("--error-price", "0.01"), ("--max-error", "0.9")):
            done = run("sensitivity", "fit.nc", *goal)
            assert done.exit_code == 0, done.output
            assert "the confidence of stage 'small' is constant, so it tells no mix" in done.output
        assert run("tune", "fit.nc", "--error-price", "0.01", "-o", "policy.json").exit_code == 0
        scored = run("score", "log.csv", "--policy", "policy.json")
        assert scored.exit_code == 0, scored.output
        assert "nan" not in scored.stdout
    with pytest.raises(bc.CascadeError, match=r"drift of 0.2 is out of reach: the confidence of stage 'small'"):
        bc.drift(bc.load_fit("fit.nc"), 0.2)


@row("excel", "as spreadsheets write")
def _():
    table = table_of(stages=["modèle-petit", "moyen", "géant"], cost=np.tile([1.5, 106.78, 1469.52], 60))
    plain, _ = read(table)
    commas = table.astype(str).apply(lambda cells: cells.str.replace(".", ","))
    text = table.to_csv(index=False)
    for content in (
        text.encode("utf-16"),
        text.encode("cp1252"),
        b"sep=,\r\n" + text.encode(),
        text.replace(",", "\t").encode(),
        text.encode() + b",,,,,\n,,,,,\n",
        commas.to_csv(index=False).encode(),
        commas.to_csv(index=False, sep=";").encode(),
        table.assign(cost=table["cost"].map("{:,}".format)).to_csv(index=False).encode(),
        table.assign(cost=table["cost"].map("${:,}".format)).to_csv(index=False).encode(),
    ):
        with open("log.csv", "wb") as file:
            file.write(content)
        xr.testing.assert_identical(read("log.csv")[0], plain)
    both = table.astype({"cost": object})
    both["cost"] = both["cost"].map(str)
    both.loc[4, "cost"] = "106,78"
    refused(r"cost is .* at row", both.assign(cost=both["cost"]))


@row("packed", "by gzip, and from standard input")
def _(monkeypatch):
    table = table_of()
    plain, _ = read(table)
    for name, text in {
        "log.csv.gz": table.to_csv(index=False),
        "log.jsonl.gz": table.to_json(orient="records", lines=True),
    }.items():
        with gzip.open(name, "wt") as file:
            file.write(text)
        xr.testing.assert_identical(read(name)[0], plain)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        xr.testing.assert_identical(read("-")[0], plain)


@row("columns", "as pandas writes JSON")
def _():
    table = table_of()
    plain, _ = read(table)
    for orient in ("columns", "records", "split", "index"):
        table.to_json("log.json", orient=orient)
        try:
            xr.testing.assert_identical(read("log.json")[0], plain)
        except bc.CascadeError as error:
            assert len(str(error)) < 500  # noqa: PT017


@row("letters", "C, I, P, N")
def _():
    table = table_of()
    letters = table["correct"].map({1: "C", 0: "I"})
    letters[[3, 8]] = "P", "N"
    graded = table.assign(correct=letters)
    refused("if texts are grades, say what they stand for", graded)
    for partly in (0, 1):
        log, _ = read(graded, grades={"C": 1, "I": 0, "P": partly, "N": None})
        assert log["correct"].values[1, 0] == partly
        assert np.isnan(log["correct"].values[2, 2])
    inspect = {"C": 1, "I": 0, "P": 0.5, "N": None}
    refused("'P' is partly right: say from which grade on an answer counts as right", graded, grades=inspect)
    for mark, label in ((0.5, 1.0), (0.6, 0.0), (1, 0.0)):
        log, _ = read(graded, grades=inspect, pass_mark=mark)
        assert log["correct"].values[1, 0] == label
        assert np.isnan(log["correct"].values[2, 2])
    written(graded)
    half = run("fit", "log.csv", "--kind", "probability", "--grades", "C=1,I=0,P=.5,N=", "-o", "fit.nc")
    assert_one_sentence(half, "such as --pass-mark 0.5, or let it stand for 1 or 0")
    share = table["correct"].astype(float)
    share[3] = 0.5
    refused("from which on an answer is right", table.assign(correct=share))
    for options in ({"pass_mark": 0.5}, {"correct_if": "correct >= 0.5"}):
        log, _ = read(table.assign(correct=share), **options)
        assert log["correct"].values[1, 0] == 1.0


@row("latency", "negative, infinite, missing")
def _():
    for value in (-1.0, np.inf, -np.inf):
        latency = pd.Series(1.0, range(180))
        latency[3] = value
        refused(rf"latency is {value!r} at row 3", table_of(latency=latency))
    for name in ("latency", "cost"):
        told = refused(rf"{name} is 1e\+300 at row 0", table_of(**{name: 1e300}))
        assert "at most 1e+100, so that sums of squares stay finite; take a larger unit" in told
    for value in (1e300, -1e300):
        confidence = table_of()["confidence"] * value
        refused(r"confidence is .*e\+\d+ at row 0.*at most 1e\+100", table_of(confidence=confidence), "score")
    refused(r"cost is 1e\+200", table_of(), cost=dict(zip(STAGES, [1.0, 2.0, 1e200], strict=True)))
    _, said = read(table_of().assign(latency=np.tile([1.0, 2.0, np.nan], 60)))
    assert "stage 'large' has no known latency" in said[0]


@row("long-ids", "take their own room, once")
def _():
    texts = [f"{i}: " + "x" * (200_000 if i == 7 else 10) for i in range(60)]
    table = table_of(query=np.repeat(texts, 3))
    tracemalloc.start()
    log, _ = read(table)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert log.sizes["query"] == 60
    assert peak < 20e6  # 60 x 200,000 x 4 bytes are 48 MB


@row("sets", "have no order")
def _():
    refused("is a set, .*which has no order", table_of(), stages={"small", "large"})
    refused("is a .*set.*no order", table_of(), stages=frozenset({"small", "large"}))


@row("frames", "of Polars, lazy or not")
def _():
    polars = pytest.importorskip("polars")
    table = table_of()
    for frame in (polars.from_pandas(table), polars.from_pandas(table).lazy()):
        xr.testing.assert_identical(read(frame)[0], read(table)[0])


@row("long-paths", "of over 255 bytes")
def _():
    table = table_of()
    for name in ("x" * 255 + ".csv", "é" * 200 + ".csv", "a/" * 3000 + "b.csv"):
        refused("there is no file|cannot be read", name)
        with pytest.raises(bc.CascadeError, match=r"too long|cannot be written"):
            bc.write_log(read(table)[0], name)


@row("commas", "in names, and stages by their number")
def _():
    names = ["a, 1", 'b "2"', "c"]
    written(table_of(stages=names))
    for typed in ('"a, 1",c', "0,2"):
        done = run("fit", "log.csv", "--kind", "nothing", "--stages", typed, "-o", "fit.nc")
        assert "kind" in assert_one_sentence(done, "nothing")  # the names were taken
    log, _ = read("log.csv", stages=[0, 2])
    assert log["stage"].values.tolist() == ["a, 1", "c"]


@row("sums", "of log-probabilities given as means")
def _():
    table = table_of(120)
    means = np.log(table["confidence"])
    assert read(table.assign(confidence=means), "logprob")[1] == []
    lengths = np.random.default_rng(2).integers(10, 60, len(table))
    _, said = read(table.assign(confidence=means * lengths), "logprob")
    assert any("divide sums by the number of tokens" in text for text in said)


@row("one-stage", "is an answer, too")
def _(few_draws):
    found = bc.tune(few_draws, max_cost=1.0, stages=["large"])
    assert found.feasible
    assert found.thresholds.sizes["stage"] == 1
    bc.save_fit(few_draws, "fit.nc")
    done = run("tune", "fit.nc", "--error-price", "0.01", "--stages", "large", "-o", "policy.json")
    assert done.exit_code == 0, done.output
    assert bc.Policy.load("policy.json").stages == ["large"]


DEGENERATE = {
    "all right": {"correct": 1},
    "all wrong": {"correct": 0},
    "constant confidence": {"confidence": 0.5},
    "certain": {"confidence": 1.0},
    "costs of 0": {"cost": 0.0},
    "tiny costs": {"cost": 1e-300},
    "huge costs": {"cost": 1e100},
    "latency of 0": {"latency": 0.0},
}


@row("degenerate", "whole logs are read, written and scored")
def _():
    rules = [[0.5, 0.5, -np.inf], [np.inf, np.inf, -np.inf], [-np.inf] * 3]
    for columns, thresholds in itertools.product(DEGENERATE.values(), rules):
        log, _ = read(table_of(**columns))
        bc.write_log(log, "log.parquet")
        xr.testing.assert_allclose(read("log.parquet")[0], log)
        scored = bc.score(log, thresholds)
        assert 0.0 <= float(scored["error"]) <= 1.0
        assert np.isfinite(float(scored["cost"]))


@row("hollow", "logs of nothing are refused")
def _():
    table = table_of()
    refused("empty|no row", table.iloc[:0])
    for column in ("confidence", "cost", "correct"):
        refused(column.replace("correct", "label"), table.assign(**{column: np.nan}))
    refused("twice|more than once|duplicate", pd.concat([table, table]))
    refused("twice|more than once|duplicate", table.assign(query=7))


@pytest.mark.parametrize("outcome", row.params)
def test_row(outcome, request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_row(outcome, request)
