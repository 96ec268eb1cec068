"""`fit_tasks`: a fit for each of many tenants, on a cluster, each written as it is done."""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import threading
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade._common.cluster import connected
from bayescascade._common.files import check_path
from bayescascade._common.messages import listed, show
from bayescascade.checks.suite import check
from bayescascade.errors import PACKAGE, CascadeError, CascadeWarning, bad_value, call, option
from bayescascade.inference.fit import fit
from bayescascade.inference.sampling import SamplerConfig, convergence
from bayescascade.posterior.population import population_of
from bayescascade.posterior.storage import load_fit, packed, write_packed
from bayescascade.tenants.cluster import run_jobs
from bayescascade.tenants.pool import earlier, first_pass
from bayescascade.tenants.pool import file_of as pool_file
from bayescascade.tenants.record import FAILED, Record, digest, file_name
from bayescascade.tenants.sources import ROWS, Tenant, find_tenants

FITTED = "fitted"
COLUMNS = (
    *("status", "queries", "labelled", "rhat", "divergences", "failed_checks", "notes"),
    *("seconds", "worker", "file"),
)
# what warns in a process is not known by thread, so a worker with several does one job after the other
ALONE = threading.Lock()
# of the arguments of `fit`
_NOT_EACH = {"log", "population", "previous", "old_share", "cores", "progressbar", "random_seed"}


@dataclass(frozen=True)
class TenantFits:
    """The fits of many tenants in a folder.

    Examples
    --------
    >>> import bayescascade as bc
    >>> fits = bc.fit_tasks({"law": bc.load_example()}, "fits", random_seed=1)  # doctest: +SKIP
    >>> fits.fit("law")  # doctest: +SKIP

    Attributes
    ----------
    folder : Path
        With a netCDF for each tenant, ``tenants.jsonl`` and ``tenants.csv``.
    table : DataFrame
        By tenant: ``status`` (fitted, failed), ``queries`` and ``labelled`` ones, ``rhat`` and ``divergences``,
        ``failed_checks``, ``notes`` (what was warned of, or why it failed), ``seconds`` and ``worker``, ``file``.
    """

    folder: Path
    table: pd.DataFrame

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> TenantFits:
        """What is in a folder that `fit_tasks` wrote to.

        Raises
        ------
        CascadeError
            Where there is no such folder.
        """
        check_path(folder, "the fits")
        record = Record(Path(folder))
        if not record.rows:
            raise CascadeError(f"there are no fits of tenants in {folder}; make some with " + call("fit_tasks"))
        return cls(Path(folder), record.table(sorted(record.rows), COLUMNS))

    @property
    def fitted(self) -> list[str]:
        """Tenants that have a fit."""
        return [str(name) for name in self.table.index[self.table["status"] == FITTED]]

    @property
    def failed(self) -> pd.Series:
        """Why tenants have none, by tenant."""
        return self.table.loc[self.table["status"] == FAILED, "notes"]

    def fit(self, tenant: str) -> xr.DataTree:
        """The fit of one tenant; `CascadeError` where there is none."""
        if tenant not in self.fitted:
            raise CascadeError(f"tenant {show(tenant)} has no fit; there are fits of {listed(self.fitted)}")
        return load_fit(self.folder / str(self.table.loc[tenant, "file"]))

    def first_pass(self) -> xr.DataTree:
        """The joint fit whose population is the prior of all; `CascadeError` where fits are independent.

        A tenant who comes later can be fitted under it: ``bc.fit(log, population=fits.first_pass())``.
        """
        path = pool_file(self.folder)
        if path is None:
            raise CascadeError(
                "the fits in {} are independent; pool them with {}.", (str(self.folder), option("pool", 8))
            )
        return load_fit(path)


@dataclass(frozen=True)
class Job:
    """What a worker is to do for one tenant."""

    tenant: Tenant
    digest: str
    seed: int
    options: Mapping[str, Any]
    checks: bool
    population: xr.Dataset | None = None


