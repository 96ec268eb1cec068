"""What a check hands back: data to read, never a print."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import pandas as pd

from bayescascade._common.html import frame_of, note, table_of, wrapped
from bayescascade.display.format import LEVEL
from bayescascade.errors import CascadeError

WORDS = {True: "passed", False: "FAILED", None: "skipped"}
# What the failure of a check does to what is said of thresholds.
CONSEQUENCES = {
    "convergence": "the sampler has not settled, so another run may give other numbers",
    "margins": "the fit misjudges how often a stage is confident, so shares of queries answered, and the cost, "
    "may be off",
    "calibration": "the fit misjudges how often a confident answer is right, so error rates may be off",
    "dependence": "the fit misjudges how often two stages are confident about the same queries, so the shares "
    "that go on to later stages may be off, and with them error and cost",
    "own signal": "how confident an earlier stage was says something about a later answer that the fit ignores, "
    "so errors of later stages may be off",
    "sensitivity": "the prior still counts beside the data; more labels would settle the numbers",
    "loo": "a few queries weigh heavily, so comparisons between fits are unreliable; the thresholds hardly change",
    "cascade": "these thresholds did otherwise on the training log than the fit says, so do not rely on the "
    "expected error and cost",
    "update": "the new queries are not like the earlier ones, and the numbers are an average of both",
}
OTHERWISE = "the numbers may be off"


def rejected(table: pd.DataFrame) -> pd.Index:
    """Rows whose ``p`` is below `LEVEL` shared out over the rows that have one (Bonferroni)."""
    return table.index[table["p"] < LEVEL / max(1, table["p"].notna().sum())]


def verdict(failed: Sized, unseen: Sized) -> bool | None:
    """False where something failed, None where part of it gave nothing to look at, else True.

    Examples
    --------
    >>> verdict([], []), verdict([], ["large"]), verdict(["small"], ["large"])
    (True, None, False)
    """
    return False if len(failed) else None if len(unseen) else True


@dataclass(frozen=True)
class CheckResult:
    """One check of a fit.

    Attributes
    ----------
    name : str
    passed : bool or None
        None when the check could not be computed or does not apply; ``text`` says why.
    table : pandas.DataFrame
        The numbers behind the verdict; empty when there is none.
    text : str
        What was found, what it means, and what to do when it fails.
    """

    name: str
    passed: bool | None
    table: pd.DataFrame
    text: str
    picture: Callable[[Any], np.ndarray] | None = field(default=None, repr=False, compare=False)

    def plot(self, ax: Any = None) -> np.ndarray:
        """Draw what the check looked at.

        Examples
        --------
        >>> import bayescascade as bc
        >>> fit = bc.fit(bc.load_example(), random_seed=1, progressbar=False)
        >>> bc.check(fit)["calibration"].plot().shape  # one for each stage
        (3,)

        Parameters
        ----------
        ax : matplotlib Axes or array of them, optional
            To draw on; by default a new figure is made.

        Returns
        -------
        ndarray of matplotlib Axes (panel,)

        Raises
        ------
        CascadeError
            When the check has nothing to draw, or there are too few axes.
        """
        if self.picture is None:
            raise CascadeError(f"the check {self.name!r} has nothing to draw. {self.text}")
        return self.picture(ax)

    def __repr__(self) -> str:
        return f"{self.name}: {WORDS[self.passed]}. {self.text}"

    def _repr_html_(self) -> str:
        said = note(self.text, lead=f"{self.name}: {WORDS[self.passed]}.", passed=self.passed)
        return wrapped(said, "" if self.table.empty else frame_of(self.table))


class CheckResults(Sequence[CheckResult]):
    """Results of several checks, by name or by position.

    Attributes
    ----------
    passed : bool or None
        False when any check failed, None when none gave a verdict, else True.
    table : pandas.DataFrame
        One row for each check.
    """

    def __init__(self, results: Iterable[CheckResult]) -> None:
        self._results = tuple(results)

    @property
    def passed(self) -> bool | None:
        """True when every check that gave a verdict passed."""
        verdicts = [result.passed for result in self._results if result.passed is not None]
        return all(verdicts) if verdicts else None

    @property
    def summary(self) -> str:
        """How many checks passed, and what those that failed do to the answer.

        Examples
        --------
        >>> empty = pd.DataFrame()
        >>> of = {"margins": True, "loo": False, "cascade": None}
        >>> CheckResults(CheckResult(name, passed, empty, "") for name, passed in of.items()).summary[:47]
        '1 of 2 checks passed. Loo failed: a few queries'
        """
        judged = [result for result in self._results if result.passed is not None]
        failed = [result.name for result in judged if not result.passed]
        if not judged:
            return "No check could be run on this log; label more queries."
        text = f"{len(judged) - len(failed)} of {len(judged)} checks passed."
        if not failed:
            return text
        what = [f"{name.capitalize()} failed: {CONSEQUENCES.get(name, OTHERWISE)}." for name in failed]
        return " ".join([text, *what])

    @property
    def table(self) -> pd.DataFrame:
        """One row for each check: name, passed, text."""
        rows = [(result.name, result.passed, result.text) for result in self._results]
        return pd.DataFrame(rows, columns=["check", "passed", "text"]).astype({"passed": object})

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[CheckResult]:
        return iter(self._results)

    @overload
    def __getitem__(self, key: int | str) -> CheckResult: ...
    @overload
    def __getitem__(self, key: slice) -> CheckResults: ...
    def __getitem__(self, key: int | str | slice) -> CheckResult | CheckResults:
        if isinstance(key, slice):
            return CheckResults(self._results[key])
        if isinstance(key, str):
            for result in self._results:
                if result.name == key:
                    return result
            names = ", ".join(repr(result.name) for result in self._results)
            raise KeyError(f"there is no check {key!r}; these ran: {names}")
        return self._results[key]

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._results))

    def _repr_html_(self) -> str:
        failed = sum(result.passed is False for result in self._results)
        judged = sum(result.passed is not None for result in self._results)
        lead = f"{judged - failed} of {judged} checks passed."
        rows = [(result.name, WORDS[result.passed], result.text) for result in self._results]
        columns = ("check", "result", "what was found, and what to do")
        return wrapped(note("", lead=lead, passed=self.passed), table_of(columns, rows, words=(1, 2)))
