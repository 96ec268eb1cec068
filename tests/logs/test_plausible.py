"""What is allowed in a log and seldom meant is said when it is read; names that cannot be are refused."""

import warnings

import numpy as np
import pandas as pd
import pytest

from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.logs.plausible import rank_gap
from bayescascade.logs.read import read_log
from bayescascade.logs.tasks import combine_tasks
from bayescascade.logs.validate import validate_log


def table_of(n=120, seed=3, **columns):
    """A sound long table: confidence says P(correct), the dear stage is right more often."""
    rng = np.random.default_rng(seed)
    p = np.column_stack([rng.uniform(0.2, 0.95, n), rng.uniform(0.6, 0.99, n)])
    table = pd.DataFrame(
        {
            "query": np.repeat(np.arange(n), 2),
            "model": ["small", "large"] * n,
            "confidence": p.ravel(),
            "correct": (rng.uniform(size=(n, 2)) < p).astype(float).ravel(),
            "cost": np.tile([1e-4, 2e-3], n) * rng.uniform(0.5, 1.5, 2 * n),
        }
    )
    return table.assign(**columns)


def said(table, kind="probability", **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CascadeWarning)
        read_log(table, confidence_kind=kind, **options)
    return [str(warning.message) for warning in caught]


def test_a_sound_log_passes_in_silence():
    assert said(table_of()) == []
    assert said(table_of(seed=4), stages=["small", "large"]) == []


@pytest.mark.parametrize("seed", range(5))
def test_confidence_without_information_is_not_said_to_fall(seed):
    table = table_of(seed=seed)
    assert said(table.assign(confidence=np.random.default_rng(seed).uniform(size=len(table)))) == []


def test_the_kinds_of_percentages_gaps_and_sums():
    table = table_of()
    percent = table.assign(confidence=100 * table["confidence"])
    assert said(percent, "percent") == []
    assert "give 100 - x; if" in said(percent.assign(confidence=100 - percent["confidence"]), "percent")[0]
    with pytest.raises(CascadeError, match="did you mean confidence_kind='percent'"):
        said(percent)
    gap = table.assign(confidence=1 / (1 - table["confidence"]))
    assert said(gap, "logprob_gap") == []
    falling = said(gap.assign(confidence=100 - gap["confidence"]), "logprob_gap")
    assert "give -x with confidence_kind='score'" in falling[0]
    sums = table.assign(confidence=-100 * (1 - table["confidence"]))
    assert said(sums, "log_likelihood") == []
    assert "or name them with confidence_kind='log_likelihood'" in said(sums, "logprob")[0]


def test_falling_confidence():
    table = table_of()
    (first, second) = said(table.assign(confidence=1 - table["confidence"]))
    assert first.startswith(
        "stage 'small' is right less often where its confidence is higher (rank correlation -0."
    )
    assert "over 120 labels" in first
    assert "give 1 - x; if it is of another kind, name it with confidence_kind" in first
    assert second.startswith("stage 'large' is right less often")
    perplexity = table.assign(confidence=1 / table["confidence"])
    assert "give -x with confidence_kind='score'" in said(perplexity, "score")[0]


def test_one_stage_that_is_surer_when_it_is_wrong():
    table = table_of()
    small = table["model"] == "small"
    table.loc[small, "confidence"] = 1 - table.loc[small, "confidence"]
    (message,) = said(table)
    assert "stage 'small'" in message


def test_rank_gap_is_that_of_mann_and_whitney():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 5, 60) / 4.0, (rng.uniform(size=60) < 0.4).astype(float)
    gap, errors = rank_gap(x, y)
    known = stats.mannwhitneyu(x[y == 1], x[y == 0], method="asymptotic", use_continuity=False)
    assert gap == pytest.approx(2 * known.statistic / ((y == 1).sum() * (y == 0).sum()) - 1)
    assert 2 * stats.norm.sf(abs(errors)) == pytest.approx(known.pvalue)
    assert gap == pytest.approx(stats.somersd(y, x).statistic)
    assert rank_gap(np.full(9, 0.5), np.r_[np.ones(4), np.zeros(5)]) == (0.0, 0.0)
    assert rank_gap(x, np.ones(60)) == (0.0, 0.0)


