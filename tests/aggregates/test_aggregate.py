"""Aggregates are a commutative monoid, and a log may be cut, shuffled and grouped in any way."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import bayescascade as bc
from bayescascade.aggregates.aggregate import Aggregate, _groups, total
from bayescascade.errors import CascadeError

STAGES = ["a", "b", "c"]
EDGES = [np.array([0.3, 0.8]), np.array([0.5]), np.array([])]
PARTS = ("cell", "label", "weight", "square", "amounts")


def cells(values):
    return st.lists(st.lists(values, min_size=3, max_size=3), min_size=1, max_size=25)


def made(confidence, correct, cost):
    """A log of these confidences; whose other values repeat where they are fewer. No run, no label and no cost."""
    shape = np.shape(confidence)
    confidence = np.array(confidence, dtype=float)
    run = ~np.isnan(confidence)
    others = [np.where(run, np.resize(np.array(x, dtype=float), shape), np.nan) for x in (correct, cost)]
    dims = ("query", "stage")
    arrays = {"confidence": confidence, "correct": others[0], "cost": others[1], "latency": 2.0 * others[1]}
    return xr.Dataset(
        {name: (dims, array) for name, array in arrays.items()},
        coords={"query": np.arange(shape[0]), "stage": STAGES},
        attrs={"confidence_kind": "probability"},
    )


# costs are multiples of 1/8, of which sums are exact in any order
NAN = st.just(float("nan"))
LOGS = st.builds(
    made,
    cells(st.sampled_from([0.0, 0.2, 0.3, 0.30000000000000004, 0.5, 0.8, 1.0]) | NAN),
    cells(st.sampled_from([0.0, 1.0]) | NAN),
    cells(st.integers(0, 1000).map(lambda n: n / 8) | NAN),
)


def same(one, other):
    for name in PARTS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@settings(max_examples=150, deadline=None)
@given(LOGS, st.data())
def test_any_split_any_order_and_any_grouping_give_the_same(log, data):
    n = log.sizes["query"]
    whole = Aggregate.of_log(log, EDGES)
    order = np.array(data.draw(st.permutations(range(n))))
    part = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)))
    counted = [Aggregate.of_log(log.isel(query=order[part[order] == i]), EDGES) for i in range(5)]
    while len(counted) > 1:  # any two of them, until one is left
        i = data.draw(st.integers(0, len(counted) - 1))
        first = counted.pop(i)
        j = data.draw(st.integers(0, len(counted) - 1))
        counted[j] = first + counted[j]
    same(counted[0], whole)
    assert whole.n_queries == whole.effective_n == n


@settings(max_examples=60, deadline=None)
@given(LOGS, LOGS, LOGS)
def test_the_sum_is_that_of_a_commutative_monoid(x, y, z):
    a, b, c = (Aggregate.of_log(log, EDGES) for log in (x, y, z))
    none = Aggregate.empty(STAGES, "probability", EDGES)
    same(a + b, b + a)
    same((a + b) + c, a + (b + c))
    same(a + none, a)
    same(none + a, a)
    same(total([a, b, c]), a + b + c)


@settings(max_examples=60, deadline=None)
@given(LOGS, LOGS)
def test_decay_goes_through_a_sum(x, y):
    a, b = (Aggregate.of_log(log, EDGES) for log in (x, y))
    same((a + b).decayed(0.5), a.decayed(0.5) + b.decayed(0.5))
    old = a.decayed(0.25) + b
    assert old.n_queries == 0.25 * len(x["query"]) + len(y["query"])
    assert old.effective_n <= len(x["query"]) + len(y["query"])


def test_what_is_counted():
    log = made([[0.3, 0.9, 0.1], [0.31, float("nan"), 0.2], [0.8, 0.4, 0.3]], [[1, 0, 1]], [[0.5, 1.0, 4.0]])
    found = Aggregate.of_log(log, EDGES)
    assert found.cell.tolist() == [[2, 0, 1], [2, 2, 1], [3, 1, 1]]
    assert found.label.tolist() == [[2, 0, 2], [2, 1, 2], [2, 1, 2]]
    table = found.table
    assert table["run"].tolist() == [3.0, 2.0, 3.0]
    assert table["right"].tolist() == [3.0, 0.0, 3.0]
    assert table["cost_mean"].tolist() == [0.5, 1.0, 4.0]
    assert table["latency_sd"].tolist() == [0.0, 0.0, 0.0]
    assert "3 patterns" in repr(found)


@pytest.mark.parametrize("factor", [0.0, -1.0, 1.5, float("nan"), "half", None])
def test_a_factor_is_a_share(factor):
    found = Aggregate.of_log(made([[0.1] * 3], [[1]], [[1]]), EDGES)
    with pytest.raises(CascadeError, match="factor="):
        found.decayed(factor)


def test_only_what_is_alike_adds_up():
    log = made([[0.1] * 3], [[1]], [[1]])
    found = Aggregate.of_log(log, EDGES)
    with pytest.raises(CascadeError, match=r"at stage 'b' they have 0.5 and 0.6; count one of the logs again"):
        found + Aggregate.of_log(log, [EDGES[0], np.array([0.6]), EDGES[2]])
    with pytest.raises(CascadeError, match="aggregates of different stages"):
        found + Aggregate.of_log(log.assign_coords(stage=["a", "b", "d"]), EDGES)
    with pytest.raises(CascadeError, match="different kinds of confidence"):
        found + Aggregate.of_log(log.assign_attrs(confidence_kind="margin"), EDGES)
    other = log.assign(latency=log["latency"].assign_attrs(units="ms"))
    with pytest.raises(CascadeError, match="latencies are in different units"):
        found + Aggregate.of_log(other, EDGES)
    assert (found + Aggregate.of_log(log.drop_vars("latency"), EDGES)).unit == ""


@pytest.mark.parametrize("sizes", [[9, 9], [10**6] * 5])
def test_rows_are_grouped_whatever_their_digits_come_to(sizes):
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 3, size=(200, len(sizes)))
    first, group = _groups(rows, sizes)
    expected, inverse = np.unique(rows, axis=0, return_inverse=True)
    np.testing.assert_array_equal(rows[first], expected)
    np.testing.assert_array_equal(group, inverse.reshape(-1))


# ---- on disk


def test_an_aggregate_comes_back_from_disk(tmp_path):
    rng = np.random.default_rng(2)
    log = made(rng.choice([0.1, 0.4, 0.9, np.nan], size=(50, 3)), [[1, 0, np.nan]], [[0.1, 0.7, np.pi]])
    for found in (Aggregate.of_log(log, EDGES), Aggregate.of_log(log.drop_vars("latency"), EDGES).decayed(0.3)):
        bc.save_aggregate(found, tmp_path / "day.npz")
        back = bc.load_aggregate(tmp_path / "day.npz")
        same(back, found)
        assert (back.stages, back.kind, back.unit) == (found.stages, found.kind, found.unit)
        same(back + found, found + found)


def test_what_is_no_aggregate_is_refused(tmp_path):
    path = tmp_path / "day.npz"
    found = Aggregate.of_log(made([[0.1] * 3, [0.9] * 3], [[1]], [[1]]), EDGES)
    with pytest.raises(CascadeError, match=r"written as .npz, but the file is called 'day.nc'"):
        bc.save_aggregate(found, tmp_path / "day.nc")
    with pytest.raises(CascadeError, match="there is no file"):
        bc.load_aggregate(path)
    path.write_bytes(b"nothing")
    with pytest.raises(CascadeError, match="is not an aggregate, or is damaged"):
        bc.load_aggregate(path)
    np.savez(path, stages=np.array([{}], dtype=object))  # a pickle
    with pytest.raises(CascadeError, match="is not an aggregate, or is damaged"):
        bc.load_aggregate(path)
    bc.save_aggregate(found, path)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 97):
        path.write_bytes(whole[:cut])
        with pytest.raises(CascadeError, match="is not an aggregate, or is damaged"):
            bc.load_aggregate(path)


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ("format", np.array(2)),
        ("kind", np.array("luck")),
        ("n_edges", np.array([2, 1, 1])),
        ("edges", np.array([0.8, 0.3, 0.5])),
        ("edges", np.array([0.3, np.nan, 0.5])),
        ("cell", np.array([[9, 1, 1], [3, 2, 1]])),
        ("label", np.array([[3, 2, 2], [2, 2, 2]])),
        ("weight", np.array([-1.0, 1.0])),
        ("weight", np.array([1.0, np.nan])),
        ("square", np.array([1.0])),
        ("amounts", np.zeros((2, 3, 2))),
        ("stages", np.array(["a", "a", "b"])),
        ("unit", np.array(["ms", "s"])),
    ],
)
def test_each_part_is_checked(tmp_path, changed, value):
    path = tmp_path / "day.npz"
    bc.save_aggregate(Aggregate.of_log(made([[0.1] * 3, [0.9] * 3], [[1]], [[1]]), EDGES), path)
    with np.load(path) as content:
        arrays = dict(content)
    np.savez(path, **arrays)
    assert bc.load_aggregate(path).n_queries == 2.0
    np.savez(path, **(arrays | {changed: value}))
    with pytest.raises(CascadeError, match="is not an aggregate, or is damaged"):
        bc.load_aggregate(path)
