"""`DecisionRule`: thresholds in any form that users give, checked once; and `Route`, what they do to queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np
import xarray as xr

from bayescascade.cascade.forward import split_positions
from bayescascade.cascade.positions import to_positions, to_thresholds, with_last
from bayescascade.errors import CascadeError
from bayescascade.posterior.draws import Draws
from bayescascade.runtime.policy import Policy
from bayescascade.runtime.thresholds import check_accept, check_reject

_BLOCK = 2_000_000  # elements (point, stage, query) at once


class Route(NamedTuple):
    """Routing of queries under decision rules: which stages run, which one answers, who gets no answer.

    Attributes
    ----------
    reach : ndarray of bool (point, stage, query)
        Which stages are called, and so have to be paid for.
    accepted : ndarray of bool (point, stage, query)
        The stage whose answer is returned, at most one for each query.
    abstained : ndarray of bool (point, query), optional
        Which queries are left without an answer; None where no stage ever abstains.
    """

    reach: np.ndarray
    accepted: np.ndarray
    abstained: np.ndarray | None = None

    @property
    def abstained_share(self) -> np.ndarray:
        """Share of the queries that is left without an answer (point,)."""
        return np.zeros(len(self.reach)) if self.abstained is None else self.abstained.mean(axis=1)

    def loss(self, wrong: np.ndarray) -> np.ndarray:
        """``wrong`` (query, stage) at the stage that answers each query, 0 where none does (point, query)."""
        out = np.zeros((len(self.accepted), len(wrong)))
        for j, column in enumerate(wrong.T):
            np.copyto(out, column, where=self.accepted[:, j])
        return out


def route(confidence: np.ndarray, accept: np.ndarray, reject: np.ndarray | None = None) -> Route:
    """Run cascades on confidences (query, stage), by accepting and any rejecting thresholds (point, stage).

    A stage abstains below its rejecting threshold, defers from there to its accepting one, and accepts from that
    on; the last stage defers nothing. A point does not run a stage whose threshold is NaN. A query ends where its
    confidence is NaN: nobody can tell how it goes on.
    """
    value = confidence.T[None]
    defer = value < accept[:, :, None]
    run = ~np.isnan(accept)
    defer[~run] = True  # a stage that is not run passes everything on
    last = accept.shape[1] - 1 - run[:, ::-1].argmax(axis=1)
    defer[np.arange(len(accept)), last] = False
    below = None if reject is None else value < reject[:, :, None]
    if below is not None:
        defer &= ~below
    reach = np.empty_like(defer)
    coming = np.ones((len(accept), len(confidence)), dtype=bool)
    for j in range(defer.shape[1]):
        np.logical_and(coming, run[:, j, None], out=reach[:, j])
        coming &= defer[:, j]
    # who is reached and does not defer is the one where the query ends
    accepted = np.greater(reach, defer, out=defer)
    if below is None:
        return Route(reach, accepted)
    abstained = (accepted & below).any(axis=1)
    accepted &= ~below
    return Route(reach, accepted, abstained)


def route_blocks(confidence: np.ndarray, accept: np.ndarray, reject: np.ndarray | None = None) -> Iterator[Route]:
    """`route` for some points at a time, in memory that does not grow with their number."""
    n = max(1, _BLOCK // confidence.size)
    for i in range(0, len(accept), n):
        yield route(confidence, accept[i : i + n], None if reject is None else reject[i : i + n])


@dataclass(frozen=True, eq=False)
class DecisionRule:
    """Checked thresholds of some points, and the stages that they are for.

    Attributes
    ----------
    stages : list of str
        In the order in which they are called.
    accept : ndarray (point, stage)
        On the raw scale of confidences: a stage accepts from its own on. That of the last stage that a point runs
        is -inf, that of a stage that it does not run is NaN.
    kind : str
        Of confidence, a key of `bayescascade.signals.KINDS`.
    reject : ndarray (point, stage), optional
        A stage abstains below its own, and the query ends there; None where thresholds say nothing of this.
    single : bool
        Whether one vector (stage,) was given, so that results come without a dimension ``point``.
    """

    stages: list[str]
    accept: np.ndarray
    kind: str
    reject: np.ndarray | None = None
    single: bool = False

    @classmethod
    def from_any(cls, thresholds: Any, stages: list[str], kind: str, reject: Any = None) -> DecisionRule:
        """Read and check thresholds in any form: the one place that knows what users give.

        Examples
        --------
        >>> from bayescascade.cascade.rules import DecisionRule
        >>> from bayescascade.runtime.policy import Policy
        >>> policy = Policy(["small", "large"], [0.8, float("-inf")], "probability")
        >>> rule = DecisionRule.from_any(policy, ["small", "middle", "large"], "probability")
        >>> rule.stages, rule.accept.tolist(), rule.single
        (['small', 'large'], [[0.8, -inf]], True)

        Parameters
        ----------
        thresholds : array-like, DataArray, DecisionRule, or what has ``thresholds`` of its own
            (stage,) or (point, stage). A `ThresholdSolution` or a `Policy` stands for its thresholds. In a
            DataArray that names its stages NaN marks those that a point does not run, as `frontier` has them.
        stages : list of str
            The cascade's. Thresholds that name some of them are for these, in their own order.
        kind : str
            Of confidence.
        reject : array-like or DataArray, optional
            (stage,) or (point, stage); by default what ``thresholds`` says.

        Raises
        ------
        CascadeError
            For thresholds of the wrong length, off their scale or with NaN, a last one other than -inf, or
            rejecting thresholds above the accepting ones; for a solution or a policy of other stages, or another
            kind of confidence.
        """
        if isinstance(thresholds, DecisionRule) and reject is None:
            if not set(thresholds.stages) <= set(stages):
                _refuse_names(thresholds.stages, stages)
            return thresholds
        given = getattr(thresholds, "thresholds", thresholds)
        reject = getattr(thresholds, "reject", None) if reject is None else reject
        coord = _names_of(given)
        own = [str(name) for name in getattr(thresholds, "stages", None) or []]
        if not set(own) <= set(stages):
            _refuse_names(own, stages)
        of = getattr(thresholds, "confidence_kind", kind)
        if of != kind:
            raise CascadeError(
                f"the thresholds are for confidences of kind {of!r}, but the log or fit has those of kind "
                f"{kind!r}; bring them to one kind, or tune on confidences of this one."
            )
        names = own or coord
        chosen = names if names and set(names) <= set(stages) else [str(name) for name in stages]
        if coord and coord != chosen:
            _refuse_names(coord, chosen)
        accept = _read_accept(given, chosen)
        low = None if reject is None else _read_reject(reject, chosen, len(np.atleast_2d(accept)))
        single, accept = accept.ndim == 1, np.atleast_2d(accept)
        low = None if low is None else np.broadcast_to(low, accept.shape)
        rule = cls(chosen, accept, kind, low, single)
        for _, part in rule.parts() if coord else [(None, rule)]:
            if not part.stages:
                raise CascadeError("the thresholds of a point are NaN at every stage; each runs one at least.")
            check_accept(part.accept, part.stages, kind)
            if part.reject is not None:
                check_reject(part.reject, part.accept, part.stages, kind)
        return rule

    @classmethod
    def from_positions(cls, rows: np.ndarray, draws: Draws) -> DecisionRule:
        """The thresholds of rows of positions, as `cascade.forward` takes them."""
        accept, reject = split_positions(rows, len(draws.stages))
        below = None if reject is None else to_thresholds(reject, draws)
        return cls(draws.stages, with_last(to_thresholds(accept, draws)), draws.kind, below)

    def parts(self) -> Iterator[tuple[np.ndarray, DecisionRule]]:
        """The points that run the same stages (point,), and their rule, for these stages only."""
        run = ~np.isnan(self.accept)
        patterns, which = np.unique(run, axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            at = np.flatnonzero(which.reshape(-1) == number)
            names = [name for name, runs in zip(self.stages, pattern, strict=True) if runs]
            low = None if self.reject is None else self.reject[at][:, pattern]
            yield at, DecisionRule(names, self.accept[at][:, pattern], self.kind, low)

    def points(self, index: slice) -> DecisionRule:
        """The rule of some of the points."""
        low = None if self.reject is None else self.reject[index]
        return DecisionRule(self.stages, self.accept[index], self.kind, low)

    @property
    def abstains(self) -> bool:
        """Whether any stage ever abstains."""
        return self.reject is not None and bool((self.reject > -np.inf).any())

    def apply(self, confidence: np.ndarray) -> Route:
        """Route queries by their confidences (query, stage), at the rule's stages."""
        return route(confidence, self.accept, self.reject)

    def restrict(self, draws: Draws) -> Draws:
        """The draws of the rule's stages, where these are fewer than a fit's; `CascadeError` for another order."""
        same = self.stages == draws.stages
        return draws if same else draws.restrict([draws.stages.index(name) for name in self.stages])

    def positions(self, draws: Draws) -> np.ndarray:
        """Rows of positions, as `cascade.forward` takes them, on the segments of draws of the rule's stages."""
        rows = to_positions(self.accept, draws)
        return rows if self.reject is None else np.concatenate([rows, to_positions(self.reject, draws)], axis=1)

    def to_policy(self, metadata: Mapping[str, Any] | None = None) -> Policy:
        """The run-time `Policy` of a rule of one point.

        Raises
        ------
        CascadeError
            For several points.
        """
        if len(self.accept) == 1 and np.isnan(self.accept).any():
            return next(self.parts())[1].to_policy(metadata)
        if len(self.accept) != 1:
            raise CascadeError(
                f"a policy is one threshold vector, but {len(self.accept)} came; expected (stage,)."
            )
        return Policy(
            stages=self.stages,
            thresholds=self.accept[0].tolist(),
            confidence_kind=self.kind,
            metadata=dict(metadata or {}),
            reject=None if self.reject is None else self.reject[0].tolist(),
        )


