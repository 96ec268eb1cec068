"""Simulation-based calibration of the default model; docs/evidence/sbc.md has the other families and margins."""

from dataclasses import replace

import numpy as np
import pytest

from studies.sbc import run as study


@pytest.fixture
def sbc(monkeypatch):
    # the default structure, which other tests compile anyway
    monkeypatch.setattr(study, "FAMILIES", {"gumbel": None})
    return study


@pytest.mark.slow
def test_ranks_are_uniform(sbc):
    found = sbc.run("gumbel", "polya_tree", 200)
    table = sbc.summary(found, prob=0.999)
    assert {"tau", "intercept", "slope", "atom_offset", "margin_split", "error", "cost", "reach"} <= set(table)
    outside = {name: (n, out) for name, (n, out, _) in table.items() if out}
    assert sum(out for _, out in outside.values()) <= 1, outside
    for name, (n, _, coverage) in table.items():
        spread = np.sqrt(0.9 * 0.1 / 200)  # of one component; several are averaged
        assert abs(coverage - 0.9) < 4.0 * spread, (name, n, coverage)


def test_a_wrong_posterior_would_be_noticed(sbc):
    """Ranks of truths among draws that are shifted, or too narrow, leave the band."""
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(200, 1))
    centre = truth + rng.normal(size=(200, 1))  # the posterior is normal about half of it, with variance one half
    for shift, width, caught in ((0.0, 1.0, False), (0.4, 1.0, True), (0.0, 0.6, True)):
        draws = 0.5 * centre + shift + width * np.sqrt(0.5) * rng.normal(size=(200, 200))
        pit = np.array([sbc._pit(t, d[:, None], rng)[0] for t, d in zip(truth, draws, strict=True)])
        assert sbc.outside_band(pit, 0.99) == caught, (shift, width)


def test_simulated_logs_are_placed_as_given(sbc):
    """A log drawn from the prior keeps the segments of the reference, atoms included."""
    design = sbc.reference("gumbel", "polya_tree")
    truth = sbc.to_draws(sbc.prior_draws(design, 3, 1), design)
    log = sbc.simulated_log(truth, 1, np.random.default_rng(2))
    again = sbc.build_design(log, design.options, segments_of=replace(design))
    assert again.margins is design.margins
    atoms = [set(m.low[m.is_atom]) for m in design.margins]
    seen = [set(log["confidence"].values[:, j]) for j in range(3)]
    assert atoms[0]
    assert seen[0] & atoms[0]
    assert not atoms[2]
