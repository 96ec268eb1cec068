"""The command line that the studies share, and where their files go."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from studies.common.resume import Rows

ROOT = Path(__file__).parents[2]
PAGES, BUILD = ROOT / "docs" / "evidence", ROOT / "build"


@dataclass(frozen=True)
class Run:
    """What was asked of a study.

    A quick run measures one small cell to see that the study works: its files go to ``build/quick``, so that they
    mix with no measurements and become no page of the documentation. Nor does what only some of the logs or of the
    usual seeds say.
    """

    name: str
    quick: bool = False
    logs: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    seeds: range = range(0)
    replications: int = 0
    partial: bool = False

    @property
    def build(self) -> Path:
        """Folder of what is measured."""
        return BUILD / "quick" if self.quick else BUILD

    @property
    def page(self) -> Path:
        """Where the page goes."""
        folder = self.build if self.quick else BUILD / "partial" if self.partial else PAGES
        return folder / f"{self.name}.md"

    def rows(self, keys: Sequence[str], name: str = "", text: Sequence[str] = ()) -> Rows:
        """The table ``build/<name>.csv``."""
        return Rows(self.build / f"{name or self.name}.csv", keys, text)

    def write(self, text: str) -> None:
        """Write the page."""
        self.page.parent.mkdir(parents=True, exist_ok=True)
        self.page.write_text(text, encoding="utf-8")
        print(f"wrote {self.page.relative_to(ROOT)}")


def parse(
    name: str,
    doc: str | None,
    argv: Sequence[str] | None = None,
    *,
    module: str = "run",
    logs: Iterable[str] = (),
    parts: Iterable[str] = (),
    seeds: range | None = None,
    replications: int | None = None,
) -> Run:
    """Read a study's command line: those of the options that it has, and ``--quick``.

    Parameters
    ----------
    name : str
        Of the study, its page and its tables.
    doc : str
        The study's docstring, which ``--help`` shows.
    argv : sequence of str, optional
        By default that of the process.
    module : str
        Of the study's folder, where it is not the one that writes the page.
    logs, parts : iterable of str
        What ``--logs`` and ``--parts`` choose from; all by default.
    seeds : range
        Default of ``--seeds``: ``20`` means 0 to 19, ``5-9`` means 5 to 9.
    replications : int
        Default of ``--replications``.
    """
    logs, parts = tuple(logs), tuple(parts)
    parser = argparse.ArgumentParser(
        prog=f"python -m studies.{name}.{module}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one small cell, kept in build/quick")
    if logs:
        parser.add_argument("--logs", nargs="+", choices=logs, default=logs, metavar="LOG", help=", ".join(logs))
    if parts:
        shown = f"{', '.join(parts)} (default: all)"
        parser.add_argument("--parts", nargs="+", choices=parts, default=parts, metavar="PART", help=shown)
    if seeds is not None:
        shown = f"a number of seeds, or the first and the last: 5-9 (default: {seeds.start}-{seeds.stop - 1})"
        parser.add_argument("--seeds", type=_span, default=seeds, help=shown)
    if replications is not None:
        parser.add_argument("--replications", type=int, default=replications, help="default: %(default)s")
    asked = parser.parse_args(argv)
    chosen, span = tuple(getattr(asked, "logs", logs)), getattr(asked, "seeds", range(0))
    return Run(
        name,
        quick=asked.quick,
        logs=chosen,
        parts=tuple(getattr(asked, "parts", parts)),
        seeds=span,
        replications=getattr(asked, "replications", 0),
        partial=set(chosen) != set(logs) or not set(seeds or ()) <= set(span),
    )


def _span(text: str) -> range:
    """Seeds: a number of them, or the first and the last."""
    first, dash, last = text.partition("-")
    return range(int(first), int(last) + 1) if dash else range(int(first))