def test_sums_of_log_probabilities():
    table = table_of()
    means = np.log(table["confidence"])
    assert said(table.assign(confidence=means), "logprob") == []
    lengths = np.random.default_rng(2).integers(10, 60, len(table))
    messages = said(table.assign(confidence=means * lengths), "logprob")
    assert "log-probabilities of stage 'small' are below" in messages[0]
    assert "divide sums by the number of tokens" in messages[0]


def test_a_dearer_stage_that_is_right_less_often():
    table = table_of(400)
    table["correct"] = np.where(table["model"] == "small", 1.0, table["correct"])
    messages = said(table)
    assert any("stage 'large' costs more than 'small' and is right less often: -" in text for text in messages)
    assert any("on the 400 queries with both labels; leave it out" in text for text in messages)


def test_stages_dearest_first():
    (message,) = said(table_of(), stages=["large", "small"])
    assert "most expensive first: 'large' costs 0.00" in message
    assert "stages=['small', 'large']" in message


def test_calls_from_a_cache_do_not_order_the_stages():
    table = table_of()
    cached = (table["model"] == "large") & (table["query"] >= 2)
    table.loc[cached, "cost"] = 0.0
    assert table.groupby("model")["cost"].mean().idxmin() == "large"
    with pytest.warns(
        CascadeWarning, match=r"118 of the 120 calls of stage 'large' cost 0, as if answered from a cache"
    ):
        log = read_log(table, confidence_kind="probability")
    assert log["stage"].values.tolist() == ["small", "large"]
    assert float(log["cost"].sel(stage="large").min()) == 0.0


def test_stages_that_all_cost_nothing_keep_their_order():
    assert said(table_of(cost=0.0)) == []


@pytest.mark.parametrize("value", [-1.0, np.inf, -np.inf])
def test_latency_that_cannot_be(value):
    table = table_of(latency=100.0)
    table.loc[3, "latency"] = value
    message = (
        rf"latency is {value!r} at row 3 \(counted from 0; query 1, stage 'large'\); a latency should be finite"
    )
    with pytest.raises(CascadeError, match=message):
        read_log(table, confidence_kind="probability")


def test_latency_missing_at_a_stage():
    table = table_of(latency=100.0)
    table.loc[3, "latency"] = np.nan
    assert said(table) == []
    table.loc[table["model"] == "large", "latency"] = np.nan
    (message,) = said(table)
    assert "stage 'large' has no known latency" in message


# ---- names


@pytest.mark.parametrize("twin", ["small ", "Small", "SMALL", " small"])
@pytest.mark.parametrize("column", ["model", "task"])
def test_names_alike(column, twin):
    table = table_of(task="small")
    table.loc[table["query"] > 60, column] = table.loc[table["query"] > 60, column].replace("small", twin)
    with pytest.raises(
        CascadeError, match=rf"the {'stage' if column == 'model' else column}s .*small.* are alike"
    ):
        read_log(table, confidence_kind="probability")


@pytest.mark.parametrize(("one", "other"), [("1700", "1700.0"), ("q17", "q17 "), ("1700", "1700.00")])
def test_ids_alike(one, other):
    table = table_of()
    table["query"] = table["query"].astype(str).replace("5", one)
    table.loc[11, "query"] = other
    with pytest.raises(CascadeError, match=r"the queries .* and .* are alike: are they one, written in two ways"):
        read_log(table, confidence_kind="probability")


def test_ids_that_differ():
    table = table_of()
    table["query"] = (
        table["query"]
        .map({0: "007", 1: "7", 2: "aB", 3: "ab", 4: "1.5", 5: "two\nlines"})
        .fillna(table["query"].astype(str) + "q")
    )
    assert said(table) == []


@pytest.mark.parametrize("twin", ["{:03d}", "q{}", "Q-{}", "#{}", "{}.json", "id:{}"])
def test_queries_torn_in_two_are_told(twin):
    table = table_of()
    table["query"] = [
        twin.format(q) if q < 10 and s != "small" else f"{q}"
        for q, s in zip(table["query"], table["model"], strict=True)
    ]
    (message,) = said(table)
    assert "10 queries have ids like those of others that ran on other stages only (first: '0' and " in message


