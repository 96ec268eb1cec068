"""Rows of a page of cases: a function for each, run by its id, with what it needs from its fixtures."""

import inspect
import warnings

import numpy as np
import pandas as pd
import pytest

import bayescascade as bc


class Rows:
    """The right outcome of each row.

    >>> rows = Rows()
    >>> @rows("M3", "a row")
    ... def _():
    ...     assert True
    >>> [param.id for param in rows.params]
    ['M3 a row']
    """

    def __init__(self):
        self.params = []

    def __call__(self, name, kind, *marks):
        def decorate(outcome):
            self.params.append(pytest.param(outcome, id=f"{name} {kind}", marks=marks))
            return outcome

        return decorate

    @property
    def names(self):
        return {param.id.split()[0] for param in self.params}


def run_row(outcome, request):
    outcome(**{name: request.getfixturevalue(name) for name in inspect.signature(outcome).parameters})


STAGES = ["small", "medium", "large"]
COST = [1e-4, 4e-4, 2e-3]


def table_of(n=60, seed=1, stages=STAGES, **columns):
    """A sound long table."""
    rng = np.random.default_rng(seed)
    k = len(stages)
    p = np.clip(np.linspace(0.55, 0.85, k) + rng.uniform(-0.3, 0.14, (n, k)), 0.0, 1.0)
    table = pd.DataFrame(
        {
            "query": np.repeat(np.arange(n), k),
            "stage": np.tile(np.arange(k), n),
            "model": np.tile(stages, n),
            "confidence": p.ravel().round(4),
            "correct": (rng.uniform(size=(n, k)) < p).astype(int).ravel(),
            "cost": (np.tile(COST[:k], n) * rng.uniform(0.8, 1.2, n * k)).round(6),
        }
    )
    return table.assign(**columns)


def read(source, kind="probability", **options):
    """A log, and what was said of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", bc.CascadeWarning)
        log = bc.read_log(source, confidence_kind=kind, **options)
    return log, [str(warning.message) for warning in caught]


def refused(message, source, kind="probability", **options):
    """The sentence with which a log is refused; it is short and steers no terminal."""
    with pytest.raises(bc.CascadeError, match=message) as caught:
        read(source, kind, **options)
    told = str(caught.value)
    assert len(told) < 900
    assert told.isprintable()
    return told
