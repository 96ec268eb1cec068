"""Our score for a stream under a budget: what the large model is expected to gain over the small one."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.inference.fit import fit
from bayescascade.logs.validate import validate_log
from bayescascade.posterior.draws import Draws, get_draws
from bayescascade.posterior.tasks import select_task
from bayescascade.rivals.routing.routers import Stream, StreamDecisions, own_confidence, two_stages
from bayescascade.signals.kinds import to_signal

_MAX_CELLS = 2**21
_EDGE = 1e-12


@dataclass(frozen=True)
class PosteriorGain(Stream):
    """Our score: how much more probably right the large model is than the small one, given the small one's signal.

    Examples
    --------
    >>> import bayescascade as bc
    >>> from bayescascade.rivals.routing.gains import PosteriorGain
    >>> log = bc.load_example()
    >>> played = PosteriorGain(n_points=3).fit(log, random_seed=1).decide(log)
    >>> bool(played.reach[0, 0].all())  # the lowest budget calls the small model alone
    True

    Attributes
    ----------
    draws, tune, chains : int
        Of the fit; means need few.

    Notes
    -----
    The gain is the posterior mean of E[P(large right) | signal] - P(small right | signal), per unit of the large
    model's cost. Queries that were run in part, or not labelled, inform the fit. Of a log with a coord ``task``
    each query is scored by its own task's posterior.
    """

    name: str = "bayes_gain"
    needs_text: bool = False
    draws: int = 250
    tune: int = 200
    chains: int = 2

    def fit(self, train: xr.Dataset, *, random_seed: int = 0) -> StreamDecisions:
        """Sample the posterior of the two stages."""
        two = validate_log(two_stages(train, self.pair))
        names = np.unique(two["task"].values.astype(str)).tolist() if "task" in two.coords else []
        if len(names) < 2:
            two = two.drop_vars("task", errors="ignore")
        with warnings.catch_warnings():
            # so few draws do not satisfy R-hat; a mean of them is near enough
            warnings.simplefilter("ignore", CascadeWarning)
            options: dict[str, Any] = {"draws": self.draws, "tune": self.tune, "chains": self.chains}
            known = two[[name for name in ("confidence", "correct", "cost") if name in two]]
            fitted = fit(known, random_seed=random_seed, progressbar=False, log_likelihood=False, **options)
        parts = {name: select_task(fitted, name) for name in names} if len(names) > 1 else {"": fitted}
        score = PosteriorScore({name: get_draws(part) for name, part in parts.items()})
        return self.decisions(two, True, score, score(two) if self.threshold == "fixed" else np.empty(0))


def expected_gain(draws: Draws, signal: np.ndarray) -> np.ndarray:
    """P(second stage right) less P(first stage right), given the first stage's signals, by draw (draw, query).

    What the second stage is expected to do follows from the link: its signal given the first one's, by the
    h-function of the copula, or by differences of its distribution function where the first signal is an atom.
    """
    signal = np.asarray(signal, dtype=float)
    edges, correct = draws.edges(), draws.segment_correct()[:, 1]
    margin, link = draws.margins[0], draws.link(0)
    atom = margin.is_atom[margin.segment_of(signal)]
    low, high = draws.cdf(0, signal)
    later = np.empty((draws.n, len(signal)))
    at_once = max(1, _MAX_CELLS // (draws.n * edges.shape[2]))
    ends = edges[:, 1][:, None]
    for of_atoms in (False, True):
        mine = np.flatnonzero(atom == of_atoms)
        for start in range(0, len(mine), at_once):
            at = mine[start : start + at_once]
            with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
                if of_atoms:
                    below = link.cdf(high[:, at, None], ends) - link.cdf(low[:, at, None], ends)
                    below /= np.maximum(high - low, 1e-300)[:, at, None]
                else:
                    below = link.hfunc1(np.clip(low[:, at], _EDGE, 1.0 - _EDGE)[..., None], ends)
            # exact at the ends, where the formulas are not defined
            below = np.where(ends <= 0.0, 0.0, np.where(ends >= 1.0, 1.0, below))
            later[:, at] = np.einsum("dqs,ds->dq", np.diff(below, axis=2), correct)
    return later - draws.p_correct(0, signal)


@dataclass(frozen=True)
class PosteriorScore:
    """Scores by `expected_gain`, the least where most is to be gained; ``draws`` of each task, or of ``""``."""

    draws: dict[str, Draws]

    def __call__(self, two: xr.Dataset) -> np.ndarray:
        confidence = own_confidence(two)
        tasks = np.full(len(confidence), "") if "" in self.draws else _tasks_of(two, list(self.draws))
        out = np.empty(len(confidence))
        for name, draws in self.draws.items():
            mine = np.flatnonzero(tasks == name)
            signal, inverse = np.unique(to_signal(confidence[mine], draws.kind), return_inverse=True)
            gain = expected_gain(draws, signal).mean(axis=0) / draws.cost[:, 1].mean()
            out[mine] = -gain[inverse]
        return out


def _tasks_of(two: xr.Dataset, known: list[str]) -> np.ndarray:
    if "task" not in two.coords:
        raise CascadeError("this method has learnt several tasks, but the log has no coord 'task'.")
    tasks = two["task"].values.astype(str)
    unknown = sorted(set(tasks) - set(known))
    if unknown:
        raise CascadeError(
            f"the task {str(unknown[0])!r} was not in the training log, which had {', '.join(known)}."
        )
    return tasks
