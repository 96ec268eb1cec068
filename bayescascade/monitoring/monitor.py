"""`monitor`: are served queries still what a policy was tuned for?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade._common.messages import counted, joined
from bayescascade.display.format import per_thousand, share
from bayescascade.errors import CascadeError, bad_value
from bayescascade.logs.read import read_log
from bayescascade.monitoring.betting import log_capital
from bayescascade.monitoring.blocks import shares_over_time
from bayescascade.monitoring.parts import NAMES, NEED_LABELS, Part, Served, parts_of, read_promise
from bayescascade.monitoring.result import COLUMNS, Watch
from bayescascade.runtime.policy import Policy
from bayescascade.signals.confidence import refuse_other_signal

_MOST_PLACES = 400  # of a curve
_MOST_BLOCKS, _PER_BLOCK = 30, 20


def monitor(policy: Policy, served: Any, *, level: float = 0.05, leave_out: Iterable[str] = ()) -> Watch:
    """Watch served queries: whether a stage, a link, a price or the calibration moved, and the promise is kept.

    Examples
    --------
    >>> import bayescascade as bc
    >>> log = bc.load_example()
    >>> policy = bc.tune(bc.fit(log, random_seed=1, progressbar=False), max_error=0.35).to_policy()
    >>> print(bc.monitor(policy, log).text[:50])
    Quiet after 300 queries: no part moved (level 5%).

    Queries of which the first stage is less sure:

    >>> harder = log.assign(confidence=log["confidence"] ** [[2.0, 1.0, 1.0]])
    >>> bc.monitor(policy, harder).alarms[0]
    'confidence of small'

    Parameters
    ----------
    policy : Policy
        With a manifest, as `ThresholdSolution.to_policy` makes it.
    served : path, DataFrame or Dataset
        What `Cascade` logs, or any log that `read_log` takes, with the queries in the order in which they were
        served. Labels, if there are any, are in ``correct``. Which answers are labelled must not depend on the
        answers.
    level : float
        Highest probability of a false alarm, over all parts and however often you look, in (0, 1).
    leave_out : iterable of str
        Parts that are not watched, by name: ``confidence``, ``link``, ``deferral``, ``price``, ``latency``,
        ``calibration`` or ``promise``. The others share the level.

    Returns
    -------
    Watch

    Raises
    ------
    CascadeError
        If the policy has no manifest, if the log is empty or has other stages or another kind, if a part to leave
        out does not exist, or if all are left out.

    Notes
    -----
    The parts: the *confidence* of each stage, given that of the stage before; the *link*, whether the two move
    together as before; *deferral*, the share that a stage defers; *price* and *latency* of its calls; its
    *calibration*, whether its answers are right as often as before at the same confidence; and the *promise*,
    whether the error is above its limit. The last two need labels. All but the promise compare served queries
    with the log of the manifest, whose size counts. Each part has bets against it (see
    `bayescascade.monitoring.betting`); it moved when these have won K / level times their stake, for K parts.

    Where no answer has a label, nothing can tell that a stage is wrong more often if its confidences stay what
    they were; the text says so then, and ``accuracy_looked_at`` of the result is False.

    It asks for queries whose order means nothing. Latency, and queries that come in runs, seldom are so.
    """
    check_policy(policy)
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0.0 < level < 1.0:
        raise bad_value("level", level, "give a probability strictly between 0 and 1")
    left = _names(leave_out)
    queries, seen = served_queries(policy, served)
    parts = [part for part in parts_of(policy, seen, float(level)) if part.name not in left]
    if not parts:
        raise bad_value("leave_out", sorted(left), "leave a part to be watched", "leaves none")
    capital = log_capital(np.stack([part.payoff for part in parts], 1), np.stack([part.prior for part in parts]))
    best = np.maximum.accumulate(capital, axis=0)
    needed = np.log(len(parts) / level)
    first = np.where(best[-1] >= needed, (best >= needed).argmax(axis=0), len(queries))
    rows = []
    for part, won, place in zip(parts, best[-1], first, strict=True):
        at = str(queries[place]) if place < len(queries) else ""
        p = float("nan") if part.remark else float(np.exp(min(0.0, np.log(len(parts)) - won)))
        values = (part.expected, part.low, part.high, part.seen)
        rows.append((part.name, part.of, part.n, *values, p, at, part.remark))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    moved = [parts[i] for i in np.argsort(first, kind="stable") if first[i] < len(queries)]
    alarms = [part.title for part in moved]
    places = np.unique(np.linspace(0, len(queries) - 1, _MOST_PLACES).round().astype(int))
    curves = {part.title: capital[places, i] / np.log(10.0) for i, part in enumerate(parts) if not part.remark}
    blocks = shares_over_time(seen, policy, int(np.clip(len(queries) // _PER_BLOCK, 1, _MOST_BLOCKS)))
    promised = read_promise(policy)
    limit = None if promised is None else promised.limit
    kept = _kept(limit, parts, alarms)
    return Watch(
        table=table,
        alarms=alarms,
        promise=kept,
        n_queries=len(queries),
        level=float(level),
        text=_text(parts, moved, kept, limit, len(queries), level),
        blocks=blocks,
        evidence={"query": places + 1.0, "needed": np.array([needed / np.log(10.0)]), **curves},
        header=_header(policy),
    )


def _names(leave_out: Any) -> set[str]:
    """Names of parts, or `CascadeError`."""
    names = list(leave_out) if isinstance(leave_out, Iterable) and not isinstance(leave_out, str) else [leave_out]
    if isinstance(leave_out, str) or not all(isinstance(name, str) and name in NAMES for name in names):
        raise bad_value("leave_out", leave_out, f"give a list of names from {joined(NAMES)}")
    return set(names)


def check_policy(policy: Any) -> None:
    """Raise `CascadeError` unless it is one."""
    if not isinstance(policy, Policy):
        raise bad_value("policy", policy, "give a Policy, such as Policy.load returns", "is none")


def log_of(policy: Policy, source: Any, task: str | None = None) -> xr.Dataset:
    """A log as it is, or read from a table with the policy's stages and kind of confidence."""
    if isinstance(source, xr.Dataset):
        return source
    kind, stages = policy.confidence_kind, policy.stages
    return read_log(source, confidence_kind=kind, stages=stages, labels=False, task=task)


