"""Lists that nobody changes, and that are lists in everything else."""

import copy
import json
import operator
import pickle

import numpy as np
import pytest

from bayescascade._common.fixed import FixedList

CHANGES = [
    lambda fixed: operator.setitem(fixed, 0, 1.0),
    lambda fixed: operator.setitem(fixed, slice(None), []),
    lambda fixed: operator.delitem(fixed, 0),
    lambda fixed: operator.iadd(fixed, [1.0]),
    lambda fixed: operator.imul(fixed, 2),
    *(
        operator.methodcaller(name, *args)
        for name, *args in (
            ("append", 1.0),
            ("extend", [1.0]),
            ("insert", 0, 1.0),
            ("pop",),
            ("remove", 0.8),
            ("clear",),
            ("sort",),
            ("reverse",),
        )
    ),
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_refused(change):
    fixed = FixedList([0.8, 0.9])
    with pytest.raises(TypeError, match="this list cannot be changed"):
        change(fixed)
    assert fixed == [0.8, 0.9]


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda fixed: pickle.loads(pickle.dumps(fixed))])
def test_copies_are_fixed_too(again):
    fixed = again(FixedList([0.8, 0.9]))
    assert type(fixed) is FixedList
    assert fixed == [0.8, 0.9]


def test_it_is_a_list():
    fixed = FixedList([0.8, 0.9])
    assert json.dumps(fixed) == "[0.8, 0.9]"
    assert repr(fixed) == "[0.8, 0.9]"
    assert np.asarray(fixed).tolist() == list(fixed) == fixed.copy()
    assert type(fixed.copy()) is list
