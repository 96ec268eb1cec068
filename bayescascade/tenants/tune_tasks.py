"""`tune_tasks`: thresholds for each of many tenants, and a policy file for each that reaches the goal."""

from __future__ import annotations

import inspect
import os
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayescascade._common.arrays import tail_probabilities
from bayescascade._common.cluster import connected
from bayescascade._common.files import check_path, read_whole
from bayescascade._common.messages import listed
from bayescascade.display.format import CI_PROB
from bayescascade.errors import PACKAGE, CascadeError, CascadeWarning
from bayescascade.posterior.storage import load_fit
from bayescascade.runtime.policy import Policy
from bayescascade.tenants.cluster import run_jobs
from bayescascade.tenants.fit_tasks import ALONE, TenantFits
from bayescascade.tenants.record import FAILED, Record, digest, file_name
from bayescascade.tuning.answer import threshold_rows
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.tune import tune

PROMISED, OUT_OF_REACH = "promised", "out of reach"
COLUMNS = (
    *("status", "error", "error_low", "error_high", "cost", "cost_low", "cost_high", "kept"),
    *("failed_checks", "thresholds", "notes", "file"),
)


@dataclass(frozen=True)
class TuneJob:
    """What a worker is to do for one tenant: tune a fit, which travels as its file does."""

    tenant: str
    fit: bytes
    goal: Mapping[str, Any]


def tune_tasks(
    fits: TenantFits | str | os.PathLike[str],
    folder: str | os.PathLike[str] = "policies",
    *,
    client: Any = None,
    workers: int = 2,
    **goal: Any,
) -> pd.DataFrame:
    """Choose thresholds for each of many tenants, and write a policy file for each.

    Examples
    --------
    >>> import bayescascade as bc
    >>> table = bc.tune_tasks("fits", "policies", max_error=0.2)  # doctest: +SKIP
    >>> table[["status", "error", "cost", "kept", "failed_checks"]]  # doctest: +SKIP

    Parameters
    ----------
    fits : TenantFits or path
        As `fit_tasks` returns them, or the folder that it wrote to.
    folder : path
        Folder for the policies. If it already has policies of these fits for this goal, the run continues from
        there.
    client, workers
        As for `fit_tasks`.
    **goal
        As for `tune`: ``max_error``, ``error_price``, ``prob``, ...

    Returns
    -------
    DataFrame
        By tenant: ``status`` (promised; out of reach, where no thresholds keep the limits and no policy is
        written; failed), the expected ``error`` and ``cost`` with 90% intervals, ``kept`` (probability that the
        limits hold, NaN without any), ``failed_checks`` of the fit, ``thresholds`` in words, ``notes``, and the
        ``file`` of the policy. It is written to ``tenants.csv``, too.

    Raises
    ------
    CascadeError
        For a bad goal, a folder without fits, a scheduler that does not answer, or a disk that is full; what was
        done by then is kept.

    Warns
    -----
    CascadeWarning
        Where tenants have no policy.
    """
    check_path(folder, "the policies")
    folder = Path(folder)
    known = fits if isinstance(fits, TenantFits) else TenantFits.open(fits)
    _check_goal(goal)
    if not known.fitted:
        raise CascadeError(f"no tenant in {known.folder} has a fit; the table says why")
    record = Record.make(folder)
    if os.path.samefile(folder, known.folder):  # what is known of fits would be replaced by what is of policies
        raise CascadeError(f"{folder} is the folder of the fits; name another one for the policies")
    jobs: dict[str, Any] = {}
    digests: dict[str, str] = {}
    for name in known.fitted:
        content = (known.folder / str(known.table.loc[name, "file"])).resolve()  # workers may stand elsewhere
        digests[name] = digest([*_state(content), goal])
        if not record.is_done(name, digests[name]):
            jobs[name] = (name, content, goal)

    def keep(name: str, found: tuple[dict[str, Any], Policy | None] | str) -> None:
        row: dict[str, Any] = {"tenant": name, "digest": digests[name], "file": ""}
        if isinstance(found, str):
            record.add(row | {"status": FAILED, "notes": found})
            return
        told, policy = found
        if policy is not None:
            row["file"] = f"{file_name(name)}.json"
            policy.save(folder / row["file"])
        record.add(row | told | {"failed_checks": known.table.loc[name, "failed_checks"] or ""})

    if jobs:
        with connected(client, workers, "work for many tenants") as cluster:
            run_jobs(cluster, tune_one, jobs, keep, load=_loaded)
    table = record.table(known.fitted, COLUMNS)
    record.write_table(table)
    lacking = table[table["file"] == ""]
    if len(lacking):
        warnings.warn(
            f"{len(lacking)} of {len(table)} tenants have no policy: {listed(lacking.index)}. The table says why.",
            CascadeWarning,
            skip_file_prefixes=PACKAGE,
        )
    return table


def _loaded(job: tuple[str, Path, Mapping[str, Any]]) -> TuneJob:
    """A job with its fit, read when it is sent: few fits are in memory at once."""
    name, path, goal = job
    return TuneJob(name, read_whole(path, "the fit"), goal)


def _check_goal(goal: Mapping[str, Any]) -> None:
    allowed = set(inspect.signature(tune).parameters) - {"fit"}
    for name in goal:
        if name not in allowed:
            raise CascadeError(f"there is no goal {name!r}; there are {listed(sorted(allowed))}")
    TuningSpec(**{name: value for name, value in goal.items() if name != "stages" and value is not None})


def _state(fit: Path) -> tuple[int, int]:
    """Size and time of a file, which tell whether it has changed."""
    try:
        found = os.stat(fit)
    except OSError as error:
        raise CascadeError(f"{fit} cannot be read: {error.strerror or error}") from None
    return found.st_size, found.st_mtime_ns


def tune_one(job: TuneJob) -> tuple[dict[str, Any], Policy | None]:
    """Tune one tenant's fit, on a worker: what the table says of it, and its policy if the goal is met."""
    with ALONE:
        return _tune_one(job)


def _tune_one(job: TuneJob) -> tuple[dict[str, Any], Policy | None]:
    row: dict[str, Any] = {}
    with warnings.catch_warnings(record=True) as caught, tempfile.TemporaryDirectory() as place:
        warnings.simplefilter("always", CascadeWarning)
        try:
            path = Path(place, "fit.nc")
            path.write_bytes(job.fit)
            solution = tune(load_fit(path), **job.goal)
        except CascadeError as error:
            return {"status": FAILED, "notes": error.message}, None
    tails = tail_probabilities(CI_PROB)
    for name in ("error", "cost"):
        draws = getattr(solution, name).values
        low, high = np.quantile(draws, tails)
        row |= {name: float(draws.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}
    row |= {
        "status": PROMISED if solution.feasible else OUT_OF_REACH,
        "kept": float(solution.kept),
        "thresholds": ", ".join(f"{stage}: {t}" for stage, t, *_ in threshold_rows(solution)),
    }
    notes = [] if solution.feasible else [solution.text]
    notes += [str(w.message) for w in caught if issubclass(w.category, CascadeWarning)]
    return row | {"notes": " ".join(notes)}, solution.to_policy() if solution.feasible else None
