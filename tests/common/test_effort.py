"""Work that is going to take more than a minute says so, with the estimate."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.draws import make_draws, tune_by_hand

import bayescascade as bc
from bayescascade._common.messages import say_if_long
from bayescascade.checks import loo
from bayescascade.checks.evidence import gather
from bayescascade.rivals import compare
from bayescascade.tenants import cluster
from bayescascade.tuning import stage_search


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (59.0, []),
        (61.0, ["Tuning takes about a minute more."]),
        (600.0, ["Tuning takes about 10 minutes more."]),
        (9000.0, ["Tuning takes about 2.5 hours more."]),
    ],
)
def test_more_than_a_minute_is_said(caplog, seconds, said):
    with caplog.at_level(logging.WARNING, logger="bayescascade"):
        say_if_long("Tuning", seconds)
    assert [record.getMessage() for record in caplog.records] == said


def test_tune_says_how_long_it_takes_before_all_draws_are_searched(caplog, monkeypatch):
    draws = make_draws(3, "top atom", n_draws=40, seed=6)
    clock_of(monkeypatch, stage_search, 0.0, 400.0)
    with caplog.at_level(logging.WARNING, logger="bayescascade"):
        tune_by_hand(draws, error_price=3.0, stages=None)
    (record,) = caplog.records
    assert "Tuning takes about " in record.getMessage()
    assert "Name the stages to run, or fit with fewer draws." in record.getMessage()


def clock_of(monkeypatch, module, *times):
    """In the place of a module's clock: these times, then the last one."""
    ticking = iter(times)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(ticking, times[-1])))


def test_compare_says_how_long_it_takes_after_the_first_split(caplog, monkeypatch):
    log = bc.simulate(60, n_stages=2, random_seed=1)
    how = {"methods": ["ascent_raw"], "seeds": 4, "n_replicates": 2, "progressbar": False}
    with caplog.at_level(logging.WARNING, logger="bayescascade"):
        bc.compare(log, **how)
        assert caplog.text == ""
        clock_of(monkeypatch, compare, 0.0, 400.0)
        bc.compare(log, **how)
    (record,) = caplog.records
    assert record.getMessage().startswith("The comparison takes about 20 minutes more. Fewer methods")


def test_work_for_many_tenants_says_how_long_it_takes_after_the_first(caplog, monkeypatch, client):
    done = {}
    clock_of(monkeypatch, cluster, 0.0, 400.0)
    jobs = {f"t{i}": i for i in range(7)}
    with caplog.at_level(logging.WARNING, logger="bayescascade"):
        cluster.run_jobs(client, abs, jobs, done.__setitem__, lambda job: -job)
    assert done == jobs
    (record,) = caplog.records
    told = "Work for the other 6 tenants takes about 20 minutes more. What is done is kept."
    assert record.getMessage() == told  # 400 seconds for each of six, by two at a time


def test_a_check_of_very_many_queries_says_how_long_it_takes_after_some(caplog, monkeypatch, example_fit):
    monkeypatch.setattr(loo, "_MANY", 299)
    clock_of(monkeypatch, loo, 0.0, 20.0)
    with caplog.at_level(logging.WARNING, logger="bayescascade"):
        found = loo.check_loo(gather(example_fit), np.random.default_rng(0))
    assert found.passed is not None
    (record,) = caplog.records  # 20 seconds for 50 queries of the first factor, and then none
    assert (
        record.getMessage() == "The check of each query's influence, of 300 queries, takes about 2 minutes more."
    )
