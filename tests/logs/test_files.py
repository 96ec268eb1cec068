"""Files as programs and spreadsheets write them: each reads as the plain one does, or says what is wrong."""

import gzip
import io
import json
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.logs.importers.responses import read_responses
from bayescascade.logs.read import read_log
from bayescascade.logs.spelling import CURRENCIES, DATES, EITHER, MIXED, spelled_out
from bayescascade.logs.texts import with_prompts


@pytest.fixture(scope="module")
def table():
    """A long table of 30 queries, with a name outside ASCII."""
    rng = np.random.default_rng(5)
    n = 30
    return pd.DataFrame(
        {
            "query": np.repeat(np.arange(n), 2),
            "stage": [0, 1] * n,
            "model": ["modèle-petit", "géant"] * n,
            "confidence": rng.uniform(0.2, 0.99, 2 * n).round(4),
            "correct": rng.integers(0, 2, 2 * n),
            "cost": np.tile([106.78, 1469.52], n),
        }
    )


@pytest.fixture(scope="module")
def log(table):
    return read_log(table, confidence_kind="probability")


def comma(table):
    return table.astype(str).apply(lambda cells: cells.str.replace(".", ","))


def spelled(table, form):
    return table.assign(cost=[form.format(value) for value in table["cost"]]).to_csv(index=False).encode()


CONTENT = {
    "UTF-8 with a mark": lambda t: t.to_csv(index=False).encode("utf-8-sig"),
    "UTF-16": lambda t: t.to_csv(index=False).encode("utf-16"),
    "tabs": lambda t: t.to_csv(index=False, sep="\t").encode(),
    "bars": lambda t: t.to_csv(index=False, sep="|").encode(),
    "UTF-32": lambda t: t.to_csv(index=False).encode("utf-32"),
    "semicolons": lambda t: t.to_csv(index=False, sep=";").encode(),
    "semicolons and decimal commas": lambda t: comma(t).to_csv(index=False, sep=";").encode("utf-8-sig"),
    "quoted decimal commas": lambda t: comma(t).to_csv(index=False).encode(),
    "sep line": lambda t: b"sep=,\r\n" + t.to_csv(index=False, lineterminator="\r\n").encode(),
    "sep line of semicolons": lambda t: b"sep=;\n" + t.to_csv(index=False, sep=";").encode(),
    "blank tail": lambda t: t.to_csv(index=False).encode() + b",,,,,\n , ,,,,\n\n",
    "dollars": lambda t: spelled(t, "${}"),
    "euros behind": lambda t: spelled(t, "{} €"),
    "thousands": lambda t: spelled(t, "{:,}"),
    "dollars and thousands": lambda t: spelled(t, "${:,}"),
    "thin spaces": lambda t: spelled(t, "{:,}").decode().replace('"1,', '"1\u202f').encode(),
}


@pytest.mark.parametrize("form", CONTENT)
def test_spreadsheets_csv(table, log, tmp_path, form):
    path = tmp_path / "log.csv"
    path.write_bytes(CONTENT[form](table))
    xr.testing.assert_identical(read_log(path, confidence_kind="probability"), log)


