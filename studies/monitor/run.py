"""`monitor`: how often it raises a false alarm when it is looked at after every query, and how soon a true one.

Run from the project's root: ``python -m studies.monitor.run``. Writes ``docs/evidence/monitor.md``. With the variable
MONITOR_RIVALS set to the Python of an environment with ``mapie`` and ``river``, these run on the same streams.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade.cascade.rules import DecisionRule
from bayescascade.monitoring.betting import log_capital
from bayescascade.monitoring.monitor import served_queries
from bayescascade.monitoring.parts import parts_of
from bayescascade.runtime.policy import Policy
from studies.common.command import Run, parse
from studies.common.logs import DATA, LOGS, pooled
from studies.monitor.streams import GIVEN, STAGES, THRESHOLDS, World, policy_of, served_of

LEVEL, BATCH = 0.05, 50
QUERIES, BEFORE, AFTER = 2_000, 300, 2_000
LOG_SIZES = (100, 300, 1_000)
DETECTORS = [f"{name} on {of}" for of in ("error", "confidence") for name in ("ADWIN", "Page-Hinkley")]
RIVALS = ["RiskMonitoring on errors", *DETECTORS]

SHIFTS: dict[str, World] = {
    "nothing": World(),
    "queries harder by 0.25 sd": World(mix=-0.25),
    "queries harder by 0.5 sd": World(mix=-0.5),
    "queries harder by 1 sd": World(mix=-1.0),
    "confidence of small down 0.5 sd": World(shift=(-0.5, 0.0, 0.0)),
    "confidence of medium up 0.5 sd": World(shift=(0.0, 0.5, 0.0)),
    "correlation of small and medium 0.6 to 0": World(rho=(0.0, 0.6)),
    "log odds of a right answer down 0.5": World(skill=(-0.5, -0.5, -0.5)),
    "log odds of a right answer down 1": World(skill=(-1.0, -1.0, -1.0)),
    "price of small up 20%": World(price=(1.2, 1.0, 1.0)),
    "latency of large up 50%": World(slow=(1.0, 1.0, 1.5)),
}


class Stream:
    """A policy with its log, and what it served."""

    def __init__(self, policy: Policy, log: xr.Dataset, served: xr.Dataset) -> None:
        self.policy, self.log, self.served = policy, log, served


def looked_at(streams: Sequence[Stream], seeds: Sequence[int]) -> pd.DataFrame:
    """For each stream and part, the log of the most capital and where the part's alarm came first, or -1."""
    parts = []
    for stream, seed in zip(streams, seeds, strict=True):
        rows = served_queries(stream.policy, stream.served)[1]
        parts.append(parts_of(stream.policy, rows, LEVEL, seed=seed))
    payoff = np.stack([np.stack([part.payoff for part in row], axis=1) for row in parts], axis=1)
    capital = log_capital(payoff, np.stack([np.stack([part.prior for part in row]) for row in parts]))
    needed = np.log(len(parts[0]) / LEVEL)
    out = []
    for i, row in enumerate(parts):
        for j, part in enumerate(row):
            won = capital[:, i, j]
            at = int(np.argmax(won >= needed)) if won.max() >= needed else -1
            out.append({"stream": i, "part": f"{part.name} {part.of}", "most": won.max(), "at": at, "k": len(row)})
    return pd.DataFrame(out)


def simulated(n_log: int, worlds: Sequence[tuple[World, int]], seed: int, labels: float = 1.0) -> Iterator[Stream]:
    rng = np.random.default_rng(seed)
    for _ in range(BATCH):
        log = World().log(n_log, rng)
        policy = policy_of(log)
        yield Stream(policy, log, served_of(policy, [world.log(n, rng) for world, n in worlds], labels))


def at_medians(log: xr.Dataset, kind: str) -> tuple[list[float], float]:
    """Thresholds at the medians of a log's confidences, and its error there."""
    thresholds = [*np.nanmedian(log["confidence"].values, axis=0)[:-1], -np.inf]
    rule = DecisionRule.from_any(thresholds, [str(s) for s in log["stage"].values], kind)
    return thresholds, float(rule.apply(log["confidence"].values).loss(1.0 - log["correct"].values).mean())


def real(name: str, n_log: int, seed: int) -> Iterator[Stream]:
    """A real log in an order by lot: some queries to tune on, the others served. Thresholds are at the medians.

    The limit is a hundredth above the error, as what is left of a log may err a little more than the whole.
    """
    whole = pooled(name, tuple(range(LOGS[name].n_stages))).transpose("query", "stage")
    thresholds, error = at_medians(whole, LOGS[name].kind)
    rng = np.random.default_rng(seed)
    for _ in range(BATCH):
        order = whole.isel(query=rng.permutation(whole.sizes["query"]))
        log, rest = order.isel(query=slice(n_log)), order.isel(query=slice(n_log, n_log + QUERIES))
        policy = policy_of(log, thresholds, error + 0.01)
        yield Stream(policy, log, served_of(policy, [rest]))


