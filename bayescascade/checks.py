"""Criticism: is the fit to be believed?"""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayescascade._checks.evidence import gather
from bayescascade._checks.labels import check_calibration, check_cascade, check_own_signal
from bayescascade._checks.results import CheckResult, CheckResults
from bayescascade._checks.sampling import check_convergence, check_loo
from bayescascade._checks.signals import check_links, check_margins, check_markov

__all__ = ["CheckResult", "CheckResults", "check"]

_CHECKS = (
    check_convergence,
    check_margins,
    check_calibration,
    check_links,
    check_markov,
    check_own_signal,
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
    ['convergence', 'margins', 'calibration', 'links']
    >>> checks["cascade"].passed is None  # no thresholds were given
    True

    Parameters
    ----------
    fit : xarray.DataTree
    thresholds : array-like or DataArray, optional
        (stage,) or (point, stage) on the raw confidence scale: compare their error and cost, too.
    random_seed : int
        Replicates and randomised atoms are the same for the same seed.

    Returns
    -------
    CheckResults
        In this order: convergence, margins, calibration, links, markov, own signal, loo, cascade. ``passed``
        of each is True, False, or None where it could not be computed; limits are at the 1% level, shared
        among the stages or links of a check.

    Raises
    ------
    CascadeError
        For what is not a fit, or thresholds of the wrong length.
    """
    evidence = gather(fit)
    results = [run(evidence, np.random.default_rng([random_seed, i])) for i, run in enumerate(_CHECKS)]
    results.append(check_cascade(evidence, thresholds, np.random.default_rng([random_seed, len(_CHECKS)])))
    return CheckResults(results)
