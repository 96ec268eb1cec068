"""What a log's queries did under thresholds, where some stages were not run and some answers not labelled.

Of each query it has to be known which stages it runs and whether the answer it gets is right. What is missing may
depend on the signals: a cascade at work runs the next stage for the unsure queries only, and people label what
was answered. So a query whose outcome is known stands for those like it whose outcome is not, by inverse
probability weights. With r_j(s) the share of queries with signal s at stage j - 1 that ran stage j, and l_j(s)
the share of those with signal s at stage j whose answer is labelled,

    weight of an outcome at stage j = 1 / (r_1 r_2(s_1) ... r_j(s_{j-1}) l_j(s_j)),

shares being those of strata of about equal numbers (Robins, Rotnitzky & Zhao 1994, doi:10.2307/2290910). In a
stratum of which nothing is known, no weight helps: there the fit's expectation stands in, and it is said how much
of the whole that is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.special import xlogy

from bayescascade._common.arrays import concatenated, safe_divide
from bayescascade.cascade.forward import deferred_share, split_positions
from bayescascade.cascade.rules import DecisionRule
from bayescascade.posterior.draws import Draws
from bayescascade.posterior.kernel import Kernel, mean_kernel
from bayescascade.signals.kinds import to_signal

_PER_STRATUM, _MOST_STRATA = 25, 20  # known outcomes in a stratum, and strata of a stage
_LEAST_SHARE = 0.05  # of the share of all: below this a stratum's few known outcomes stand for too many others
_LEAST_SIDE = 10  # queries on either side of a threshold that is looked for
_MEAN_DRAWS = 200
_MOST_UNLABELLED = 20_000  # queries without any label only tell the mix, and so many tell it well
_BLOCK = 2_000_000  # elements (point, query, stage) at once


class Seen(NamedTuple):
    """Mean of an outcome over a log's queries, each (point,).

    Attributes
    ----------
    mean : ndarray
        Where nothing is known of a query or of those like it, the fit's expectation is part of it.
    by_model : ndarray
        That part of the mean.
    known : ndarray
        Share of the queries that are known or have known ones like them.
    n : ndarray
        How many queries of equal weight tell as much as the known ones do.
    sd : ndarray
        Standard deviation of the outcome of single queries, of the known ones.
    """

    mean: np.ndarray
    by_model: np.ndarray
    known: np.ndarray
    n: np.ndarray
    sd: np.ndarray

    @classmethod
    def of_all(cls, mean: np.ndarray, n: int, sd: np.ndarray | float = np.nan) -> Seen:
        """That of ``n`` queries of which everything is known."""
        full = np.ones(np.shape(mean))
        return cls(np.asarray(mean), 0.0 * full, full, n * full, sd * full)


class _Step(NamedTuple):
    """What is known of queries when they come to a stage and when it answers them, each (query,).

    ``arrived`` is the weight of those seen up to here, 0 of others; ``stuck`` the weight of those for which it is
    not known, nor for any like them, what this stage says. ``label`` and ``unlabelled`` are the same of an answer
    of this stage.
    """

    arrived: np.ndarray
    stuck: np.ndarray
    label: np.ndarray
    unlabelled: np.ndarray


@dataclass(frozen=True)
class LabelledQueries:
    """The queries of a log, and what is not known of them.

    Attributes
    ----------
    signal, confidence : ndarray (query, stage)
        NaN where a stage was not run.
    wrong : ndarray (query, stage)
        1.0 where the answer is wrong, NaN where it is not labelled.
    price : ndarray (stage,)
        Mean cost of running each stage.
    count : ndarray (query,)
        How many queries of the log each of these stands for.
    """

    signal: np.ndarray
    confidence: np.ndarray
    wrong: np.ndarray
    price: np.ndarray
    count: np.ndarray

    @classmethod
    def from_log(cls, log: xr.Dataset) -> LabelledQueries:
        """Those of a validated log; of very many without any label, some stand for the rest."""
        confidence, correct, cost = (
            log[name].transpose("query", "stage").values for name in ("confidence", "correct", "cost")
        )
        price = np.nanmean(cost, axis=0)
        labelled = np.isfinite(correct).any(axis=1)
        spare = np.flatnonzero(~labelled)
        kept = spare[np.linspace(0, len(spare) - 1, min(len(spare), _MOST_UNLABELLED)).round().astype(int)]
        index = np.sort(np.concatenate([np.flatnonzero(labelled), kept]))
        represents = log["represents"].values if "represents" in log.coords else np.ones(len(labelled))
        count = (represents * np.where(labelled, 1.0, len(spare) / max(len(kept), 1)))[index]
        confidence = confidence[index]
        signal = to_signal(confidence, str(log.attrs["confidence_kind"]))
        return cls(signal, confidence, 1.0 - correct[index], price, count)

    def outcome(self, rule: DecisionRule, draws: Draws) -> tuple[Seen, Seen]:
        """Error and cost of a rule on the queries; ``draws``, of its stages or of all, tell what is unknown."""
        whole = draws if draws.parent is None else draws.parent
        empty = np.empty(len(rule.accept))
        error, cost = (Seen(*(empty.copy() for _ in Seen._fields)) for _ in range(2))
        for at, part in rule.parts():
            for of_all, of_part in zip((error, cost), self._of_part(part, whole), strict=True):
                for values, found in zip(of_all, of_part, strict=True):
                    values[at] = found
        return error, cost

    def _of_part(self, rule: DecisionRule, whole: Draws) -> tuple[Seen, Seen]:
        """`outcome` of a rule whose points run the same stages."""
        keep = [whole.stages.index(name) for name in rule.stages]
        draws, steps = whole.restrict(keep), list(self._steps(keep))
        kernel = None
        if any((step.stuck > 0).any() or (step.unlabelled > 0).any() for step in steps):
            kernel = mean_kernel(draws.untilted().thin(_MEAN_DRAWS))
        size = max(1, _BLOCK // (len(self.count) * len(keep)))
        parts = [
            self._of_block(rule.points(slice(i, i + size)), keep, steps, draws, kernel)
            for i in range(0, len(rule.accept), size)
        ]
        error, cost = map(concatenated, zip(*parts, strict=True))
        return error, cost

    def _steps(self, keep: list[int]) -> Iterator[_Step]:
        """What is known at each of the stages that are run, by way of all stages before it."""
        ran, labelled = np.isfinite(self.confidence), np.isfinite(self.wrong)
        weight, last = self.count, -1
        for stage in keep:
            stuck = np.zeros_like(weight)
            for j in range(last + 1, stage + 1):
                share = self._share(j - 1, ran[:, j])
                stuck += np.where(share > 0, 0.0, weight)
                weight = safe_divide(weight, share, where=ran[:, j] & (share > 0))
            share, last = self._share(stage, labelled[:, stage]), stage
            label = safe_divide(weight, share, where=labelled[:, stage] & (share > 0))
            yield _Step(weight, stuck, label, np.where(share > 0, 0.0, weight))

    def _share(self, stage: int, known: np.ndarray) -> np.ndarray:
        """Share of known ones among queries with a like signal at a stage (query,); before the first, of all.

        0 where it is so low beside that of all that the known ones would stand for too many.
        """
        if stage < 0:
            return np.full(len(known), np.average(known, weights=self.count))
        asked = np.isfinite(self.signal[:, stage])
        stratum = np.searchsorted(strata_ends(self.signal[asked, stage], known[asked]), self.signal[:, stage])
        among, found = (np.bincount(stratum, weights=self.count * some) for some in (asked, asked & known))
        share = safe_divide(found, among)
        return np.where(share < _LEAST_SHARE * safe_divide(found.sum(), among.sum()), 0.0, share)[stratum]

    def _of_block(
        self, rule: DecisionRule, keep: list[int], steps: list[_Step], draws: Draws, kernel: Kernel | None
    ) -> tuple[Seen, Seen]:
        route = rule.apply(self.confidence[:, keep])
        n_points, total = len(rule.accept), self.count.sum()
        ahead = None if kernel is None else _ahead(kernel, rule.positions(draws), self.price[keep])
        wrong, weights = _Sums(n_points), np.nan_to_num(self.wrong[:, keep])
        paid, price = _Sums(n_points), np.cumsum(self.price[keep])
        for j, step in enumerate(steps):
            reach, accepted = route.reach[:, j], route.accepted[:, j]
            if ahead is not None:
                lost = self._by_segment(reach, step.stuck, keep[j - 1] if j else None, draws, j - 1)
                wrong.add_unknown(lost, ahead[j].error)
                paid.add_unknown(lost, ahead[j].cost + (price[j - 1] if j else 0.0))
                lost = self._by_segment(accepted, step.unlabelled, keep[j], draws, j)
                wrong.add_unknown(lost, 1.0 - _correct(kernel, j))
            ended = reach & ~route.reach[:, j + 1] if j + 1 < len(steps) else reach
            wrong.add(accepted, step.label, weights[:, j])
            wrong.add(ended & ~accepted, step.arrived, np.zeros(len(weights)))
            paid.add(ended, step.arrived, np.full(len(weights), price[j]))
        return wrong.seen(total), paid.seen(total)

    def _by_segment(
        self, here: np.ndarray, weight: np.ndarray, stage: int | None, draws: Draws, j: int
    ) -> np.ndarray:
        """Weight of queries ``here`` (point, query) by segment of the last signal seen (point, segment)."""
        some = np.flatnonzero(weight > 0)
        segment = np.zeros(len(some), dtype=int)
        if stage is not None:
            segment = draws.margins[j].segment_of(self.signal[some, stage])
        which = np.zeros((len(some), draws.n_segments))
        which[np.arange(len(some)), segment] = weight[some]
        return here[:, some].astype(float) @ which


def strata_ends(signal: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Upper ends of strata of signals (query,) in which about equally many are known (stratum - 1,).

    A threshold that decided what became known may stand anywhere: the cut in two that explains best which are
    known is an end too.
    """
    order = np.argsort(signal, kind="stable")
    signal, known = signal[order], known[order]
    n, above = len(signal), np.append(np.diff(signal) > 0, False)
    size = np.arange(1, n + 1)
    found = np.cumsum(known)
    gain = _bernoulli(found, size) + _bernoulli(known.sum() - found, n - size)
    allowed = above & (np.minimum(size, n - size) >= _LEAST_SIDE)
    parts, ends = [slice(0, n)], []
    if allowed.any():
        cut = int(np.argmax(np.where(allowed, gain, -np.inf))) + 1
        parts, ends = [slice(0, cut), slice(cut, n)], [signal[cut - 1]]
    for part in parts:
        k = int(np.clip(known[part].sum() // _PER_STRATUM, 1, _MOST_STRATA))
        if k > 1:
            ends.extend(np.quantile(signal[part], np.arange(1, k) / k, method="inverted_cdf"))
    return np.unique(ends)


def _bernoulli(found: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Log likelihood of so many found among so many, at their own share."""
    return xlogy(found, safe_divide(found, n)) + xlogy(n - found, 1.0 - safe_divide(found, n))


class _Sums:
    """Weighted sums of an outcome over queries, for some points (point,)."""

    def __init__(self, n_points: int) -> None:
        self.weight, self.square, self.first, self.second = np.zeros((4, n_points))
        self.unknown, self.by_model = np.zeros((2, n_points))

    def add(self, here: np.ndarray, weight: np.ndarray, value: np.ndarray) -> None:
        """Queries ``here`` (point, query) with known values (query,)."""
        terms = np.stack([weight, weight**2, weight * value, weight * value**2], axis=1)
        found = here.astype(float) @ terms
        self.weight += found[:, 0]
        self.square += found[:, 1]
        self.first += found[:, 2]
        self.second += found[:, 3]

    def add_unknown(self, weight: np.ndarray, expected: np.ndarray) -> None:
        """Queries of which nothing is known, by segment (point, segment), and what to expect of them."""
        self.unknown += weight.sum(axis=1)
        self.by_model += (weight * expected).sum(axis=1)

    def seen(self, total: float) -> Seen:
        mean = safe_divide(self.first, self.weight)
        known, by_model = np.clip(1.0 - self.unknown / total, 0.0, 1.0), self.by_model / total
        known = np.where(self.weight > 0, known, 0.0)
        sd = np.sqrt(np.maximum(safe_divide(self.second, self.weight) - mean**2, 0.0))
        return Seen(known * mean + by_model, by_model, known, safe_divide(self.weight**2, self.square), sd)


class _Ahead(NamedTuple):
    """What a query still comes to, error and cost, by segment of its last signal, each (point, segment)."""

    error: np.ndarray
    cost: np.ndarray


def _ahead(kernel: Kernel, rows: np.ndarray, price: np.ndarray) -> list[_Ahead]:
    """Expected error and cost from each stage on, given the segment of the signal before (stage, ...).

    Backward along the rule, with the mean masses of pairs of segments. Of a first stage it is the same whatever
    the segment.
    """
    n_stages, n_segments = len(price), kernel.mass.shape[2]
    accept, reject = split_positions(rows, n_stages)
    pair = [np.asarray(p.sum(axis=0)) for p in kernel.pair]
    mass = kernel.mass.sum(axis=0)  # (stage, segment)
    start = np.repeat(mass[:1], n_segments, axis=0)
    error, cost = np.zeros((2, len(rows), n_segments))
    out = []
    for j in reversed(range(n_stages)):
        declined = np.zeros((1, n_segments)) if reject is None else deferred_share(reject[:, j], n_segments)
        below = declined if j == n_stages - 1 else deferred_share(accept[:, j], n_segments)
        wrong = (1.0 - below) * (1.0 - _correct(kernel, j)) + (below - declined) * error
        paid = price[j] + (below - declined) * cost
        onward = start if j == 0 else safe_divide(pair[j - 1], pair[j - 1].sum(axis=1, keepdims=True))
        error, cost = wrong @ onward.T, np.broadcast_to(paid, wrong.shape) @ onward.T
        out.append(_Ahead(error, cost))
    return out[::-1]


def _correct(kernel: Kernel | None, stage: int) -> np.ndarray:
    """P(correct | segment) at a stage (segment,)."""
    assert kernel is not None
    mass = kernel.mass[:, stage]
    return safe_divide((mass * kernel.correct[:, stage]).sum(axis=0), mass.sum(axis=0))
