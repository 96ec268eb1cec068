"""Tables, files and bytes of all kinds: a log that is accepted comes back, anything else is a sentence."""

import gzip
import io
import json
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers.fuzz import accepted, damaged, fuzzed
from hypothesis import strategies as st

from bayescascade.logs.read import read_log
from bayescascade.logs.validate import validate_log
from bayescascade.signals.kinds import KINDS

ODD_NAMES = [
    "small",
    "large",
    "Small",
    " small",
    "a.b",
    "s:confidence",
    "=cmd()",
    "<b>",
    "1",
    "01",
    "1.0",
    "",
    "nan",
]
ODD_NAMES += ["None", "co\ud800st", "a\0b", "a\x1b[2J", "x\u2028y", "\u202eabc", "😀", "y" * 3000]
NAMES = st.one_of(st.sampled_from(ODD_NAMES), st.text(max_size=8), st.integers(-3, 10**20))
CELLS = st.one_of(
    st.floats(0.0, 1.0),
    st.sampled_from([0, 1, 0.5, None, "", "0.5", "0,5", "1e-3", "$1", "1.469,5", "true", "C", "٣", "1_0", True]),
    st.sampled_from([np.nan, np.inf, -1.0, 1e308, 5e-324, 10**400, b"0.5", 1j, "co\ud800", [1], {}, object()]),
    st.text(max_size=4),
)
GOOD = st.floats(0.0, 1.0)
COLUMNS = st.sampled_from(
    ["query", "stage", "model", "confidence", "correct", "cost", "latency", "task", "latency_ms"]
)
FIELDS = ("confidence", "correct", "cost")
KIND = st.sampled_from(sorted(KINDS))


@st.composite
def long_tables(draw):
    """A log as it should be, and then some cells, columns and rows as they should not."""
    stages = draw(st.lists(NAMES, min_size=1, max_size=3))
    n = draw(st.integers(0, 6))
    rows = [
        {"query": q, "stage": s, "confidence": draw(GOOD), "correct": draw(st.integers(0, 1)), "cost": draw(GOOD)}
        for q in range(n)
        for s in stages
    ]
    for _ in range(draw(st.integers(0, 3))):
        if rows:
            at = draw(st.integers(0, len(rows) - 1))
            rows[at] = rows[at] | {draw(COLUMNS): draw(st.one_of(CELLS, NAMES))}
    if rows and draw(st.booleans()):
        rows.append(dict(draw(st.sampled_from(rows))))
    return rows


@st.composite
def wide_tables(draw):
    """A row for each query; names of stages may hold anything, and columns may lack or come twice."""
    stages = draw(st.lists(NAMES, min_size=1, max_size=3))
    style = draw(st.sampled_from(["{s}.{f}", "{f}:{s}", "{s}_{f}", "{f}_{s}"]))
    fields = [style.replace("{s}", str(s)).replace("{f}", f) for s in stages for f in FIELDS]
    columns = ["query", *fields, *draw(st.lists(st.sampled_from(["query", *fields]), max_size=2))]
    dropped = draw(st.lists(st.sampled_from(columns), max_size=1))
    columns = [name for name in columns if name not in dropped]
    n = draw(st.integers(0, 4))
    return [[draw(st.one_of(st.integers(0, 1), CELLS)) for _ in columns] for _ in range(n)], columns


def holds(log, kind):
    """What an accepted log promises, whatever it came from."""
    assert set(log.sizes) == {"query", "stage"}
    assert log.sizes["stage"] >= 2
    run, correct, cost = (log[name].values for name in ("confidence", "correct", "cost"))
    assert np.isin(correct[np.isfinite(correct)], [0.0, 1.0]).all()
    assert ((cost >= 0) & np.isfinite(cost) | np.isnan(cost)).all()
    assert np.isnan(correct[np.isnan(run)]).all()
    assert (~np.isnan(run)).any(axis=0).all()
    assert len(set(log["query"].values.tolist())) == log.sizes["query"]
    xr.testing.assert_identical(log.assign_coords(query=log["query"]), accepted(lambda: validate_log(log)))
    assert log.attrs["confidence_kind"] == kind


