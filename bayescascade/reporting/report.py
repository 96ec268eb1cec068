"""The report: one page that says what to set, what it brings, and whether to believe it."""

from __future__ import annotations

import os
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from bayescascade._common.files import whole_file
from bayescascade._common.validation import check_prob
from bayescascade.analysis.label_value import LabelValue
from bayescascade.errors import CascadeError, call, option
from bayescascade.reporting.context import build_context
from bayescascade.tuning.solution import ThresholdSolution

if TYPE_CHECKING:
    from jinja2 import Environment


def report(
    fit: xr.DataTree,
    path: str | os.PathLike[str],
    *,
    solution: ThresholdSolution | None = None,
    log: xr.Dataset | None = None,
    test: xr.Dataset | None = None,
    thresholds: object = None,
    labels: bool | LabelValue = False,
    ci_prob: float = 0.9,
    name: str | None = None,
    currency: str | None = None,
) -> Path:
    """Write a report of a fit: one HTML file that needs no network.

    Examples
    --------
    >>> import bayescascade as bc, pathlib, tempfile
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "report.html"
    >>> bc.report(fit, path, solution=bc.tune(fit, max_error=0.3)).name
    'report.html'

    Parameters
    ----------
    fit : DataTree
    path : path
        Where the page goes; it replaces what was there as a whole.
    solution : ThresholdSolution, optional
        What `tune` returned. Without it, and without ``thresholds``, the page shows what can be had.
    log : Dataset, optional
        Score the frontier's thresholds on this log, the fit's own or another of the same stages, and show the
        points beside the band. The page says which of the two it is.
    test : Dataset, optional
        A log that the fit has not seen: score the chosen thresholds on it, beside the model's interval.
    thresholds : array-like, DataArray (stage,) or Policy, optional
        Thresholds of your own, on the raw confidence scale, in place of a solution.
    labels : bool or LabelValue
        Say what more labels are worth: True asks `label_value`, which takes some minutes; or what it returned. It
        is asked for the solution's limit of the error. For other goals it is asked for the price of an error, or
        for the price at which the thresholds are about best.
    ci_prob : float
        Probability of all intervals and bands, in (0, 1).
    name : str, optional
        Of the log, for the head of the page.
    currency : str, optional
        Of the log's costs, such as ``"USD"``. By default what a policy's manifest says.

    Returns
    -------
    pathlib.Path
        Of the page.

    Raises
    ------
    CascadeError
        When both a solution and thresholds are given, the solution is of another fit, ``log`` or ``test`` is of
        another cascade, ``test`` comes without thresholds or is the log of the fit itself,
        ``labels=True`` without a solution, or the page cannot be written.

    Notes
    -----
    The head of the page is the answer: which stages to run, what that costs, how sure you can be of the error, and
    what failed checks mean for it. Evidence on a test log, the trade-off with an explorer, the checks and the
    provenance follow. The explorer is a little script, which the page's content security policy names by its hash;
    nothing else can run. On paper the page is a brief of two sides.
    """
    check_prob("ci_prob", ci_prob)
    if labels is True and solution is None and thresholds is None:
        raise CascadeError(
            "{} needs to know what an error costs; give a solution, or what {} returns.",
            (option("labels", True), call("label_value")),
            parameter="labels",
            value=True,
        )
    if solution is not None and thresholds is not None:
        raise CascadeError("give a solution or thresholds, not both: a report has one answer.")
    if test is not None and solution is None and thresholds is None:
        raise CascadeError("a test log needs thresholds to be scored: give a solution or thresholds, too.")
    target = page_at(path)
    story = build_context(
        fit,
        solution=solution,
        log=log,
        test=test,
        thresholds=thresholds,
        labels=labels,
        ci_prob=ci_prob,
        name=name,
        currency=currency,
    )
    with whole_file(target, "the report") as part:
        part.write_text(_render(story), encoding="utf-8")
    return target


def page_at(path: str | os.PathLike[str]) -> Path:
    """Where a page goes; `CascadeError` where its folder does not exist."""
    target = Path(path)
    if not os.path.isdir(target.parent):
        raise CascadeError(f"cannot write {target}: the folder {target.parent} does not exist; create it first.")
    return target


def _render(story: dict[str, object]) -> str:
    from markupsafe import Markup

    environment = pages()
    assert environment.loader is not None
    script = environment.loader.get_source(environment, "explorer.js")[0]
    # a browser runs the script with this hash, and no other that might have come in with a name
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(story, script=Markup(script), script_hash=digest)


def pages() -> Environment:
    """The templates of pages, in which all that comes in is text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("bayescascade.reporting", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
