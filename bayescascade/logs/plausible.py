"""What is allowed in a log, and yet is seldom meant: said when it is read."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from itertools import pairwise, repeat

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayescascade.errors import CascadeWarning, in_python, option, said
from bayescascade.logs.meant import Matrix, looks_like_another
from bayescascade.signals.kinds import KINDS

# Standard errors below zero from which on a difference is told: one sound stage in 700 falls below by chance.
CLEAR = 3.0
# Half of a model's own tokens would be less likely than 1 in 20: a mean over tokens is not so low, a sum is.
LOWEST_MEAN = -3.0
_FEW = 0.1  # share of calls
_SOME = 3  # of what one or two may be by chance
LEAST = 10  # queries from which on a median says something
# What may stand around an id: zeros before a number, a letter or a word, signs, the end of a file's name.
_AROUND = re.compile(r"^(?:q|query|id)?[^a-z\d]*0*(?=\w)|\.[a-z]+$|[^\w]+$", re.IGNORECASE)
_LATENCY = re.compile(r"latency\w*", re.IGNORECASE)
# Widths of the range that holds 90%: a value that lies so far beyond it was hardly made as the others were.
FAR = 100.0


def warn_of_oddities(matrices: dict[str, Matrix], names: list[str], kind: str, ordered: bool) -> None:
    """Warn of what in a valid log points to a mistake; ``ordered`` says that the user gave the stages' order."""
    confidence, correct, cost = (matrices[name] for name in ("confidence", "correct", "cost"))
    found = [
        *_falling(confidence, correct, names, kind),
        *_sums(confidence, names, kind),
        *_far_off(confidence, names, kind),
        *looks_like_another(confidence, names, kind),
    ]
    found += [*_worse_and_dearer(correct, cost, names), *_no_latency(matrices, names)]
    found += _one_label(correct, confidence)
    for what in ("cost", "latency"):
        if what in matrices:
            found += [
                *_few_amounts(matrices[what], confidence, names, what),
                *_far_above(matrices[what], names, what),
            ]
    if ordered:
        found += _dearest_first(cost, names)
    for message in found:
        warnings.warn(CascadeWarning(message), stacklevel=3)


def warn_of_torn_queries(queries: Iterable[object], confidence: Matrix, tasks: Iterable[str] | None) -> None:
    """Warn of ids that are one but for zeros, capitals or signs around them, and that no stage has both of.

    Such ids may well differ ("007" and "7"), so a query is taken for torn only where its parts fit together. So
    may those of two tasks, "<task>/<query>".
    """
    ran = np.isfinite(confidence)
    found: dict[str, tuple[str, NDArray[np.bool_]]] = {}
    torn = []
    prefixes = repeat("") if tasks is None else (f"{task}/" for task in tasks)
    for query, prefix, stages in zip(map(str, queries), prefixes, ran, strict=False):
        if stages.all():
            continue
        core = _AROUND.sub("", query.removeprefix(prefix)).casefold()
        other, seen = found.setdefault(core, (query, stages))
        if core and other != query and not (seen & stages).any():
            torn.append((other, query))
    if len(torn) >= _SOME:
        (one, other), n = torn[0], len(torn)
        message = (
            f"{n} queries have ids like those of others that ran on other stages only (first: {one!r} and "
            f"{other!r}), as if one query were written in two ways. If so, write its id, and its task if it has "
            "one, alike in all rows: nothing is learned from it of how its stages go together"
        )
        warnings.warn(CascadeWarning(message), stacklevel=3)


def rank_gap(confidence: Matrix, correct: Matrix) -> tuple[float, float]:
    """How confidence ranks right answers above wrong ones, over one stage's labels (query,).

    Somers' D in [-1, 1], and its number of standard errors above 0 where they have nothing to do with each other
    (Mann and Whitney's, with ties).
    """
    right = correct == 1.0
    n, n_right = len(right), int(right.sum())
    if n_right in (0, n):
        return 0.0, 0.0
    ranks = pd.Series(confidence).rank().to_numpy()
    ties = np.unique(confidence, return_counts=True)[1].astype(float)
    pairs = n_right * (n - n_right)
    gap = 2.0 * (ranks[right].sum() - n_right * (n_right + 1) / 2) / pairs - 1.0
    variance = (n + 1 - (ties**3 - ties).sum() / (n * (n - 1))) / (3.0 * pairs)
    return float(gap), float(gap / np.sqrt(variance)) if variance > 0.0 else 0.0


def _falling(confidence: Matrix, correct: Matrix, names: list[str], kind: str) -> Iterator[str]:
    """Stages that are right less often where their confidence is higher."""
    for stage, name in enumerate(names):
        known = np.isfinite(correct[:, stage])
        gap, errors = rank_gap(confidence[known, stage], correct[known, stage])
        if errors < -CLEAR:
            top = KINDS[kind].upper
            better = f"{top:g} - x" if 0.0 < top < np.inf else "-x with " + option("confidence_kind", "score")
            yield said(
                "stage {!r} is right less often where its confidence is higher (rank correlation {:.2f} over {} "
                "labels), so thresholds on it accept its worst answers. If x is a risk, an uncertainty or a "
                "perplexity, give {}; if it is of another kind, name it with {}",
                (name, gap, known.sum(), better, option("confidence_kind")),
            )


