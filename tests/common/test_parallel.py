"""Work shared among cores: order, exceptions, executors, and that nothing else starts threads."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import bayescascade
from bayescascade._common import parallel
from bayescascade._common.parallel import cut, map_blocks, n_cores


def _sum(block: slice) -> int:
    return sum(range(100)[block])


@pytest.mark.parametrize(("n", "size"), [(0, 3), (1, 3), (3, 3), (4, 3), (100, 7)])
def test_slices_cover_everything_once_and_in_order(n, size):
    slices = list(cut(n, size))
    assert [i for block in slices for i in range(n)[block]] == list(range(n))
    assert all(0 < block.stop - block.start <= size for block in slices)


@pytest.mark.parametrize("n_threads", [1, 2, 8])
def test_results_come_in_the_order_of_the_blocks(monkeypatch, n_threads):
    monkeypatch.setattr(parallel, "n_cores", lambda: n_threads)

    def slow_at_first(block: slice) -> int:
        time.sleep(0.01 if block.start == 0 else 0.0)
        return _sum(block)

    assert map_blocks(slow_at_first, cut(100, 9)) == [_sum(block) for block in cut(100, 9)]
    assert map_blocks(_sum, []) == []


def test_threads_are_started_only_where_there_is_work_for_two(monkeypatch):
    here = threading.current_thread()
    monkeypatch.setattr(parallel, "n_cores", lambda: 4)
    assert map_blocks(lambda _: threading.current_thread(), cut(9, 9)) == [here]
    assert here not in map_blocks(lambda _: threading.current_thread(), cut(9, 3))
    monkeypatch.setattr(parallel, "n_cores", lambda: 1)
    assert set(map_blocks(lambda _: threading.current_thread(), cut(9, 3))) == {here}


@pytest.mark.parametrize("n_threads", [1, 4])
def test_the_first_exception_is_raised(monkeypatch, n_threads):
    monkeypatch.setattr(parallel, "n_cores", lambda: n_threads)

    def fails(block: slice) -> None:
        if block.start > 2:
            raise ValueError(f"at {block.start}")

    with pytest.raises(ValueError, match="at 3"):
        map_blocks(fails, cut(30, 3))


def test_an_executor_may_be_given_and_stays_open():
    with ThreadPoolExecutor(1) as executor:
        for _ in range(2):
            assert map_blocks(_sum, cut(100, 30), executor) == map_blocks(_sum, cut(100, 30))


def test_a_thread_may_share_its_work_too():
    inner = map_blocks(lambda i: map_blocks(lambda j: (i, j), range(3)), range(4))
    assert inner == [[(i, j) for j in range(3)] for i in range(4)]


def test_sums_by_block_are_those_of_one_block():
    x = np.random.default_rng(1).normal(size=(300, 4))
    np.testing.assert_array_equal(
        np.concatenate(map_blocks(lambda block: x[block].sum(axis=1), cut(300, 7))), x.sum(axis=1)
    )


def test_no_other_module_starts_threads():
    package = Path(bayescascade.__file__).parent
    starting = [path.name for path in package.rglob("*.py") if "PoolExecutor" in path.read_text()]
    assert starting == ["parallel.py"]
    assert n_cores() >= 1