def served_queries(policy: Policy, served: Any) -> tuple[np.ndarray, Served]:
    """Ids and values of served queries in their order, at the policy's stages."""
    log = log_of(policy, served)
    if log.attrs.get("confidence_kind") != policy.confidence_kind:
        raise CascadeError(
            f"the log has confidences of kind {log.attrs.get('confidence_kind')!r}, but the policy decides on "
            f"{policy.confidence_kind!r}; give the log that this policy serves."
        )
    refuse_other_signal(log.attrs.get("signal"), policy.signal, "the log")
    known = [str(name) for name in log["stage"].values]
    if not set(policy.stages) <= set(known):
        raise CascadeError(
            f"the log has stages {known}, but the policy runs {policy.stages}; give the log of this policy."
        )
    log = log.sel(stage=policy.stages).transpose("query", "stage", ...)
    if log.sizes["query"] == 0:
        raise CascadeError("the log holds no query; there is nothing to look at.")
    values = [log[name].values for name in ("confidence", "correct", "cost")]
    waited = log["latency"].values if "latency" in log else np.full(values[0].shape, np.nan)
    return log["query"].values, Served(values[0], values[1], values[2], waited)


def _kept(limit: float | None, parts: list[Part], alarms: list[str]) -> bool | None:
    """Whether the promise is kept: refuted by its bets, or its limit above all rates that are still possible."""
    promise = next((part for part in parts if part.name == "promise" and not part.remark), None)
    if promise is None:
        return None
    if "promise" in alarms:
        return False
    return True if limit is not None and promise.high <= limit else None


