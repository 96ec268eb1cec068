"""Are error and cost of chosen thresholds, as the model predicts them, what the fit's own log shows?"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from bayescascade.cascade.empirical import cost_of_queries, score, without_lost
from bayescascade.cascade.evaluate import evaluate
from bayescascade.cascade.rules import DecisionRule
from bayescascade.checks.evidence import LEAST, MANY, Evidence
from bayescascade.checks.results import CheckResult
from bayescascade.display import checks as pictures
from bayescascade.display.checks import COST
from bayescascade.display.format import LEVEL, PER, money, share
from bayescascade.errors import Blank, CascadeError, in_python, option


def check_cascade(evidence: Evidence, thresholds: object, rng: np.random.Generator) -> CheckResult:
    """Error and cost of thresholds: what the model predicts for this log, and what the log shows."""
    if thresholds is None:
        text: str = (
            "Skipped: needs thresholds; "
            + in_python("call check(fit, ", "give ")
            + option("thresholds", Blank("solution.thresholds"))
            + in_python(")")
            + "."
        )
        return CheckResult("cascade", None, pd.DataFrame(), text)
    kind = str(evidence.log.attrs["confidence_kind"])
    rule = replace(DecisionRule.from_any(thresholds, evidence.stages, kind), single=False)
    # of the others nobody knows whether an answer was right
    log = evidence.log.isel(query=evidence.log["correct"].notnull().any("stage").values)
    if log.sizes["query"] < LEAST:
        text = (
            f"Fewer than {LEAST} queries of the fit's own log have labels, too few to compare. Label more queries."
        )
        return CheckResult("cascade", None, pd.DataFrame(), text)
    try:
        log = without_lost(log, rule)
        found = score(log, rule)
    except CascadeError as error:
        return CheckResult("cascade", None, pd.DataFrame(), f"The fit's own log cannot be scored: {error}")
    predicted = evaluate(evidence.fit, rule).stack(sample=("chain", "draw")).transpose("sample", ...)
    if predicted.sizes["sample"] == 1:
        predicted = predicted.isel(sample=np.zeros(MANY, dtype=int))
    n = log.sizes["query"]
    # standard deviation over queries of the mean costs of the stages that run
    cost_spread = cost_of_queries(log.sel(stage=rule.stages), rule).std(axis=1)
    rows = []
    for point in range(len(rule.accept)):
        wrong, cost = (predicted[name].isel(point=point).values for name in ("error", "cost"))
        # what a batch of n queries shows scatters about the long-run rate
        wrong = rng.binomial(n, np.clip(wrong, 0.0, 1.0)) / n
        cost = cost + rng.normal(size=len(cost)) * cost_spread[point] / np.sqrt(n)
        for name, quantity, scale, draws in (("error", "error", 1, wrong), ("cost", COST, PER, PER * cost)):
            value = scale * float(found[name].isel(point=point))
            low, high = np.quantile(draws, [LEVEL / 2, 1.0 - LEVEL / 2])
            # a cost that is known exactly has an interval of no width
            slack = 1e-9 * abs(value)
            inside = bool(low - slack <= value <= high + slack)
            rows.append((point, quantity, draws.mean(), low, high, value, inside))
    columns = ["point", "quantity", "predicted", "predicted_low", "predicted_high", "observed", "inside"]
    table = pd.DataFrame(rows, columns=columns).set_index(["point", "quantity"])
    if table["inside"].all():
        text = (
            f"Error and cost on the {n} labelled queries of the fit's own log are inside the {1 - LEVEL:.0%} "
            "predictive interval. The fit has seen these queries, so score a test log too."
        )
    else:
        missed = table[~table["inside"]].iloc[0]
        _, name = table.index[~table["inside"]][0]
        shown, least, most = (
            (share if name == "error" else money)(missed[of])
            for of in ("observed", "predicted_low", "predicted_high")
        )
        text = (
            f"The {name} on the {n} labelled queries of the fit's own log is {shown}, outside "
            f"the {1 - LEVEL:.0%} predictive interval {least} to {most}. The model misstates these thresholds: "
            "see which other check fails, and score a test log before use."
        )
    return CheckResult("cascade", bool(table["inside"].all()), table, text, partial(pictures.cascade, table))
