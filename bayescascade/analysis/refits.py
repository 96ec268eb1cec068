"""New labelled queries that a posterior draw makes, and short refits to old and new queries together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from bayescascade.cascade.evaluate import forward_all
from bayescascade.cascade.single_stages import single_stages
from bayescascade.checks.given import given_earlier
from bayescascade.inference.sampling import SamplerConfig, fit_design
from bayescascade.model.design import Design, build_design
from bayescascade.model.subsample import fair
from bayescascade.posterior.draws import Draws, get_draws
from bayescascade.posterior.replicate import replicate_draw
from bayescascade.posterior.schema import margins_and_scalings, observed_log, options_of
from bayescascade.signals.kinds import to_signal

QUERIES = ("new", "logged")
_DRAWS, _TUNE, _CHAINS = 250, 200, 2
_DIMS = ("query", "stage")
# What of a design's arrays has one entry for each observed signal on the last axis.
_NOT_LABELS = ("row_", "point_", "free_", "strip_", "corner_")


@dataclass(frozen=True)
class Decisions:
    """Thresholds by position (point, stage), and stages to which every query might be sent."""

    positions: np.ndarray
    alone: list[int]

    def take(self, keep: np.ndarray) -> Decisions:
        """Some of the decisions, by a mask (decision,)."""
        n = len(self.positions)
        return Decisions(
            self.positions[keep[:n]], [j for j, kept in zip(self.alone, keep[n:], strict=True) if kept]
        )

    def outcomes(self, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        """Error and cost of each (draw, decision)."""
        single = [x[:, self.alone] for x in single_stages(draws)]
        if not len(self.positions):
            return single[0], single[1]
        tuned = forward_all(draws, self.positions)
        return np.concatenate([tuned[0], single[0]], axis=1), np.concatenate([tuned[1], single[1]], axis=1)


class Refits:
    """Refits of one fit after labels that it might get.

    The posterior falls into parts that do not inform each other: margins and copula, which see the signals;
    calibration, which sees the labels; and costs. So when several choices of stages to label are compared, only
    the first is fitted as a whole; for the others the calibration alone is drawn anew. Where queries have a
    difficulty, which signals and labels share, each is fitted as a whole.
    """

    def __init__(self, fit: xr.DataTree, draws: Draws, options: list[list[int]], queries: str, seed: int) -> None:
        self._draws, self._options, self._queries, self._seed = draws, options, queries, seed
        self._log = observed_log(fit)[["confidence", "correct", "cost"]]
        margins, scalings = margins_and_scalings(fit["constant_data"].to_dataset())
        self._model = options_of(fit)
        self._given = replace(build_design(self._log, self._model), margins=margins, scalings=scalings)
        self._free = unlabelled(self._log, sorted({j for option in options for j in option}))

    @property
    def n_free(self) -> int:
        """Queries that the log holds with the confidences, but without the labels, of the stages asked for."""
        return len(self._free)

    def after(self, index: int, m: int, number: int) -> Iterator[Draws]:
        """Draws of the posterior after ``m`` labelled queries from a draw, one refit for each choice of stages.

        ``number`` tells one refit from another that starts from the same draw.
        """
        rng = np.random.default_rng([self._seed, 1, number])
        how = SamplerConfig(_DRAWS, _TUNE, _CHAINS, 1, int(rng.integers(2**31)), log_likelihood=False)
        if self._queries == "new":
            log, right, given = self._with_new(index, m, rng)
            base = None
        else:
            log, right, given = *self._with_labels(index, m, rng), self._given
            # what the labels do not touch stays as it is; a short fit's draws are used more than once
            every = rng.permutation(self._draws.n)
            base = self._draws.take(np.resize(every, _DRAWS * _CHAINS))
        for option in self._options:
            chosen = np.isin(np.arange(len(self._draws.stages)), option)
            correct = np.where(np.isfinite(right) & chosen, right, log["correct"].values)
            design = build_design(log.assign(correct=(_DIMS, correct)), self._model, given)
            if base is None or self._model.difficulty:
                base = get_draws(fit_design(design, log, how))
                yield base
            else:
                yield _recalibrated(base, get_draws(fit_design(_labels_only(design), log, how)))

    def _with_new(self, index: int, m: int, rng: np.random.Generator) -> tuple[xr.Dataset, np.ndarray, Design]:
        """Old queries with those that one draw makes; the new answers' correctness; segments with new counts."""
        confidence, right = replicate_draw(self._draws, index, m, rng)
        signal = to_signal(confidence, self._draws.kind)
        cost = self._draws.cost[index] * self._relative_costs(signal.shape, rng)
        values = {"confidence": confidence, "correct": np.full(right.shape, np.nan), "cost": cost}
        log = xr.Dataset(
            {name: (_DIMS, np.concatenate([self._log[name].values, new])) for name, new in values.items()},
            coords={
                "query": np.arange(self._log.sizes["query"] + m),
                "stage": self._log["stage"],
                "sampled": ("query", np.append(fair(self._log), np.ones(m, dtype=bool)).astype(np.int8)),
            },
            attrs=self._log.attrs,
        )
        margins = [
            replace(one, count=one.count + np.bincount(one.segment_of(x), minlength=len(one.low)))
            for one, x in zip(self._given.margins, signal.T, strict=True)
        ]
        unknown = np.full((self._log.sizes["query"], right.shape[1]), np.nan)
        return log, np.concatenate([unknown, right]), replace(self._given, margins=margins)

    def _with_labels(self, index: int, m: int, rng: np.random.Generator) -> tuple[xr.Dataset, np.ndarray]:
        """The log, and how one draw would have some of its unlabelled answers judged."""
        queries = rng.permutation(self._free)[:m]
        one, n_stages = self._draws.take(slice(index, index + 1)), len(self._draws.stages)
        signal = to_signal(self._log["confidence"].values[queries], self._draws.kind)
        right = np.full((self._log.sizes["query"], n_stages), np.nan)
        # of queries that have a difficulty, all signals tell how easy they are, and all answers share it
        ease = given_earlier(one, signal).ease(rng)
        given, answerable = one.draw_answerable(len(queries), rng)
        for j in range(n_stages):
            seen = np.isfinite(signal[:, j])
            p = given.p_correct(j, signal[seen, j], None if ease is None else ease[:, seen])[0]
            right[queries[seen], j] = answerable[0, seen] & (rng.uniform(size=len(p)) < p)
        return self._log, right

    def _relative_costs(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Costs drawn from those known, relative to each stage's mean (query, stage)."""
        out = np.ones(shape)
        for j, known in enumerate(self._log["cost"].values.T):
            known = known[np.isfinite(known)]
            if known.mean() > 0:
                out[:, j] = rng.choice(known / known.mean(), size=shape[0])
        return out


def unlabelled(log: xr.Dataset, stages: list[int]) -> np.ndarray:
    """Places of the queries that have confidences, but no labels, at all of some stages (query,)."""
    seen, labelled = (np.isfinite(log[name].transpose(*_DIMS).values) for name in ("confidence", "correct"))
    return np.flatnonzero(seen[:, stages].all(axis=1) & ~labelled[:, stages].any(axis=1))


def _labels_only(design: Design) -> Design:
    """A design without signals: its posterior of the calibration is that of the whole."""
    arrays = {
        name: value[..., :0] if name.startswith(_NOT_LABELS) else value for name, value in design.arrays.items()
    }
    return replace(design, arrays=arrays)


def _recalibrated(draws: Draws, other: Draws) -> Draws:
    """Draws with the calibration of others."""
    return replace(draws, calibration=other.calibration, curve=other.curve)
