"""Files that older versions of the package wrote, in tests/files: read as what they say, or refused by name."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

import bayescascade as bc

FILES = Path(__file__).parents[1] / "files"
STAGES = ["small", "medium", "large"]


def unpacked(name, folder):
    path = folder / "fit.nc"
    path.write_bytes(gzip.decompress((FILES / f"{name}.nc.gz").read_bytes()))
    return path


@pytest.mark.parametrize("name", sorted(path.name[:-6] for path in FILES.glob("fit-2-*.nc.gz")))
def test_fits_of_this_version(name, tmp_path):
    """Also without what later ones hold: a checksum, replicated queries, draws from the prior."""
    fit = bc.load_fit(unpacked(name, tmp_path))
    assert fit["posterior"].sizes["draw"] == 8
    outcome = bc.evaluate(fit, [0.8, 0.8, -np.inf])
    assert 0.0 < float(outcome["error"].mean()) < 1.0
    assert bc.tune(fit, error_price=0.01).thresholds["stage"].values.tolist() == STAGES


def test_a_fit_of_another_version_is_refused(tmp_path):
    fit = bc.load_fit(unpacked("fit-2-2026-11-27", tmp_path))
    fit.attrs["bayescascade_fit"] = 1
    bc.save_fit(fit, tmp_path / "first.nc")
    with pytest.raises(bc.CascadeError, match=r"it is of version 1, where 2 is read\. Fit its log again"):
        bc.load_fit(tmp_path / "first.nc")


@pytest.mark.parametrize("name", ["policy-1-2026-11-21", "policy-1-2026-11-22", "policy-1-2026-11-28"])
def test_policies_of_the_first_version(name):
    policy = bc.Policy.load(FILES / f"{name}.json")
    assert policy == bc.Policy(
        STAGES, [0.81, 0.75, -np.inf], "probability", {"goal": {"max_error": 0.25, "prob": 0.9}}
    )


@pytest.mark.parametrize("name", ["policy-2-2026-11-22", "policy-2-2026-11-28"])
def test_policies_that_abstain(name):
    policy = bc.Policy.load(FILES / f"{name}.json")
    assert policy.reject == [-np.inf, 0.1, 0.3]
    assert [policy.decide(stage, 0.2) for stage in STAGES] == ["defer", "defer", "abstain"]


def test_policies_with_a_manifest():
    policy = bc.Policy.load(FILES / "policy-3-2026-11-28.json")
    assert policy.manifest["promise"]["max_error"] == 0.35
    assert [stage["stage"] for stage in policy.manifest["reference"]] == STAGES == policy.stages


def test_a_policy_by_history_is_refused():
    with pytest.raises(bc.CascadeError, match=r"decides by history, .*: that is no longer supported; tune again"):
        bc.Policy.load(FILES / "policy-2-history-2026-11-22.json")


def test_what_this_version_writes_is_what_the_newest_files_say(tmp_path):
    """Where this fails the format has changed: give it a new version, and keep the old file."""
    for kept in ("policy-1-2026-11-28", "policy-2-2026-11-28", "policy-3-2026-11-28"):
        bc.Policy.load(FILES / f"{kept}.json").save(tmp_path / "policy.json")
        assert json.loads((tmp_path / "policy.json").read_text()) == json.loads(
            (FILES / f"{kept}.json").read_text()
        )