def comes_back(log, kind, tmp_path, suffix):
    """The log as a long table in a file gives the same log again."""
    frame = log[["confidence", "correct", "cost"]].to_dataframe().reset_index()
    frame = frame[frame["confidence"].notna()]
    path = tmp_path / f"again{suffix}"
    if suffix.startswith(".csv"):
        frame.to_csv(path, index=False)
    elif suffix == ".parquet":
        frame.to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")))
    again = accepted(lambda: read_log(path, confidence_kind=kind, stages=list(map(str, log["stage"].values))))
    if again is None:
        return
    wanted = log.isel(query=log["confidence"].notnull().any("stage").values)
    assert again.sizes == wanted.sizes
    for name in ("confidence", "correct", "cost"):
        np.testing.assert_allclose(again[name].values, wanted[name].values, rtol=1e-9, atol=1e-300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


@fuzzed(40, 3_000, rows=long_tables(), kind=KIND)
def test_long_tables(rows, kind):
    table = frame_of(rows)
    log = None if table is None else accepted(lambda: read_log(table, confidence_kind=kind))
    if log is not None:
        holds(log, kind)


@fuzzed(40, 3_000, made=wide_tables(), kind=KIND)
def test_wide_tables(made, kind):
    table = frame_of(*made)
    log = None if table is None else accepted(lambda: read_log(table, confidence_kind=kind))
    if log is not None:
        holds(log, kind)


def frame_of(rows, columns=None):
    try:
        return pd.DataFrame(rows, columns=columns, dtype=object)
    except Exception:  # pandas cannot hold it
        return None


@fuzzed(
    30,
    1_500,
    "folder",
    stages=st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8),
        min_size=2,
        max_size=3,
        unique_by=lambda s: s.strip().casefold(),
    ),
    numbers=st.lists(st.tuples(GOOD, st.integers(0, 1), GOOD), min_size=12, max_size=12),
    suffix=st.sampled_from([".csv", ".csv.gz", ".parquet", ".jsonl"]),
)
def test_an_accepted_log_comes_back_from_each_kind_of_file(folder, stages, numbers, suffix):
    n = len(numbers) // len(stages)
    values = np.array(numbers[: n * len(stages)]).reshape(n, len(stages), 3)
    dims = ("query", "stage")
    log = accepted(
        lambda: validate_log(
            xr.Dataset(
                {name: (dims, values[..., i]) for i, name in enumerate(("confidence", "correct", "cost"))},
                coords={"query": np.arange(n), "stage": stages},
                attrs={"confidence_kind": "probability"},
            )
        )
    )
    if log is not None:
        holds(log, "probability")
        comes_back(log, "probability", folder, suffix)


def good_table():
    rng = np.random.default_rng(0)
    rows = [
        (q, s, round(rng.uniform(), 3), int(rng.integers(2)), 10.0**i / 1000)
        for q in range(30)
        for i, s in enumerate(("small", 'large, "8b"', "größte"))
    ]
    return pd.DataFrame(rows, columns=["query", "stage", "confidence", "correct", "cost"])


def written(suffix):
    table, stream = good_table(), io.BytesIO()
    if ".csv" in suffix:
        stream.write(table.to_csv(index=False).encode())
    elif ".json" in suffix:
        stream.write(table.to_json(orient="records", lines=True, force_ascii=False).encode())
    else:
        table.to_parquet(stream)
    content = stream.getvalue()
    return gzip.compress(content, mtime=0) if suffix.endswith(".gz") else content


FILES = {suffix: written(suffix) for suffix in (".csv", ".jsonl", ".json", ".parquet", ".csv.gz", ".jsonl.gz")}


@fuzzed(80, 6_000, "folder", data=st.data(), suffix=st.sampled_from(sorted(FILES)))
def test_bytes_flipped_cut_and_put_in(folder, data, suffix):
    path = folder / f"bytes{suffix}"
    path.write_bytes(damaged(data, FILES[suffix], ["flip", "cut", "put in", "copy", "zero"]))
    log = accepted(lambda: read_log(path, confidence_kind="probability"))
    if log is not None:
        holds(log, "probability")


@fuzzed(40, 3_000, "folder", content=st.binary(max_size=300), suffix=st.sampled_from(sorted(FILES)))
def test_any_bytes(folder, content, suffix):
    path = folder / f"any{suffix}"
    path.write_bytes(content)
    log = accepted(lambda: read_log(path, confidence_kind="probability"))
    if log is not None:
        holds(log, "probability")


PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
KEYS = st.one_of(COLUMNS, st.text(max_size=4))
JSON = st.recursive(
    PLAIN,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=12,
)


@fuzzed(40, 3_000, "folder", document=JSON)
def test_any_json(folder, document):
    path = folder / "any.json"
    path.write_text(json.dumps(document), encoding="ascii")
    accepted(lambda: read_log(path, confidence_kind="probability"))


@fuzzed(
    20,
    400,
    "folder",
    encoding=st.sampled_from(["utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1", "utf-32"]),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_encodings_separators_and_line_ends(folder, encoding, separator, end):
    path = folder / "odd.csv"
    path.write_bytes(good_table().to_csv(index=False, sep=separator, lineterminator=end).encode(encoding))
    log = accepted(lambda: read_log(path, confidence_kind="probability"))
    if log is not None:
        holds(log, "probability")
        assert log.sizes == {"query": 30, "stage": 3}
        assert "größte" in log["stage"].values


def bomb(kind, tmp_path):
    if kind == "gzip":
        path = tmp_path / "bomb.csv.gz"
        path.write_bytes(gzip.compress(b"query,stage\n" + b"\0" * 400_000_000, 9))
    else:
        path = tmp_path / "one line.csv"
        path.write_bytes(b"1," * 100_000_000)
    return path


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("kind", ["gzip", "one line"])
def test_much_in_little(kind, tmp_path):
    path = bomb(kind, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = accepted(lambda: read_log(path, confidence_kind="probability"), seconds=60.0, megabytes=2_500.0)
    assert found is None
