"""Criticism: is the fit to be believed?"""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayescascade.checks.calibration import check_calibration, check_own_signal
from bayescascade.checks.convergence import check_convergence
from bayescascade.checks.dependence import check_dependence
from bayescascade.checks.evidence import gather
from bayescascade.checks.loo import check_loo
from bayescascade.checks.power_scaling import check_sensitivity
from bayescascade.checks.predictive import check_cascade
from bayescascade.checks.results import CheckResult, CheckResults
from bayescascade.checks.signals import check_margins
from bayescascade.checks.update import check_update

__all__ = ["CheckResult", "CheckResults", "check"]

_CHECKS = (
    check_convergence,
    check_margins,
    check_calibration,
    check_dependence,
    check_own_signal,
    check_sensitivity,
    check_loo,
)


def check(fit: xr.DataTree, *, thresholds: object = None, random_seed: int = 0) -> CheckResults:
    """Compare a fit with its own log, part by part.

    Examples
    --------
    >>> import bayescascade as bc
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> checks = bc.check(fit)
    >>> [result.name for result in checks][:4]
    ['convergence', 'margins', 'calibration', 'dependence']
    >>> checks["cascade"].passed is None  # no thresholds were given
    True

    Parameters
    ----------
    fit : xarray.DataTree
    thresholds : array-like or DataArray, optional
        (stage,) or (point, stage) on the raw confidence scale: compare their error and cost, too.
    random_seed : int
        The same seed gives the same replicates and randomised atoms.

    Returns
    -------
    CheckResults
        In this order: convergence, margins, calibration, dependence, own signal, sensitivity, loo, cascade, and
        update where the fit is one.
        ``passed`` of each is True, False, or None if it was skipped. Limits are at the 1% level, shared among the
        stages or pairs of a check. ``plot()`` draws what a check compared.

    Raises
    ------
    CascadeError
        For what is not a fit, or thresholds of the wrong length.

    Notes
    -----
    What each check looks at, and the sources:

    * convergence: R-hat, bulk and tail effective sample sizes (Vehtari et al. 2021, doi:10.1214/20-BA1221),
      divergences, E-BFMI, tree depth.
    * margins: PIT-ECDF with a simultaneous band (Säilynoja et al. 2022, doi:10.1007/s11222-022-10090-6).
    * calibration: score tests of accuracy in bins and near the top, beside what the curve can follow; each atom.
    * dependence: tau and joint tails of each pair of stages, and likelihood of each link against the other
      families (Cox 1962, tests of separate families); the later stage is replicated given all earlier ones.
    * own signal: score test of the previous signal beside what the fit knows.
    * sensitivity: power scaling (Kallioinen et al. 2024, doi:10.1007/s11222-023-10366-5).
    * loo: Pareto k of PSIS-LOO (Vehtari et al. 2024, arXiv:1507.02646).

    * update: right answers, level and spread of the new queries' signals, beside their posterior predictive
      distribution under the fit before the update (Gelman, Meng & Stern 1996).

    ``docs/evidence/check_power.md`` shows how often each fails on logs that break one assumption.
    """
    evidence = gather(fit)
    results = [run(evidence, np.random.default_rng([random_seed, i])) for i, run in enumerate(_CHECKS)]
    results.append(check_cascade(evidence, thresholds, np.random.default_rng([random_seed, len(_CHECKS)])))
    of_update = check_update(evidence)
    return CheckResults([*results, *([] if of_update is None else [of_update])])
