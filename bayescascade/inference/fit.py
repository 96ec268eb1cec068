"""`fit`: from a log to a posterior, by way of sampling, of choosing among families, or of an earlier fit."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from bayescascade._common.messages import counted
from bayescascade.errors import PACKAGE, CascadeWarning, Code, bad_value
from bayescascade.inference.deferral_weights import fit_log
from bayescascade.inference.effort import announce
from bayescascade.inference.sampling import SamplerConfig, warn_unconverged
from bayescascade.logs.validate import validate_log
from bayescascade.model.design import Design, build_design
from bayescascade.model.options import Copula, check_options
from bayescascade.model.subsample import MAX_QUERIES, subsample
from bayescascade.posterior.population import with_population


def fit(
    log: xr.Dataset,
    *,
    copula: Copula | None = None,
    margin: str = "polya_tree",
    calibration: str = "logistic",
    difficulty: bool = True,
    population: xr.DataTree | xr.Dataset | None = None,
    previous: xr.DataTree | None = None,
    old_share: float = 1.0,
    max_queries: int = MAX_QUERIES,
    draws: int = 1000,
    tune: int = 200,
    chains: int = 4,
    cores: int | None = None,
    random_seed: int | None = None,
    progressbar: bool = True,
    target_accept: float | None = None,
    log_likelihood: bool | None = None,
) -> xr.DataTree:
    """Sample the posterior of a cascade log.

    Examples
    --------
    >>> import bayescascade as bc
    >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
    >>> dict(fit["posterior"]["tau"].sizes)
    {'chain': 4, 'draw': 1000, 'link': 2}

    Parameters
    ----------
    log : xarray.Dataset
        As `read_log` returns it. With a coordinate ``task`` over query (see `combine_tasks`) the tasks'
        calibration and tau are partially pooled, and `select_task` gives the fit of one task.
    copula : str or sequence of str, optional
        As for `build_model`. Also ``"auto"``: the family of each link with the best expected log predictive
        density by PSIS-LOO, the comparison kept in the group ``comparison``. With ``difficulty`` a family is tried
        at one link at a time, the others Gaussian, and whole queries are left out.
    margin, calibration, difficulty
        As for `build_model`.
    population : xarray.DataTree, optional
        A fit of several tasks, whose population is this log's prior (empirical Bayes), or a fit that was made
        with one. Calibration and links then lean on those tasks, as they do in a fit of all. It is kept in the
        group ``population``, and an update of the fit goes on with it. Stages, ``confidence_kind`` and model have
        to be the population's.
    previous : xarray.DataTree, optional
        An earlier fit, to be updated: ``log`` holds new queries only. Its draws are reweighted by the new queries'
        likelihood (PSIS) and resampled; where that is unreliable (Pareto k-hat above 0.7) it says so and samples
        anew from all queries. Model and number of draws are those of the earlier fit.
    old_share : float
        With ``previous``, the share of the earlier queries to keep, in (0, 1]. Below 1 a random part of them is
        left out and the rest is sampled anew with the new queries, so that old ones count for less.
    max_queries : int
        Of a longer log, so many queries are drawn at random, and so many labelled ones, for the likelihood;
        margins and costs are those of the whole log (see `bayescascade.model.subsample`). At least 100.
    draws, tune, chains, cores, random_seed, progressbar
        As in PyMC. ``random_seed=None`` draws a seed and keeps it in ``fit.attrs["random_seed"]``. A seed gives
        the same draws again in the same process. Elsewhere, with other versions, another processor or an empty
        cache of compiled code, a density's last digit may differ, and with it the draws: what is computed from
        them then agrees within its Monte Carlo error.
    target_accept : float, optional
        Target acceptance rate of NUTS, in (0, 1). By default 0.9, 0.95 for several tasks, and 0.8 without
        ``difficulty``.
    log_likelihood : bool, optional
        Keep log-likelihood values per query, for `arviz.loo`. By default they are kept up to 50 million queries
        times draws: 400 MB, and three times as much without ``difficulty``.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior``, ``sample_stats``, ``log_likelihood`` (``joint`` of each query and, without a
        difficulty, its parts ``signal`` and ``correct``), ``margins``, ``copula``, ``observed_data``,
        ``constant_data``, ``posterior_predictive`` (``confidence`` and ``correct`` of new queries, for 200 draws),
        ``predictions`` (long-run ``error`` and ``cost`` of each stage used alone)
        and ``prior`` (1000 draws of the parameters). Compare fits with ``az.compare({...}, var_name="joint")``,
        look at them with ``az.plot_ppc_dist(fit, var_names=["confidence"])`` and ``az.plot_prior_posterior``.

    Raises
    ------
    CascadeError
        For bad options, or a log that `validate_log` rejects.

    Warns
    -----
    CascadeWarning
        When the log is so small or so one-sided that the prior decides, when the sampler did not converge, and
        when an update had to sample anew.

    Notes
    -----
    A fit that takes more than a minute, or more than half of the machine's memory, says so before it starts: a
    warning of the logger ``bayescascade``.

    References
    ----------
    Hoffman & Gelman (2014), NUTS; Vehtari et al. (2024), PSIS, arXiv:1507.02646.
    """
    if random_seed is None:
        random_seed = int(np.random.default_rng().integers(2**31))
    config = SamplerConfig(draws, tune, chains, cores, random_seed, progressbar, target_accept, log_likelihood)
    if previous is not None:
        if population is not None:
            raise bad_value(
                "population",
                Code("..."),
                "leave it out, or fit all queries together",
                "was given beside an earlier fit, whose priors an update keeps",
            )
        from bayescascade.inference.update import update

        return update(previous, log, config, old_share)
    if old_share != 1.0:
        raise bad_value("old_share", old_share, "give it with previous, or leave it out", "has no earlier queries")
    whole = validate_log(log)
    log = subsample(whole, max_queries, random_seed)
    compared = copula == "auto"
    given = "independence" if compared else copula
    if compared and population is not None:
        raise bad_value(
            "copula", "auto", "name the population's families", "compares families without a population"
        )
    options = check_options(given, margin, calibration, log.sizes["stage"] - 1, difficulty)
    if population is not None:
        options = with_population(options, population, whole)
    design = build_design(log, options, whole=whole)
    _remark(design, log)
    n_queries = int(log.sizes["query"])
    if compared:
        from bayescascade.inference.copula_selection import fit_auto, steps_of_choice

        announce(design, n_queries, config, steps_of_choice(design.options, config))
        tree = fit_auto(log, design.options, config, whole)
    else:
        announce(design, n_queries, config)
        tree = fit_log(design, log, config)
    warn_unconverged(tree)
    return tree


def _remark(design: Design, log: xr.Dataset) -> None:
    """Say where the data are too thin for the posterior to be more than the prior."""
    n = int(log.sizes["query"])
    if n < 10:
        warnings.warn(
            f"the log has {counted(n)}; below 10 the prior dominates the posterior. Label more queries.",
            CascadeWarning,
            skip_file_prefixes=PACKAGE,
        )
    column, correct = design.arrays["label_column"], design.arrays["label_correct"]
    for j, name in enumerate(design.columns):
        here = correct[column == j]
        if not len(here):
            warnings.warn(
                f"stage {name!r}: no answer is labelled, so its calibration is what the other tasks and the prior "
                "say. Label some queries of this stage.",
                CascadeWarning,
                skip_file_prefixes=PACKAGE,
            )
        elif here.min() == here.max():
            every = f"all {len(here)} labelled answers are" if len(here) > 1 else "its one labelled answer is"
            warnings.warn(
                f"stage {name!r}: {every} {'right' if here[0] else 'wrong'}; "
                "its slope is decided by the prior and the other stages. Label more queries of this stage.",
                CascadeWarning,
                skip_file_prefixes=PACKAGE,
            )
        if len(design.margins[j].low) == 1:
            warnings.warn(
                f"stage {name!r}: its confidence is constant and carries no information, so the stage can only "
                "accept everything or nothing. Log a confidence that varies, or leave the stage out.",
                CascadeWarning,
                skip_file_prefixes=PACKAGE,
            )
