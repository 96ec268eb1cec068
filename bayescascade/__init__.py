"""bayescascade: Bayesian tuning of language-model cascades, with honest uncertainty.

The public names are listed in ``__all__`` and load on first use, so that importing the package is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "read_log": "logs.read",
    "validate_log": "logs.validate",
    "combine_tasks": "logs.tasks",
    "select_task": "posterior.tasks",
    "simulate": "model.simulate",
    "load_example": "logs.example",
    "build_model": "model.build",
    "fit": "inference.fit",
    "save_fit": "posterior.storage",
    "load_fit": "posterior.storage",
    "evaluate": "cascade.evaluate",
    "score": "cascade.empirical",
    "tune": "tuning.tune",
    "frontier": "tuning.frontier",
    "backward_induction": "induction.backward_induction",
    "verdict": "analysis.verdict",
    "label_value": "analysis.label_value",
    "reprice": "posterior.scenarios",
    "drift": "posterior.scenarios",
    "sensitivity": "analysis.sensitivity",
    "learn_then_test": "rivals.thresholds.learn_then_test",
    "compare": "rivals.compare",
    "ThresholdSolution": "tuning.solution",
    "Policy": "runtime.policy",
    "check": "checks.suite",
    "report": "reporting.report",
    "plot_frontier": "plots.fit",
    "plot_reliability": "plots.fit",
    "plot_comparison": "plots.comparison",
    "explore": "reporting.notebook",
    "plot_flow": "plots.decisions",
    "plot_label_value": "plots.decisions",
    "plot_links": "plots.fit",
    "plot_margins": "plots.fit",
    "plot_promise": "plots.decisions",
    "plot_thresholds": "plots.decisions",
    "CascadeError": "errors",
    "CascadeWarning": "errors",
}
__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from bayescascade.analysis.label_value import label_value as label_value
    from bayescascade.analysis.sensitivity import sensitivity as sensitivity
    from bayescascade.analysis.verdict import verdict as verdict
    from bayescascade.cascade.empirical import score as score
    from bayescascade.cascade.evaluate import evaluate as evaluate
    from bayescascade.checks.suite import check as check
    from bayescascade.errors import CascadeError as CascadeError
    from bayescascade.errors import CascadeWarning as CascadeWarning
    from bayescascade.induction.backward_induction import backward_induction as backward_induction
    from bayescascade.inference.fit import fit as fit
    from bayescascade.logs.example import load_example as load_example
    from bayescascade.logs.read import read_log as read_log
    from bayescascade.logs.tasks import combine_tasks as combine_tasks
    from bayescascade.logs.validate import validate_log as validate_log
    from bayescascade.model.build import build_model as build_model
    from bayescascade.model.simulate import simulate as simulate
    from bayescascade.plots.comparison import plot_comparison as plot_comparison
    from bayescascade.plots.decisions import plot_flow as plot_flow
    from bayescascade.plots.decisions import plot_label_value as plot_label_value
    from bayescascade.plots.decisions import plot_promise as plot_promise
    from bayescascade.plots.decisions import plot_thresholds as plot_thresholds
    from bayescascade.plots.fit import plot_frontier as plot_frontier
    from bayescascade.plots.fit import plot_links as plot_links
    from bayescascade.plots.fit import plot_margins as plot_margins
    from bayescascade.plots.fit import plot_reliability as plot_reliability
    from bayescascade.posterior.scenarios import drift as drift
    from bayescascade.posterior.scenarios import reprice as reprice
    from bayescascade.posterior.storage import load_fit as load_fit
    from bayescascade.posterior.storage import save_fit as save_fit
    from bayescascade.posterior.tasks import select_task as select_task
    from bayescascade.reporting.notebook import explore as explore
    from bayescascade.reporting.report import report as report
    from bayescascade.rivals.compare import compare as compare
    from bayescascade.rivals.thresholds.learn_then_test import learn_then_test as learn_then_test
    from bayescascade.runtime.policy import Policy as Policy
    from bayescascade.tuning.frontier import frontier as frontier
    from bayescascade.tuning.solution import ThresholdSolution as ThresholdSolution
    from bayescascade.tuning.tune import tune as tune


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bayescascade' has no attribute {name!r}")
    value = getattr(import_module(f"bayescascade.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
