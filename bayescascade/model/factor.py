"""The likelihood of whole queries that share one latent number, how easy the query is; PyTensor and NumPy.

theta ~ N(0, 1) is the *ease* of a query, minus its difficulty, so that loadings and discriminations come out
positive; both are bounded below by zero, so that theta has no mirror image. Given theta

* the conditional rank of a signal is h(u | theta) = Phi((Phi^-1(u) - loading theta) / (1 - loading^2)^(1/2)), the
  link of a Gaussian factor copula (Krupskii & Joe 2013, doi:10.1016/j.jmva.2013.05.001);
* the conditional ranks of consecutive stages are tied by the pair copula of their link;
* the logit of P(correct) has discrimination times theta added to it, as in item response theory.

A share of all queries is *unanswerable*: every stage gets them wrong, whatever its confidence, because the
question has no answer or the reference is itself wrong. Signals do not tell which these are.

Where a stage ran for nearly all queries, u is the signal's observed rank and not its rank under the margin being
sampled (the pseudo-likelihood of Genest, Ghoudi & Rivest 1995, doi:10.1093/biomet/82.3.543). The margin's
posterior then is that of its own signals. Taken jointly, a copula that does not fit bends the margins until it
does, and with them the share of queries that a threshold accepts. A stage that ran for some queries only has no
observed ranks.

theta is integrated out with fixed nodes. Their axis follows that of rows; in NumPy one over draws may follow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bayescascade.model.complete import LABEL_NODE, LABEL_WEIGHT, complete_logp, halves, nodes, scale_given_ease
from bayescascade.model.copulas import gaussian
from bayescascade.model.copulas.family import get_family, log_rectangle, log_strip
from bayescascade.model.copulas.namespace import MASS_MIN, NUMPY
from bayescascade.model.options import Structure

# A trapezoid rule: its error falls like exp(-2 pi^2 sd^2 / spacing^2), where sd is that of theta given a query, .3
# with four stages and loadings of .85. Gauss-Hermite rules of as many nodes spend half of them on the tails.
# docs/evidence/quadrature.md has the measurements.
N_NODES, _REACH = 17, 3.8


def trapezoid(n: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes at equal distances from -reach to reach, and the logs of their normal weights, which add up to one."""
    node = np.linspace(-reach, reach, n)
    weight = np.exp(-0.5 * node * node)
    return node, np.log(weight / weight.sum())


EASE, LOG_WEIGHT = trapezoid(N_NODES, _REACH)
# What the likelihood reads of both rules: that of patterns, and that of complete queries' labels.
NODES = {"ease": EASE, "log_weight": LOG_WEIGHT, "label_node": LABEL_NODE, "label_weight": LABEL_WEIGHT}
# What a cascade expects is smoother in theta than the density of one query's signals, so fewer nodes do there.
DECISION_EASE, DECISION_LOG_WEIGHT = trapezoid(11, 3.4)


def conditional_rank(u: Any, ease: Any, loading: Any, xp: Any = NUMPY) -> Any:
    """h(u | ease): the probability that a query of that ease has a rank of at most u; arguments broadcast."""
    return gaussian.normal_cdf(conditional_score(gaussian.normal_score(u, xp), ease, loading), xp)


def conditional_score(score: Any, ease: Any, loading: Any) -> Any:
    """The normal score of h(u | ease), given that of u; arguments broadcast."""
    scale = scale_given_ease(loading)
    return (score - loading * ease) * scale


def conditional_density(u: Any, ease: Any, loading: Any) -> Any:
    """Density of ranks u of queries of that ease, the derivative of `conditional_rank`; NumPy only."""
    scale = scale_given_ease(loading)
    z = gaussian.normal_score(u, NUMPY)
    return scale * NUMPY.exp(0.5 * (z**2 - ((z - loading * ease) * scale) ** 2))


def rank_of_conditional(v: Any, ease: Any, loading: Any, xp: Any = NUMPY) -> Any:
    """The rank u at which h(u | ease) = v, the inverse of `conditional_rank`."""
    rest = ((1.0 - loading) * (1.0 + loading)) ** 0.5
    return gaussian.normal_cdf(loading * ease + rest * gaussian.normal_score(v, xp), xp)


