"""Whatever library a table is of, it is read: logs, labels, prices, scores."""

import pandas as pd
import pytest

import bayescascade as bc
from bayescascade.logs.importers.labels import Labels
from bayescascade.logs.importers.prices import Prices
from bayescascade.logs.importers.rows import rows_of


def made(library, table):
    """The table of another library."""
    if library.startswith("polars"):
        polars = pytest.importorskip("polars")
        found = polars.from_pandas(table)
        return found.lazy() if library.endswith("lazy") else found
    if library == "pyarrow":
        return pytest.importorskip("pyarrow").Table.from_pandas(table)
    if library == "duckdb":
        return pytest.importorskip("duckdb").from_df(table)
    return table


LIBRARIES = ["pandas", "polars", "polars, lazy", "pyarrow", "duckdb"]


@pytest.mark.parametrize("library", LIBRARIES)
class TestTable:
    def test_of_true_answers(self, library):
        labels = Labels(made(library, pd.DataFrame({"query": ["a", "b"], "answer": ["Paris", None]})))
        assert (labels.expected("a"), labels.expected("b"), len(labels)) == ("Paris", None, 1)

    def test_of_grades(self, library):
        table = pd.DataFrame({"query": [1, 1], "stage": ["small", "large"], "correct": [0, 1]})
        labels = Labels(made(library, table))
        assert (labels.grade(1, "small"), labels.grade("1", "large")) == (0.0, 1.0)

    def test_of_prices(self, library):
        prices = Prices(made(library, pd.DataFrame({"model": ["m"], "input": [1.0], "output": [4.0]})))
        assert prices.cost("m", None, {"input_tokens": 10, "output_tokens": 5}) == pytest.approx(30e-6)

    def test_of_rows(self, library):
        rows = [dict(row) for _, row in rows_of(made(library, pd.DataFrame({"id": ["a"], "value": [1.0]})))]
        assert rows == [{"id": "a", "value": 1.0}]

    def test_of_a_log(self, library):
        table = pd.DataFrame(
            {
                "query": [i // 2 for i in range(8)],
                "stage": ["small", "large"] * 4,
                "confidence": [0.5 + i / 20 for i in range(8)],
                "correct": [0, 1] * 4,
                "cost": [1.0, 2.0] * 4,
            }
        )
        log = bc.read_log(made(library, table), confidence_kind="probability")
        assert log.sizes == {"query": 4, "stage": 2}
        assert log["confidence"].values.ravel().tolist() == table["confidence"].tolist()


def test_numbers_of_a_database_are_numbers():
    duckdb = pytest.importorskip("duckdb")
    prices = Prices(duckdb.sql("select 'm' as model, 0.15::decimal(6, 2) as input, 0.60::decimal(6, 2) as output"))
    assert prices.cost("m", None, {"input_tokens": 100, "output_tokens": 10}) == pytest.approx(21e-6)
    assert Labels(duckdb.sql("select 'a' as query, 'm' as stage, 1.0 as correct")).grade("a", "m") == 1.0
