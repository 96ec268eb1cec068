"""Work that is going to take more than a minute says so, with the estimate."""

import logging

import pytest
from helpers.draws import make_draws, tune_by_hand

from bayescascade._common.messages import say_if_long
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
    clock = iter([0.0, 400.0])
    monkeypatch.setattr(stage_search.time, "monotonic", lambda: next(clock, 400.0))
    with caplog.at_level(logging.WARNING, logger="bayescascade"):
        tune_by_hand(draws, error_price=3.0, stages=None)
    (record,) = caplog.records
    assert "Tuning takes about " in record.getMessage()
    assert "Name the stages to run, or fit with fewer draws." in record.getMessage()
