"""Files counted by DuckDB, and partitions by Dask, are what NumPy counts of the log that `read_log` reads."""

import sys

import numpy as np
import pandas as pd
import pytest

import bayescascade as bc
from bayescascade.aggregates.sql import Digits
from bayescascade.errors import CascadeError, CascadeWarning

duckdb = pytest.importorskip("duckdb")

INF = float("inf")
STAGES = ["small", "medium", "large"]
THRESHOLDS = [[0.8, 0.9, -INF], [0.5, INF, -INF], [-INF, 0.3, -INF]]
PARTS = ("cell", "label", "weight", "square", "amounts")


@pytest.fixture(scope="module")
def log():
    """Stages that were not run, labels and costs that are not known, and a latency."""
    made = bc.simulate(240, n_stages=3, top_atom=0.2, random_seed=6)
    rng = np.random.default_rng(1)
    run = np.ones((240, 3), dtype=bool)
    run[100:, 2] = made["confidence"].values[100:, 1] < 0.9
    run[5] = [False, True, True]
    out = made.assign(latency=(("query", "stage"), rng.gamma(4.0, 100.0, size=(240, 3)), {"units": "ms"}))
    out = out.where(run)
    keep = rng.uniform(size=(240, 3)) < 0.8
    return out.assign(correct=out["correct"].where(keep), cost=out["cost"].where(keep[::-1]))


@pytest.fixture(scope="module")
def table(log, tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "log.parquet"
    bc.write_log(log, path)
    return pd.read_parquet(path)


def same(found, expected):
    for name in PARTS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12, err_msg=name)
    assert (found.stages, found.kind, found.unit) == (expected.stages, expected.kind, expected.unit)


def in_parts(table, folder, ending, n=3):
    """Rows dealt out to files, so that a query has some in each."""
    folder.mkdir()
    for i in range(n):
        part = table.iloc[i::n]
        if ending == "parquet":
            part.to_parquet(folder / f"{i}.parquet", index=False)
        else:
            part.to_csv(folder / f"{i}.{ending}", index=False, sep="\t" if ending.startswith("tsv") else ";")
    return folder


def count(source, thresholds=THRESHOLDS, **options):
    return bc.aggregate(source, thresholds, stages=STAGES, **{"confidence_kind": "probability", **options})


@pytest.mark.parametrize("ending", ["parquet", "csv", "csv.gz", "tsv"])
def test_files_are_counted_as_numpy_counts_the_log(log, table, tmp_path, ending):
    folder = in_parts(table, tmp_path / "logs", ending)
    expected = bc.aggregate(log, THRESHOLDS)
    same(count(folder), expected)
    same(count(str(folder / f"*.{ending}")), expected)
    same(count(sorted(folder.iterdir())), expected)


@pytest.mark.parametrize("style", ["{stage}.{field}", "{field}_{stage}"])
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_wide_files(log, tmp_path, style, ending):
    wide = {"query": log["query"].values}
    for name in ("confidence", "correct", "cost", "latency"):
        field = "latency_ms" if name == "latency" else name
        wide |= {style.format(stage=s, field=field): log[name].sel(stage=s).values for s in STAGES}
    folder = in_parts(pd.DataFrame(wide), tmp_path / "logs", ending)
    same(count(folder), bc.aggregate(log, THRESHOLDS))


def test_data_frames_and_single_files(log, table, tmp_path):
    expected = bc.aggregate(log, THRESHOLDS)
    same(count(table), expected)
    bc.write_log(log, tmp_path / "log.parquet")
    same(count(tmp_path / "log.parquet", confidence_kind=None), expected)
    pytest.importorskip("polars")
    import polars as pl

    same(count(pl.read_parquet(tmp_path / "log.parquet")), expected)