def fit_tasks(
    logs: Any,
    folder: str | os.PathLike[str],
    *,
    by: str = "task",
    client: Any = None,
    workers: int = 2,
    pool: int | None = None,
    checks: bool = True,
    confidence_kind: str | None = None,
    cost: str | Mapping[Any, float] = "cost",
    stages: Any = None,
    grades: Mapping[str, float | None] | None = None,
    pass_mark: float | None = None,
    random_seed: int = 0,
    **options: Any,
) -> TenantFits:
    """Fit each of many tenants, on a Dask cluster, and write each fit as it is done.

    Examples
    --------
    >>> import bayescascade as bc
    >>> log = bc.combine_tasks({name: bc.simulate(80) for name in ["law", "medicine"]})
    >>> fits = bc.fit_tasks(log, "fits")  # doctest: +SKIP
    >>> fits.table[["queries", "rhat", "failed_checks"]]  # doctest: +SKIP

    In a script it stands below ``if __name__ == "__main__":``, because workers are processes that start afresh.

    Parameters
    ----------
    logs : Dataset, mapping, path, pattern, folder, list of paths or DataFrame
        A log with the coord ``by`` over query (see `combine_tasks`); a log or a path for each tenant; or a table
        with a column ``by``, in Parquet or CSV, best in a folder for each tenant: ``logs/tenant=acme/1.parquet``.
    folder : path
        Folder for the fits. If it already has fits of these logs with these options, the run continues from there:
        tenants that are fitted and whose logs have not changed are skipped.
    by : str
        Coord or column that names the tenants.
    client : distributed.Client or str, optional
        A client, or the address of a scheduler, such as ``"tcp://10.0.0.1:8786"``. By default a cluster of worker
        processes on this machine, of one thread each.
    workers : int
        Number of processes on this machine, without a ``client``.
    pool : int, optional
        Fit this many tenants together first, drawn at random by the seed. This gives a prior for a further tenant,
        and every tenant is then fitted alone under it (empirical Bayes). By default fits are independent.
    checks : bool
        Run `check` on each fit.
    confidence_kind, cost, stages, grades, pass_mark
        As for `read_log`, where logs are read from files.
    random_seed : int
        Each tenant has a seed of its own, made of this and of its name: the same on any worker, in any order.
    **options
        As for `fit`: ``copula``, ``draws``, ``difficulty``, ... With ``log_likelihood=True`` files keep the
        values of each query, several times as much as all the rest.

    Returns
    -------
    TenantFits
        If a tenant could not be fitted, the table says why, and so does a warning.

    Raises
    ------
    CascadeError
        For bad options, logs that cannot be told apart by tenant, a scheduler that does not answer, or a disk
        that is full; what was done by then is kept.

    Notes
    -----
    The first pass of a pooled run is done in this process, and kept in the folder as ``pool=8.nc``. A run that
    continues takes its priors from there, even if logs have changed or tenants were added. A run that asks for
    another first pass is refused. Tenants of the first pass are also fitted alone, under priors that have seen
    their logs, as is usual in empirical Bayes. So their own data count a little more than once.

    Each worker compiles the model once for all tenants with the same number of stages, or finds it in the disk
    cache. If a worker is lost, another one does its job. Fits come back to this process and are written here, so
    workers need no shared disk for them. If ``logs`` are files, all workers have to see them.
    """
    check_path(folder, "the fits")
    folder = Path(folder)
    _check_options(options, random_seed)
    record = Record.make(folder)
    reading = {"confidence_kind": confidence_kind, "cost": cost, "stages": stages}
    reading |= {"grades": grades, "pass_mark": pass_mark}
    passed = digest([pool, reading, options, random_seed])
    joint = earlier(folder, pool, passed)
    tenants = find_tenants(logs, by, reading, folder)
    jobs: dict[str, Job] = {}

    def keep(name: str, found: tuple[dict[str, Any], bytes] | str) -> None:
        row: dict[str, Any] = {"tenant": name, "digest": jobs[name].digest, "file": ""}
        if isinstance(found, str):
            record.add(row | {"status": FAILED, "notes": found})
            return
        told, content = found
        if content:
            row["file"] = f"{file_name(name)}.nc"
            write_packed(content, folder / row["file"])
        record.add(row | told)

    try:
        if pool is not None and joint is None:
            joint = first_pass(tenants, pool, folder, passed, _seed_of(random_seed, ""), fit, options)
        population = None if joint is None else population_of(joint)
        for tenant in tenants:
            hangs_on = [tenant.digest, reading, options, random_seed, checks]
            asked = digest(hangs_on if joint is None else [*hangs_on, passed, joint.attrs["data_hash"]])
            if not record.is_done(tenant.name, asked):
                seed = _seed_of(random_seed, tenant.name)
                jobs[tenant.name] = Job(tenant, asked, seed, options, checks, population)
        if jobs:
            with connected(client, workers, "work for many tenants") as cluster:
                run_jobs(cluster, fit_one, jobs, keep, load=_as_it_is)
    finally:
        shutil.rmtree(folder / ROWS, ignore_errors=True)
    table = record.table([tenant.name for tenant in tenants], COLUMNS)
    record.write_table(table)
    fits = TenantFits(folder, table)
    if len(fits.failed):
        first = fits.failed.index[0]
        warnings.warn(
            f"{len(fits.failed)} of {len(table)} tenants could not be fitted (first: {show(first)}: "
            f"{str(fits.failed.iloc[0]).rstrip('.')}). The table says why of each; mend their logs and run again.",
            CascadeWarning,
            skip_file_prefixes=PACKAGE,
        )
    return fits