def test_ids_like_one_another_that_ran_on_the_same_stages_are_no_torn_queries():
    table = table_of()
    table["query"] = table["query"].map(lambda q: f"{q // 2:03d}" if q % 2 else str(q // 2))
    assert said(table) == []
    table = table[
        (table["model"] == "small") | (table["query"].str.len() < 3)
    ]  # served: some end at the first stage
    assert said(table) == []


@pytest.mark.parametrize("what", ["cost", "latency"])
def test_what_a_few_calls_cost_or_take_is_told(what):
    table = table_of(latency=1.5)
    table[what] = table[what].where((table["model"] != "large") | (table["query"] < 2))
    (message,) = said(table)
    assert f"of stage 'large' have a {what}, and its mean {what} is theirs" in message


@pytest.mark.parametrize("what", ["cost", "latency"])
def test_calls_in_another_unit_are_told(what):
    table = table_of(latency=np.random.default_rng(1).lognormal(0.0, 1.0, 240))
    assert said(table) == []
    table.loc[table.index[:4:2], what] *= 1e5
    messages = [text for text in said(table) if "in another unit" in text]
    assert len(messages) == 1
    assert f"2 of the 120 calls of stage 'small' have a {what} of " in messages[0]
    assert f"its mean {what} rests on them" in messages[0]


def test_a_query_torn_by_its_task_is_told():
    table = table_of()
    late = (table["model"] == "large") & (table["query"] < 8)
    assert said(table.assign(task=np.where(table["query"] < 8, "law", "chat"))) == []
    (message,) = said(table.assign(task=np.where(late, "law", "chat")))
    assert (
        "8 queries have ids like those of others that ran on other stages only (first: 'chat/0' and 'law/0')"
        in message
    )
    assert "and its task if it has one" in message
    with pytest.raises(
        CascadeError, match=r"no query ran both .*the same id, and the same task if there are tasks"
    ):
        said(table.assign(task=np.where(table["model"] == "large", "law", "chat")))


def test_ids_that_repeat_between_tasks_are_no_torn_queries():
    table = table_of()
    both = pd.concat([table.assign(task="law"), table.assign(task="chat")])
    served = both[(both["model"] == "small") | ((both["query"] + (both["task"] == "law")) % 2 == 0)]
    assert said(served) == []


@pytest.mark.parametrize(
    ("kept", "one", "other", "write"), [(1.0, "right", "wrong", 0), (0.0, "wrong", "right", 1)]
)
def test_an_empty_cell_that_may_stand_for_a_label_is_told(kept, one, other, write):
    table = table_of()
    table["correct"] = table["correct"].where(table["correct"] == kept)
    (message,) = said(table)
    assert f"labels say {one}, and " in message
    assert f"If an empty cell means {other}, write {write} there" in message
    assert said(table_of(correct=kept)) == []  # all right, and all labelled


@pytest.mark.parametrize("name", ["latency_s", "Latency_Seconds", "p50_latency"])
def test_a_column_that_may_be_the_latency_is_named(name):
    table = table_of().assign(**{name: 1.5})
    (message,) = said(table)
    assert "read without a latency, though " in message
    asked = message.split("columns={'latency': ")[1].split("}")[0].strip("'")
    assert asked in name
    if asked == name:
        assert said(table, columns={"latency": asked}) == []


@pytest.mark.parametrize("bad", ["\x1b]0;pwn\x07", "a\0", "a\x7f", "co\ud800st", "a\nb"])
@pytest.mark.parametrize("column", ["model", "task"])
def test_names_that_no_terminal_or_file_holds(column, bad):
    table = table_of(task="x")
    names = [bad if name in ("small", "x") else name for name in table[column]]
    table[column] = pd.Series(names, dtype=object)
    with pytest.raises(CascadeError, match=r"holds the control character '") as caught:
        read_log(table, confidence_kind="probability")
    assert str(caught.value).isprintable()


def test_ids_that_no_file_holds():
    table = table_of()
    table["query"] = "q" + table["query"].astype(str) + "\0"
    with pytest.raises(CascadeError, match=r"query 'q0\\x00' holds the control character '\\x00'"):
        read_log(table, confidence_kind="probability")


def test_names_are_checked_in_logs_built_by_hand():
    log = read_log(table_of(), confidence_kind="probability")
    with pytest.raises(CascadeError, match=r"the stages 'a' and 'A' are alike"):
        validate_log(log.assign_coords(stage=["a", "A"]))
    with pytest.raises(CascadeError, match=r"holds the control character"):
        combine_tasks({"a\x1b": log, "b": log})


def test_long_ids_take_their_own_room():
    table = table_of(1000)
    ids = table["query"].astype(str).replace("7", "x" * 100_000)
    log = read_log(table.assign(query=ids), confidence_kind="probability")
    assert log["query"].dtype == object
    assert validate_log(log)["query"].dtype == object
    with pytest.raises(CascadeError) as caught:
        read_log(table.assign(query=ids, correct=2), confidence_kind="votes")
    assert len(str(caught.value)) < 300


# ---- stages that never met


def test_stages_that_ran_on_no_query_together():
    table = table_of()
    table["query"] += np.where(table["model"] == "large", 1000, 0)
    message = (
        r"no query ran both 'small' \(120 queries\) and 'large' \(120\).*the same id.*renamed half way.*Repair"
    )
    with pytest.raises(CascadeError, match=message):
        read_log(table, confidence_kind="probability")
    renamed = table_of()
    renamed.loc[(renamed["query"] > 60) & (renamed["model"] == "small"), "model"] = "small-v2"
    with pytest.raises(CascadeError, match=r"no query ran both 'small.*' .* and 'small.*'"):
        read_log(renamed, confidence_kind="probability")
    kept = read_log(renamed, confidence_kind="probability", stages=["small", "large"])
    assert kept["stage"].values.tolist() == ["small", "large"]


# ---- what the caller says


@pytest.mark.parametrize("stages", [{"small", "large"}, frozenset(["small", "large"])])
def test_a_set_has_no_order(stages):
    with pytest.raises(
        CascadeError, match=r"stages is a set, .*which has no order; give a list, cheapest stage first"
    ):
        read_log(table_of(), confidence_kind="probability", stages=stages)


def test_grades():
    table = table_of()
    letters = table["correct"].map({1.0: "C", 0.0: "i"}).astype(object)
    letters[[4, 9]] = "N", "P"
    log = read_log(
        table.assign(correct=letters),
        confidence_kind="probability",
        grades={"C": 1, "I": 0, "p": False, "N": None},
    )
    expected = table["correct"].to_numpy(copy=True)
    expected[[4, 9]] = np.nan, 0.0
    np.testing.assert_array_equal(log["correct"].values.ravel(), expected)


def test_letters_are_no_grades_unless_asked_for():
    letters = table_of()["correct"].map({0.0: "C", 1.0: "I"})
    with pytest.raises(
        CascadeError, match=r"correct is 'C' at row 0 .*grades, say what .* grades=\{'C': 1, 'I': 0"
    ):
        read_log(table_of(correct=letters), confidence_kind="probability")


@pytest.mark.parametrize("grades", ["CIPN", ["C"], {1: 1}, {"C": "1"}])
def test_grades_that_are_none(grades):
    with pytest.raises(CascadeError, match=r"grades=.* is not allowed; "):
        read_log(table_of(), confidence_kind="probability", grades=grades)


def test_kind_that_fits_is_proposed():
    with pytest.raises(CascadeError, match=r"at most 0, or NaN .*; did you mean confidence_kind='probability'"):
        read_log(table_of(), confidence_kind="logprob")
    table = table_of()
    with pytest.raises(CascadeError, match=r"did you mean confidence_kind='logprob'"):
        read_log(table.assign(confidence=np.log(table["confidence"])), confidence_kind="votes")


@pytest.mark.parametrize(("kind", "value"), [("score", 1e6), ("score", -9999.0), ("logprob", -999.0)])
def test_a_value_that_stands_for_a_missing_one_is_named(kind, value):
    table = table_of()
    table["confidence"] = np.log(table["confidence"]) if kind == "logprob" else table["confidence"]
    assert said(table, kind=kind) == []
    table.loc[6, "confidence"] = value
    (message,) = said(table, kind=kind)
    assert (
        f"1 of the 120 confidences of stage 'small' are far from all others: {value:g}, where most are" in message
    )
    assert "leave the cell empty" in message


def test_long_tails_that_a_stage_may_well_have_are_no_oddity():
    rng = np.random.default_rng(1)
    table = table_of()
    table["confidence"] = -(
        rng.exponential(size=240) ** 2
    )  # log-probabilities of answers now and then very unsure
    assert not [text for text in said(table, kind="logprob") if "far from" in text]
