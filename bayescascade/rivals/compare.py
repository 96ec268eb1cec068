"""`compare`: rivals and us on the same logs, learnt from the same queries, measured the same way."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, product

import numpy as np
import xarray as xr

from bayescascade._common.messages import say_if_long, span
from bayescascade.errors import CascadeError, bad_value, in_python, option
from bayescascade.logs.complete import ran_all
from bayescascade.logs.texts import TEXT
from bayescascade.logs.validate import validate_log
from bayescascade.posterior.draws import stage_numbers
from bayescascade.rivals.base import Method
from bayescascade.rivals.cells import Result, Split, Store, key_of, run_cell
from bayescascade.rivals.comparison import Comparison, ResultKey
from bayescascade.rivals.registry import choose

_FOLDS = 5


def compare(
    train: xr.Dataset,
    test: xr.Dataset | None = None,
    *,
    methods: Sequence[str | Method] | None = None,
    n: int | Sequence[int | None] | None = None,
    seeds: int | Iterable[int] | None = None,
    cascades: str | Sequence[Sequence[str]] | None = None,
    n_replicates: int = 200,
    resume: str | os.PathLike[str] | None = None,
    progressbar: bool = True,
) -> Comparison:
    """Compare ways to choose on your own log: area under error against cost on held-out queries.

    Examples
    --------
    >>> import bayescascade as bc
    >>> log = bc.load_example()
    >>> train, test = log.isel(query=slice(0, 200)), log.isel(query=slice(200, None))
    >>> found = bc.compare(train, test, methods=["ascent_raw", "ascent_calibrated", "oracle"], progressbar=False)
    >>> bool(found.data["auc"].sel(rival="oracle") < found.data["auc"].sel(rival="ascent_raw"))
    True

    Parameters
    ----------
    train : xarray.Dataset
        As `read_log` returns it. Only our own methods use queries that miss an answer or a label at some stage.
        Methods that read the query's text need a variable ``prompt`` over query.
    test : xarray.Dataset, optional
        The log on which methods are measured, with every stage run and labelled. Only the oracle sees its labels.
        Without it the complete queries of ``train`` are cross-validated in five folds.
    methods : sequence of str or objects, optional
        Names among `bayescascade.rivals.registry.METHODS`, or objects with ``name`` and
        ``fit(train, random_seed=...)`` that return decisions, see `bayescascade.rivals.base`. By default all
        methods for which the log has the data. Methods for two stages run by default only if every cascade has
        two.
    n : int or None, or a sequence of these
        Number of complete queries to learn from, drawn without replacement; ``None`` for all.
    seeds : int or iterable of int, optional
        Seeds, or how many: of the subset, and of methods that draw. By default one where a test log is given and
        all queries are used, five otherwise. In cross-validation seed s is fold s modulo 5 of split s // 5.
    cascades : "all", or a sequence of stage lists, optional
        Parts of the log's stages to be run as cascades; by default the log as it is.
    n_replicates : int
        Bootstrap samples of the test queries, the same for all methods, behind the intervals.
    resume : path, optional
        Folder in which finished cells are kept (a Parquet file each), so that they are not run again. A cell is
        identified by its data, the method with its options, and the seed.
    progressbar : bool
        Show progress on standard error.

    Returns
    -------
    Comparison
        ``data`` (Dataset over rival, cascade, n, seed), ``table()``, ``plot()``, ``text``.

    Where every call is free, costs are numbers of calls.

    Raises
    ------
    CascadeError
        For logs that miss labels or differ in their stages, unknown methods or stages, or more queries than there
        are.

    References
    ----------
    Zellinger & Thomson (2025), arXiv:2501.09345, for the area; Wilcoxon (1945), doi:10.2307/3001968.
    """
    train, test = validate_log(train), None if test is None else _checked(test)
    if test is not None and list(test["stage"].values) != list(train["stage"].values):
        raise CascadeError(
            f"train has the stages {train['stage'].values.tolist()} but test has {test['stage'].values.tolist()}; "
            "give both with the same stages in the same order."
        )
    if test is not None and test.attrs["confidence_kind"] != train.attrs["confidence_kind"]:
        raise CascadeError(
            f"confidences are of kind {train.attrs['confidence_kind']!r} in train but "
            f"{test.attrs['confidence_kind']!r} in test; read both as the same kind."
        )
    if not isinstance(n_replicates, int | np.integer) or n_replicates < 2:
        raise bad_value("n_replicates", n_replicates, "give a whole number of at least 2")
    if not np.nansum(train["cost"].values):
        train, test = _calls_for_cost(train), None if test is None else _calls_for_cost(test)
    sizes = list(n) if isinstance(n, Sequence) else [n]
    has_text = TEXT in train and (test is None or TEXT in test)
    keeps = _cascades(cascades, [str(s) for s in train["stage"].values])
    chosen = choose(methods, has_text, two_stages=all(len(keep) == 2 for keep in keeps))
    runs = list(_runs(train, test, sizes, seeds, keeps))
    return Comparison.gather(_run_all(runs, chosen, n_replicates, Store(resume), progressbar))


def _run_all(
    runs: list[Split], methods: list[Method], n_replicates: int, store: Store, progressbar: bool
) -> dict[ResultKey, Result]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    cells: dict[ResultKey, Result] = {}
    console, total, start = Console(stderr=True), len(runs) * len(methods), time.monotonic()
    # a bar drawn into a log file is many bars: lines in its place
    lines = progressbar and not console.is_terminal
    with Progress(*columns, console=console, disable=lines or not progressbar) as progress:
        bar = progress.add_task("Comparing", total=total)
        for run, method in product(runs, methods):
            progress.update(bar, description=f"{method.name} ({run.cascade}, n = {run.n})")
            key = key_of(method, run, n_replicates)
            cell = store.get(key)
            if cell is None:
                cell = run_cell(method, run, n_replicates)
                store.put(key, cell)
            cells[ResultKey(method.name, run.cascade, run.n, run.seed)] = cell
            progress.advance(bar)
            done = len(cells)
            if done == len(methods) and not progressbar:
                more = (time.monotonic() - start) * (len(runs) - 1)
                say_if_long("The comparison", more, "Fewer methods, sizes or seeds take less.")
            if lines and (done == total or done % max(total // 10, 1) == 0):
                spent = time.monotonic() - start
                left = f", about {span(spent / done * (total - done))} left" if done < total else ""
                print(f"Comparing: {done} of {total} done in {span(spent)}{left}", file=sys.stderr, flush=True)
    return cells


def _calls_for_cost(log: xr.Dataset) -> xr.Dataset:
    """A log in which every call costs 1: where all are free, what there is to save is calls."""
    return log.assign(cost=log["confidence"].notnull().astype(float))


def _checked(log: xr.Dataset) -> xr.Dataset:
    """A test log, of whole queries."""
    log = validate_log(log)
    lacks = ~ran_all(log)
    if lacks.any():
        raise CascadeError(
            "{} of the {} queries of test miss an answer or a label at some stage; compare measures what every "
            "stage would have answered. Keep the others{}.",
            (int(lacks.sum()), len(lacks), in_python(": log.isel(query=...)")),
        )
    return log


def _cascades(wanted: str | Sequence[Sequence[str]] | None, stages: list[str]) -> list[list[int]]:
    """Stage numbers of each cascade."""
    if wanted is None:
        return [list(range(len(stages)))]
    if isinstance(wanted, str):
        if wanted != "all":
            raise bad_value("cascades", wanted, "give 'all' or lists of stage names", "is not known")
        if len(stages) > 8:
            raise CascadeError(f"all cascades of {len(stages)} stages are too many to run; name some.")
        return [list(keep) for k in range(2, len(stages) + 1) for keep in combinations(range(len(stages)), k)]
    keeps = [sorted(stage_numbers(names, stages)) for names in wanted]
    for names in wanted:
        if len(names) < 2:
            raise bad_value("cascades", list(names), "name two stages or more in each", "is not a cascade")
    if not keeps:
        raise bad_value("cascades", wanted, "give 'all' or lists of stage names", "names no cascade")
    return keeps


def _runs(
    train: xr.Dataset,
    test: xr.Dataset | None,
    sizes: Sequence[int | None],
    seeds: int | Iterable[int] | None,
    keeps: list[list[int]],
) -> Iterator[Split]:
    for size in sizes:
        if size is not None and (not isinstance(size, int | np.integer) or size < 2):
            raise bad_value("n", size, "give whole numbers of at least 2, or " + in_python("None for ") + "all")
        for seed in _seeds(seeds, once=test is not None and size is None):
            learns, judges = (train, test) if test is not None else _fold(train, seed)
            whole = ran_all(learns)
            total = int(whole.sum())
            if not total:
                raise CascadeError(
                    "no query of train ran, and has labelled, every stage, so rivals have nothing to learn from; "
                    "fit and tune do with less."
                )
            if size is not None and size > total:
                raise CascadeError(
                    option("n", size)
                    + f" queries to learn from are more than the {total} there are; ask for fewer.",
                    parameter="n",
                    value=size,
                )
            if size is not None and size < total:
                rows = np.flatnonzero(whole)[np.random.default_rng(seed).choice(total, size, replace=False)]
                learns = learns.isel(query=np.union1d(rows, np.flatnonzero(~whole)))
            for keep in keeps:
                name = "-".join(map(str, keep))
                label = "all" if size is None else str(size)
                yield Split(name, label, seed, learns.isel(stage=keep), judges.isel(stage=keep), learns)


def _seeds(seeds: int | Iterable[int] | None, once: bool) -> list[int]:
    if seeds is None:
        seeds = 1 if once else _FOLDS
    if isinstance(seeds, int | np.integer):
        if seeds < 1:
            raise bad_value("seeds", seeds, "give a positive number of seeds" + in_python(", or the seeds"))
        # all queries, tested on one log: another seed changes nothing but the draws
        return list(range(1 if once else seeds))
    return [int(seed) for seed in seeds]


def _fold(log: xr.Dataset, seed: int) -> tuple[xr.Dataset, xr.Dataset]:
    whole = np.flatnonzero(ran_all(log))
    if len(whole) < 2 * _FOLDS:
        raise CascadeError(
            f"{len(whole)} queries that ran, and have labelled, every stage are too few to cross-validate in "
            f"{_FOLDS} folds; give a test log."
        )
    order = np.random.default_rng(seed // _FOLDS).permutation(whole)
    judges = np.sort(order[seed % _FOLDS :: _FOLDS])
    return log.isel(query=np.setdiff1d(np.arange(log.sizes["query"]), judges)), log.isel(query=judges)
