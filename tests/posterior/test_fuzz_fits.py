"""Fits that were damaged, or made up: loading refuses them in a sentence, or all that follows works."""

import warnings
from contextlib import suppress

import h5netcdf
import numpy as np
import pytest
import xarray as xr
from helpers.fuzz import accepted, fuzzed
from hypothesis import strategies as st

import bayescascade as bc
from bayescascade.posterior.schema import GROUPS
from bayescascade.posterior.storage import load_fit, save_fit

WAYS = ("value", "all", "shuffle", "drop", "type", "cut", "repeat", "rename", "turn", "flat")
VALUES = st.sampled_from(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-300, 1e300, -1e300, 1e9, 5e-324, 127.0, -7.5]
)
ATTRIBUTES = st.sampled_from(
    [
        "bayescascade_fit",
        "confidence_kind",
        "calibration",
        "margin",
        "difficulty",
        "method",
        "task",
        "repriced",
        "drift",
        "update",
        "log_likelihood",
        "data_hash",
        "families",
        "stage_order",
        "versions",
        "copula",
        "created",
    ]
)
ODD = st.one_of(
    st.none(),
    st.integers(-3, 10**18),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "{", "[]", "null", "[" * 5000, '["gumbel"]', "é\u2028", "a\x1b[2J", "x" * 100_000]),
    st.lists(st.floats(), min_size=1, max_size=3),
)


def n_stages(fit):
    """Of its posterior, which may be gone or have other dims."""
    return fit["posterior"].sizes.get("stage", 3) if "posterior" in fit.children else 3


OPERATIONS = {
    "evaluate": lambda fit: bc.evaluate(fit, [*[0.0] * (n_stages(fit) - 1), -np.inf]),
    "tune": lambda fit: bc.tune(fit, error_price=0.01),
    "frontier": lambda fit: bc.frontier(fit, n_points=3),
    "drift": lambda fit: bc.drift(fit, 0.1),
    "reprice": lambda fit: bc.reprice(fit, factor=2.0),
    "repr": lambda fit: fit._repr_html_(),
}


@pytest.fixture(scope="module")
def small(example_fit):
    """Few draws and queries, so that an example takes milliseconds."""
    out = xr.DataTree.from_dict(
        {
            name: node.to_dataset().isel({d: slice(n) for d, n in (("draw", 6), ("query", 20)) if d in node.dims})
            for name, node in example_fit.children.items()
            if name not in ("log_likelihood", "log_prior", "posterior_predictive", "prior", "prior_predictive")
        }
    )
    out.attrs |= example_fit.attrs
    return out


