"""Draws made by hand: margins and scalings of simulated signals, parameters from wide ranges, no sampler."""

from dataclasses import replace

import numpy as np
from scipy.special import wrightomega

from bayescascade.model.calibration import N_ATOMS, N_PIECES, build_scaling, get_calibration
from bayescascade.model.copulas.family import get_family
from bayescascade.model.design import signal_bounds
from bayescascade.model.margins.segments import Margin, build_margin
from bayescascade.posterior.draws import Draws
from bayescascade.signals.kinds import to_confidence
from bayescascade.tuning.solution import to_solution
from bayescascade.tuning.spec import TuningSpec
from bayescascade.tuning.tune import tune_draws

PATTERNS = ("no atoms", "top atom", "both atoms", "discrete")
TOP, BOTTOM = 9.0, -7.0


def gumbel_conditional(p, u, tau):
    """Solve P(V <= v | U = u) = p for v in closed form, written again for the tests.

    With x = -log u and a = (x^theta + y^theta)^(1/theta) the equation is
    a + (theta - 1) log a = x + (theta - 1) log x - log p: Wright's omega function.
    """
    theta = 1.0 / (1.0 - tau)
    x = -np.log(u)
    level = (x + (theta - 1.0) * np.log(x) - np.log(p)) / (theta - 1.0)
    a = (theta - 1.0) * wrightomega(level - np.log(theta - 1.0))
    y = a * np.maximum(-np.expm1(theta * np.log(x / a)), 0.0) ** (1.0 / theta)
    return np.exp(-y)


def redraw_atoms(draws, stage, u, rng):
    """Draw u anew within each atom: the signals are a Markov chain, so the next stage sees the value alone."""
    edge, u = draws.edges()[0, stage], u.copy()
    for segment in np.flatnonzero(draws.margins[stage].is_atom):
        inside = (u > edge[segment]) & (u <= edge[segment + 1])
        u[inside] = rng.uniform(edge[segment], edge[segment + 1], inside.sum())
    return u


def gumbel_chain(tau, n, rng):
    """Uniforms (query, stage) of a Markov chain with Gumbel links (link,), without atoms."""
    u = [rng.uniform(size=n)]
    for t in tau:
        u.append(gumbel_conditional(rng.uniform(size=n), u[-1], t))
    return np.stack(u, axis=1)


def make_signals(n_stages, pattern, n, rng):
    """Signals (query, stage) and the confidence kind they are of."""
    u = gumbel_chain(np.full(n_stages - 1, 0.4), n, rng)
    if pattern == "discrete":
        return np.ceil(6 * u) / 6, "votes"
    signal = np.log(u) - np.log1p(-u)
    if pattern in ("top atom", "both atoms"):
        signal[u > 0.65] = TOP
    if pattern == "both atoms":
        signal[u < 0.2] = BOTTOM
    return signal, "score"


def make_draws(n_stages=3, pattern="no atoms", *, n_draws=1, n_queries=285, seed=1, **options):
    """Draws around one simulated log; masses are a Bayesian bootstrap of the segments' counts."""
    rng = np.random.default_rng(seed)
    signal, kind = make_signals(n_stages, pattern, n_queries, rng)
    return draws_around(signal, kind, rng, n_draws=n_draws, **options)


