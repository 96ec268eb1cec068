"""The commands that write, what they are given, and how what they make is read as whole.

`fit`, `fit-tasks` and `demo` take a fit that is ready: what is interrupted is their reading, their own work and
their writing. The models that `run` asks are functions.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout
from functools import wraps
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import xarray as xr

import bayescascade as bc
from bayescascade.checks.results import CheckResults
from bayescascade.rivals.cells import Result, Store
from bayescascade.runtime.reply import Reply
from studies.common.command import ROOT
from studies.faults.harness import Command, Reader, fresh, run_here
from studies.monitor.streams import World, policy_of, served_of

N_QUERIES, N_PROMPTS = 60, 40
TENANTS = ("acme", "bolt", "cord")


def read_page(path: Path) -> str:
    """A page, to its end."""
    return _ending(path, "</html>")


def read_picture(path: Path) -> str:
    """A picture, to its end."""
    return _ending(path, "</svg>")


def read_sql(path: Path) -> str:
    """A rule in SQL, to the end of its expression."""
    return _ending(path, "END AS cascade_decision")


def read_json(path: Path) -> Any:
    """What `verify` or `monitor` found."""
    return json.loads(path.read_text(encoding="utf-8"))["exit_code"]


def _ending(path: Path, end: str) -> str:
    text = path.read_text(encoding="utf-8")
    if not text.rstrip().endswith(end):
        raise ValueError(f"{path} does not end with {end}")
    return text


def read_log(path: Path, n_queries: int = N_QUERIES) -> xr.Dataset:
    """A log of all the queries that were asked for."""
    log = bc.read_log(path, confidence_kind="probability", cost="cost")
    if log.sizes["query"] != n_queries:
        raise ValueError(f"{path} holds {log.sizes['query']} queries")
    return log


def read_responses(path: Path) -> xr.Dataset:
    """The log of the bundled responses."""
    return read_log(path, 300)


def read_decisions(path: Path) -> list[Any]:
    """Calls of `run`: each line is whole, but for the last one, which is cut off when the next run goes on."""
    *lines, _ = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines]


def read_table(path: Path) -> pd.DataFrame:
    """The table of all tenants."""
    table = pd.read_csv(path)
    if set(table["tenant"]) != set(TENANTS):
        raise ValueError(f"{path} holds {len(table)} tenants")
    return table


def _cells(folder: Path) -> set[Path]:
    return {path for path in (folder / "cells").glob("*.parquet") if not path.name.startswith(".")}


def _trouble_of_cells(folder: Path) -> list[str]:
    found = []
    for path in _cells(folder):
        try:
            table = pd.read_parquet(path)
            Result(**table.iloc[0].drop("key").to_dict())
            Store(path.parent)
        except Exception as error:
            found.append(f"{path.name} is no whole cell: {type(error).__name__}: {error}")
    return found


def of_tenants(name: str) -> Callable[[Path], set[Path]]:
    """Files of tenants that a whole line says are done."""

    def kept(folder: Path) -> set[Path]:
        lines = folder / name / "tenants.jsonl"
        whole = lines.read_bytes().split(b"\n")[:-1] if lines.exists() else []
        return {folder / name / json.loads(line)["file"] for line in whole}

    return kept


def files_of(name: str, ending: str, read: Reader) -> dict[str, Reader]:
    each = {f"{name}/{tenant}.{ending}": read for tenant in TENANTS}
    return each | {f"{name}/tenants.csv": read_table}


_SIMULATE = ("simulate", "--queries", str(N_QUERIES), "--seed", "1")
_LOG = ("log.csv", "--kind", "probability")
_RESPONSES = tuple(f"{name}={name}.jsonl.gz" for name in ("small", "medium", "large"))
_READ = (
    *("read", *_RESPONSES, "--labels", "gold.csv", "--grade", "letter", "--signal", "answer_probability"),
    *("--prices", "small=1,medium=5,large=20"),
)
_READ_INPUTS = ("small.jsonl.gz", "medium.jsonl.gz", "large.jsonl.gz", "gold.csv")
COMMANDS = (
    Command("simulate, CSV", (*_SIMULATE, "-o", "new.csv"), {"new.csv": read_log}),
    Command("simulate, Parquet", (*_SIMULATE, "-o", "new.parquet"), {"new.parquet": read_log}),
    Command("read, CSV", (*_READ, "-o", "new.csv"), {"new.csv": read_responses}, _READ_INPUTS),
    Command("read, Parquet", (*_READ, "-o", "new.parquet"), {"new.parquet": read_responses}, _READ_INPUTS),
    Command("fit", ("fit", *_LOG, "--cost", "cost", "--seed", "1", "-o", "new.nc"), {"new.nc": bc.load_fit}),
    Command("tune", ("tune", "fit.nc", "--error-price", "0.01", "-o", "new.json"), {"new.json": bc.Policy.load}),
    Command("report", ("report", "fit.nc", "--policy", "policy.json", "-o", "new.html"), {"new.html": read_page}),
    Command(
        "compare",
        (
            *("compare", *_LOG, "--methods", "grid_search,isotonic_constrained", "--seeds", "2"),
            *("--resume", "cells", "-o", "new.csv", "--plot", "new.svg"),
        ),
        {"new.csv": pd.read_csv, "new.svg": read_picture},
        kept=_cells,
        trouble=_trouble_of_cells,
    ),
    Command(
        "update",
        ("update", "tuned.json", "later.csv", "--fit", "fit.nc", "-o", "new.json", "--fit-output", "new.nc"),
        {"new.nc": bc.load_fit, "new.json": bc.Policy.load},
        ("fit.nc", "later.csv", "tuned.json"),
    ),
    Command("export", ("export", "policy.json", "--to", "sql", "-o", "new.sql"), {"new.sql": read_sql}),
    Command(
        "verify",
        ("verify", "served.json", "served.csv", "--max-error", "0.9", "-o", "new.json"),
        {"new.json": read_json},
        ("served.json", "served.csv"),
    ),
    Command(
        "monitor",
        ("monitor", "served.json", "served.csv", "-o", "new.html"),
        {"new.html": read_page},
        ("served.json", "served.csv"),
    ),
    Command(
        "fit-tasks",
        ("fit-tasks", "tenants.csv", "--kind", "probability", "--seed", "1", "-o", "fits"),
        files_of("fits", "nc", bc.load_fit),
        ("tenants.csv",),
        goes_on=True,
        kept=of_tenants("fits"),
    ),
    Command(
        "demo",
        ("demo", "-o", "new"),
        {
            "new/log.csv": lambda path: read_log(path, 300),
            "new/fit.nc": bc.load_fit,
            "new/policy.json": bc.Policy.load,
            "new/report.html": read_page,
        },
        (),
    ),
    Command(
        "tune-tasks",
        ("tune-tasks", "ready-fits", "--error-price", "0.01", "-o", "policies"),
        files_of("policies", "json", bc.Policy.load),
        ("ready-fits",),
        goes_on=True,
        kept=of_tenants("policies"),
    ),
    Command(
        "run",
        ("run", "policy.json", "prompts.jsonl", "--endpoints", "log.csv", "-o", "new.jsonl"),
        {"new.jsonl": read_decisions},
        ("policy.json", "prompts.jsonl", "log.csv"),
        goes_on=True,
    ),
)


@contextmanager
def prepared(folder: Path, fit: xr.DataTree) -> Iterator[None]:
    """Make the files that the commands read, and load all that they need by running each once.

    Until the end `fit` is what commands get for sampling, in this process and its forks, and it is not checked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_inputs(folder, fit)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with _without_sampling(fit):
            for command in COMMANDS:
                trial = fresh(folder, folder.with_name("loading"), command.inputs)
                said = StringIO()
                with chdir(trial), redirect_stdout(said), redirect_stderr(said):
                    code = run_here(command.arguments)
                if code:
                    raise RuntimeError(f"{command.name} does not run: {said.getvalue()}")
                if command.name == "fit-tasks":  # what tune-tasks reads
                    shutil.copytree(trial / "fits", folder / "ready-fits", dirs_exist_ok=True)
            signal.signal(signal.SIGTERM, handler)  # a new process has none of the command line's
            yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        shutil.rmtree(folder.with_name("loading"), ignore_errors=True)


