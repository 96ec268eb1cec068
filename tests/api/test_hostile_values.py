"""Whatever value comes through a public door, the answer is a result or a sentence of readable length."""

import decimal
import re
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest

import bayescascade as bc
from bayescascade.errors import CascadeError, bad_value, legible


class Raises:
    """Nothing can be asked of it."""

    def _raise(self, *_):
        raise RuntimeError("never")

    __float__ = __int__ = __index__ = __str__ = __repr__ = __len__ = _raise


class Unequal:
    """It can be neither compared nor looked up."""

    def __eq__(self, other):
        raise RuntimeError("never")

    def __hash__(self):
        raise RuntimeError("never")


HOSTILE = {
    "half a character": "co\ud800st",
    "an integer beyond floats": 10**400,
    "digits beyond Python's own limit": 10**5000,
    "an object that raises": Raises(),
    "an object without equality": Unequal(),
    "a name of 10,000 characters": "x" * 10_000,
    "words of 10,000 characters": "x y " * 2_500,
    "a file name too long": "x" * 300 + ".csv",
    "a path too long": "a/" * 3_000 + "b.json",
    "an escape sequence": "a\x1b[2J\x1b]0;title\x07b",
    "NUL": "a\0b",
    "a mark that turns the line": "a\u202eb",
    "a separator of lines": "a\u2028b",
    "a signalling NaN": decimal.Decimal("sNaN"),
    "a complex number": 1j,
    "bytes": b"0.5",
    "an array": np.arange(3),
    "a long list": list(range(10_000)),
    "a class": int,
    "nothing": None,
}
FIRST = [
    "half a character",
    "an integer beyond floats",
    "an object that raises",
    "a name of 10,000 characters",
    "a path too long",
    "an escape sequence",
]
UNPRINTABLE = re.compile("[\\0-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
CELLS = ("query", "stage", "confidence", "correct", "cost", "task", "latency")


def table():
    return pd.DataFrame(
        {
            "query": ["a", "a", "b", "b", "c", "c"],
            "stage": ["small", "large"] * 3,
            "confidence": [0.5, 0.1, 0.2, 0.3, 0.4, 0.6],
            "correct": [1.0, 0.0, 1.0, 1.0, np.nan, 1.0],
            "cost": [1e-4, 1e-3] * 3,
            "latency": [1.0] * 6,
            "task": ["x"] * 6,
        }
    ).astype(object)


def log():
    return bc.read_log(table(), confidence_kind="probability")


def read(source=None, **options):
    return bc.read_log(table() if source is None else source, **{"confidence_kind": "probability"} | options)


def with_cell(value, column):
    out = table()
    out.at[0, column] = value
    return out


def with_coord(value, name):
    dim = "stage" if name == "stage" else "query"
    found = log()
    values = found[name].values.astype(object)
    values[0] = value
    return found.assign_coords({name: (dim, values)})


def with_number(value):
    found = log()
    values = found["confidence"].values.astype(object)
    values[0, 0] = value
    return found.assign(confidence=(("query", "stage"), values))


def policy(stages=("a", "b"), thresholds=(0.5, -np.inf), kind="probability", **more):
    return bc.Policy(stages, thresholds, kind, **more)


# what is called, with what is made of the value
DOORS = {
    **{f"a cell of {c}": (read, partial(with_cell, column=c)) for c in CELLS},
    "a column's name": (read, lambda value: table().set_axis([*table().columns[:-1], value], axis=1)),
    "the source": (read, None),
    "the kind": (lambda kind: read(confidence_kind=kind), None),
    "the cost": (lambda cost: read(cost=cost), None),
    "a price": (lambda cost: read(cost=cost), lambda value: {"small": value, "large": 2.0}),
    "a priced stage": (lambda cost: read(cost=cost), lambda value: {value: 1.0, "large": 2.0}),
    "the stages": (lambda stages: read(stages=stages), None),
    "a stage": (lambda stages: read(stages=stages), lambda value: ["small", value]),
    "the task": (lambda task: read(task=task), None),
    "the grades": (lambda grades: read(grades=grades), None),
    "a grade": (lambda grades: read(grades=grades), lambda value: {"a": value}),
    "a log": (bc.validate_log, None),
    **{f"a coord {c}": (bc.validate_log, partial(with_coord, name=c)) for c in ("query", "stage", "task")},
    "a confidence": (bc.validate_log, with_number),
    "an attribute": (bc.validate_log, lambda value: log().assign_attrs(stage_order=value)),
    "logs": (bc.combine_tasks, None),
    "a name of logs": (bc.combine_tasks, lambda value: {value: log(), "other": log()}),
    "a policy's stage": (policy, lambda value: [value, "b"]),
    "thresholds": (lambda given: policy(thresholds=given), None),
    "a threshold": (lambda given: policy(thresholds=given), lambda value: [value, -np.inf]),
    "a policy's kind": (lambda kind: policy(kind=kind), None),
    "metadata": (lambda given: policy(metadata=given), None),
    "an item of metadata": (lambda given: policy(metadata=given).save("p.json"), lambda value: {"a": value}),
    "rejecting thresholds": (lambda given: policy(reject=given), lambda value: [value, -np.inf]),
    "a stage to decide at": (lambda stage: policy().decide(stage, 0.5), None),
    "a confidence to decide on": (lambda value: policy().decide("a", value), None),
    "confidences to run": (lambda given: policy().run(given), None),
    "a confidence to run": (lambda given: policy().run(given), lambda value: [value]),
    "a path to save a policy to": (lambda path: policy().save(path), None),
    "a policy to load": (bc.Policy.load, None),
    "a fit to load": (bc.load_fit, None),
    "a fit to check": (bc.check, None),
    "a fit to tune": (lambda fit: bc.tune(fit, error_price=0.1), None),
}


def knock(call, made):
    """Hand a value in: what comes is a result, or a sentence that can be printed and read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        try:
            call(made)
        except CascadeError as error:
            text = str(error)
            assert len(text) < 2_500, text[:200]
            assert not UNPRINTABLE.search(text), ascii(text)
            text.encode()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "names", [FIRST, pytest.param([n for n in HOSTILE if n not in FIRST], marks=pytest.mark.slow)]
)
def test_a_hostile_value_is_taken_or_refused_in_a_sentence(door, names, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    call, make = DOORS[door]
    for name in names:
        try:
            made = HOSTILE[name] if make is None else make(HOSTILE[name])
        except Exception:  # no key, no column, no array can hold it
            continue
        knock(call, made)


def test_a_value_in_a_message_is_short_and_steers_no_terminal():
    error = bad_value("stages", ["x" * 10_000, "\x1b[2J"], "give names")
    assert len(str(error)) < 400
    plain = CascadeError("stage '\x1b[2J\u202e\ud800\u2028" + "y" * 10_000 + "' is odd")
    assert str(plain).startswith("stage '\\x1b[2J\\u202e\\ud800\\u2028yyy")
    assert str(plain).endswith("y' is odd")
    assert len(str(plain)) < 400


def test_what_people_write_is_left_as_it_is():
    text = "stage 'modèle ⚙ 小' costs 3 €;\n\tעברית and \u200fعربى stay 👩‍🔬 " + "word " * 100
    assert legible(text) == text
