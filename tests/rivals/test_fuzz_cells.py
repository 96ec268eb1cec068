"""Finished cells on disk, damaged and made up: one that is read is sound, anything else is a sentence."""

import numpy as np
import pyarrow as pa
import pytest
from helpers.fuzz import accepted, damaged, fuzzed
from hypothesis import strategies as st
from pyarrow import parquet

from bayescascade.rivals.cells import Result, Store

KEY = "a method|some data|1"
CELL = Result(np.array([0.3, 0.2]), np.array([1.0, 2.0]), 0.4, np.array([0.39, 0.41, 0.4]), 1.5)
NUMBERS = st.one_of(st.floats(), st.sampled_from([0.0, 1.0, -1.0, 2.0, np.nan, np.inf, 1e308]))
COLUMNS = ("key", "error", "cost", "auc", "replicates", "seconds", "failed")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def content(store):
    store.put(KEY, CELL)
    return store._path(KEY).read_bytes()


def read(store):
    """A cell that is read has numbers that a method can have had."""
    cell = accepted(lambda: store.get(KEY), seconds=10.0, megabytes=300.0)
    if cell is not None:
        assert len(cell.error) == len(cell.cost)
        assert ((cell.error >= 0) & (cell.error <= 1) & (cell.cost >= 0) & np.isfinite(cell.cost)).all()
        assert isinstance(cell.failed, str)
        assert cell.failed or np.isfinite(cell.auc)
    return cell


@fuzzed(50, 5_000, "content", "store", data=st.data())
def test_bytes_flipped_cut_and_put_in(content, store, data):
    store._path(KEY).write_bytes(damaged(data, content, ["flip", "cut", "put in", "zero"]))
    read(store)


@fuzzed(30, 3_000, "store", data=st.data())
def test_cells_made_up(store, data):
    numbers = st.lists(st.one_of(NUMBERS, st.none()), max_size=4)
    row = {
        "key": data.draw(st.sampled_from([KEY, "another", None])),
        **{name: data.draw(st.one_of(numbers, st.none())) for name in ("error", "cost", "replicates")},
        **{name: data.draw(st.one_of(NUMBERS, st.none())) for name in ("auc", "seconds")},
        "failed": data.draw(st.sampled_from(["", "it gave up", None])),
    }
    for name in data.draw(st.lists(st.sampled_from(COLUMNS), max_size=1)):
        del row[name]
    parquet.write_table(pa.Table.from_pylist([row] * data.draw(st.integers(0, 2))), store._path(KEY))
    read(store)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_cell_without_one_of_its_columns(content, store, name):
    store._path(KEY).write_bytes(content)
    whole = parquet.read_table(store._path(KEY))
    parquet.write_table(whole.drop_columns([name]), store._path(KEY))
    assert read(store) is None


@fuzzed(
    30, 1_000, "store", columns=st.dictionaries(st.sampled_from(COLUMNS), st.sampled_from(["i", "s", "b", "l"]))
)
def test_columns_of_other_types(store, columns):
    values = {"i": pa.array([1]), "s": pa.array(["x"]), "b": pa.array([True]), "l": pa.array([[1, 2]])}
    table = pa.table({name: values[kind] for name, kind in columns.items()})
    parquet.write_table(table, store._path(KEY))
    assert read(store) is None
