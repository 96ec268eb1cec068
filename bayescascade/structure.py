"""What is modelled: the options of `build_model` and `fit`, and what of them changes the model's graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bayescascade.calibration import CALIBRATIONS
from bayescascade.copulas import Family, get_family
from bayescascade.errors import CascadeError
from bayescascade.margin_models import get_margin_model

Copula = str | Sequence[str]


@dataclass(frozen=True)
class Options:
    """Checked options of a model: a family for each link, and how margins and calibration are modelled."""

    copula: tuple[str, ...]
    margin: str = "polya_tree"
    calibration: str = "logistic"
    candidates: tuple[str, ...] = ()  # further families that the compiled model is to know

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


def structure_of(options: Options, n_stages: int, n_tasks: int) -> Structure:
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
    )


def check_options(copula: Copula, margin: str, calibration: str, n_links: int) -> Options:
    """Raise `CascadeError` unless each name is known, and there is one family, or one for each link."""
    names = (copula,) * n_links if isinstance(copula, str) else tuple(copula)
    if len(names) != n_links:
        raise CascadeError(
            f"copula has {len(names)} families, but the log has {n_links} links between its stages; give one name "
            "for all, or one for each."
        )
    for name in names:
        get_family(name)
    get_margin_model(margin)
    if calibration not in CALIBRATIONS:
        raise CascadeError(
            f"calibration={calibration!r} is not known; choose one of {', '.join(map(repr, CALIBRATIONS))}."
        )
    return Options(names, margin, calibration)