def other_queries(reference: str, then: str, seed: int) -> Iterator[Stream]:
    """A real change: queries of one benchmark, and after some of them those of another, with the same models."""
    first, second = (pooled(name, tuple(range(LOGS[name].n_stages))) for name in (reference, then))
    first, second = first.transpose("query", "stage"), second.transpose("query", "stage")
    thresholds, error = at_medians(first, LOGS[reference].kind)
    rng = np.random.default_rng(seed)
    for _ in range(BATCH):
        order = first.isel(query=rng.permutation(first.sizes["query"])[: 300 + BEFORE])
        new = second.isel(query=rng.permutation(second.sizes["query"])[:1_000])
        policy = policy_of(order.isel(query=slice(300)), thresholds, error + 0.01)
        logs = [part.drop_vars([v for v in part.coords if v not in ("query", "stage")]) for part in (order, new)]
        logs = [part.drop_vars([v for v in part if v not in ("confidence", "correct", "cost")]) for part in logs]
        yield Stream(policy, order, served_of(policy, [logs[0].isel(query=slice(300, None)), logs[1]]))


def rivals(streams: Sequence[Stream]) -> pd.DataFrame:
    """What the packages named in `RIVALS` say of the first stage's confidences and of the errors."""
    python = os.environ.get("MONITOR_RIVALS")
    if python is None:
        return pd.DataFrame(columns=["stream", "method", "at"])
    held: dict[str, Any] = {"limit": GIVEN["max_error"]}
    for name in ("log_confidence", "log_wrong", "confidence", "wrong"):
        held[name] = []
    rule = DecisionRule.from_any(THRESHOLDS, STAGES, "score")
    for stream in streams:
        for prefix, log in (("log_", stream.log), ("", stream.served)):
            confidence, correct = log["confidence"].values, np.nan_to_num(log["correct"].values)
            held[f"{prefix}confidence"].append(confidence[:, 0])
            held[f"{prefix}wrong"].append(rule.apply(confidence).loss(1.0 - correct)[0])
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "streams.npz"), Path(folder, "out.csv")
        np.savez(source, **held)
        script = Path(__file__).with_name("rivals.py")
        subprocess.run([python, str(script), str(source), str(target)], check=True)
        return pd.read_csv(target)


# ---- cells


