"""Thresholds for each tenant, and a policy file for each that reaches the goal."""

import os

import pytest

import bayescascade as bc
from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.tenants import tune_tasks as module


@pytest.fixture
def fits(logs, quick, client, tmp_path):
    return bc.fit_tasks(logs, tmp_path / "fits", client=client)


def test_each_tenant_gets_a_policy_and_a_row(fits, example_fit, client, tmp_path):
    table = bc.tune_tasks(fits, tmp_path / "policies", client=client, max_error=0.35)
    assert table["status"].tolist() == ["promised"] * 3
    assert sorted(os.listdir(tmp_path / "policies")) == [
        "a%2Fb.json",
        "law.json",
        "tenants.csv",
        "tenants.jsonl",
        "zoo.json",
    ]
    solution = bc.tune(example_fit, max_error=0.35)
    policy = bc.Policy.load(tmp_path / "policies" / "law.json")
    assert policy.thresholds == pytest.approx(solution.thresholds.values.tolist())
    row = table.loc["law"]
    assert row["error"] == pytest.approx(float(solution.error.mean()))
    assert row["error_low"] < row["error"] < row["error_high"]
    assert row["kept"] == pytest.approx(solution.kept)
    assert row["failed_checks"] == "margins"
    assert row["thresholds"].startswith("small: ")


def test_goals_out_of_reach_have_no_policy(fits, client, tmp_path):
    with pytest.warns(CascadeWarning, match="3 of 3 tenants have no policy: 'a/b', 'law', 'zoo'"):
        table = bc.tune_tasks(fits.folder, tmp_path / "policies", client=client, max_error=0.001)
    assert table["status"].tolist() == ["out of reach"] * 3
    assert (table["file"] == "").all()
    assert table["notes"].str.contains("0.1%|0.001").all()


def test_what_is_done_is_skipped(fits, client, tmp_path, monkeypatch):
    real, tuned = module.run_jobs, []

    def run_jobs(client, work, jobs, keep, load):
        tuned.extend(jobs)
        real(client, work, jobs, keep, load)

    monkeypatch.setattr(module, "run_jobs", run_jobs)

    def again(**goal):
        tuned.clear()
        bc.tune_tasks(fits, tmp_path / "policies", client=client, **goal)
        return sorted(tuned)

    assert again(error_price=0.01) == ["a/b", "law", "zoo"]
    assert again(error_price=0.01) == []
    (tmp_path / "policies" / "law.json").unlink()
    assert again(error_price=0.01) == ["law"]
    assert again(error_price=0.02) == ["a/b", "law", "zoo"]


def test_mistakes_are_sentences(fits, client, tmp_path):
    def refused(message, fits=fits, folder=tmp_path / "policies", **goal):
        with pytest.raises(CascadeError, match=message):
            bc.tune_tasks(fits, folder, client=client, **goal)

    refused("no goal given")
    refused("there is no goal 'maxerror'", maxerror=0.2)
    refused("prob=90 is not allowed", max_error=0.2, prob=90)
    refused("there are no fits of tenants in", fits=tmp_path / "nowhere", max_error=0.2)
    lines = (fits.folder / "tenants.jsonl").read_bytes()
    refused("is the folder of the fits; name another one", folder=fits.folder, error_price=0.01)
    assert (fits.folder / "tenants.jsonl").read_bytes() == lines
    (fits.folder / "law.nc").write_bytes(b"nothing")
    with pytest.warns(CascadeWarning, match="1 of 3 tenants have no policy: 'law'"):
        table = bc.tune_tasks(fits, tmp_path / "policies", client=client, error_price=0.01)
    assert table.loc["law", "status"] == "failed"
    assert "cannot be read as netCDF" in table.loc["law", "notes"]
    (fits.folder / "zoo.nc").unlink()
    refused("zoo.nc cannot be read", error_price=0.01)
