"""The model's likelihood again, query by query in plain loops: SciPy's and pyvinecopulib's formulas.

Nothing of the package but where the segments lie, how a signal is standardised and which atoms have an offset.
"""

from functools import lru_cache

import numpy as np
import pyvinecopulib as pv
from scipy import integrate, optimize, stats

from bayescascade.signals.kinds import to_signal

# --- masses of a margin's segments -------------------------------------------------------------------------------


def plain_masses(name, margin, split):
    """Mass of each segment under one column's splits of a margin model's tree."""
    if name == "polya_tree":
        weight = plain_leaf_weights(margin, split)
        in_leaf = [sum(margin.count[margin.leaf == leaf]) for leaf in margin.leaf]
        mass = [
            weight[leaf] * n / total for leaf, n, total in zip(margin.leaf, margin.count, in_leaf, strict=True)
        ]
    else:
        free = [i for i in range(len(margin.low)) if margin.low[i] < margin.high[i]]
        mass = stick_masses(margin, free, split, bernstein_shapes(margin, free))
    np.testing.assert_allclose(sum(mass), 1.0, rtol=1e-9)
    return np.asarray(mass)


def plain_ranks(margin, signals):
    """Rank below and up to each signal that was seen, by counting; None where too few were seen.

    A continuous signal stands in the middle of its equals.
    """
    seen = [x for x in signals if not np.isnan(x)]
    if len(seen) < 0.95 * len(signals):
        return None
    found = {}
    for x in set(seen):
        low, high = (sum(y < x for y in seen) / len(seen), sum(y <= x for y in seen) / len(seen))
        i = plain_segment(margin, x)
        found[x] = (low, high) if margin.low[i] == margin.high[i] else ((low + high) / 2, (low + high) / 2)
    return found


def plain_leaf_weights(margin, split):
    """Weight of each leaf of the tree, from the root down."""
    weights = []
    for leaf in range(8):
        weight, node = 1.0, 0
        for level in (4, 2, 1):
            right = bool(leaf & level)
            if margin.split_used[node]:
                weight *= 1 - split[node] if right else split[node]
            node = 2 * node + 1 + right
        weights.append(weight if leaf in margin.leaf else 0.0)
    return weights


def stick_masses(margin, free, split, shapes):
    """Break a stick for the bottom atom, the top atom, the atoms between and each shape of the continuous part."""
    n = len(margin.low)
    atoms = [i for i in range(n) if i not in free]
    bottom, top = [i for i in atoms if i == 0], [i for i in atoms if i == n - 1 > 0]
    groups = [bottom, top, [i for i in atoms if i not in bottom + top]]
    parts = []
    for number, group in enumerate(groups):
        if group:
            shape = np.zeros(n)
            shape[group] = margin.count[group] / sum(margin.count[group])
            parts.append((number, shape))
    parts += [(len(groups) + k, shape) for k, shape in enumerate(shapes) if free]
    mass, left = np.zeros(n), 1.0
    for number, shape in parts[:-1]:
        mass += left * split[number] * shape
        left *= 1 - split[number]
    return mass + left * parts[-1][1]


def over_intervals(margin, free, cdf):
    """What a distribution function gives to each interval, normalised."""
    mass = np.zeros(len(margin.low))
    mass[free] = cdf(margin.high[free]) - cdf(margin.low[free])
    return mass / sum(mass)


def bernstein_shapes(margin, free, n_kernels=8):
    """Beta kernels over a logistic distribution that is cut to the range of the intervals."""
    if not free:
        return []
    weight = margin.count[free] / sum(margin.count[free])
    middle = (margin.low[free] + margin.high[free]) / 2
    centre = sum(weight * middle)
    spread = np.sqrt(sum(weight * (middle - centre) ** 2))
    base = stats.logistic(centre, max(spread / stats.logistic.std(), 1e-9))
    least, most = base.cdf(min(margin.low[free])), base.cdf(max(margin.high[free]))
    return [
        over_intervals(
            margin, free, lambda x, k=k: kernel_cdf(k, n_kernels, (base.cdf(x) - least) / (most - least))
        )
        for k in range(1, n_kernels + 1)
    ]


def kernel_cdf(k, n, x):
    return stats.beta(k, n + 1 - k).cdf(x)


# --- signals ---------------------------------------------------------------------------------------------------


def plain_segment(margin, x):
    """Number of the segment that a signal lies in."""
    atoms = margin.low[margin.low == margin.high]
    for i, (low, high) in enumerate(zip(margin.low, margin.high, strict=True)):
        # a value on the edge of two intervals belongs to the upper one, unless it is an atom
        if low == high == x or (low <= x < high and x not in atoms):
            return i
    raise AssertionError(f"{x} lies in no segment")


def plain_place(margin, mass, x):
    """F just below x, F at x, log of the density or the mass at x, and whether x is an atom."""
    i = plain_segment(margin, x)
    low, high, m, total = margin.low[i], margin.high[i], mass[i], sum(mass[:i])
    if low == high:
        return total, total + m, np.log(m), True
    at = total + m * (x - low) / (high - low)
    return at, at, np.log(m / (high - low)), False


def debye(theta):
    return integrate.quad(lambda t: t / np.expm1(t), 0, theta)[0] / theta


