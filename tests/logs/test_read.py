"""Reading logs that are right."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayescascade.cascade.empirical import score
from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.logs.read import read_log
from bayescascade.runtime.policy import Policy

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
STAGES = ["small", "middle", "large"]
DEAREST_FIRST = pytest.mark.filterwarnings("ignore:the stages stand most expensive first")
PRICES = [1e-4, 5e-4, 2e-3]


@pytest.fixture
def truth():
    """What every layout below says: 40 queries, 3 stages, later stages run after a deferral only."""
    rng = np.random.default_rng(411)
    confidence = -rng.exponential(0.4, (40, 3))
    confidence[rng.uniform(size=(40, 3)) < 0.2] = 0.0
    confidence[confidence[:, 0] > -0.1, 1:] = np.nan
    confidence[confidence[:, 1] > -0.1, 2] = np.nan
    correct = (rng.uniform(size=(40, 3)) < 0.7).astype(float)
    correct[15:] = np.nan
    cost = np.array(PRICES) * rng.uniform(0.5, 1.5, (40, 3))
    latency = rng.uniform(50, 900, (40, 3))
    run = ~np.isnan(confidence)
    return xr.Dataset(
        {
            "confidence": (("query", "stage"), confidence),
            "correct": (("query", "stage"), np.where(run, correct, np.nan)),
            "cost": (("query", "stage"), np.where(run, cost, np.nan)),
            "latency": (("query", "stage"), np.where(run, latency, np.nan)),
        },
        coords={"query": np.arange(100, 140), "stage": STAGES},
        attrs={"confidence_kind": "logprob", "stage_order": "as given"},
    )


def long_table(truth, numbered=True):
    """One row for each stage that was run, shuffled within the order of queries."""
    table = truth.to_dataframe().reset_index().dropna(subset="confidence")
    table["model"] = table["stage"]
    table["stage"] = table["stage"].map(STAGES.index)
    return (table if numbered else table.drop(columns="stage")).reset_index(drop=True)


def wide_table(truth, style="{stage}.{field}"):
    columns = {"query": truth["query"].values}
    for field in ("confidence", "correct", "cost", "latency"):
        for stage in reversed(STAGES):
            columns[style.format(stage=stage, field=field)] = truth[field].sel(stage=stage).values
    return pd.DataFrame(columns)


def write(table, path):
    if path.suffix in (".csv", ".tsv"):
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    elif path.suffix in (".parquet", ".pq"):
        table.to_parquet(path)
    else:
        rows = table.astype(object).where(table.notna(), None).to_dict("records")
        path.write_text("\n".join(json.dumps(row) + "\n" for row in rows))  # a blank line between lines
    return path


@pytest.mark.parametrize("layout", ["long", "wide"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "pq", "jsonl", "ndjson", "json"])
def test_every_format_gives_the_same(truth, tmp_path, suffix, layout):
    table = long_table(truth) if layout == "long" else wide_table(truth)
    path = write(table, tmp_path / f"log.{suffix}")
    order = None if layout == "long" else STAGES
    xr.testing.assert_identical(read_log(path, confidence_kind="logprob", stages=order), truth)
    xr.testing.assert_identical(read_log(str(path), confidence_kind="logprob", stages=STAGES), truth)


@pytest.mark.parametrize("name", ["{stage}.{field}", "{stage}:{field}", "{field}:{stage}", "{field}.{stage}"])
@pytest.mark.parametrize("stages", [["llama3.2-1b", "a_b:c"], ["a.b", "cost_c"]])
def test_wide_styles(truth, name, stages):
    renamed = truth.isel(stage=[0, 1]).assign_coords(stage=stages)
    columns = {
        name.format(stage=stage, field=field): renamed[field].sel(stage=stage).values
        for field in ("confidence", "correct", "cost")
        for stage in stages
    }
    table = pd.DataFrame({"query": truth["query"].values} | columns)
    log = read_log(table, confidence_kind="logprob", stages=stages)
    np.testing.assert_array_equal(log["correct"], renamed["correct"])


@pytest.mark.parametrize("style", ["{field}_{stage}", "{stage}_{field}"])
def test_wide_styles_with_underscores(truth, style):
    log = read_log(wide_table(truth, style), confidence_kind="logprob", stages=STAGES)
    xr.testing.assert_identical(log, truth)


def test_one_style_per_table(truth):
    """A summary column does not become a stage."""
    table = wide_table(truth).assign(mean_confidence=0.5, confidence_note="high", cost_total=1.0)
    assert read_log(table, confidence_kind="logprob")["stage"].values.tolist() == STAGES


def test_pivoted_frame(truth):
    long = long_table(truth)
    pivoted = long.pivot(index="query", columns="model", values=["confidence", "correct", "cost", "latency"])
    xr.testing.assert_identical(read_log(pivoted, confidence_kind="logprob", stages=STAGES), truth)
    swapped = pivoted.swaplevel(axis=1).reset_index()
    xr.testing.assert_identical(read_log(swapped, confidence_kind="logprob", stages=STAGES), truth)


def test_indexed_frame_is_left_as_it_is(truth):
    table = long_table(truth).set_index(["query", "stage"])
    before = table.copy(deep=True)
    xr.testing.assert_identical(read_log(table, confidence_kind="logprob"), truth)
    pd.testing.assert_frame_equal(table, before)


def test_wide_without_query_numbers_the_rows(truth):
    log = read_log(wide_table(truth).drop(columns="query"), confidence_kind="logprob")
    assert log["query"].values.tolist() == list(range(40))


def test_order_by_mean_cost_is_said(truth, caplog):
    table = long_table(truth, numbered=False).iloc[::-1]
    with caplog.at_level(logging.INFO, logger="bayescascade"):
        log = read_log(table, confidence_kind="logprob")
    assert log["stage"].values.tolist() == STAGES
    assert log.attrs["stage_order"] == "by mean cost"
    assert "40 queries; stages by mean cost: small, middle, large" in caplog.text


def test_costs_of_stages_not_run_do_not_order(truth):
    """A join pads what was not run with zeros; they are no free calls."""
    table = wide_table(truth)
    for stage in STAGES:
        table[f"{stage}.cost"] = table[f"{stage}.cost"].fillna(0.0)
    log = read_log(table, confidence_kind="logprob")
    assert log["stage"].values.tolist() == STAGES
    np.testing.assert_array_equal(log["cost"], truth["cost"])


@DEAREST_FIRST
def test_numbered_stages_keep_their_order_whatever_they_cost(truth):
    table = long_table(truth)
    table["cost"] = -table["cost"] + 1
    log = read_log(table, confidence_kind="logprob")
    assert (log["stage"].values.tolist(), log.attrs["stage_order"]) == (STAGES, "as given")


def test_equal_costs_keep_the_order_of_appearance():
    rng = np.random.default_rng(0)
    cost = rng.uniform(0.1, 0.3, 50)
    table = pd.DataFrame(
        {
            "query": np.r_[0:50, 0:50],
            "model": ["second"] * 50 + ["first"] * 50,
            "confidence": 0.5,
            "correct": True,
            "cost": np.r_[cost, rng.permutation(cost)],
        }
    )
    assert read_log(table, confidence_kind="votes")["stage"].values.tolist() == ["second", "first"]


def test_text_stage_names_win_over_models(truth):
    table = long_table(truth)
    table["stage"] = table["model"]
    table["model"] = "v" + (table["query"] % 2).astype(str)  # versions change while the stage stays
    log = read_log(table, confidence_kind="logprob")
    assert log["stage"].values.tolist() == STAGES


def test_ordered_categorical_is_an_order(truth):
    table = long_table(truth, numbered=False)
    table["stage"] = pd.Categorical(
        table["model"], categories=["large", "unused", "small", "middle"], ordered=True
    )
    log = read_log(table, confidence_kind="logprob")
    assert log["stage"].values.tolist() == ["large", "small", "middle"]
    assert log.attrs["stage_order"] == "as given"


def test_numbers_name_stages_without_models(truth):
    table = long_table(truth).drop(columns="model")
    table["stage"] = (table["stage"] + 1).astype(float)
    assert read_log(table, confidence_kind="logprob")["stage"].values.tolist() == ["1", "2", "3"]


def test_one_model_in_two_stages(truth):
    table = long_table(truth)
    table["model"] = table["model"].replace("middle", "small")
    assert read_log(table, confidence_kind="logprob")["stage"].values.tolist() == [
        "0:small",
        "1:small",
        "2:large",
    ]


@pytest.mark.parametrize(
    ("stages", "numbered", "names"),
    [
        (["small", "large"], True, ["small", "large"]),
        (["large", "small"], False, ["large", "small"]),
        ([0, 2], True, ["small", "large"]),
        (np.array([2, 1]), False, ["large", "middle"]),
        ((name for name in STAGES[1:]), True, ["middle", "large"]),
        (("small", 2), True, ["small", "large"]),
    ],
)
@DEAREST_FIRST
def test_sub_cascades(truth, stages, numbered, names):
    log = read_log(long_table(truth, numbered), confidence_kind="logprob", stages=stages)
    expected = truth.sel(stage=names)
    expected = expected.isel(query=expected["confidence"].notnull().any("stage").values)
    xr.testing.assert_identical(log, expected)
    assert log.attrs["stage_order"] == "as given"


def test_sub_cascade_takes_the_log_own_numbers(truth):
    table = long_table(truth)
    table["stage"] = table["stage"] * 10 + 10
    log = read_log(table, confidence_kind="logprob", stages=[10, 30])
    assert log["stage"].values.tolist() == ["small", "large"]


def test_sub_cascade_does_not_mind_the_stages_left_out(truth):
    table = long_table(truth)
    table["confidence"] = table["confidence"].astype(object)
    table.loc[table["model"] == "middle", "confidence"] = "broken"
    table.loc[table["model"] == "middle", "correct"] = np.nan
    log = read_log(table, confidence_kind="logprob", stages=["small", "large"])
    assert log.sizes["stage"] == 2


def test_cost_column_by_name(truth):
    table = long_table(truth).rename(columns={"cost": "answer_cost"}).assign(cost=7.0)
    xr.testing.assert_identical(read_log(table, confidence_kind="logprob", cost="answer_cost"), truth)
    wide = wide_table(truth).rename(columns=lambda name: name.replace(".cost", ".usd"))
    log = read_log(wide, confidence_kind="logprob", cost="usd", stages=STAGES)
    xr.testing.assert_identical(log, truth)


@DEAREST_FIRST
@pytest.mark.parametrize(("key", "numbered"), [("name", True), ("name", False), ("number", True)])
def test_price_list(truth, key, numbered):
    prices = dict(zip(STAGES if key == "name" else range(3), PRICES[::-1], strict=True))
    table = long_table(truth, numbered).drop(columns="cost")
    log = read_log(table, confidence_kind="logprob", cost=prices)
    order = STAGES if numbered else STAGES[::-1]
    assert log["stage"].values.tolist() == order
    run = log["confidence"].notnull()
    expected = xr.DataArray(PRICES[::-1], coords={"stage": STAGES}).sel(stage=order).where(run)
    np.testing.assert_array_equal(log["cost"], expected.transpose("query", "stage"))


def test_price_list_of_part_of_the_stages(truth):
    prices = {"small": 1e-4, "large": np.float32(1e-3), "middle": 0}
    log = read_log(wide_table(truth), confidence_kind="logprob", cost=prices, stages=["small", "large"])
    assert np.nanmax(log["cost"]) == np.float32(1e-3)


@pytest.mark.parametrize(
    ("right", "wrong", "unknown"),
    [
        (True, False, None),
        (1, 0, np.nan),
        (1.0, 0.0, pd.NA),
        ("true", "false", ""),
        ("True", "False", "NaN"),
        ("1", "0", "null"),
        ("1.0", "0.0", " NA "),
        (np.True_, np.False_, None),
    ],
)
def test_ways_to_write_labels(right, wrong, unknown):
    labels = [right, wrong, wrong, right, unknown, right]
    table = pd.DataFrame({"query": [1, 1, 2, 2, 3, 3], "stage": [0, 1] * 3, "confidence": 0.5, "cost": 1.0})
    table["correct"] = pd.Series(labels, dtype=object)
    log = read_log(table, confidence_kind="votes")
    np.testing.assert_array_equal(log["correct"], [[1, 0], [0, 1], [np.nan, 1]])


@pytest.mark.parametrize("dtype", ["boolean", "Int8", "bool[pyarrow]", "float32", "string"])
def test_label_dtypes(truth, dtype):
    table = long_table(truth)
    values = table["correct"].astype("boolean") if "bool" in dtype else table["correct"]
    table["correct"] = values.astype(dtype)
    xr.testing.assert_identical(read_log(table, confidence_kind="logprob"), truth)


def test_rounding_is_clipped():
    table = pd.DataFrame({"query": [1, 1], "stage": [0, 1], "correct": 1, "cost": 0.0})
    log = read_log(table.assign(confidence=[2.4e-7, -np.inf]), confidence_kind="logprob")
    assert log["confidence"].values.tolist() == [[0.0, -np.inf]]
    log = read_log(table.assign(confidence=[1.0000001, -1e-7]), confidence_kind="probability")
    assert log["confidence"].values.tolist() == [[1.0, 0.0]]


def test_csv_spellings(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(
        b"\xef\xbb\xbfquery, stage, model, confidence, correct, cost\r\n"
        b"007,0,NA,-inf,TRUE,1e-4\r\n\r\n007,1,None,-0.0,0,0.1\r\n"
        b"7,0,NA,-0.30000000000000004,,\r\n7,1,None,,,\r\n"
    )
    log = read_log(path, confidence_kind="p_true")
    assert log["query"].values.tolist() == ["007", "7"]
    assert log["stage"].values.tolist() == ["NA", "None"]
    np.testing.assert_array_equal(log["confidence"], [[-np.inf, 0], [-0.30000000000000004, np.nan]])


def test_queries_keep_their_order_and_type():
    def read(queries):
        table = pd.DataFrame(
            {"query": np.repeat(np.array(queries, dtype=object), 2), "stage": [0, 1] * len(queries)}
        )
        return read_log(table.assign(confidence=0.5, correct=1, cost=1), confidence_kind="votes")["query"]

    assert read([30, 10, 20]).values.tolist() == [30, 10, 20]
    assert read(["30", "10"]).dtype == np.int64
    assert read([3.0, 1.0]).values.tolist() == [3, 1]
    assert read(["b", 1]).values.tolist() == ["b", "1"]
    assert read([1.5, 2]).values.tolist() == ["1.5", "2"]
    assert read(["9" * 30, "1"]).values.tolist() == ["9" * 30, "1"]


def test_latency_in_milliseconds(truth):
    log = read_log(long_table(truth).rename(columns={"latency": "latency_ms"}), confidence_kind="logprob")
    assert log["latency"].attrs == {"units": "ms"}
    without = read_log(long_table(truth).drop(columns="latency"), confidence_kind="logprob")
    assert set(without.data_vars) == {"confidence", "correct", "cost"}


def test_labels_without_confidence_are_left_out_aloud(truth):
    table = wide_table(truth)
    lost = int(table["large.confidence"].isna().sum())
    table["large.correct"] = table["large.correct"].where(table["large.confidence"].notna(), 0.0)
    with pytest.warns(
        CascadeWarning, match=rf"{lost} labels stand without a confidence.*query \d+, stage 'large'.*fill in"
    ):
        log = read_log(table, confidence_kind="logprob", stages=STAGES)
    xr.testing.assert_identical(log, truth)


def test_all_right_at_a_stage_is_fine(truth):
    table = long_table(truth)
    table.loc[table["model"] == "large", "correct"] = 1.0
    assert np.nanmin(read_log(table, confidence_kind="logprob")["correct"].sel(stage="large")) == 1


def test_import_is_light():
    heavy = ["pymc", "pytensor", "arviz", "scipy", "matplotlib"]
    code = f"import sys; import bayescascade.logs.read; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real logs of ../shared/data are absent")
class TestRealLogs:
    def test_mmlu(self):
        log = read_log(SHARED / "mmlu.llama.train.parquet", confidence_kind="logprob", cost="answer_cost")
        assert dict(log.sizes) == {"query": 285, "stage": 5}
        names = ["llama3.2-1b", "llama3.2-3b", "llama3.1-8b", "llama3.1-70b", "llama3.1-405b"]
        assert log["stage"].values.tolist() == names
        assert log.attrs == {"confidence_kind": "logprob", "stage_order": "as given"}
        assert (np.diff(log["cost"].mean("query")) >= 0).all()
        assert not log.isnull().any().to_array().any()

    def test_order_from_costs_alone(self):
        table = pd.read_parquet(SHARED / "mmlu.llama.train.parquet").drop(columns="stage")
        log = read_log(table, confidence_kind="logprob")
        assert log["stage"].values.tolist()[2:] == ["llama3.1-8b", "llama3.1-70b", "llama3.1-405b"]
        assert log.attrs["stage_order"] == "by mean cost"

    def test_probability_zero(self):
        log = read_log(SHARED / "triviaqa.qwen_oai.train.parquet", confidence_kind="p_true", stages=[0, 3])
        assert log["stage"].values.tolist() == ["gpt-4o-mini", "gpt-4o"]
        assert float(log["confidence"].min()) == -np.inf


# ---- logs of what was served


@pytest.fixture
def first_stage_alone():
    rows = {"query": ["a", "b"], "stage": "small", "confidence": [-0.1, -0.2], "cost": 1.0, "latency": 0.5}
    return pd.DataFrame(rows)


def test_a_stage_that_no_query_has_reached_is_empty(first_stage_alone):
    options = {"confidence_kind": "logprob", "stages": ["small", "medium", "large"]}
    log = read_log(first_stage_alone, labels=False, **options)
    assert log["stage"].values.tolist() == options["stages"]
    np.testing.assert_array_equal(log["confidence"], [[-0.1, np.nan, np.nan], [-0.2, np.nan, np.nan]])
    assert log["cost"].notnull().sum() == log["latency"].notnull().sum() == 2
    with pytest.raises(CascadeError, match="there is no stage 'medium'"):
        read_log(first_stage_alone, **options)  # a fit needs them all


def test_a_policy_is_scored_where_no_query_has_reached_its_last_stage(first_stage_alone):
    table = first_stage_alone.assign(correct=[1.0, 0.0])
    stages = ["small", "large"]
    log = read_log(table, confidence_kind="logprob", stages=stages, labels=False)
    found = score(log, Policy(stages, [-0.5, -np.inf], "logprob"))
    assert (float(found["error"]), float(found["cost"])) == (0.5, 1.0)
    log["cost"].loc[{"stage": "large"}] = 2.0  # it was called, and told no confidence
    with pytest.raises(CascadeError, match="'large' has no confidence in any row"):
        score(log, Policy(stages, [-0.5, -np.inf], "logprob"))


def test_a_stage_that_may_be_misspelt_is_not_taken_for_one_that_was_not_reached(first_stage_alone):
    other = pd.concat([first_stage_alone, first_stage_alone.assign(stage="large-2")])
    with pytest.raises(CascadeError, match="there is no stage 'large'"):
        read_log(other, confidence_kind="logprob", stages=["small", "large"], labels=False)


def test_a_policy_of_one_stage_serves_a_log_of_one(first_stage_alone):
    log = read_log(first_stage_alone, confidence_kind="logprob", stages=["small"], labels=False)
    assert log.sizes == {"query": 2, "stage": 1}
    with pytest.raises(CascadeError, match="at least two stages"):
        read_log(first_stage_alone, confidence_kind="logprob", stages=["small"])
