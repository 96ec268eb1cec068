"""Were the new queries of an update as the earlier fit expected them?"""

from __future__ import annotations

import pandas as pd

from bayescascade.checks.evidence import Evidence
from bayescascade.checks.results import CheckResult, rejected

GROUP = "update"
_COLUMNS = ["n", "observed", "expected", "z", "p"]


def check_update(evidence: Evidence) -> CheckResult | None:
    """Labels and signals of an update's new queries against what the earlier fit predicts; None without one."""
    if GROUP not in evidence.fit.children:
        return None
    found = evidence.fit[GROUP].to_dataset()
    table = found[_COLUMNS].to_dataframe().reset_index().set_index(["stage", "part"])[_COLUMNS]
    if table["p"].isna().all():
        text = "The new queries are too few to compare with what the earlier fit expected. Bring more at a time."
        return CheckResult(GROUP, None, table, text)
    failed = rejected(table)
    if not len(failed):
        labelled = table["p"].xs("labels", level="part").notna().any()
        what = "in how often they are right and how sure they are" if labelled else "in how sure they are"
        text = f"The new queries are as the earlier fit expected them, {what}."
        return CheckResult(GROUP, True, table, text)
    told = " ".join(_told(stage, part, table.loc[(stage, part)]) for stage, part in failed)
    text = (
        f"The new queries are not like the earlier ones. {told} The update mixes both, so its error is true of "
        "neither. Fit the new queries alone, or all queries since the change."
    )
    return CheckResult(GROUP, False, table, text)


def _told(stage: str, part: str, row: pd.Series) -> str:
    """What one comparison that failed has found."""
    if part == "labels":
        return (
            f"Answers of {stage} are right {row['observed']:.0%} of the time, {row['expected']:.0%} was expected."
        )
    if part == "level":
        return f"Confidences of {stage} are {'higher' if row['z'] > 0 else 'lower'} than expected."
    return f"Confidences of {stage} lie {'further apart' if row['z'] > 0 else 'closer together'} than expected."