def joe_tau(theta):
    """1 + 4 times the integral of the generator over its slope, by s = 1 - t: Nelsen (2006), section 5.1.2."""

    def ratio(s):
        return (1 - s**theta) * np.log1p(-(s**theta)) / (theta * s ** (theta - 1))

    return 1 + 4 * integrate.quad(ratio, 0, 1, epsabs=1e-12, epsrel=1e-12)[0]


@lru_cache
def parameter(family, tau):
    """Textbook parameter of a family with a given Kendall's tau."""
    if family == "gumbel":
        return 1 / (1 - tau)
    if family == "clayton":
        return 2 * tau / (1 - tau)
    if family == "gaussian":
        return np.sin(np.pi * tau / 2)
    if family == "frank":
        size = optimize.brentq(lambda x: 1 - 4 / x * (1 - debye(x)) - abs(tau), 1e-4, 60, xtol=1e-13)
        return np.copysign(size, tau)
    return optimize.brentq(lambda x: joe_tau(x) - tau, 1.001, 60, xtol=1e-13)


@lru_cache
def bicop(name, tau):
    base, rotated = name.removesuffix("_180"), name.endswith("_180")
    return pv.Bicop(
        getattr(pv.families, base), rotation=180 if rotated else 0, parameters=np.array([[parameter(base, tau)]])
    )


def plain_pair(before, here, tau, name):
    """Log of p(here | before) over p(here), from pyvinecopulib's C, c and h-functions."""
    if name == "independence":
        return 0.0
    vine = bicop(name, float(tau))

    def c(u, v):
        if min(u, v) <= 0:
            return 0.0
        return min(u, v) if max(u, v) > 1 - 1e-12 else float(vine.cdf(np.array([[u, v]]))[0])

    def h(u, v):  # P(U <= u | V = v)
        return 0.0 if u <= 0 else 1.0 if u > 1 - 1e-12 else float(vine.hfunc2(np.array([[u, v]]))[0])

    (u_low, u_high, u_mass, u_atom), (v_low, v_high, v_mass, v_atom) = before, here
    if u_atom and v_atom:
        mass = c(u_high, v_high) - c(u_low, v_high) - c(u_high, v_low) + c(u_low, v_low)
        return np.log(mass) - u_mass - v_mass
    if u_atom:
        return np.log(h(u_high, v_high) - h(u_low, v_high)) - u_mass
    if v_atom:  # all families are exchangeable
        return np.log(h(v_high, u_high) - h(v_low, u_high)) - v_mass
    return np.log(float(vine.pdf(np.array([[u_high, v_high]]))[0]))


def task_numbers(log):
    """Number of each query's task, in order of appearance; all 0 where a log has no tasks."""
    if "task" not in log.coords:
        return np.zeros(log.sizes["query"], dtype=int)
    names = list(dict.fromkeys(log["task"].values))
    return np.array([names.index(t) for t in log["task"].values])


def plain_signals(log, margins, mass, tau, families):
    """Log-likelihood of the signals of each query.

    ``mass`` is a list over columns, ``tau`` is (task, link), ``families`` one name for each link.
    """
    signal, task = to_signal(log["confidence"].values, log.attrs["confidence_kind"]), task_numbers(log)
    n_stages = signal.shape[1]
    out = np.zeros(len(signal))
    for i, row in enumerate(signal):
        first = task[i] * n_stages
        for j, x in enumerate(row):
            if np.isnan(x):
                continue
            here = plain_place(margins[first + j], mass[first + j], x)
            out[i] += here[2]
            if j > 0 and np.isfinite(row[j - 1]):
                before = plain_place(margins[first + j - 1], mass[first + j - 1], row[j - 1])
                out[i] += plain_pair(before, here, tau[task[i], j - 1], families[j - 1])
    return out


# --- labels and costs --------------------------------------------------------------------------------------------


def plain_z(scaling, x):
    return min(max((x - scaling.centre) / scaling.scale, scaling.floor), scaling.ceiling)


def plain_curve(z, knots, bend):
    """From 0 to z along a curve whose slope in the piece between two knots is the exponential of its bend."""
    edges, total = [-np.inf, *knots, np.inf], 0.0
    for low, high, b in zip(edges[:-1], edges[1:], bend, strict=True):
        overlap = max(0.0, min(high, max(z, 0.0)) - max(low, min(z, 0.0)))
        total += np.sign(z) * overlap * np.exp(b)
    return total


def plain_chance(scalings, j, x, values):
    """P(correct) at column ``j`` of signal ``x``."""
    scaling = scalings[j]
    z = plain_z(scaling, x)
    curve = plain_curve(z, scaling.knots, values["bend"][j]) if "bend" in values else z
    logit = values["intercept"][j] + np.exp(values["log_slope"][j]) * curve
    for atom, offset in zip(scaling.atoms, values["atom_offset"][j], strict=True):
        if x == atom:
            logit += offset
    return 1 / (1 + np.exp(-logit))


def plain_labels(log, scalings, values):
    """Log-likelihood of the labels of each query; ``values`` run over columns."""
    signal, task = to_signal(log["confidence"].values, log.attrs["confidence_kind"]), task_numbers(log)
    out = np.zeros(len(signal))
    for i, j in zip(*np.nonzero(np.isfinite(log["correct"].values)), strict=True):
        column = task[i] * signal.shape[1] + j
        chance = plain_chance(scalings, column, signal[i, j], values)
        out[i] += np.log(chance if log["correct"].values[i, j] == 1 else 1 - chance)
    return out