def test_a_policy_names_stages_and_kind(log, table, tmp_path):
    policy = bc.Policy(["small", "large"], [0.8, -INF], "probability", reject=[0.2, 0.3])
    folder = in_parts(table, tmp_path / "logs", "parquet")
    found = bc.aggregate(folder, policy)
    same(found, bc.aggregate(log, policy))
    assert found.stages == ("small", "large")
    assert found.edges[1].tolist() == [0.3]


def test_words_prices_and_tasks(log, table, tmp_path):
    told = table.assign(correct=table["correct"].map({0: "I", 1: "yes"}).fillna("N"), team="x")
    told.loc[told["query"] < 40, "team"] = "y"
    folder = in_parts(told, tmp_path / "logs", "csv")
    prices = dict(zip(STAGES, [1.0, 2.0, 4.0], strict=True))
    options = {"grades": {"I": 0, "N": None}, "cost": prices, "task": "team"}
    priced = log.assign(cost=log["confidence"].notnull() * np.array(list(prices.values())))
    expected = priced.assign(cost=priced["cost"].where(log["confidence"].notnull()))
    same(count(folder, **options), bc.aggregate(expected, THRESHOLDS))
    only = expected.isel(query=log["query"].values < 40)
    same(count(folder, **options, of_task="y"), bc.aggregate(only, THRESHOLDS))


@pytest.mark.filterwarnings("ignore:all .* labels say right")
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_grades_and_their_pass_mark(log, table, tmp_path, ending):
    """Numbers and words, of which neither is right or wrong before a mark is set."""
    grade = {0: 0.25, 1: 0.75}
    plain = table.assign(correct=table["correct"].map(grade))
    words = table.assign(correct=table["correct"].map({0: "P", 1: "C"}).fillna("N"))
    inspect = {"C": 1, "P": 0.5, "N": None}
    for name, told, options in (("plain", plain, {}), ("words", words, {"grades": inspect})):
        folder = in_parts(told, tmp_path / name, ending)
        same(count(folder, **options, pass_mark=0.6), bc.aggregate(log, THRESHOLDS))
        whole = bc.read_log(told, confidence_kind="probability", stages=STAGES, **options, pass_mark=0.5)
        same(count(folder, **options, pass_mark=0.5), bc.aggregate(whole, THRESHOLDS))
    with pytest.raises(CascadeError, match=r"from which on an answer is right: grades=.* pass_mark=0.5"):
        count(tmp_path / "plain")
    with pytest.raises(CascadeError, match=r"a label should be 0, 1"):
        count(plain.assign(correct=plain["correct"] + 1), pass_mark=0.5)


def test_folders_may_name_a_column(log, table, tmp_path):
    for name, part in (("x", table[table["query"] < 40]), ("y", table[table["query"] >= 40])):
        folder = tmp_path / f"team={name}"
        folder.mkdir()
        part.to_parquet(folder / "part.parquet", index=False)
    found = count(tmp_path, task="team", of_task="x")
    same(found, bc.aggregate(log.isel(query=log["query"].values < 40), THRESHOLDS))


def test_equal_ids_of_two_tasks_are_two_queries(table):
    both = pd.concat([table.assign(task="x"), table.assign(task="y")])
    assert count(both).n_queries == 2 * count(table).n_queries


@pytest.mark.parametrize("kind", ["logprob", "votes", "score", "percent"])
def test_scales_are_those_of_read_log(kind):
    values = {"logprob": [-INF, -0.5, 0.0, 5e-7], "votes": [0.0, 0.5, 1.0, 1.0 + 5e-7]}
    values |= {"score": [-3.0, 0.0, 1e9, -1e9], "percent": [0.0, -5e-7, 100.0, 30.0]}
    table = pd.DataFrame({"query": [0, 1, 2, 3] * 2, "stage": ["a"] * 4 + ["b"] * 4, "cost": 1.0})
    table["confidence"] = [*values[kind], *values[kind]]
    edge = values[kind][1]
    log = bc.read_log(table, confidence_kind=kind, stages=["a", "b"], labels=False)
    found = bc.aggregate(table, [edge, -INF], confidence_kind=kind, stages=["a", "b"])
    same(found, bc.aggregate(log, [edge, -INF]))