def test_windows_1252_is_read_aloud(table, log, tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(table.to_csv(index=False).encode("cp1252"))
    with pytest.warns(
        CascadeWarning, match=r"log.csv is not in UTF-8.*Windows-1252.*modèle-petit.*save it as CSV"
    ):
        xr.testing.assert_identical(read_log(path, confidence_kind="probability"), log)


JSON = {
    "array": lambda t: t.to_json(orient="records"),
    "columns": lambda t: t.to_json(),
    "lists": lambda t: json.dumps(t.to_dict(orient="list")),
    "indented array": lambda t: json.dumps(t.to_dict(orient="records"), indent=2),
    "indented columns": lambda t: json.dumps(t.to_dict(orient="list"), indent=2),
    "lines": lambda t: t.to_json(orient="records", lines=True),
    "table": lambda t: t.to_json(orient="table", index=False),
    "wrapped": lambda t: json.dumps({"data": t.to_dict(orient="records")}),
    "wrapped and indented": lambda t: json.dumps({"rows": t.to_dict(orient="records")}, indent=2),
}


@pytest.mark.parametrize("form", JSON)
def test_forms_of_json(table, log, tmp_path, form):
    path = tmp_path / "log.json"
    path.write_text(JSON[form](table))
    xr.testing.assert_identical(read_log(path, confidence_kind="probability"), log)


PACKED = {
    "log.csv.gz": lambda t: gzip.compress(t.to_csv(index=False).encode()),
    "log.TSV.GZ": lambda t: gzip.compress(t.to_csv(index=False, sep="\t").encode()),
    "log.jsonl.gz": lambda t: gzip.compress(t.to_json(orient="records", lines=True).encode()),
    "log.parquet.gz": lambda t: gzip.compress(t.to_parquet()),
}


@pytest.mark.parametrize("name", PACKED)
def test_gzip(table, log, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(PACKED[name](table))
    xr.testing.assert_identical(read_log(path, confidence_kind="probability"), log)
    path.write_bytes(PACKED[name](table)[:-20])
    with pytest.raises(CascadeError, match=r"cannot be unpacked by gzip .*cut off, damaged or not packed"):
        read_log(path, confidence_kind="probability")


OTHERWISE = {
    "gzip": PACKED["log.csv.gz"],
    "Parquet": lambda t: t.to_parquet(),
    "Parquet by gzip": PACKED["log.parquet.gz"],
    "an array of JSON": lambda t: t.to_json(orient="records").encode(),
    "JSON lines": lambda t: t.to_json(orient="records", lines=True).encode(),
}


@pytest.mark.parametrize("form", OTHERWISE)
def test_what_is_called_csv_and_is_none_is_read_by_what_it_holds(table, log, tmp_path, form):
    path = tmp_path / "log.csv"
    path.write_bytes(OTHERWISE[form](table))
    xr.testing.assert_identical(read_log(path, confidence_kind="probability"), log)


@pytest.mark.parametrize("name", ["log.xlsx", "log.ods", "log.csv"])
def test_spreadsheets_are_no_logs(tmp_path, name):
    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sheet.xml", "<row/>")
    with pytest.raises(CascadeError, match="save the sheet as CSV"):
        read_log(path, confidence_kind="probability")


@pytest.mark.parametrize("first", ["Log of March", "# made by x, 2026", "Log of March,,,,,", "Log,,,,,\n,,,,,"])
def test_what_stands_before_the_names_of_columns_is_named(table, tmp_path, first):
    path = tmp_path / "log.csv"
    path.write_text(f"{first}\n{table.to_csv(index=False)}")
    with pytest.raises(CascadeError, match=r"the first line of .* is .*; it should name the columns: remove what"):
        read_log(path, confidence_kind="probability")


@pytest.mark.parametrize("n", [0, 20])
def test_names_of_columns_that_come_again_are_named(table, tmp_path, n):
    path = tmp_path / "log.csv"
    path.write_text(table[:n].to_csv(index=False) + table[n:].to_csv(index=False))
    with pytest.raises(CascadeError, match=rf"row {n} of .*log.csv .counted from 0. names the columns again, as "):
        read_log(path, confidence_kind="probability")


def test_gzip_of_what_is_no_log(tmp_path):
    (tmp_path / "log.pkl.gz").write_bytes(gzip.compress(b"x"))
    with pytest.raises(CascadeError, match=r"is a pickle"):
        read_log(tmp_path / "log.pkl.gz", confidence_kind="probability")
    (tmp_path / "log.gz").write_bytes(gzip.compress(b"x"))
    with pytest.raises(CascadeError, match=r"ends in '.gz'; a log file should end in one of .csv, .*or .gz"):
        read_log(tmp_path / "log.gz", confidence_kind="probability")


@pytest.mark.parametrize(
    "content",
    [
        CONTENT["UTF-8 with a mark"],
        CONTENT["tabs"],
        JSON["columns"],
        JSON["lines"],
        PACKED["log.csv.gz"],
        pd.DataFrame.to_parquet,
    ],
)
def test_standard_input(table, log, monkeypatch, content):
    given = content(table)
    given = given.encode() if isinstance(given, str) else given
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
    xr.testing.assert_identical(read_log("-", confidence_kind="probability"), log)
    with pytest.raises(CascadeError, match=r"standard input is empty; a log needs"):
        read_log("-", confidence_kind="probability")  # it is read once


class Frame:
    """What Polars and others give: a frame that speaks Arrow, and maybe is lazy."""

    def __init__(self, table, lazy=False):
        import pyarrow

        self.table, self.columns = pyarrow.Table.from_pandas(table, preserve_index=False), list(table.columns)
        self.collect = (lambda: Frame(table)) if lazy else None
        if not lazy:
            del self.collect

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("lazy", [False, True])
def test_frames_of_others(table, log, lazy):
    xr.testing.assert_identical(read_log(Frame(table, lazy), confidence_kind="probability"), log)
    polars = pytest.importorskip("polars")
    frame = polars.from_pandas(table)
    xr.testing.assert_identical(read_log(frame.lazy() if lazy else frame, confidence_kind="probability"), log)


def test_whole_numbers_of_frames_keep_their_digits(table):
    ids = table["query"] + 2**53 + 1
    frame = table.assign(query=ids, note=pd.array([None] + [2**53 + 1] * (len(table) - 1), dtype="Int64"))
    assert read_log(Frame(frame), confidence_kind="probability")["query"].values.tolist() == ids[::2].tolist()
    prompts = frame.drop_duplicates("query").assign(prompt="What?")
    log = with_prompts(read_log(Frame(frame), confidence_kind="probability"), Frame(prompts))
    assert set(log["prompt"].values) == {"What?"}


@pytest.mark.parametrize("n", [1, 3, 5])
def test_rows_cut_off(table, tmp_path, n):
    path = tmp_path / "log.csv"
    path.write_text(table.to_csv(index=False).rstrip().rsplit(",", 6 - n)[0])
    with pytest.raises(
        CascadeError, match=rf"row 59 of .*\(counted from 0\) has {n} values where the header has 6"
    ):
        read_log(path, confidence_kind="probability")


def test_last_line_without_an_end(table, tmp_path):
    """7.309 may be what is left of 7.309e-05."""
    path = tmp_path / "log.csv"
    path.write_text(table.to_csv(index=False)[:-3])
    with pytest.warns(CascadeWarning, match=r"no line end, so its last value \('1469.'\) may be cut off; if the"):
        read_log(path, confidence_kind="probability")


def test_a_line_of_many_columns(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("x," * 200_000 + "\n1\n")
    with pytest.raises(CascadeError, match=r"has more than 20000 columns, so it is not a log"):
        read_log(path, confidence_kind="probability")


def test_a_name_that_is_too_long():
    with pytest.raises(CascadeError, match=r"there is no file"):
        read_log("x" * 300 + ".csv", confidence_kind="probability")


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["0,73", "1", "1,5e-05"], [0.73, 1, 1.5e-5]),
        (["1.469,5", "-0,5"], [1469.5, -0.5]),
        (["1,469", "2.5"], [1469, 2.5]),
        (["1,469,000", "12"], [1469000, 12]),
        (["$1", "$ 2.5"], [1, 2.5]),
        (["0,727", "0,815"], [0.727, 0.815]),
        (["1'469.5", "12"], [1469.5, 12]),
        (["1\u2019469,5"], [1469.5]),
        (["12 CHF", "CHF 0.5"], [12, 0.5]),
        (["\u22120.5", "\u22121"], [-0.5, -1]),
    ],
)
def test_numbers_of_one_reading(texts, numbers):
    assert spelled_out(texts) == (numbers, "")


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["1,469", "2,312"], EITHER),
        (["0,73", "0.81"], MIXED),
        (["1,469.5", "0,73"], MIXED),
        (["$1", "€2"], CURRENCIES),
        (["12%"], "; write numbers alone, without the unit '%'"),
        (["0.2s", "1.5 s"], "; write numbers alone, without the unit 's'"),
        (["4/5", "10/10"], "; write quotients as numbers, such as 0.8 for 4/5"),
        (["$1", "2 EUR"], CURRENCIES),
        (["0.4", "3-May"], f"; '3-May'{DATES}"),
        (["01. Feb", "0,5"], f"; '01. Feb'{DATES}"),
        (["2024-05-03 00:00:00"], f"; '2024-05-03 00:00:00'{DATES}"),
        (["1.2.2024"], f"; '1.2.2024'{DATES}"),
        (["1/0"], ""),
        (["1,46", "x"], ""),
        (["1_000"], ""),
        (["١٢"], ""),
        (["1,4,6"], ""),
    ],
)
def test_numbers_of_no_single_reading(table, texts, why):
    assert spelled_out(texts) == ([], why)
    costs = table.assign(cost=(texts * 60)[:60])
    with pytest.raises(CascadeError, match=r"cost is .* at row . .*; it should be a number, or empty" + why):
        read_log(costs, confidence_kind="probability")


