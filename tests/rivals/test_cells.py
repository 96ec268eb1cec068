"""Finished cells of a comparison on disk: they come back as they were, or with a sentence."""

import numpy as np
import pytest
import xarray as xr

from bayescascade.errors import CascadeError
from bayescascade.rivals.cells import Result, Store
from bayescascade.rivals.comparison import Comparison, ResultKey


def result(**changed):
    parts = {"error": np.array([0.5, 0.2]), "cost": np.array([1e-4, 2e-3]), "auc": 0.3, "failed": ""}
    parts |= {"replicates": np.array([0.29, 0.31]), "seconds": 1.5}
    return Result(**parts | changed)


@pytest.fixture
def stored(tmp_path):
    Store(tmp_path).put("key", result())
    (path,) = tmp_path.iterdir()
    return path


def test_a_cell_comes_back(stored):
    found = Store(stored.parent).get("key")
    for name, value in vars(result()).items():
        np.testing.assert_array_equal(getattr(found, name), value)
    assert Store(stored.parent).get("another") is None


def test_no_changed_number_goes_unseen(stored):
    """One byte of five stored numbers is changed in turn; the key stays."""
    content = stored.read_bytes()
    for value in (0.2, 2e-3, 0.3, 0.31, 1.5):
        at = content.index(np.float64(value).tobytes())
        stored.write_bytes(content[: at + 3] + bytes([content[at + 3] ^ 64]) + content[at + 4 :])
        with pytest.raises(CascadeError, match=r"cannot be read as a finished cell .*; delete it, or"):
            Store(stored.parent).get("key")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cell_cut_short(stored, share):
    content = stored.read_bytes()
    stored.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CascadeError, match="cannot be read as a finished cell of a comparison"):
        Store(stored.parent).get("key")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"cost": np.array([1e-4])}, "it has 2 errors and 1 costs"),
        ({"error": np.array([0.5, 7.0])}, "an error is no share"),
        ({"cost": np.array([1e-4, np.nan])}, "a cost is negative or not finite"),
        ({"auc": np.nan}, "an area is not finite, though the method did not give up"),
    ],
)
def test_numbers_that_cannot_be(tmp_path, changed, message):
    Store(tmp_path).put("key", result(**changed))
    with pytest.raises(CascadeError, match=message):
        Store(tmp_path).get("key")


def test_a_method_that_gave_up_has_no_area(tmp_path):
    nothing = result(error=np.empty(0), cost=np.empty(0), auc=np.nan, replicates=np.full(2, np.nan), failed="no")
    Store(tmp_path).put("key", nothing)
    assert Store(tmp_path).get("key").failed == "no"


def test_methods_without_an_error_are_compared():
    """Where every answer is right all areas are 0, and none is a share of another."""
    cells = {ResultKey(name, "all", "all", seed): result(auc=0.0) for name in "ab" for seed in range(2)}
    found = Comparison.gather(cells)
    assert np.isnan(found.table()["difference"]).all()
    assert found.text == "n = all: lowest area 0.0000 by a, then 0.0000 by b."
    assert isinstance(found.data, xr.Dataset)