def query_logp(
    log_mass: Any,
    tau: Any,
    loading: Any,
    discrimination: Any,
    unanswerable: Any,
    logit: Any,
    data: dict[str, Any],
    structure: Structure,
    xp: Any,
) -> Any:
    """Log-likelihood of each query's signals and labels together (query,).

    ``log_mass`` is (column, cell), ``tau`` (link,), ``loading`` and ``discrimination`` (column,), ``unanswerable``
    (task,), and ``logit`` (label,) the logit of P(correct) at ease 0 of a query that can be answered. ``data`` has
    the arrays of `query_rows` and `complete`, and the nodes, ``ease`` and ``log_weight``, ``label_node`` and
    ``label_weight``. The margin's density of a row is a factor by itself, and its rank has one of its own.
    """
    mass = xp.exp(log_mass) * data["cell_used"]
    below = xp.flatten(xp.cumsum(mass, axis=1) - mass)
    log_mass, mass = xp.flatten(log_mass), xp.flatten(mass)

    def scores(name: str, of: Any) -> Any:
        """Normal scores of all points: some are observed, those of the others are of the margin being sampled."""
        cell = data[f"{name}_cell"]
        own = gaussian.normal_score(xp.minimum(below[cell] + mass[cell] * data[f"{name}_place"], 1.0), xp)
        return xp.add_rows(of, data[f"{name}_point"], own)

    given = logit, tau, loading, discrimination, data, structure, xp
    # complete queries, then patterns: log-likelihood if there is an answer, and log density of the signals alone,
    # of those that no stage got right
    logps, failures, by_signals, densities, n = [], [], [], [], 0
    if structure.complete:
        signals, found = complete_logp(scores("complete", data["complete_score"]), *given)
        failed, n = data["complete_failed"], found.shape[0]
        logps, failures, by_signals, densities = [found], [failed], [signals[failed]], [signals]
    if structure.at_nodes:
        signals, found = _atnodes(scores("free", data["point_score"]), *given)
        failed = data["pattern_failed"]
        logps.append(found)
        failures.append(failed + n)
        by_signals.append(xp.log_sum_over(signals[failed], 1.0, 1))
    logp, failed = xp.concatenate(logps), xp.concatenate(failures)
    # all answers of an unanswerable query are wrong for certain, so that its signals alone count
    rate = unanswerable[data["all_task"]]
    more = (xp.log(rate) - xp.log1p(-rate))[failed] + xp.concatenate(by_signals) - logp[failed]
    logp = xp.add_rows(logp + data["all_labelled"] * xp.log1p(-rate), failed, xp.logaddexp(0.0, more))
    margins = (log_mass[data["row_cell"]] + data["row_log_margin"]) * data["row_counts"]
    joint = xp.add_rows(logp[data["query_pattern"]], data["row_query"], margins)
    # of queries that are not of the sample: labels given signals
    query, where = (data["given_signals"][i] for i in (0, 1))
    return xp.add_rows(joint, query, -xp.concatenate([logp, *densities])[where])


def _atnodes(
    score: Any,
    logit: Any,
    tau: Any,
    loading: Any,
    discrimination: Any,
    data: dict[str, Any],
    structure: Structure,
    xp: Any,
) -> tuple[Any, Any]:
    """Of each pattern, the log density of signals at each node (pattern, node), and log-likelihood (pattern,).

    The former has the logs of the weights added to it; the latter is of queries that can be answered.
    """
    lines, terms = _signal_parts(score, tau, loading, data, structure, xp)
    constants, share, shift = _label_parts(logit, discrimination, data, xp)
    line, label, ease = data["pattern_line"], data["pattern_label"], data["ease"]
    pattern, term = (data["pattern_terms"][i] for i in (0, 1))
    constant, linear, square = lines
    constant, linear, square = constant[line].sum(1), linear[line].sum(1), square[line].sum(1)
    signals = nodes(constant) + nodes(linear) * ease + nodes(square) * (ease * ease)
    signals = xp.add_rows(signals + data["log_weight"], pattern, terms[term])
    logp = signals + nodes(constants[label].sum(1)) + nodes(shift[label].sum(1)) * ease
    tilt = xp.exp(-nodes(discrimination) * ease)  # (column, node)
    product: Any = 1.0
    for j in range(structure.n_stages):
        at = label[:, j]
        of = tilt[j] if structure.n_tasks == 1 else tilt[data["pattern_column"][:, j]]
        product = product * (nodes(share[0][at]) + nodes(share[1][at]) * of)
    return signals, xp.log_sum_over(logp, product, 1)


def _label_parts(
    logit: Any, discrimination: Any, data: dict[str, Any], xp: Any
) -> tuple[Any, tuple[Any, Any], Any]:
    """P(label | theta) = exp(constant + shift theta) / (a + b exp(-discrimination theta)), (label,) each.

    No exponential is left for the nodes. The last label is none.
    """
    used, zero = data["used_label"], data["zero"]
    right = data["label_correct"][used]
    against = (1.0 - 2.0 * right) * logit[used]
    above, one, other = halves(against, xp)
    a = xp.concatenate([right * one + (1.0 - right) * other, zero + 1.0])
    b = xp.concatenate([right * other + (1.0 - right) * one, zero])
    shift = (right - 1.0) * discrimination[data["label_column"][used]]
    return xp.concatenate([-above, zero]), (a, b), xp.concatenate([shift, zero])


