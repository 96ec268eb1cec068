"""Pooled fits: a joint fit of some tenants first, kept in the folder; then each alone under its population."""

from contextlib import nullcontext
from functools import wraps

import pandas as pd
import pytest
import xarray as xr
from helpers.pooled import joint_of

import bayescascade as bc
from bayescascade.errors import CascadeError
from bayescascade.posterior.population import population_of
from bayescascade.posterior.schema import data_hash
from bayescascade.tenants import fit_tasks as module
from bayescascade.tenants.fit_tasks import TenantFits


@pytest.fixture
def asked(monkeypatch):
    """What fits of several tenants, and of one, were asked for. They cost nothing, and all work is done here."""
    joint, alone = [], {}

    @wraps(module.fit)
    def fit(log, **options):
        made = joint_of(log)
        if "task" in log.coords:
            joint.append((sorted(set(log["task"].values.tolist())), options))
        else:
            alone[data_hash(bc.validate_log(log))] = options
            made["population"] = xr.DataTree(options["population"])
        return made

    def run_jobs(client, work, jobs, keep, load):
        for name, job in jobs.items():
            keep(name, work(load(job)))

    monkeypatch.setattr(module, "fit", fit)
    monkeypatch.setattr(module, "check", lambda fit: [])
    monkeypatch.setattr(module, "run_jobs", run_jobs)
    monkeypatch.setattr(module, "connected", lambda *_: nullcontext())
    return joint, alone


@pytest.fixture
def unwritten(monkeypatch):
    """Fits of one tenant are not written, which takes most of the time; those of the first pass are."""
    monkeypatch.setattr(module, "packed", lambda fit: b"a fit")


def test_the_first_pass_is_the_prior_of_every_tenant(logs, asked, tmp_path):
    joint, alone = asked
    fits = bc.fit_tasks(logs, tmp_path, pool=2, draws=50)
    ((names, options),) = joint
    assert len(names) == 2
    assert set(names) < set(logs)
    assert options["draws"] == 50
    assert "population" not in options
    assert fits.fitted == list(logs)
    first = fits.first_pass()
    assert first["posterior"].sizes["task"] == 2
    expected = population_of(first)
    for how in alone.values():
        assert how["population"].attrs["n_tasks"] == 2
        assert how["population"].equals(expected)
    assert "population" in fits.fit("zoo").children


def test_who_is_in_the_first_pass_is_the_seeds_choice(logs, asked, unwritten, tmp_path):
    joint, _ = asked
    for seed in range(6):
        bc.fit_tasks(logs, tmp_path / str(seed), pool=2, random_seed=seed)
    bc.fit_tasks(logs, tmp_path / "again", pool=2, random_seed=0)
    chosen = [names for names, _ in joint]
    assert len({tuple(names) for names in chosen}) > 1
    assert chosen[-1] == chosen[0]


def test_priors_stay_when_a_run_goes_on(logs, asked, unwritten, tmp_path):
    joint, alone = asked
    bc.fit_tasks(logs, tmp_path, pool=2)
    before = (tmp_path / "pool=2.nc").read_bytes()
    joint.clear(), alone.clear()
    more = {name: log.isel(query=slice(30)) for name, log in logs.items()} | {
        "new": bc.simulate(30, random_seed=9)
    }
    more["law"] = logs["law"]
    bc.fit_tasks(more, tmp_path, pool=2)
    assert not joint
    assert (tmp_path / "pool=2.nc").read_bytes() == before
    assert set(alone) == {data_hash(bc.validate_log(log)) for name, log in more.items() if name != "law"}


def test_a_first_pass_that_ended_early_is_made_again(logs, asked, unwritten, tmp_path, monkeypatch):
    joint, alone = asked
    real = module.run_jobs
    monkeypatch.setattr(module, "run_jobs", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        bc.fit_tasks(logs, tmp_path, pool=2)
    monkeypatch.setattr(module, "run_jobs", real)
    bc.fit_tasks(logs, tmp_path, pool=2)
    assert len(joint) == 1  # the first pass had been written
    assert len(alone) == 3
    (tmp_path / "pool=2.nc").unlink()
    alone.clear()
    bc.fit_tasks(logs | {"law": logs["law"].isel(query=slice(35))}, tmp_path, pool=2, random_seed=0)
    assert len(joint) == 2


@pytest.mark.parametrize("change", [{"pool": 3}, {"pool": None}, {"random_seed": 5}, {"draws": 60}])
def test_another_first_pass_than_the_folders_is_refused(logs, asked, unwritten, tmp_path, change):
    joint, alone = asked
    bc.fit_tasks(logs, tmp_path, pool=2)
    joint.clear(), alone.clear()
    message = r"have the priors of a first pass with pool=2.*name another folder, or remove .*pool=2\.nc"
    with pytest.raises(CascadeError, match=message):
        bc.fit_tasks(logs, tmp_path, **{"pool": 2} | change)
    assert not joint
    assert not alone


def test_tenants_that_cannot_be_fitted_are_not_in_the_first_pass(logs, asked, unwritten, tmp_path):
    joint, _ = asked
    none = logs["law"].assign(correct=logs["law"]["correct"] * float("nan"))
    for seed in range(4):  # of two in four it would be drawn
        with pytest.warns(bc.CascadeWarning, match="1 of 4 tenants could not be fitted"):
            bc.fit_tasks(logs | {"none": none}, tmp_path / str(seed), pool=3, random_seed=seed)
    assert {tuple(names) for names, _ in joint} == {("a/b", "law", "zoo")}
    with pytest.raises(
        CascadeError, match=r"pool=4 tenants were asked for, but 3 can be fitted \(1 cannot be, first"
    ):
        bc.fit_tasks(logs | {"none": none}, tmp_path / "all", pool=4)


@pytest.mark.parametrize("pool", [0, 1, 2.0, True, "2"])
def test_a_number_of_tenants_is_needed(logs, asked, unwritten, tmp_path, pool):
    with pytest.raises(CascadeError, match="give the number of tenants of the first pass, at least 2"):
        bc.fit_tasks(logs, tmp_path, pool=pool)


def test_tenants_of_other_stages_are_not_pooled(logs, asked, unwritten, tmp_path):
    logs["zoo"] = bc.simulate(50, n_stages=2, random_seed=3)
    with pytest.raises(CascadeError, match="tasks share their stages"):
        bc.fit_tasks(logs, tmp_path, pool=3)


def test_independent_fits_have_no_first_pass(tmp_path):
    fits = TenantFits(tmp_path, pd.DataFrame())
    with pytest.raises(CascadeError, match="are independent; pool them with pool=8"):
        fits.first_pass()