@pytest.fixture(scope="module")
def stored(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("fits") / "fit.nc"
    save_fit(small, path)
    return path


@pytest.fixture(scope="module")
def content(stored):
    return stored.read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged") / "fit.nc"


def works(fit, operations):
    """Everything that takes a fit takes this one, or says why it does not."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for operation in operations.values():
            accepted(lambda: operation(fit))  # noqa: B023


@fuzzed(25, 1_500, "content", "place", data=st.data())
def test_a_file_cut_short_or_changed(content, place, data):
    """The checksum sees each changed byte; a file cut short is no file of HDF5."""
    end = data.draw(st.integers(0, len(content)))
    damaged = bytearray(content[:end])
    for _ in range(data.draw(st.integers(0, 3))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    place.write_bytes(damaged)
    loaded = accepted(lambda: load_fit(place))
    if loaded is not None:  # whole, or with hardly a byte of its seal left
        assert bytes(damaged) == content or end < len(content) - 80


def change_variable(fit, data):
    group = data.draw(st.sampled_from(list(GROUPS)))
    dataset = fit[group].to_dataset()
    name = data.draw(st.sampled_from(sorted(map(str, dataset.variables))))
    variable = dataset[name]
    how = data.draw(st.sampled_from(WAYS))
    if how == "drop":
        dataset = dataset.drop_vars(name)
    elif how == "rename" and variable.dims:
        dim = data.draw(st.sampled_from(variable.dims))
        dataset = dataset.rename({dim: data.draw(st.sampled_from(["odd", "draw_", "segment_"]))})
    elif how in ("cut", "repeat") and variable.dims:
        dim = data.draw(st.sampled_from(variable.dims))
        n = dataset.sizes[dim]
        keep = slice(data.draw(st.integers(0, n))) if how == "cut" else np.zeros(n + 2, dtype=int)
        dataset = dataset.isel({dim: keep})
    elif how == "turn":
        dataset[name] = variable.transpose(*variable.dims[::-1])
    elif how == "flat" and variable.dims and name not in dataset.dims:
        dataset[name] = variable.isel({variable.dims[-1]: 0}, drop=True)
    elif how == "type":
        dtype = data.draw(st.sampled_from(["f4", "i8", "i1", "u8", "U5", "bool", "f8"]))
        dataset = dataset.assign({name: variable.astype(dtype)})
    elif variable.dtype.kind in "fiub":
        values = variable.values.astype(float).copy()
        if how == "shuffle":
            values = np.random.default_rng(data.draw(st.integers(0, 9))).permuted(values)
        elif values.size:
            flat = values.reshape(-1)
            at = slice(None) if how == "all" else data.draw(st.integers(0, flat.size - 1))
            flat[at] = data.draw(VALUES)
        dataset = dataset.assign({name: (variable.dims, values.astype(variable.dtype))})
    fit[group] = xr.DataTree(dataset)


def change_attribute(fit, data):
    node = fit[data.draw(st.sampled_from(["/", "copula", "posterior", "observed_data", "constant_data"]))]
    name, value = data.draw(ATTRIBUTES), data.draw(ODD)
    if value is None:
        node.attrs.pop(name, None)
    else:
        node.attrs[name] = value


def change_group(fit, data):
    name = data.draw(st.sampled_from(list(fit.children)))
    if data.draw(st.booleans()):
        del fit[name]
    else:
        other = data.draw(st.sampled_from(list(fit.children)))
        fit[name] = xr.DataTree(fit[other].to_dataset())


def damaged_fit(fit, data):
    fit = fit.copy(deep=True)
    for _ in range(data.draw(st.integers(1, 2))):
        how = data.draw(st.sampled_from([change_variable, change_variable, change_attribute, change_group]))
        # xarray cannot hold it, or warns that it hardly can
        with suppress(ValueError, KeyError, TypeError, OverflowError, xr.MergeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            how(fit, data)
    return fit


@fuzzed(8, 400, "small", "place", data=st.data())
def test_a_fit_made_up_is_refused_when_loaded_or_works(small, place, data):
    fit = damaged_fit(small, data)
    try:
        written = fit.to_netcdf(engine="h5netcdf")
    except Exception:  # no file can hold it
        return
    place.write_bytes(written)
    loaded = accepted(lambda: load_fit(place))
    if loaded is not None:
        works(loaded, OPERATIONS)


@pytest.mark.slow
@pytest.mark.long
@fuzzed(12, 400, "small", data=st.data())
def test_a_fit_made_up_in_memory_is_refused_or_works(small, data):
    works(damaged_fit(small, data), OPERATIONS)


@pytest.mark.parametrize("group", ["posterior", "margins", "constant_data"])
@pytest.mark.parametrize("n", [10**9, 10**15])
def test_an_array_that_is_claimed_to_be_huge(small, place, group, n):
    place.write_bytes(small.to_netcdf(engine="h5netcdf"))
    with h5netcdf.File(place, "a") as file:
        file[group].dimensions["many"] = n
        file[group].create_variable("more", ("many",), dtype="f8", chunks=(1000,))
    assert accepted(lambda: load_fit(place), seconds=10.0, megabytes=200.0) is None
