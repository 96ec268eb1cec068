"""What a fit is going to take, said before it starts where that is much."""

from __future__ import annotations

import logging

from bayescascade._common.memory import total_memory
from bayescascade._common.messages import LONG, span
from bayescascade._common.parallel import n_cores
from bayescascade.inference.sampling import SamplerConfig, keeps_log_likelihood
from bayescascade.model.design import Design

_logger = logging.getLogger("bayescascade")
# Processor time of a step of the sampler for each query and stage: 94 s for 10,000 queries of 5 stages and 4 x 700
# steps, docs/evidence/timing.md.
_SECONDS_A_STEP = 0.7e-6
# Times as much with a difficulty at fixed nodes; by the closed form it is the same (docs/evidence/long_logs.md).
_AT_NODES = 3.0
# Memory beside what is kept of the log-likelihood, docs/evidence/memory.md.
_BESIDE = 0.5e9


def announce(design: Design, n_queries: int, config: SamplerConfig, more_steps: int = 0) -> None:
    """Log a fit's time where it is over a minute, and its memory where that is over half of the machine's.

    ``more_steps`` counts the steps of the sampler that come before the fit itself.
    """
    steps = config.chains * (config.draws + config.tune) + more_steps
    took = seconds(design, steps, min(config.chains, config.cores or n_cores()))
    if took > LONG:
        _logger.warning(
            "This fit takes about %s: %s steps of the sampler for %s queries. Fewer draws or queries take less.",
            span(took),
            f"{steps:,}",
            f"{n_queries:,}",
        )
    needed, there = memory(design, n_queries, config), total_memory()
    if needed > 0.5 * there:
        _logger.warning(
            "This fit takes about %.1f GB of memory, of %.1f GB that there are: the log-likelihood of %s queries "
            "under each draw. Fewer draws take less.",
            needed / 1e9,
            there / 1e9,
            f"{n_queries:,}",
        )


def seconds(design: Design, steps: int, cores: int) -> float:
    """Time that so many steps of all chains take, without compiling."""
    rows = float(len(design.row_query))
    if design.options.difficulty:
        closed = len(design.arrays.get("complete_score", ()))
        rows = closed + _AT_NODES * (rows - closed)
    return _SECONDS_A_STEP * rows * steps / cores


def memory(design: Design, n_queries: int, config: SamplerConfig) -> float:
    """Bytes that a fit holds at most."""
    kept = 8.0 * config.chains * config.draws * n_queries * (1 if design.options.difficulty else 3)
    return _BESIDE + (kept if keeps_log_likelihood(config, n_queries) else 0.0)
