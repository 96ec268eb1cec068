"""`report_tasks`: one page about many tenants, those that need a look first."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from bayescascade._common.files import check_path, whole_file
from bayescascade.checks.convergence import MAX_RHAT
from bayescascade.checks.results import CONSEQUENCES, OTHERWISE
from bayescascade.display.format import per_thousand, share
from bayescascade.errors import CascadeError, call
from bayescascade.reporting.report import page_at, pages
from bayescascade.reporting.tables import Table
from bayescascade.tenants.fit_tasks import FITTED, TenantFits
from bayescascade.tenants.record import Record
from bayescascade.tenants.tune_tasks import COLUMNS, OUT_OF_REACH, PROMISED
from bayescascade.tuning.solution_text import promised


def report_tasks(
    fits: TenantFits | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    policies: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a page about the fits, and the policies, of many tenants: one HTML file that needs no network.

    Examples
    --------
    >>> import bayescascade as bc
    >>> bc.report_tasks("fits", "tenants.html", policies="policies")  # doctest: +SKIP

    Parameters
    ----------
    fits : TenantFits or path
        As `fit_tasks` returns them, or the folder that it wrote to.
    path : path
        The page; what was there is replaced.
    policies : path, optional
        The folder that `tune_tasks` wrote to.

    Returns
    -------
    Path
        The page. It begins with the tenants that need a look, each with its reasons: no fit, a sampler that did
        not converge, failed checks, or a goal out of reach. A table of all tenants follows.

    Raises
    ------
    CascadeError
        For a folder without fits, or without policies; a place that cannot be written.
    """
    check_path(path, "the page")
    known = fits if isinstance(fits, TenantFits) else TenantFits.open(fits)
    tuned = None if policies is None else _policies(policies)
    target = page_at(path)
    template = pages().get_template("tenants.html.j2")
    with whole_file(target, "the page") as part:
        part.write_text(template.render(_story(known.table, tuned)), encoding="utf-8")
    return target


def _policies(folder: str | os.PathLike[str]) -> pd.DataFrame:
    check_path(folder, "the policies")
    record = Record(Path(folder))
    if not record.rows:
        raise CascadeError(f"there are no policies of tenants in {folder}; make some with " + call("tune_tasks"))
    return record.table(sorted(record.rows), COLUMNS)


def _story(fits: pd.DataFrame, tuned: pd.DataFrame | None) -> dict[str, Any]:
    """What the template asks for."""
    reasons = {str(name): _reasons(row, _of(tuned, name)) for name, row in fits.iterrows()}
    look = [(name, why) for name, why in reasons.items() if why]
    counts = [("Tenants", str(len(fits))), ("Fitted", str(int((fits["status"] == FITTED).sum())))]
    if tuned is not None:
        counts.append(("With a policy", str(int((tuned["status"] == PROMISED).sum()))))
    counts.append(("Need a look", str(len(look))))
    return {
        "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "counts": counts,
        "look": look,
        "table": _table(fits, tuned),
    }


def _of(tuned: pd.DataFrame | None, name: Any) -> pd.Series | None:
    return None if tuned is None or name not in tuned.index else tuned.loc[name]


def _reasons(fit: pd.Series, tuned: pd.Series | None) -> list[str]:
    """Why a tenant needs a look; nothing where it needs none."""
    if fit["status"] != FITTED:
        return [f"It has no fit: {fit['notes']}"]
    why = []
    if fit["rhat"] > MAX_RHAT or fit["divergences"] > 0:
        found = [f"R-hat is {fit['rhat']:.3f}"] if fit["rhat"] > MAX_RHAT else []
        found += [f"{int(fit['divergences'])} transitions diverged"] if fit["divergences"] > 0 else []
        why.append(f"The sampler did not converge: {' and '.join(found)}. Fit it with more draws.")
    for name in filter(None, str(fit["failed_checks"] or "").split(", ")):
        why.append(f"Check failed: {name}. That is, {CONSEQUENCES.get(name, OTHERWISE)}.")
    if tuned is not None and tuned["status"] != PROMISED:
        reason = "Its goal is out of reach" if tuned["status"] == OUT_OF_REACH else "It could not be tuned"
        why.append(f"{reason}: {tuned['notes']}")
    return why


def _table(fits: pd.DataFrame, tuned: pd.DataFrame | None) -> Table:
    columns = ["tenant", "queries", "labelled", "failed checks"]
    if tuned is not None:
        columns += ["error (90% interval)", "cost per 1,000 queries (90% interval)", "goal kept", "accept from"]
    rows = []
    for name, fit in fits.iterrows():
        sizes = ["" if pd.isna(fit[key]) else f"{int(fit[key]):,}" for key in ("queries", "labelled")]
        row = [str(name), *sizes, str(fit["failed_checks"] or "") if fit["status"] == FITTED else "no fit"]
        if tuned is not None:
            row += _told(_of(tuned, name))
        rows.append(row)
    return Table(columns, rows)


def _told(tuned: pd.Series | None) -> list[str]:
    """Error, cost, the promise and thresholds of a tenant; empty where it was not tuned."""
    if tuned is None or pd.isna(tuned["error"]):
        return ["", "", "", ""]
    amounts = [
        f"{show(tuned[name])} ({show(tuned[f'{name}_low'])} to {show(tuned[f'{name}_high'])})"
        for name, show in (("error", share), ("cost", per_thousand))
    ]
    kept = "" if pd.isna(tuned["kept"]) else promised(float(tuned["kept"]))
    return [*amounts, kept, str(tuned["thresholds"])]