def draws_around(
    signal,
    kind,
    rng,
    *,
    n_draws=1,
    copula="gumbel",
    bootstrap=True,
    calibration="logistic",
    loading=None,
    discrimination=None,
    unanswerable=None,
):
    """Draws whose margins are those of given signals (query, stage); unless bootstrapped, just as observed.

    ``copula`` is one name, or a name for each link. Queries have a difficulty where ``loading`` is given, each a
    number or one for each stage; ``unanswerable`` is a share.
    """
    n_stages, step = signal.shape[1], np.arange(signal.shape[1])
    bounds = signal_bounds(kind)
    margins = [build_margin(x, discrete=kind == "votes", bounds=bounds) for x in signal.T]
    mass = np.zeros((n_draws, n_stages, max(len(m.low) for m in margins)))
    for j, margin in enumerate(margins):
        observed = margin.count / margin.count.sum()
        mass[:, j, : len(margin.low)] = rng.dirichlet(margin.count, size=n_draws) if bootstrap else observed
    draws = Draws(
        stages=[f"s{j}" for j in step],
        kind=kind,
        families=[get_family(str(name)) for name in np.broadcast_to(copula, n_stages - 1)],
        margins=margins,
        scalings=[build_scaling(x, m) for x, m in zip(signal.T, margins, strict=True)],
        mass=mass,
        tau=np.clip(rng.normal(0.45, 0.06, (n_draws, n_stages - 1)), 0.05, 0.9),
        calibration=get_calibration(calibration),
        curve={
            "intercept": 0.2 + 0.7 * step + rng.normal(0.0, 0.15, (n_draws, n_stages)),
            "slope": np.exp(rng.normal(0.3, 0.15, (n_draws, n_stages))),
            "atom_offset": rng.normal(0.0, 0.3, (n_draws, n_stages, N_ATOMS)),
        },
        cost=3.0**step * np.exp(rng.normal(0.0, 0.05, (n_draws, n_stages))),
        chains=np.arange(1),
    )
    draws = with_curve(draws, **calibration_of(calibration, n_draws, n_stages, rng))
    if unanswerable is not None:
        draws = replace(draws, unanswerable=np.full((n_draws, 1), unanswerable))
    return draws if loading is None else with_difficulty(draws, loading, discrimination, rng)


def with_difficulty(draws, loading, discrimination, rng=None):
    """Draws of queries that have a difficulty; with ``rng``, several draws differ a little."""
    shape = draws.mass.shape[:2]
    vary = np.ones((2, *shape)) if rng is None else np.exp(rng.normal(0.0, 0.1 * (draws.n > 1), (2, *shape)))
    loading, discrimination = (np.broadcast_to(x, shape).astype(float) for x in (loading, discrimination))
    loading = loading * vary[0] / (1.0 - loading + loading * vary[0])  # on the scale of the logit
    return replace(draws, loading=loading, discrimination=discrimination * vary[1])


def with_curve(draws, **values):
    """Draws with other values (draw, stage, ...) of some of the calibration's variables."""
    return replace(draws, curve=draws.curve | values)


def calibration_of(calibration, n_draws, n_stages, rng):
    """What a calibration adds to the variables of the logistic one."""
    if calibration == "monotone":
        return {"bend": rng.normal(0.0, 0.5, (n_draws, n_stages, N_PIECES))}
    return {}


def refine(draws, parts):
    """Cut each continuous segment into ``parts`` of equal mass: the same distribution on a finer grid."""
    margins, cuts = [], []
    for margin in draws.margins:
        n = np.where(margin.is_atom, 1, parts)
        index, at = np.repeat(np.arange(len(n)), n), np.concatenate([np.arange(m) / m for m in n])
        width = (margin.high - margin.low)[index]
        low = margin.low[index] + at * width
        high = np.where(margin.is_atom[index], low, low + width / n[index])
        margins.append(Margin(low, high, margin.leaf[index], margin.count[index] / n[index], margin.split_used))
        cuts.append((index, n[index]))
    mass = np.zeros((draws.n, len(margins), max(len(m.low) for m in margins)))
    for j, (index, n) in enumerate(cuts):
        mass[:, j, : len(index)] = draws.mass[:, j, index] / n
    return replace(draws, margins=margins, mass=mass)


def signals_at(draws, stage, u):
    """Quantile function of the first draw's margin at one stage."""
    return draws.take(slice(1)).quantile(stage, u[None])[0]


def random_thresholds(draws, n_points, rng):
    """Thresholds (point, stage) at random quantiles of the first draw's margins, the last -inf."""
    levels = rng.uniform(0.1, 0.9, (n_points, len(draws.stages)))
    signal = np.stack([signals_at(draws, j, levels[:, j]) for j in range(len(draws.stages))], axis=1)
    out = to_confidence(signal, draws.kind)
    out[:, -1] = -np.inf
    return out


def tune_by_hand(draws, *, stages=(), **goal):
    """What `tune` returns for draws made by hand, the model believed: with all stages, or as `tune` takes them."""
    spec, stages = TuningSpec(**goal), draws.stages if stages == () else stages
    return to_solution(tune_draws(draws, spec, stages=stages), spec)
