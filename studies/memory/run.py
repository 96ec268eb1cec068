"""Memory of a fit once its draws are there: the log-likelihood of each query, masses, and replicated queries.

Run from the project's root: ``python -m studies.memory.run``. Writes ``docs/evidence/memory.md``.
"""

import multiprocessing
import resource
import sys
from collections.abc import Sequence

import numpy as np
import xarray as xr

import bayescascade as bc
from bayescascade.inference.predictive import prior, with_groups
from bayescascade.inference.sampling import SamplerConfig, assemble
from bayescascade.model.design import build_design
from bayescascade.model.options import check_options
from studies.common.command import parse

N_STAGES, N_CHAINS = 3, 4
# queries, whether they have a difficulty, and draws of each chain
CASES = ((12_000, False, 1000), (12_000, True, 100))


def peak() -> float:
    """Most memory that this process has held, in GB."""
    unit = 1.0 if sys.platform == "darwin" else 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def measured(case: tuple[int, bool, int]) -> tuple[float, float]:
    """Most memory held before and in all, in GB, for draws from the prior: memory does not know it."""
    n_queries, difficulty, n_draws = case
    log = bc.simulate(n_queries, n_stages=N_STAGES, random_seed=1)
    design = build_design(log, check_options(None, "polya_tree", "logistic", N_STAGES - 1, difficulty))
    one = prior(design, 1).isel(chain=0, draw=slice(n_draws))
    posterior = xr.concat([one] * N_CHAINS, "chain").assign_coords(chain=np.arange(N_CHAINS))
    posterior["cost"] = (("chain", "draw", "stage"), np.ones((N_CHAINS, n_draws, N_STAGES)))
    stats = xr.zeros_like(posterior["cost"].isel(stage=0, drop=True), dtype=bool).to_dataset(name="diverging")
    before = peak()
    config = SamplerConfig(n_draws, chains=N_CHAINS, random_seed=1, log_likelihood=True)
    tree = with_groups(assemble(posterior, stats, design, log, config), design, 1)
    assert "log_likelihood" in tree.children
    return before, peak()


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every case in a process of its own, and write the table."""
    run = parse("memory", __doc__, argv)
    lines = []
    for case in ((1_000, False, 100),) if run.quick else CASES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            before, after = pool.apply(measured, (case,))
        name = "with" if case[1] else "without"
        lines.append(f"| {case[0]:,} | {name} | {N_CHAINS} x {case[2]:,} | {before:.2f} | {after:.2f} |")
    run.write(f"""# Memory of a fit

`python -m studies.memory.run`: what `fit` does once its draws are there, for {N_STAGES} simulated stages with all labels.
The draws come from the prior, since memory does not depend on what they are. Each case runs in a process of its own; numbers are GB.

| queries | difficulty | draws | most held before | most held |
|---|---|---|---|---|
{chr(10).join(lines)}

The log-likelihood of each query under each draw is computed in blocks of draws and kept as a whole: once with a difficulty, and three times without
(confidences, labels, and both together). What is kept grows with the draws, while the blocks do not. `log_likelihood=False` leaves it out.
""")


if __name__ == "__main__":
    main()