def _as_it_is(job: Job) -> Job:
    return job


def _check_options(options: Mapping[str, Any], random_seed: int) -> None:
    allowed = set(inspect.signature(fit).parameters) - _NOT_EACH
    for name in options:
        if name not in allowed:
            raise CascadeError(
                f"there is no option {name!r} of fits of many tenants; there are {listed(sorted(allowed))}"
            )
    if not isinstance(random_seed, int | np.integer) or random_seed < 0:
        raise bad_value("random_seed", random_seed, "give a whole number, at least 0")
    how = ("draws", "tune", "chains", "target_accept")
    SamplerConfig(**{name: options[name] for name in how if name in options})


def _seed_of(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4]) // 2


def fit_one(job: Job) -> tuple[dict[str, Any], bytes]:
    """Read, fit and check one tenant, on a worker: what the table says of it, and the file of its fit."""
    with ALONE:
        return _fit_one(job)


def _fit_one(job: Job) -> tuple[dict[str, Any], bytes]:
    start = time.perf_counter()
    row: dict[str, Any] = {"status": FITTED, "worker": str(os.getpid())}
    content, notes = b"", []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CascadeWarning)
        try:
            log = job.tenant.read()
            row |= {
                "queries": int(log.sizes["query"]),
                "labelled": int(log["correct"].notnull().any("stage").sum()),
            }
            how: dict[str, Any] = {"cores": 1, "progressbar": False, "random_seed": job.seed}
            posterior = fit(log, population=job.population, **how, **job.options)
            found = convergence(posterior)
            row |= {"rhat": float(found["rhat"]), "divergences": int(found["divergences"])}
            if job.checks:
                failed = [result.name for result in check(posterior) if result.passed is False]
                row["failed_checks"] = ", ".join(failed)
            if not job.options.get("log_likelihood") and "log_likelihood" in posterior.children:
                del posterior["log_likelihood"]
            posterior.attrs["tenant"] = job.tenant.name
            content = packed(posterior)
        except CascadeError as error:
            row |= {"status": FAILED}
            notes = [error.message]
    notes += [str(w.message) for w in caught if issubclass(w.category, CascadeWarning)]
    row |= {"notes": " ".join(notes), "seconds": round(time.perf_counter() - start, 2)}
    return row, content