def _signal_parts(
    score: Any, tau: Any, loading: Any, data: dict[str, Any], structure: Structure, xp: Any
) -> tuple[list[Any], Any]:
    """Coefficients of 1, theta and theta^2 of every line (line,), and every term at every node (term, node).

    ``score`` (point,) has the normal scores of the points' ranks.
    """
    zero = data["zero"]
    # a point's conditional score is level - pull theta
    scale = scale_given_ease(loading)
    column = data["point_column"]
    level, pull = score * scale[column], (loading * scale)[column]

    rho, c = gaussian.parameters(tau, xp)
    rho, c = xp.concatenate([rho, zero]), xp.concatenate([c, zero + 1.0])

    def given(own: Any, before: Any, link: Any) -> tuple[Any, Any]:
        """The score of one point given another at a Gaussian link is a - b theta: a and b (pair,) each."""
        of = rho[link], c[link]
        return tuple((x[own] - of[0] * x[before]) / of[1] for x in (level, pull))  # type: ignore[return-value]

    before, own, link = (data["line"][i] for i in range(3))
    a, b = given(own, before, link)
    constant = 0.5 * (score[own] - a) * (score[own] + a) + xp.log(scale[column][own] / c[link])
    lines = [xp.concatenate([part, zero]) for part in (constant, a * b, -0.5 * b * b)]
    return lines, _terms(level, pull, given, tau, data, structure, xp)


def _terms(
    level: Any,
    pull: Any,
    given: Callable[[Any, Any, Any], tuple[Any, Any]],
    tau: Any,
    data: dict[str, Any],
    structure: Structure,
    xp: Any,
) -> Any:
    """Log-probabilities given theta of all that is not a line (term, node): see `query_rows`."""
    ease = data["ease"]

    def below(point: Any, free: Any, link: Any) -> Any:
        """Probability of less than a point of an atom, given the other side of a Gaussian link (pair, node)."""
        a, b = given(point, free, link)
        return gaussian.normal_cdf(nodes(a) - nodes(b) * ease, xp)

    def scores(of: Any) -> Any:
        return nodes(level[of]) - nodes(pull[of]) * ease

    low, high = (gaussian.normal_cdf(scores(data["atom_ends"][i]), xp) for i in (0, 1))
    none = nodes(data["zero"]) * ease
    alone = xp.log(xp.maximum(high - low, MASS_MIN))
    parts, marginal = [alone], xp.concatenate([alone, none])
    for name in structure.families:
        formulas = get_family(name).formulas
        parameters = formulas.parameters(tau, xp)
        at = _points(name, scores, data, structure.rotated, xp)

        def of_link(link: Any, of: tuple[Any, ...] = parameters) -> tuple[Any, ...]:
            return tuple(nodes(value[link]) for value in of)

        if name == "gaussian":  # whose pairs of continuous rows are lines
            low, high, free, link, before = (data["strip_gaussian"][i] for i in range(5))
            mass = below(high, free, link) - below(low, free, link)
            parts.append(xp.log(xp.maximum(mass, MASS_MIN)) - marginal[before])
            point, free, link, before = (data["tail_gaussian"][i] for i in range(4))
            a, b = given(point, free, link)
            sign = data["tail_sign"]
            mass = gaussian.normal_cdf(nodes(sign * a) - nodes(sign * b) * ease, xp)
            parts.append(xp.log(xp.maximum(mass, MASS_MIN)) - marginal[before])
        else:
            left, right, link = (data[f"free_{name}"][i] for i in range(3))
            parts.append(formulas.logpdf(at(left), at(right), of_link(link), xp))
            low, high, free, link, before = (data[f"strip_{name}"][i] for i in range(5))
            strip = log_strip(formulas, at(low), at(high), at(free), of_link(link), xp)
            parts.append(strip - marginal[before])
        *corners, link, before = (data[f"corner_{name}"][i] for i in range(6))
        parts.append(log_rectangle(formulas, list(map(at, corners)), of_link(link), xp) - marginal[before])
    return xp.concatenate(parts)


def _points(
    name: str, scores: Callable[[Any], Any], data: dict[str, Any], rotated: bool, xp: Any
) -> Callable[[Any], tuple[Any, ...]]:
    """From numbers of a family's points to the points, at every node."""
    if name == "gaussian":
        return lambda index: gaussian.point_of_score(scores(index), xp)
    of = data[f"point_{name}"]
    score = scores(of)
    if rotated:
        score = score * nodes(1.0 - 2.0 * data[f"turned_{name}"])
    points = get_family(name).formulas.point(gaussian.normal_cdf(score, xp), xp)
    return lambda index: tuple(value[index] for value in points)
