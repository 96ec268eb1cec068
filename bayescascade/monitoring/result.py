"""What `monitor` found: in words, as a table, as JSON and as a page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayescascade._common.arrays import records_of
from bayescascade._common.files import whole_file, write_json
from bayescascade._common.html import frame_of, note, wrapped
from bayescascade.monitoring.parts import NEED_LABELS, title_of
from bayescascade.runtime.policy_file import encode

QUIET, ALARM, NOTHING = 0, 1, 2  # exit codes
COLUMNS = ("part", "of", "n", "expected", "low", "high", "seen", "p", "alarm_at", "remark")


@dataclass(frozen=True, repr=False)
class Watch:
    """What watching served queries has found.

    Examples
    --------
    >>> import bayescascade as bc
    >>> log = bc.load_example()
    >>> policy = bc.tune(bc.fit(log, random_seed=1, progressbar=False), max_error=0.35).to_policy()
    >>> watch = bc.monitor(policy, log)
    >>> watch.alarms, watch.exit_code
    ([], 0)

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each part that is watched, see `monitor`. ``expected``, and between what (``low``, ``high``) so
        many queries should show it, with 90%, what they show (``seen``), the anytime-valid ``p`` over all parts
        together, the query at which it came to an alarm, and a remark where there is nothing to look at. Of the
        promise, low and high are the rates that all labels so far leave possible.
    alarms : list of str
        Parts that moved, as ``"confidence of small"``, in the order in which they came to an alarm.
    promise : bool or None
        Whether the promise is kept; None where it cannot be told.
    n_queries : int
    level : float
        Most probability of any alarm, however long one looks, while nothing has changed.
    text : str
        All that in words.
    blocks : pandas.DataFrame
        ``error``, ``cost`` and ``deferral`` of blocks of queries in order.
    evidence : dict
        For each part, log10 of the capital of its bets, at up to 400 places (``query``).
    """

    table: pd.DataFrame
    alarms: list[str]
    promise: bool | None
    n_queries: int
    level: float
    text: str
    blocks: pd.DataFrame
    evidence: Mapping[str, np.ndarray] = field(default_factory=dict)
    header: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 where nothing moved, 1 with an alarm, 2 where there was nothing to look at."""
        return ALARM if self.alarms else QUIET if (self.table["remark"] == "").any() else NOTHING

    @property
    def accuracy_looked_at(self) -> bool:
        """Whether labels said anything of how often answers are right; without any, nothing else can."""
        return bool((self.table["part"].isin(NEED_LABELS) & (self.table["remark"] == "")).any())

    @property
    def state(self) -> str:
        """In a word or two."""
        if self.exit_code == NOTHING:
            return "Nothing to look at"
        if self.exit_code == ALARM:
            return "Alarm"
        return "Quiet" if self.accuracy_looked_at else "Quiet, accuracy not looked at"

    def __repr__(self) -> str:
        return f"{self.text}\n\n{self.shown().to_string(index=False)}"

    def _repr_html_(self) -> str:
        passed = {QUIET: self.accuracy_looked_at or None, ALARM: False, NOTHING: None}[self.exit_code]
        return wrapped(note(self.text, lead=f"{self.state}.", passed=passed), frame_of(self.shown()))

    def shown(self) -> pd.DataFrame:
        """The parts that were looked at, with few digits."""
        table = self.table[self.table["remark"] == ""]

        def short(name: str) -> list[str]:
            return [f"{x:.3g}" for x in table[name]]

        out = pd.DataFrame({"part": _titles(table), "n": table["n"], "expected": short("expected")})
        out["should show"] = [f"{low} to {high}" for low, high in zip(short("low"), short("high"), strict=True)]
        out["shows"], out["p"] = short("seen"), short("p")
        return out.assign(**{"alarm at": table["alarm_at"]}) if self.alarms else out

    def idle(self) -> list[tuple[str, str]]:
        """The parts that were not looked at, and why."""
        table = self.table[self.table["remark"] != ""]
        return list(zip(_titles(table), table["remark"], strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the curves, in plain numbers and texts; None for what is not known."""
        content = {
            **self.header,
            "text": self.text,
            "exit_code": self.exit_code,
            "alarms": self.alarms,
            "accuracy_looked_at": self.accuracy_looked_at,
            "promise_kept": self.promise,
            "n_queries": self.n_queries,
            "level": self.level,
            "parts": records_of(self.table),
        }
        return dict(encode(content))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a page (``.html``) or JSON (any other name), whole or not at all.

        Raises
        ------
        CascadeError
            When the file cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() in (".html", ".htm"):
            from bayescascade.monitoring.page import render_page  # loads Matplotlib

            text = render_page(self)
            with whole_file(target, "what was found") as part:
                part.write_text(text, encoding="utf-8", errors="backslashreplace")
        else:
            write_json(target, self.to_dict(), "what was found")
        return target


def _titles(table: pd.DataFrame) -> list[str]:
    return [title_of(part, of) for part, of in zip(table["part"], table["of"], strict=True)]