def _write_inputs(folder: Path, fit: xr.DataTree) -> None:
    bc.save_fit(fit, folder / "fit.nc")
    stages = [str(stage) for stage in fit["observed_data"].to_dataset()["stage"].values]
    thresholds = [0.8] * (len(stages) - 1) + [float("-inf")]
    bc.Policy(stages, thresholds, "probability").save(folder / "policy.json")
    bc.tune(fit, error_price=0.01).to_policy(folder / "tuned.json")
    example = bc.load_example()
    later = example.isel(query=slice(N_QUERIES, N_QUERIES + 20))
    bc.write_log(later.assign_coords(query=later["query"] + 10_000), folder / "later.csv")
    bc.write_log(example.isel(query=slice(N_QUERIES)), folder / "log.csv")
    table = pd.read_csv(folder / "log.csv")
    pd.concat([table.assign(task=name) for name in TENANTS]).to_csv(folder / "tenants.csv", index=False)
    for name in _READ_INPUTS:
        shutil.copy(ROOT / "notebooks" / "responses" / name, folder / name)
    rng = np.random.default_rng(1)
    served = policy_of(World().log(200, rng))
    served.save(folder / "served.json")
    bc.write_log(served_of(served, [World().log(200, rng)]), folder / "served.csv")
    prompts = [json.dumps({"query": f"q{i}", "prompt": "?"}) + "\n" for i in range(N_PROMPTS)]
    (folder / "prompts.jsonl").write_text("".join(prompts), encoding="utf-8")


@contextmanager
def _without_sampling(fit: xr.DataTree) -> Iterator[None]:
    """No sampling, no checks, no other processes, no models: each is another's work, and would take minutes."""

    def one_by_one(client: None, work: Any, jobs: Mapping[str, Any], keep: Any, load: Any) -> None:
        for name, job in jobs.items():
            keep(name, work(load(job)))

    def functions(path: Path, stages: list[str]) -> dict[str, Callable[[object], Reply]]:
        return {name: lambda messages: Reply("B", confidence=0.7, cost=1.0) for name in stages}

    @wraps(bc.fit)  # whose options are looked up
    def ready(*_: object, **__: object) -> xr.DataTree:
        return fit.copy()

    def checked(*_: object, **__: object) -> CheckResults:
        return CheckResults([])

    with ExitStack() as patches:
        patches.enter_context(patch.multiple(bc, fit=ready, check=checked))
        for module in ("fit_tasks", "tune_tasks"):
            place = f"bayescascade.tenants.{module}"
            patches.enter_context(patch(f"{place}.connected", lambda *_: ExitStack()))
            patches.enter_context(patch(f"{place}.run_jobs", one_by_one))
        patches.enter_context(patch.multiple("bayescascade.tenants.fit_tasks", fit=ready, check=checked))
        patches.enter_context(patch("bayescascade.runtime.endpoints_file.load_endpoints", functions))
        yield