def _sums(confidence: Matrix, names: list[str], kind: str) -> Iterator[str]:
    """Stages whose log-probabilities are too low for means over tokens."""
    if kind != "logprob":
        return
    for stage, name in enumerate(names):
        middle = np.nanmedian(confidence[:, stage])
        if middle < LOWEST_MEAN and np.isfinite(confidence[:, stage]).sum() >= LEAST:
            yield said(
                "half of the log-probabilities of stage {!r} are below {:.1f}, which is low for a mean over "
                "tokens and usual for a sum; divide sums by the number of tokens, or long answers count as "
                "unsure; or name them with {}",
                (name, middle, option("confidence_kind", "log_likelihood")),
            )


def _far_off(confidence: Matrix, names: list[str], kind: str) -> Iterator[str]:
    """Stages with a few values that are far from all others, on scales that have no end."""
    if np.isfinite([KINDS[kind].lower, KINDS[kind].upper]).all():
        return
    for stage, name in enumerate(names):
        values = confidence[np.isfinite(confidence[:, stage]), stage]
        if len(values) < 2 * LEAST:
            continue
        low, high = np.quantile(values, [0.05, 0.95])
        far = values[np.maximum(low - values, values - high) > FAR * (high - low)]
        if high > low and len(far):
            yield (
                f"{len(far)} of the {len(values)} confidences of stage {name!r} are far from all others: "
                f"{far[0]:g}, where most are {low:.3g} to {high:.3g}. If it stands for a value that is missing, "
                "leave the cell empty; if the scale is that long, take logarithms"
            )


def _one_label(correct: Matrix, confidence: Matrix) -> Iterator[str]:
    """Labels that are all the same beside many answers without one, as where empty cells stand for the other."""
    labels, answers = correct[np.isfinite(correct)], int(np.isfinite(confidence).sum())
    if len(labels) < LEAST or len(labels) > (1.0 - _FEW) * answers or np.ptp(labels) > 0.0:
        return
    one, other = ("right", "wrong") if labels[0] else ("wrong", "right")
    yield (
        f"all {len(labels)} labels say {one}, and {answers - len(labels)} answers have none. If an empty cell "
        f"means {other}, write {1.0 - labels[0]:g} there: as it is, nothing says how often answers are {other}"
    )


def _far_above(amounts: Matrix, names: list[str], what: str) -> Iterator[str]:
    """Stages of which a few calls cost or take far more than all others, as those in another unit would."""
    for stage, name in enumerate(names):
        values = amounts[np.isfinite(amounts[:, stage]), stage]
        if len(values) < 2 * LEAST:
            continue
        most = np.quantile(values, 0.95)
        far = values[values > FAR * most]
        if most > 0.0 and len(far):
            yield (
                f"{len(far)} of the {len(values)} calls of stage {name!r} have a {what} of {far.min():.3g} or "
                f"more, where most have {most:.3g} or less, and its mean {what} rests on them. If they are in "
                "another unit, or stand for calls that failed, mend them or leave the cell empty"
            )


def _worse_and_dearer(correct: Matrix, cost: Matrix, names: list[str]) -> Iterator[str]:
    """Stages that cost more than the one before and are right less often on the same queries."""
    means = np.nanmean(cost, axis=0)
    for stage, (first, second) in enumerate(pairwise(names)):
        both = np.isfinite(correct[:, stage : stage + 2]).all(axis=1)
        change = correct[both, stage + 1] - correct[both, stage]
        if len(change) < 2 or means[stage + 1] <= means[stage]:
            continue
        mean, error = change.mean(), change.std(ddof=1) / np.sqrt(len(change))
        if mean < -CLEAR * error and mean < 0.0:
            yield (
                f"stage {second!r} costs more than {first!r} and is right less often: {mean:+.0%} on the "
                f"{len(change)} queries with both labels; leave it out, or look whether its labels are its own"
            )


def _dearest_first(cost: Matrix, names: list[str]) -> Iterator[str]:
    means = np.nanmean(cost, axis=0)
    if (np.diff(means) < 0.0).all():
        yield said(
            "the stages stand most expensive first: {!r} costs {:.4g} a call, {!r} costs {:.4g}. A cascade saves "
            "by asking the cheap stage first; give the order with {} if this is not meant",
            (names[0], means[0], names[-1], means[-1], option("stages", names[::-1])),
        )


def _few_amounts(amounts: Matrix, confidence: Matrix, names: list[str], what: str) -> Iterator[str]:
    """Stages whose mean cost or latency rests on a few of their calls: those that a cache answered have none."""
    for name, known, called in zip(
        names, np.isfinite(amounts).sum(axis=0), np.isfinite(confidence).sum(axis=0), strict=True
    ):
        if called >= LEAST and 0 < known < _FEW * called:
            yield (
                f"only {known} of the {called} calls of stage {name!r} have a {what}, and its mean {what} is "
                f"theirs; if the others were answered from a cache, that is as it should be, else fill in their "
                f"{what}"
            )


def warn_of_unread_latency(read: Iterable[str], columns: Iterable[str]) -> None:
    """Warn of a column that may be the latency where none was read."""
    named = [found[0] for name in columns if (found := _LATENCY.search(name))]
    if named and "latency" not in read:
        message = said(
            "the log is read without a latency, though {!r} may be one; name it if it is: {}",
            (named[0], in_python(f"columns={{'latency': {named[0]!r}}}", f"--latency-column {named[0]}")),
        )
        warnings.warn(CascadeWarning(message), stacklevel=3)


def _no_latency(matrices: dict[str, Matrix], names: list[str]) -> Iterator[str]:
    if "latency" in matrices:
        lacking = [name for name, of in zip(names, matrices["latency"].T, strict=True) if np.isnan(of).all()]
        if lacking:
            yield (
                f"stage {lacking[0]!r} has no known latency, so nothing can be said of the latency of a cascade "
                "that may call it; log it, or leave the column out"
            )