BAD = [
    ("confidence", 1.2, "its confidence is 1.2; of kind 'probability' it should be a probability in"),
    ("confidence", INF, "its confidence is inf; of kind 'probability'"),
    ("confidence", "high", "a confidence should be a number, or empty"),
    ("confidence", "1_0", "a confidence should be a number, or empty"),
    ("correct", 0.5, "a label should be 0, 1, True or False, or empty"),
    ("correct", "maybe", "a label should be 0, 1, True or False, or empty"),
    ("cost", -1.0, "a cost should be a finite number, at least 0"),
    ("cost", INF, "a cost should be a finite number, at least 0"),
    ("latency_ms", -0.5, "a latency should be a finite number, at least 0"),
]
NUMBERS_AND_TEXTS = [
    (*bad, as_text) for bad in BAD for as_text in (False, True) if as_text or bad[1] != str(bad[1])
]


@pytest.mark.parametrize(("column", "value", "said", "as_text"), NUMBERS_AND_TEXTS)
def test_bad_values_are_refused_where_they_stand(table, tmp_path, column, value, said, as_text):
    bad = table.astype({column: str if as_text else float})
    bad.loc[7, column] = str(value) if as_text else value
    bad["filename"] = "of the user's"
    folder = in_parts(bad, tmp_path / "logs", "parquet", n=2)
    with pytest.raises(CascadeError, match=rf"a row of .*1.parquet \(query {table['query'][7]}\)") as caught:
        count(folder)
    assert said in str(caught.value)


def test_rows_that_repeat_or_lack_a_query_are_refused(table, tmp_path):
    twice = pd.concat([table, table.iloc[[4]]])
    said = rf"duplicate \(query, stage\) in the DataFrame: query {table['query'][4]} has 2 rows of one stage"
    with pytest.raises(CascadeError, match=said):
        count(twice)
    wide = pd.DataFrame({"query": [1, 1, 2], **{f"{s}.{f}": 0.5 for s in STAGES for f in ("confidence", "cost")}})
    with pytest.raises(CascadeError, match="query 1 has 2 rows"):
        count(wide)
    for lacking in (table, wide.drop_duplicates("query")):
        lacking = lacking.astype({"query": object})
        lacking.loc[2, "query"] = None
        with pytest.raises(CascadeError, match="its query is missing; every row needs one"):
            count(lacking)


def test_files_that_differ_are_refused(table, tmp_path):
    folder = in_parts(table, tmp_path / "logs", "parquet")
    bad = folder / "2.parquet"
    table.rename(columns={"cost": "price"}).to_parquet(bad)
    with pytest.raises(
        CascadeError, match=r"2.parquet has other columns than .*0.parquet: it lacks 'cost' and has"
    ):
        count(folder)
    table.astype({"confidence": str}).to_parquet(bad)
    with pytest.raises(CascadeError, match=r"'confidence' holds texts in .*2.parquet and numbers in .*0.parquet"):
        count(folder)
    other = table.copy()
    other.attrs = {"confidence_kind": "margin"}
    other.to_parquet(bad)
    with pytest.raises(CascadeError, match=r"of kind 'margin' in .*2.parquet; a log has one kind"):
        count(folder)
    bad.write_bytes(b"PAR1 and no more")
    with pytest.raises(CascadeError, match=r"2.parquet cannot be read as Parquet"):
        count(folder)
    bad.unlink()
    table.to_csv(folder / "2.csv", index=False)
    with pytest.raises(CascadeError, match="are of different formats"):
        count(folder)