_DIRECTIONS = {
    "confidence": ("lower", "higher", "spread otherwise"),
    "deferral": ("less often", "more often", "in another pattern"),
    "price": ("cheaper", "dearer", "spread otherwise"),
    "latency": ("faster", "slower", "spread otherwise"),
    "calibration": ("right less often", "right more often", "right in another pattern"),
    "link": ("less together", "more together", "otherwise together"),
}


def _moved(part: Part) -> str:
    """One part that moved, and how."""
    if part.name == "promise":
        return (
            f"the promise is broken: {share(part.seen)} of {part.n} labelled answers are wrong, and the rate is "
            f"{share(part.low)} to {share(part.high)}"
        )
    less, more, otherwise = _DIRECTIONS[part.name]
    how = less if part.seen < part.low else more if part.seen > part.high else otherwise
    what = {
        "confidence": f"confidences of {part.of} are {how} than in the log",
        "link": f"confidences of {part.of.replace(' > ', ' and ')} move {how} than in the log",
        "deferral": f"{part.of} defers {how}: {share(part.seen)}, expected {share(part.expected)}",
        "price": f"calls of {part.of} are {how}: {per_thousand(part.seen)} per 1,000, expected "
        f"{per_thousand(part.expected)}",
        "latency": f"calls of {part.of} are {how}: {part.seen:.3g}, expected {part.expected:.3g}",
        "calibration": f"answers of {part.of} are {how} than confidences like theirs were: {share(part.seen)}, "
        f"expected {share(part.expected)}",
    }[part.name]
    return what.replace("otherwise than", "otherwise, beside what they were, than") if how == otherwise else what


def _text(
    parts: list[Part], moved: list[Part], kept: bool | None, limit: float | None, n: int, level: float
) -> str:
    looked = [part for part in parts if not part.remark]
    if not looked:
        return f"Nothing to look at in {counted(n)}: {parts[0].remark}."
    if moved:
        text = f"Alarm after {counted(n)} (level {level:.0%}): {'; '.join(map(_moved, moved))}."
        text += " Look into it; label some of these queries, fit with them, and tune again."
    else:
        text = f"Quiet after {n} queries: no part moved (level {level:.0%})."
    accuracy = [part for part in parts if part.name in NEED_LABELS]
    blind = [part.remark for part in accuracy] if all(part.remark for part in accuracy) else []
    if blind:
        text += (
            f" Accuracy was not looked at ({joined(blind)}): a stage that is wrong more often, as confident as "
            "before, goes unseen. Label some of these answers."
        )
    promise = next((part for part in looked if part.name == "promise"), None)
    if promise is not None and limit is not None and kept is not False:
        labels = counted(promise.n, "label leaves", "labels leave")
        rate = f"{labels} an error of {share(promise.low)} to {share(promise.high)} possible"
        text += (
            f" The promise, an error of at most {share(limit)}, is kept: {rate}."
            if kept
            else (f" Whether the promise, an error of at most {share(limit)}, is kept cannot be told: {rate}.")
        )
    elif promise is None and limit is not None:
        why = next(part.remark for part in parts if part.name == "promise")
        text += f" The promise was not looked at: {why}."
    said = {"promise", *(NEED_LABELS if blind else ())}
    idle = [f"{part.title} ({part.remark})" for part in parts if part.remark and part.name not in said]
    idle.sort(key=lambda told: not told.startswith("calibration"))  # of the first few, which are all that is shown
    if idle:
        more = f", and {len(idle) - 4} more" if len(idle) > 4 else ""
        text += f" Not looked at: {', '.join(idle[:4])}{more}."
    return text


def _header(policy: Policy) -> dict[str, Any]:
    manifest = policy.manifest or {}
    return {
        "stages": policy.stages,
        "models": manifest.get("models"),
        "promise": manifest.get("promise"),
        "currency": manifest.get("currency"),
        "expected": manifest.get("expected"),
    }
