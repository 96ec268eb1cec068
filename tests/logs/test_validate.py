"""Checking Datasets built by hand."""

import numpy as np
import pytest
import xarray as xr

from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.logs.validate import validate_log


@pytest.fixture
def log():
    """A log in the form that read_log gives: 40 queries, 3 stages, later ones run after a deferral only."""
    rng = np.random.default_rng(12)
    confidence = -rng.exponential(0.4, (40, 3))
    confidence[:, 0] -= 1e-3
    confidence[5:15, 1] = 0.0
    confidence[20:, 2] = np.nan
    run = ~np.isnan(confidence)
    fields = {
        "confidence": confidence,
        "correct": (rng.uniform(size=(40, 3)) < 0.7).astype(float),
        "cost": np.tile([1e-4, 5e-4, 2e-3], (40, 1)),
        "latency": rng.uniform(50, 900, (40, 3)),
    }
    return xr.Dataset(
        {name: (("query", "stage"), np.where(run, values, np.nan)) for name, values in fields.items()},
        coords={"query": np.arange(100, 140), "stage": ["small", "middle", "large"]},
        attrs={"confidence_kind": "logprob", "stage_order": "as given"},
    )


def test_validate_gives_what_read_gives(log):
    xr.testing.assert_identical(validate_log(log), log)
    odd = log.transpose("stage", "query").assign_attrs(note="kept").drop_attrs(deep=False)
    odd = odd.assign_attrs(confidence_kind="logprob", note="kept").assign_coords(task=("query", ["a"] * 40))
    odd["confidence"] = odd["confidence"].fillna(np.nan).astype(np.float64) + 1e-9
    before = odd.copy(deep=True)
    checked = validate_log(odd)
    xr.testing.assert_identical(odd, before)
    assert checked["confidence"].dims == ("query", "stage")
    assert float(checked["confidence"].max()) == 0.0
    assert checked.attrs == {"confidence_kind": "logprob", "note": "kept", "stage_order": "as given"}
    assert "task" in checked.coords
    xr.testing.assert_identical(validate_log(checked), checked)


def test_validate_turns_stage_labels_into_names(log):
    checked = validate_log(log.assign_coords(stage=[0, 1, 2]))
    assert checked["stage"].values.tolist() == ["0", "1", "2"]
    assert validate_log(log.drop_vars("query"))["query"].values.tolist() == list(range(40))


def test_validate_after_a_trip_through_a_file(log, tmp_path):
    log.to_netcdf(tmp_path / "log.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "log.nc", engine="h5netcdf") as loaded:
        xr.testing.assert_identical(validate_log(loaded.load()), log)


def drop_kind(log):
    return log.drop_attrs(deep=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda log: log.to_dataframe(),
            "should be an xarray Dataset but is a DataFrame; make one with read_log",
        ),
        (
            lambda log: log.drop_vars("cost"),
            "has no variable 'cost'; it has 'confidence', 'correct', 'latency'",
        ),
        (drop_kind, "does not say what its confidences are; set log.attrs"),
        (lambda log: log.assign_attrs(confidence_kind="odds"), "unknown confidence kind 'odds'"),
        (lambda log: log.assign_attrs(stage_order="guessed"), "stage_order should be .* but is 'guessed'"),
        (
            lambda log: log.assign(cost=log["cost"].mean("query")),
            "'cost' should have the dims query and stage",
        ),
        (lambda log: log.drop_vars("stage"), "does not name its stages"),
        (lambda log: log.isel(stage=[0]), "needs at least two stages but this log has only 'small'"),
        (lambda log: log.assign_coords(stage=["a", "b", "a"]), "stage 'a' occurs 2 times"),
        (lambda log: log.assign_coords(query=[5] * 40), "query 5 occurs 40 times"),
        (lambda log: log.isel(query=[]), "stage 'small' has no confidence in any row"),
        (
            lambda log: log.assign(confidence=-log["confidence"]),
            r"confidence is \d.* at row \d+ .*of kind 'logprob'",
        ),
        (lambda log: log.assign(correct=log["correct"] / 2), "correct is 0.5 at row .*should be 0, 1"),
        (
            lambda log: log.assign(cost=-log["cost"]),
            "cost is -.* at row 0 .*query 100, stage 'small'.*finite",
        ),
        (
            lambda log: log.assign(confidence=log["confidence"].astype(str) + "x"),
            "'confidence' should hold numbers",
        ),
        (lambda log: log.assign(correct=log["correct"] * np.nan), "stage 'small' has no labelled row"),
    ],
)
def test_validate_refuses(log, change, message):
    with pytest.raises(CascadeError, match=message):
        validate_log(change(log))


def test_numbers_written_as_text_are_numbers(log):
    assert validate_log(log.assign(cost=log["cost"].astype(str)))["cost"].dtype == np.float64


def test_padding_of_stages_not_run_is_blanked(log):
    with pytest.warns(CascadeWarning, match="20 labels stand without a confidence.*query 120, stage 'large'"):
        padded = validate_log(log.fillna({"correct": 0.0, "cost": 0.0}))
    xr.testing.assert_identical(padded, log)