@pytest.mark.parametrize("value", [b"0.5", "1_0", "０.５", 10**400])
def test_what_only_python_takes_for_a_number(table, value):
    confidence = table["confidence"].astype(object)
    confidence[3] = value
    with pytest.raises(CascadeError, match=r"confidence is .* at row 3 .*should be a number"):
        read_log(table.assign(confidence=confidence), confidence_kind="probability")


def test_reading_never_waits_for_a_pipe(tmp_path):
    """A FIFO that nobody writes to would hang the reader."""
    import os

    os.mkfifo(tmp_path / "log.csv")
    code = (
        "import sys, bayescascade as bc\n"
        "try: bc.read_log(sys.argv[1], confidence_kind='votes')\n"
        "except bc.CascadeError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "log.csv")], capture_output=True, text=True, timeout=60
    )
    assert "is not a file" in done.stdout


@pytest.mark.parametrize("stdin", [None, io.StringIO("query,stage")])
def test_no_standard_input(stdin, monkeypatch):
    """It is closed under some schedulers, and notebooks have one of their own."""
    monkeypatch.setattr("sys.stdin", stdin)
    for read in (read_log, lambda source, **_: read_responses({"small": source})):
        with pytest.raises(CascadeError, match="'-' is standard input, of which there is none here; name a file"):
            read("-", confidence_kind="probability")
