"""What is modelled: the options of `build_model` and `fit`, and what of them changes the model's graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bayescascade.errors import CascadeError, bad_value, option
from bayescascade.model.calibration import get_calibration
from bayescascade.model.copulas.family import Family, get_family
from bayescascade.model.margins.models import get_margin_model

if TYPE_CHECKING:
    import xarray as xr

Copula = str | Sequence[str]


@dataclass(frozen=True)
class Options:
    """Checked options of a model: a family for each link, and how margins and calibration are modelled.

    With a ``population`` (see `bayescascade.model.population`) its priors take the place of the model's own.
    """

    copula: tuple[str, ...]
    margin: str = "polya_tree"
    calibration: str = "logistic"
    candidates: tuple[str, ...] = ()  # further families that the compiled model is to know
    difficulty: bool = False
    population: xr.Dataset | None = field(default=None, compare=False, repr=False)

    @property
    def families(self) -> list[Family]:
        """The family of each link."""
        return [get_family(name) for name in self.copula]

    @property
    def label(self) -> str:
        """The families in words: one name where all links share it."""
        return self.copula[0] if len(set(self.copula)) == 1 else ", ".join(self.copula)


@dataclass(frozen=True)
class Structure:
    """What decides the model's graph, so that one compiled model serves every log that shares it.

    Which link has which family is data; only the families that occur at all are part of the graph.
    """

    n_stages: int
    n_tasks: int
    families: tuple[str, ...]
    rotated: bool
    margin: str
    calibration: str
    difficulty: bool = False
    population: bool = False
    # which of the two ways to a query's likelihood occur, where queries have a difficulty: see `design`
    complete: bool = False
    at_nodes: bool = True


def structure_of(
    options: Options, n_stages: int, n_tasks: int, complete: bool = False, at_nodes: bool = True
) -> Structure:
    """The structure of some options; independence needs no formula, and a rotation shares its family's."""
    names = (*options.copula, *options.candidates)
    families = [family for family in map(get_family, names) if family.base != "independence"]
    return Structure(
        n_stages,
        n_tasks,
        tuple(sorted({family.base for family in families})),
        any(family.rotated for family in families),
        options.margin,
        options.calibration,
        options.difficulty,
        options.population is not None,
        complete,
        at_nodes,
    )


def default_copula(difficulty: bool) -> str:
    """The family of links that are not named: one of either sign where links join what the difficulty leaves."""
    return "gaussian" if difficulty else "gumbel"


def check_options(
    copula: Copula | None, margin: str, calibration: str, n_links: int, difficulty: bool = False
) -> Options:
    """Raise `CascadeError` unless each name is known, and there is one family, or one for each link."""
    if not isinstance(difficulty, bool | np.bool_):
        raise bad_value("difficulty", difficulty, "give True or False")
    copula = default_copula(bool(difficulty)) if copula is None else copula
    names = (copula,) * n_links if isinstance(copula, str) else tuple(copula)
    if len(names) != n_links:
        raise CascadeError(
            option("copula")
            + f" has {len(names)} families, but the log has {n_links} links between its stages; give one name "
            "for all, or one for each.",
            parameter="copula",
            value=copula,
        )
    for name in names:
        get_family(name)
    get_margin_model(margin)
    get_calibration(calibration)
    return Options(names, margin, calibration, difficulty=bool(difficulty))
