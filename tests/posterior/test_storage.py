"""A fit on disk is what was saved, or a sentence: damaged, hostile, on a full disk, on a device."""

import os
import resource
import subprocess
import sys

import h5netcdf
import numpy as np
import pytest
import xarray as xr

import bayescascade as bc
from bayescascade.errors import CascadeError
from bayescascade.posterior.sound import check_sound

DAMAGED = "is a damaged fit: its checksum is not that of what it holds"


@pytest.fixture(scope="module")
def small_fit(example_fit):
    """Few draws and no log-likelihood, so that it is quickly read and written."""
    groups = {name: node.to_dataset() for name, node in example_fit.children.items() if name != "log_likelihood"}
    out = xr.DataTree.from_dict(
        {name: data.isel(draw=slice(20)) if "draw" in data.dims else data for name, data in groups.items()}
    )
    out.attrs |= example_fit.attrs
    return out


@pytest.fixture
def stored(small_fit, tmp_path):
    bc.save_fit(small_fit, tmp_path / "fit.nc")
    return tmp_path / "fit.nc"


def test_a_fit_comes_back(small_fit, stored):
    assert bc.load_fit(stored).identical(small_fit)
    with xr.open_datatree(stored, engine="h5netcdf") as opened:  # any reader of netCDF reads it
        assert opened.load().identical(small_fit)


def test_a_fit_written_by_xarray_is_read(small_fit, tmp_path):
    small_fit.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
    assert bc.load_fit(tmp_path / "fit.nc").identical(small_fit)


@pytest.mark.parametrize("seed", range(40))
def test_no_changed_byte_goes_unseen(stored, seed):
    rng = np.random.default_rng(seed)
    content = bytearray(stored.read_bytes())
    at, n = int(rng.integers(len(content) - 100)), int(rng.choice([1, 8, 512]))
    changed = bytes(n) if seed % 2 else bytes(byte ^ 4 for byte in content[at : at + n])
    if content[at : at + n] == changed[: len(content[at : at + n])]:
        return
    content[at : at + n] = changed[: len(content[at : at + n])]
    stored.write_bytes(content)
    with pytest.raises(CascadeError, match=DAMAGED):
        bc.load_fit(stored)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_fit_cut_short(stored, share):
    content = stored.read_bytes()
    stored.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CascadeError, match=r"cannot be read as netCDF .*truncated or not a fit"):
        bc.load_fit(stored)


def test_an_array_that_no_file_holds(small_fit, tmp_path):
    small_fit.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
    with h5netcdf.File(tmp_path / "fit.nc", "a") as file:
        file["margins"].dimensions["many"] = 10**9
        file["margins"].create_variable("more", ("many",), dtype="f8", chunks=(1000,))
    with pytest.raises(CascadeError, match="more than a file of its size can, so it is not read"):
        bc.load_fit(tmp_path / "fit.nc")


def put(group, name, value, at=0):
    def change(fit):
        data = fit[group].to_dataset()
        values = data[name].values.astype(float if not isinstance(value, str) else object)
        values.reshape(-1)[at] = value
        fit[group] = xr.DataTree(data.assign({name: (data[name].dims, values.astype(data[name].dtype))}))

    return change


def attr(name, value, group="/"):
    def change(fit):
        fit[group].attrs[name] = value

    return change


def cut(group, **places):
    def change(fit):
        fit[group] = xr.DataTree(fit[group].to_dataset().isel(places))

    return change


def stages(names, group):
    def change(fit):
        fit[group] = xr.DataTree(fit[group].to_dataset().assign_coords(stage=names))

    return change