def _names_of(thresholds: Any) -> list[str]:
    """The stages that a DataArray of thresholds names, if any."""
    named = isinstance(thresholds, xr.DataArray) and "stage" in thresholds.coords
    return [str(name) for name in thresholds["stage"].values] if named else []


def _refuse_names(names: list[str], stages: list[str]) -> NoReturn:
    raise CascadeError(
        f"the thresholds are for stages {names}, but this cascade has {list(stages)}; give those of its stages."
    )


def _values(thresholds: Any) -> np.ndarray:
    """Thresholds as numbers, the stage last."""
    if isinstance(thresholds, xr.DataArray):
        thresholds = thresholds.transpose(..., "stage") if "stage" in thresholds.dims else thresholds
    return np.asarray(thresholds, dtype=float)


def _read_accept(thresholds: Any, stages: list[str]) -> np.ndarray:
    try:
        array = _values(thresholds)
    except (TypeError, ValueError):
        raise CascadeError(
            f"thresholds came as {type(thresholds).__name__}; give numbers over (stage,) or (point, stage), "
            "a solution of tune, or a policy."
        ) from None
    if array.ndim not in (1, 2) or array.shape[-1] != len(stages):
        raise CascadeError(
            f"thresholds have shape {array.shape}; give one for each of the {len(stages)} stages {list(stages)}, "
            "as (stage,) or (point, stage), the last one -inf."
        )
    return array


def _read_reject(reject: Any, stages: list[str], n_points: int) -> np.ndarray:
    try:
        array = np.atleast_2d(_values(reject))
    except (TypeError, ValueError):
        raise CascadeError(f"reject came as {reject!r}; give numbers over (stage,) or (point, stage).") from None
    if array.ndim != 2 or array.shape[1] != len(stages) or len(array) not in (1, n_points):
        raise CascadeError(
            f"reject has shape {np.shape(reject)}; give one for each of the {len(stages)} stages {list(stages)}, "
            f"as (stage,), or (point, stage) with {n_points} points as in thresholds."
        )
    return array
