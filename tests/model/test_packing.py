"""A compiled model has its data in two vectors: they say what arrays under their own names say."""

import numpy as np
import pymc as pm
import pytest
from helpers.logs import make_log
from pytensor.compile.mode import Mode

from bayescascade.inference.sampling import placeholder
from bayescascade.model.build import model_of_design
from bayescascade.model.design import build_design
from bayescascade.model.options import check_options
from bayescascade.model.packing import pack

PLAIN = Mode(linker="py", optimizer=None)


@pytest.mark.parametrize(
    ("pattern", "tasks", "copula", "difficulty"),
    [
        ("partial", False, None, True),
        ("no atoms", False, None, True),
        ("top atom", True, "frank", True),
        ("top atom", False, "gumbel", False),
        ("no atoms", True, ("clayton_180", "independence"), False),
    ],
)
def test_a_model_that_is_given_another_logs_vectors_has_that_logs_density(pattern, tasks, copula, difficulty):
    log = make_log(pattern, n=90, tasks=tasks)
    design = build_design(log, check_options(copula, "polya_tree", "logistic", 2, difficulty))
    named, packed = model_of_design(design), model_of_design(placeholder(design.structure), packed=True)
    with packed:
        pm.set_data(pack(design.arrays))
    functions = [model.compile_logp(sum=False, mode=PLAIN) for model in (named, packed)]
    rng, point = np.random.default_rng(4), named.initial_point()
    for _ in range(3):
        point = {name: value + 0.1 * rng.normal(size=np.shape(value)) for name, value in point.items()}
        densities = [sum(part.sum() for part in function(point)) for function in functions]
        np.testing.assert_allclose(*densities, rtol=1e-12)


def test_nothing_that_the_model_reads_is_left_out():
    log = make_log("partial")
    arrays = build_design(log, check_options(None, "polya_tree", "logistic", 2, True)).arrays
    packed = pack(arrays)
    layout = sum(1 + array.ndim for name, array in arrays.items() if name not in packed)
    assert sum(array.size for array in packed.values()) == layout + sum(array.size for array in arrays.values())