def test_what_is_no_log_is_refused(table, tmp_path):
    with pytest.raises(CascadeError, match="no file of a log is at"):
        count(str(tmp_path / "*.parquet"))
    with pytest.raises(CascadeError, match="neither Parquet nor CSV"):
        count([__file__])
    with pytest.raises(CascadeError, match=r"there is no file .*nowhere.parquet"):
        count(tmp_path / "nowhere.parquet")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(CascadeError, match="is empty: it has no header"):
        count(tmp_path / "empty.csv")
    with pytest.raises(CascadeError, match="missing column 'cost' in the DataFrame"):
        count(table.drop(columns="cost"))
    with pytest.raises(CascadeError, match="missing column 'confidence' in the DataFrame"):
        count(pd.DataFrame({"query": [1], "answer": ["x"]}))
    with pytest.raises(CascadeError, match="there is no stage 'tiny' in the DataFrame; it has 'large', 'medium'"):
        bc.aggregate(table, [0.5, -INF], stages=["tiny", "large"], confidence_kind="probability")
    with pytest.raises(CascadeError, match="nothing says which stages the thresholds are for"):
        bc.aggregate(table, [0.5, -INF], confidence_kind="probability")
    with pytest.raises(CascadeError, match="nothing says what the confidences are"):
        count(pd.DataFrame(table.to_dict("list")), confidence_kind=None)
    with pytest.raises(CascadeError, match="stage 'medium' has no known cost"):
        count(table.assign(cost=table["cost"].where(table["model"] != "medium")))
    with pytest.raises(CascadeError, match="gives no price for stage 'large'"):
        count(table, cost={"small": 1.0, "medium": 2.0})
    with pytest.raises(CascadeError, match="DuckDB does not start with"):
        count(table, memory_limit="plenty")
    (tmp_path / "torn.csv").write_text("query,stage,confidence,cost\n1,small,0.5,1\n2,small\n3,small,a,b,c\n")
    with pytest.raises(CascadeError, match="DuckDB cannot read or count the log"):
        count(tmp_path / "torn.csv")


def test_a_stage_that_nobody_reached_is_no_mistake(log, table):
    part = table[table["model"] != "large"]
    found = count(part)
    assert found.table["run"]["large"] == 0.0
    assert (found + count(table)).n_queries == 2 * len(log["query"])


def test_labels_without_a_confidence_are_told(table):
    lost = table.assign(confidence=table["confidence"].where(table["query"] != 3))
    n = int(table.loc[table["query"] == 3, "correct"].notna().sum())
    with pytest.warns(CascadeWarning, match=f"{n} labels of the DataFrame stand without a confidence"):
        count(lost)