def false_alarms(run: Run, streams: int) -> pd.DataFrame:
    rows = run.rows(("case", "n_log", "batch"), name="monitor_false", text=["case"])
    names = [name for name in LOGS if LOGS[name].has_test] if DATA.is_dir() and not run.quick else []
    cases: list[tuple[str, int]] = [("simulated", n) for n in LOG_SIZES] + [("every tenth labelled", 300)]
    cases += [(name, 300) for name in names]
    cases += [("simulated, other seeds", 300)]
    queries = 200 if run.quick else QUERIES
    for i, (case, n_log) in enumerate(cases[:1] if run.quick else cases):
        for batch in range(max(1, streams // BATCH)):
            if (case, n_log, batch) in rows:
                continue
            seed = 1_000 * (i + 1) + batch
            if case in names:
                held = list(real(case, n_log, seed))
            else:
                held = list(simulated(n_log, [(World(), queries)], seed, 0.1 if "tenth" in case else 1.0))
            found = looked_at(held, range(seed * BATCH, seed * BATCH + BATCH))
            rows.add((case, n_log, batch), found.to_dict("records"))
        print(case, n_log, flush=True)
    return rows.table


def delays(run: Run, streams: int) -> pd.DataFrame:
    rows = run.rows(("shift", "batch"), name="monitor_delay", text=["shift", "part"])
    after = 200 if run.quick else AFTER
    names = (
        list(SHIFTS)[:1] if run.quick else [*SHIFTS, *(["mmlu.llama to medmcqa.llama"] if DATA.is_dir() else [])]
    )
    for i, shift in enumerate(names):
        for batch in range(max(1, streams // BATCH)):
            if (shift, batch) in rows:
                continue
            seed = 100_000 + 1_000 * i + batch
            if shift in SHIFTS:
                held = list(simulated(300, [(World(), BEFORE), (SHIFTS[shift], after)], seed))
                others = rivals(held).rename(columns={"method": "part"})
            else:
                reference, then = shift.split(" to ")
                held = list(other_queries(reference, then, seed))
                others = pd.DataFrame(columns=["stream", "part", "at"])
            found = looked_at(held, range(seed * BATCH, seed * BATCH + BATCH))
            both = pd.concat([found, others.assign(most=0.0, k=0)] if len(others) else [found])
            rows.add((shift, batch), both.to_dict("records"))
        print(shift, flush=True)
    return rows.table


# ---- the page


def false_table(table: pd.DataFrame) -> str:
    lines = [
        "| streams of | queries in the log | streams | any alarm, level 5% | standard error | any alarm, level 20% |"
    ]
    lines.append("|---|---|---|---|---|---|")
    for (case, n_log), rows in table.groupby(["case", "n_log"], sort=False):
        over = rows.assign(over=rows["most"] - np.log(rows["k"])).groupby(["batch", "stream"])["over"].max()
        at_level = (over >= -np.log(LEVEL)).mean()
        error = np.sqrt(at_level * (1.0 - at_level) / len(over))
        lines.append(
            f"| {case} | {n_log} | {len(over)} | {at_level:.1%} | {error:.1%} | {(over >= -np.log(0.2)).mean():.1%} |"
        )
    return "\n".join(lines)


def parts_table(table: pd.DataFrame) -> str:
    """Of each part alone: how often its capital ever reached twenty."""
    rows = table[(table["case"] == "simulated") & (table["n_log"] == 300)]
    share = (rows["most"] >= np.log(20.0)).groupby(rows["part"], sort=False).mean()
    lines = ["| part | share of streams in which its capital ever reached 20 |", "|---|---|"]
    return "\n".join([*lines, *(f"| {part} | {value:.1%} |" for part, value in share.items())])


def delay_table(table: pd.DataFrame) -> str:
    lines = [
        "| what moves | found | median delay | the first part to alarm | false before |",
        "|---|---|---|---|---|",
    ]
    for shift, rows in table[~table["part"].isin(RIVALS)].groupby("shift", sort=False):
        alarms = rows[rows["at"] >= 0].sort_values("at").groupby(["batch", "stream"]).first()
        n = len(rows.groupby(["batch", "stream"]))
        true = alarms[alarms["at"] >= BEFORE]
        first = true["part"].value_counts(normalize=True)
        named = ", ".join(f"{part.strip()} {share:.0%}" for part, share in first.head(2).items())
        lines.append(
            f"| {shift} | {len(true) / n:.0%} | {median_delay(true['at'], n)} | {named} | {(alarms['at'] < BEFORE).sum() / n:.1%} |"
        )
    return "\n".join(lines)


def rival_table(table: pd.DataFrame) -> str:
    """Found, and the median delay, by method; for `monitor` by all parts, and by its promise alone at the same level."""
    shown = [
        shift for shift in table["shift"].unique() if shift == "nothing" or "harder" in shift or "odds" in shift
    ]
    if not table["part"].isin(RIVALS).any():
        return "The rivals were not run: set MONITOR_RIVALS."
    lines = ["| what moves | method | found | median delay | false before |", "|---|---|---|---|---|"]
    for shift in shown:
        rows = table[table["shift"] == shift]
        n = len(rows[["batch", "stream"]].drop_duplicates())
        ours = rows[~rows["part"].isin(RIVALS)]
        found = {"monitor": ours[ours["at"] >= 0].groupby(["batch", "stream"])["at"].min()}
        for method in RIVALS:
            mine = rows[(rows["part"] == method) & (rows["at"] >= 0)]
            found[method] = mine.set_index(["batch", "stream"])["at"]
        for method, at in found.items():
            true = at[at >= BEFORE]
            lines.append(
                f"| {shift} | {method} | {len(true) / n:.0%} | {median_delay(true, n)} | {(at < BEFORE).sum() / n:.0%} |"
            )
    return "\n".join(lines)


def median_delay(at: pd.Series, n: int) -> str:
    """The median over all streams, in which those that found nothing waited for ever."""
    delay = np.sort(np.concatenate([at.to_numpy(dtype=float) - BEFORE + 1.0, np.full(n - len(at), np.inf)]))
    middle = delay[n // 2]
    return f"{middle:.0f}" if np.isfinite(middle) else f"over {AFTER:,}"


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("monitor", __doc__, argv, replications=1_000)
    streams = BATCH if run.quick else run.replications
    false = false_alarms(run, streams)
    late = delays(run, streams // 5 if not run.quick else BATCH)
    page = Path(__file__).with_name("page.md").read_text(encoding="utf-8")
    tables = {"false": false_table, "parts": parts_table}
    text = page.format(
        **{name: make(false) for name, make in tables.items()},
        delay=delay_table(late),
        rivals=rival_table(late),
        n=streams,
        n_delay=max(BATCH, streams // 5),
        queries=f"{QUERIES:,}",
        before=BEFORE,
        after=f"{AFTER:,}",
    )
    run.write(text)


if __name__ == "__main__":
    main()
