"""Are the labels as the model says: along the stage's own signal, and given it?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import gamma

from bayescascade._common.messages import joined
from bayescascade.checks.evidence import LEAST, MANY, Evidence, centre_range, tail_area, two_sided
from bayescascade.checks.given import p_correct_given
from bayescascade.checks.results import CheckResult, rejected, verdict
from bayescascade.display import checks as pictures
from bayescascade.display.format import LEVEL
from bayescascade.errors import Message, option, said
from bayescascade.model.calibration import N_ATOMS
from bayescascade.model.margins.segments import Margin
from bayescascade.signals.kinds import to_confidence

_PER_BIN = 25
_MAX_BINS = 8
_TOP = 0.2  # share of the continuous signals, next below the top atom if there is one
_REPLICATES = 1000
_SHOWN = 120, 500  # signals and draws that show a curve

_PLACES = {"curve": "", "top": " near the top"}


def bin_signals(signal: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Number the signals by bins of about equal count; a large atom is a bin of its own (query,)."""
    own = np.array([a for a in atoms if np.sum(signal == a) >= _PER_BIN // 2])
    lumped = np.isin(signal, own)
    free = signal[~lumped]
    n = int(np.clip(len(free) // _PER_BIN, 1, _MAX_BINS))
    inner = np.unique(np.quantile(free, np.arange(1, n) / n)) if len(free) else np.array([])
    # twice the rank leaves odd numbers for the atoms between two bins
    number = 2 * np.searchsorted(np.unique(np.r_[inner, own]), signal, side="right") + lumped
    return np.unique(number, return_inverse=True)[1]


@dataclass(frozen=True)
class Reliability:
    """P(correct) of one stage by the model, and its labels beside it.

    Attributes
    ----------
    signal, p_correct : ndarray (place,), (draw, place)
        Signals along the continuous part of the margin, and P(correct) there.
    atoms, p_at_atoms : ndarray (atom,), (draw, atom)
    labelled, correct, bins : ndarray (label,)
        Signals of the labelled queries, whether the answers are right, and the bin of each, see `bin_signals`.
    """

    stage: str
    kind: str
    margin: Margin
    signal: np.ndarray
    p_correct: np.ndarray
    atoms: np.ndarray
    p_at_atoms: np.ndarray
    labelled: np.ndarray
    correct: np.ndarray
    bins: np.ndarray


def reliability(evidence: Evidence, j: int) -> Reliability:
    """What the reliability of stage ``j`` is drawn from."""
    n_signals, n_draws = _SHOWN
    draws, queries = evidence.many.thin(n_draws), evidence.labelled(j)
    margin = draws.margins[j]
    free, atoms = ~margin.is_atom, margin.low[margin.is_atom]
    ends = (margin.low[free].min(), margin.high[free].max(), n_signals) if free.any() else (0.0, 0.0, 0)
    along, labelled = np.linspace(*ends), evidence.signal[queries, j]
    return Reliability(
        stage=evidence.stages[j],
        kind=draws.kind,
        margin=margin,
        signal=along,
        p_correct=draws.p_correct(j, along),
        atoms=atoms,
        p_at_atoms=draws.p_correct(j, atoms),
        labelled=labelled,
        correct=evidence.correct[queries, j],
        bins=bin_signals(labelled, atoms),
    )


class LabelReplicates(NamedTuple):
    """Labels of one stage, observed (label,) and replicated given the signals (draw, label)."""

    stage: str
    observed: np.ndarray
    replicated: np.ndarray


def check_calibration(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """Accuracy in bins of the signal and near its top, beside what the curve can follow, and at each atom."""
    rows: list[tuple[object, ...]] = []
    labels = []
    for j, name in enumerate(evidence.stages):
        queries = evidence.labelled(j)
        p = _p_correct(evidence, j, queries)  # (draw, query)
        labels.append(LabelReplicates(name, evidence.correct[queries, j], rng.uniform(size=p.shape) < p))
        if len(queries) < LEAST:
            rows.append((name, "curve", len(queries), 0, *[np.nan] * 4))
        else:
            rows += _parts(evidence, j, queries, p.mean(axis=0), labels[-1], rng)
    columns = ["stage", "part", "labels", "bins", "share_inside", "observed", "expected", "p"]
    table = pd.DataFrame(rows, columns=columns).set_index(["stage", "part"])
    if table["p"].isna().all():
        few = f"No stage has {LEAST} labelled answers, too few to judge calibration."
        if (table["labels"] >= LEAST).any():
            few = "No stage has labels enough to see more than the fitted curve can follow."
        text = f"{few} Label more queries."
        return CheckResult("calibration", None, table, text)
    # the level is shared by the stages' curves, tops and atoms, where each p is for all atoms of its stage
    tested, part = table["p"].notna(), table.index.get_level_values("part")
    of_curve, kind = part == "curve", np.where(part.str.startswith("at "), "atoms", part)
    n_parts = len(set(zip(table.index.get_level_values("stage")[tested], kind[tested], strict=True)))
    failed = table.index[table["p"] < LEVEL / n_parts]
    picture = partial(pictures.calibration, labels)
    if len(failed):
        gap = (table["observed"] - table["expected"]).abs()
        where = (f"{stage}{_PLACES.get(part, f' {part}')}" for stage, part in failed)
        another = Message(
            "if the curve has the wrong shape, fit again with ", option("calibration", "monotone"), "; "
        )
        monotone = evidence.fit.attrs.get("calibration") == "monotone"
        text = said(
            "Observed accuracy of {} differs from predicted P(correct) by up to {:.0%} in a bin, so the error of "
            "thresholds there is biased. Look at the plot; {}score the thresholds on a test log.",
            (joined(where), gap.loc[failed].max(), "" if monotone else another),
        )
    else:
        curves = table[of_curve & table["share_inside"].notna()]  # of few values, the bins are the atoms
        n_bins, inside = int(curves["bins"].sum()), round(float((curves["share_inside"] * curves["bins"]).sum()))
        which = "every confidence bin" if inside == n_bins else f"{inside} of {n_bins} confidence bins"
        text = f"Observed accuracy agrees with predicted P(correct) in {which}."
    unseen = [name for name, lacks in table["p"].isna().groupby("stage", sort=False).all().items() if lacks]
    if unseen:
        text += f" Not tested: {joined(unseen)}; label more answers there, at least {LEAST}."
    return CheckResult("calibration", verdict(failed, unseen), table, text, picture)


def _p_correct(evidence: Evidence, j: int, queries: np.ndarray) -> np.ndarray:
    """P(correct) of a stage's queries given their signals up to there (draw, query)."""
    if evidence.many.loading is None:
        return p_correct_given(evidence.many, j, evidence.signal[queries])
    # each is a sum over nodes of ease, so few draws stand for many
    p = evidence.p_labelled[j]
    return p[np.arange(MANY) % len(p)]


def _parts(
    evidence: Evidence,
    j: int,
    queries: np.ndarray,
    mean: np.ndarray,
    labels: LabelReplicates,
    rng: np.random.Generator,
) -> list[tuple[object, ...]]:
    """Rows of one stage: its curve, its top, its atoms; ``mean`` is the posterior mean of P(correct) (query,)."""
    name, y, new = labels
    signal, margin = evidence.signal[queries, j], evidence.many.margins[j]
    atoms = margin.low[margin.is_atom]
    number = bin_signals(signal, atoms)
    member = np.eye(number.max() + 1)[number]  # (query, bin)
    count, observed, expected, replicated = member.sum(axis=0), y @ member, mean @ member, new @ member
    low, high = np.quantile(replicated, [LEVEL / 2, 1.0 - LEVEL / 2], axis=0)
    inside = np.mean((observed >= low) & (observed <= high))
    worst = int(np.argmax(np.abs(observed - expected) / count))
    known = tangent(evidence, j, queries)
    p_value = _left_over(member, known, y, mean, rng)
    shares = observed[worst] / count[worst], expected[worst] / count[worst]
    rows: list[tuple[object, ...]] = [(name, "curve", len(queries), len(count), inside, *shares, p_value)]
    free = ~np.isin(signal, atoms)
    if free.sum() >= _PER_BIN / _TOP:
        top = free & (signal >= np.quantile(signal[free], 1.0 - _TOP))
        p_value = _left_over(top[:, None].astype(float), known, y, mean, rng)
        rows.append((name, "top", int(top.sum()), 1, np.nan, y[top].mean(), mean[top].mean(), p_value))
    own = [k for k in range(len(count)) if not free[number == k].any()]
    for k in own:
        shown = float(to_confidence(signal[number == k][:1], evidence.many.kind)[0])
        within = float(low[k] <= observed[k] <= high[k])
        p_value = min(1.0, len(own) * tail_area(observed[k], replicated[:, k]))
        shares = observed[k] / count[k], expected[k] / count[k]
        rows.append((name, f"at {shown:.6g}", int(count[k]), 1, within, *shares, p_value))
    return rows


def _left_over(
    member: np.ndarray, known: np.ndarray, y: np.ndarray, p: np.ndarray, rng: np.random.Generator
) -> float:
    """P-value of a score test for departures by bin (query, bin) that the fitted curve cannot take up.

    Departures are projected off the directions in which the curve was fitted, so that what is left has the
    distribution of coin flips at known probabilities. Their sum of squares is about gamma distributed; moments are
    those of replicates, for bins where nearly all answers are right are far from normal.
    """
    weight = p * (1.0 - p)
    free = _projected(member, known, weight)
    covariance = (free * weight[:, None]).T @ free
    value, vector = np.linalg.eigh(covariance)
    keep = value > 1e-6 * max(value.max(), 1e-9)
    if not keep.any() or value.max() < 1e-6:
        return np.nan
    basis = free @ (vector[:, keep] / np.sqrt(value[keep]))
    observed = np.sum(((y - p) @ basis) ** 2)
    flips = rng.uniform(size=(_REPLICATES, len(p))) < p
    replicated = np.sum(((flips - p) @ basis) ** 2, axis=1)
    scale = replicated.var() / replicated.mean()
    return float(gamma.sf(observed, replicated.mean() / scale, scale=scale))


def _projected(extra: np.ndarray, known: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """What of some directions (query, direction) is left beside known ones; labels weigh by their variance."""
    root = np.sqrt(weight)[:, None]
    return extra - known @ np.linalg.lstsq(known * root, extra * root, rcond=None)[0]


def tangent(evidence: Evidence, j: int, queries: np.ndarray) -> np.ndarray:
    """Directions in which the fitted curve of a stage can move (query, direction): what the model knows."""
    draws, signal = evidence.few, evidence.signal[queries, j]
    atoms = np.eye(N_ATOMS + 1)[draws.scalings[j].which_atom(signal)][:, :N_ATOMS]
    inputs = draws.inputs(j, signal).values()
    known = np.hstack([np.ones((len(queries), 1)), *(x.reshape(len(queries), -1) for x in inputs), atoms])
    return known[:, known.any(axis=0)]


def check_own_signal(evidence: Evidence, rng: np.random.Generator) -> CheckResult:
    """Does the previous stage's signal say more about correctness than the fit knows?"""
    rows = []
    for j in range(1, len(evidence.stages)):
        queries = evidence.labelled(j)
        kept = np.isfinite(evidence.signal[queries, j - 1])
        queries = queries[kept]
        y = evidence.correct[queries, j]
        if len(queries) < LEAST or y.min() == y.max():
            continue
        p = evidence.p_labelled[j][:, kept]  # (draw, query)
        mean = p.mean(axis=0)
        weight = mean * (1.0 - mean)
        score = _normal_score(evidence, j - 1, queries)
        extra = _projected(score[:, None], tangent(evidence, j, queries), weight)[:, 0]
        if np.std(extra) < 1e-9:
            continue
        extra /= np.sqrt(np.sum(weight * extra**2))
        observed = float(np.mean((y - p) @ extra))
        replicated = ((rng.uniform(size=p.shape) < p) - p) @ extra
        chance = two_sided(observed, replicated)
        pair = evidence.stages[j], evidence.stages[j - 1]
        rows.append((*pair, len(queries), observed, *centre_range(replicated), chance))
    columns = ["stage", "beyond", "labels", "observed", "replicated_low", "replicated_high", "p"]
    table = pd.DataFrame(rows, columns=columns).set_index(["stage", "beyond"])
    if table["p"].isna().all():
        nothing = f"No stage has {LEAST} labels, right and wrong, beside a previous confidence that varies."
        return CheckResult("own signal", None, table, nothing)
    failed = rejected(table)
    judged = table.index[table["p"].notna()].get_level_values("stage")
    unseen = [name for name in evidence.stages[1:] if name not in judged]
    picture = partial(pictures.own_signal, table)
    if len(failed):
        better = Message("fit again with ", option("difficulty", True), ", and ")
        text = said(
            "Correctness at {} depends on the previous stage's confidence beyond what the model assumes "
            "(z = {:.1f}; simulations rarely exceed 2). So accuracy on deferred queries may be lower than "
            "predicted: {}score the thresholds on a test log.",
            (
                joined(stage for stage, _ in failed),
                table.loc[failed, "observed"].abs().max(),
                better if evidence.few.loading is None else "",
            ),
        )
    else:
        text = Message(
            "The previous stage's confidence says no more about correctness than the model assumes, so predicted "
            "accuracy on deferred queries holds."
        )
    if unseen:
        text += (
            f" Not tested: {joined(unseen)}; that takes {LEAST} labels, right and wrong, beside a previous "
            "confidence that varies."
        )
    return CheckResult("own signal", verdict(failed, unseen), table, text, picture)


def _normal_score(evidence: Evidence, stage: int, queries: np.ndarray) -> np.ndarray:
    """Normal score of a stage's signals under its fitted margin (query,); an atom has its middle's."""
    low, high = evidence.few.cdf(stage, evidence.signal[queries, stage])
    return ndtri(np.clip(0.5 * (low + high).mean(axis=0), 1e-3, 1.0 - 1e-3))
