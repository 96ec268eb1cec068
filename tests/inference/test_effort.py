"""What a fit says before it starts."""

import logging

import numpy as np
import pytest

import bayescascade as bc
from bayescascade.inference import effort
from bayescascade.inference.copula_selection import CANDIDATES, steps_of_choice
from bayescascade.inference.effort import announce, memory, seconds
from bayescascade.inference.sampling import SamplerConfig
from bayescascade.model.design import build_design
from bayescascade.model.options import check_options


@pytest.fixture(scope="module")
def log():
    return bc.simulate(1000, n_stages=3, random_seed=1)


def design_of(log, difficulty=False):
    return build_design(log, check_options(None, "polya_tree", "logistic", 2, difficulty))


def said(caplog, *args):
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="bayescascade"):
        announce(*args)
    return [record.getMessage() for record in caplog.records]


def test_a_fit_of_minutes_says_so(log, caplog):
    short, long = SamplerConfig(cores=2), SamplerConfig(draws=50_000, cores=2, log_likelihood=False)
    assert said(caplog, design_of(log), 1000, short) == []
    (text,) = said(caplog, design_of(log), 1000, long)
    # 4 x 50,200 steps of 3,000 answers, .7 microseconds each, on two cores
    assert text.startswith("This fit takes about 4 minutes: 200,800 steps of the sampler for 1,000 queries.")
    (text,) = said(caplog, design_of(log, True), 1000, long)
    assert text.startswith("This fit takes about 4 minutes")  # by the closed form
    atoms = bc.simulate(1000, n_stages=3, top_atom=0.3, random_seed=1)
    (text,) = said(caplog, design_of(atoms, True), 1000, long)
    assert text.startswith("This fit takes about 11 minutes")
    (text,) = said(caplog, design_of(log), 1000, short, 100_000_000)
    assert text.startswith("This fit takes about 29.2 hours")


def test_the_time_is_that_of_the_measured_fits():
    """10,000 queries of 5 stages, 4 x 500 draws after 200, took 84 seconds on two cores, one of them in use."""
    design = build_design(bc.simulate(1000, n_stages=5), check_options(None, "polya_tree", "logistic", 4))
    assert 10 * seconds(design, 4 * 700, 1) == pytest.approx(94.0, rel=0.1)


def test_memory_over_half_of_what_is_there_is_said(log, caplog, monkeypatch):
    config = SamplerConfig(log_likelihood=True)
    needed = memory(design_of(log), 1000, config)
    assert needed - memory(design_of(log, True), 1000, config) == 2 * 8 * 4000 * 1000
    assert memory(design_of(log), 100_000, SamplerConfig()) < needed  # it would be left out
    for there, n in ((2.1 * needed, 0), (1.9 * needed, 1), (np.inf, 0)):
        monkeypatch.setattr(effort, "total_memory", lambda there=there: there)
        texts = said(caplog, design_of(log), 1000, config)
        assert len(texts) == n
        assert all("GB of memory" in text and "Fewer draws take less" in text for text in texts)


def test_the_memory_of_this_machine_is_known():
    assert 5e8 < effort.total_memory() < 1e14


def test_a_choice_of_families_is_many_fits():
    """One for each family; with a difficulty one for each family and link, and the default's only once."""
    config = SamplerConfig(tune=200)
    plain, latent = (
        check_options("gumbel", "polya_tree", "logistic", 3, difficulty) for difficulty in (False, True)
    )
    assert steps_of_choice(plain, config) == len(CANDIDATES) * 2 * 600
    assert steps_of_choice(latent, config) == (3 * len(CANDIDATES) - 2) * 2 * 600