HOSTILE = {
    "tau of 5": (
        put("posterior", "tau", 5.0),
        "'tau' of the group 'posterior' is 5.0, where it should be between",
    ),
    "cost below 0": (put("posterior", "cost", -1.0), "'cost' .* is -1.0, where it should be at least 0"),
    "mass of 2": (
        put("margins", "segment_mass", 2.0),
        "'segment_mass' .* is 2.0, where it should be between 0 and 1",
    ),
    "masses that miss some": (put("margins", "segment_mass", 0.0, 3), "masses of its segments do not sum to 1"),
    "a label of 2": (put("observed_data", "correct", 2.0), "'correct' .* is 2.0, where it should be 0 or 1"),
    "a confidence off its scale": (put("observed_data", "confidence", 7.0), "'confidence' .* is 7.0"),
    "a leaf of 99": (put("constant_data", "segment_leaf", 99.0), "segments .* do not follow one another"),
    "half a leaf": (put("constant_data", "segment_leaf", 0.5), "'segment_leaf' .* is 0.5"),
    "segments out of order": (put("constant_data", "segment_low", 1e9), "segments .* do not follow one another"),
    "a stage without segments": (put("constant_data", "segment_low", np.nan), "segments .* do not follow"),
    "a scale of 0": (put("constant_data", "signal_scale", 0.0), "'signal_scale' .* is 0.0, .* above 0"),
    "another kind": (attr("confidence_kind", "logits"), "unknown confidence kind 'logits'"),
    "no kind": (attr("confidence_kind", 3), r"unknown confidence kind .*3"),
    "another calibration": (attr("calibration", "spline"), "calibration='spline', which there is no longer; "),
    "a calibration that needs more": (attr("calibration", "monotone"), "its calibration needs the variable"),
    "a later version": (attr("bayescascade_fit", 99), "it is of version 99, where 2 is read"),
    "a version in words": (attr("bayescascade_fit", "x"), "it is of version 'x'"),
    "a drift in words": (attr("drift", "{"), "its drift is '{', where a number is wanted"),
    "families that are no JSON": (attr("families", "{", "copula"), "the families of its links cannot be read"),
    "an unknown family": (attr("families", '["vine"]', "copula"), "the families of its links cannot be read"),
    "a family of a number there is not": (put("copula", "family", 9), "the families of its links cannot be read"),
    "families in a number": (attr("families", "3", "copula"), "the families of its links cannot be read"),
    "fewer draws of one": (cut("margins", draw=slice(3)), "'draw' has 3 places in the group 'margins' and 20"),
    "no draws": (cut("posterior", draw=slice(0)), "'draw' has .* places"),
    "a stage less": (cut("observed_data", stage=slice(2)), "'stage' has 2 places"),
    "other stages": (
        stages(["a", "b", "c"], "observed_data"),
        "'stage' is 'a', 'b', 'c' in the group 'observed_data', and 'small', 'medium', 'large' in 'posterior'",
    ),
    "draws in another order": (
        cut("margins", draw=slice(None, None, -1)),
        "'draw' is 19, 18, .* and 0, 1, .* in ",
    ),
    "stages of one name": (stages(["a", "a", "c"], "posterior"), "where each needs a name of its own"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_fits(small_fit, tmp_path, name):
    change, message = HOSTILE[name]
    fit = small_fit.copy(deep=True)
    change(fit)
    fit.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
    with pytest.raises(CascadeError, match=rf"fit\.nc (is a damaged fit, or|was made with) .*{message}"):
        bc.load_fit(tmp_path / "fit.nc")


def test_a_sound_fit_is_sound(small_fit, example_fit):
    check_sound(small_fit, "fit.nc")
    check_sound(example_fit, "fit.nc")
    check_sound(bc.reprice(bc.drift(example_fit, 0.2), factor=2.0), "fit.nc")


def run_limited(code, n_bytes, *args):
    """Python code in a process whose files may have so many bytes, as on a disk that is full."""

    def limit():
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that it is an error of the write
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))

    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, timeout=300)


@pytest.mark.parametrize("n_bytes", [0, 20_000, 100_000])
def test_a_disk_that_is_full(stored, n_bytes):
    folder = stored.parent
    code = (
        "import sys, gc, bayescascade as bc\n"
        "fit = bc.load_fit(sys.argv[1])\n"
        "try: bc.save_fit(fit, sys.argv[2])\n"
        "except bc.CascadeError as error: print(error)\n"
        "gc.collect()\n"
    )
    done = run_limited(code, n_bytes, stored, folder / "new.nc")
    assert done.returncode == 0, done.stderr
    assert "the fit cannot be written to" in done.stdout
    assert "File too large" in done.stdout
    assert os.listdir(folder) == ["fit.nc"]