def test_what_is_not_installed_is_named(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    said = "a log of many files needs duckdb, which is not installed. Install it with: python -m pip install"
    with pytest.raises(ImportError, match=said) as caught:
        count(table)
    assert str(caught.value).endswith('"bayescascade[duckdb]"')


@pytest.mark.parametrize("name", ["c", "j", "cell0", "problem", "lost", "file", "log", "pc", "none"])
def test_a_column_of_any_name_changes_nothing(table, tmp_path, name):
    more, options = table.rename(columns={"cost": name}), {"cost": name}
    expected = count(table)
    same(count(more, **options), expected)
    same(count(in_parts(more, tmp_path / "logs", "parquet"), **options), expected)


def test_names_and_values_are_not_taken_for_sql(table, tmp_path):
    odd = 'a"; DROP TABLE log; --'
    renamed = table.rename(columns={"cost": odd}).replace({"model": {"small": "it's"}})
    stages = ["it's", "medium", "large"]
    options = {"stages": stages, "confidence_kind": "probability", "cost": odd}
    folder = in_parts(renamed, tmp_path / "o'clock", "parquet")
    (folder / "0.parquet").rename(folder / "day [0-9]? *.parquet")
    found = bc.aggregate(folder, THRESHOLDS, **options)
    np.testing.assert_array_equal(found.cell, count(table).cell)


# ---- partitions on a cluster


def by_query(table, folder, n=40):
    folder.mkdir()
    for i in range(n):
        table[table["query"] % n == i].to_parquet(folder / f"{i}.parquet", index=False)
    return folder


def test_partitions_on_a_cluster_add_up(log, table, client, tmp_path):
    expected = bc.aggregate(log, THRESHOLDS)
    folder = by_query(table, tmp_path / "logs")
    same(count(folder, client=client), expected)
    dataframe = pytest.importorskip("dask.dataframe")
    parts = dataframe.from_pandas(table.sort_values("query").set_index("query"), npartitions=5).reset_index()
    same(count(parts, client=client), expected)
    same(count(parts), expected)


def test_a_bad_partition_is_named(table, client, tmp_path):
    folder = by_query(table, tmp_path / "logs", n=4)
    bad = pd.read_parquet(folder / "2.parquet")
    bad.loc[0, "confidence"] = 2.0
    bad.to_parquet(folder / "2.parquet")
    with pytest.raises(CascadeError, match=r"a row of .*2.parquet \(query \d+\) is not as it should be"):
        count(folder, client=client)


def test_a_cluster_that_is_not_there_is_a_sentence(table, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("bayescascade._common.cluster._SECONDS", "1s")
    folder = by_query(table, tmp_path / "logs", n=2)
    with pytest.raises(CascadeError, match="is the address of no scheduler that answers"):
        count(folder, client="tcp://127.0.0.1:9")
    with pytest.raises(CascadeError, match=r"give a distributed\.Client, or the address of a scheduler"):
        count(folder, client=3)
    cluster = distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0")
    with cluster, distributed.Client(cluster) as gone:
        same(count(folder, client=cluster.scheduler_address), count(folder))
    with pytest.raises(CascadeError, match="the client of the cluster is closed"):
        count(folder, client=gone)


@pytest.mark.parametrize("sizes", [(6, 9), (9,) * 19, (9,) * 20, (9,) * 60, (3 * 10**6,) * 5])
def test_patterns_are_written_as_few_numbers(sizes):
    rng, digits = np.random.default_rng(1), Digits(sizes)
    rows = np.column_stack([rng.integers(0, size, 50) for size in sizes])
    rows[0] = np.array(sizes) - 1
    numbers = np.array(
        [[sum(int(row[j]) * by for j, by in number) for number in digits.places] for row in rows], dtype=np.int64
    )
    np.testing.assert_array_equal(digits.read(numbers), rows)
    assert numbers.shape[1] == -(-len(sizes) // max(1, int(62 // np.log2(sizes[-1]))))


def test_thirty_stages_in_long_and_wide_files():
    stages = [f"s{i}" for i in range(30)]
    rng = np.random.default_rng(1)
    confidence = np.where(rng.uniform(size=(40, 30)) < 0.1, np.nan, rng.uniform(size=(40, 30)))
    wide = {f"{s}.confidence": confidence[:, i] for i, s in enumerate(stages)}
    wide |= {f"{s}.cost": np.where(np.isnan(confidence[:, i]), np.nan, 1.0 + i) for i, s in enumerate(stages)}
    wide |= {
        f"{s}.correct": rng.integers(0, 2, 40) * np.where(np.isnan(confidence[:, i]), np.nan, 1.0)
        for i, s in enumerate(stages)
    }
    table = pd.DataFrame({"query": np.arange(40), **wide})
    log = bc.read_log(table, confidence_kind="probability", stages=stages)
    thresholds = [[0.5] * 29 + [-INF], [0.8] * 29 + [-INF]]
    options = {"stages": stages, "confidence_kind": "probability"}
    same(bc.aggregate(table, thresholds, **options), bc.aggregate(log, thresholds))
    long = log.to_dataframe().reset_index().dropna(subset="confidence")
    same(bc.aggregate(long, thresholds, **options), bc.aggregate(log, thresholds))
    with pytest.raises(CascadeError, match="has 9 rows of one stage"):
        bc.aggregate(pd.concat([long] * 9), thresholds, **options)
