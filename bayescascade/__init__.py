"""bayescascade: Bayesian tuning of language-model cascades, with honest uncertainty.

The public names are listed in ``__all__`` and load on first use, so that importing the package is light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "read_log": "data",
    "validate_log": "data",
    "combine_tasks": "tasks",
    "select_task": "tasks",
    "simulate": "simulation",
    "load_example": "simulation",
    "build_model": "model",
    "fit": "inference",
    "save_fit": "storage",
    "load_fit": "storage",
    "evaluate": "cascade",
    "score": "scoring",
    "tune": "tuning",
    "frontier": "frontiers",
    "backward_induction": "induction",
    "verdict": "verdicts",
    "label_value": "labels",
    "reprice": "whatif",
    "drift": "whatif",
    "sensitivity": "sensitivities",
    "learn_then_test": "certifying",
    "compare": "comparing",
    "ThresholdSolution": "solution",
    "Policy": "policy",
    "check": "checks",
    "report": "reporting",
    "plot_frontier": "plots",
    "plot_reliability": "plots",
    "plot_comparison": "comparison_plots",
    "explore": "exploring",
    "plot_flow": "decision_plots",
    "plot_label_value": "decision_plots",
    "plot_links": "plots",
    "plot_margins": "plots",
    "plot_promise": "decision_plots",
    "plot_thresholds": "decision_plots",
    "CascadeError": "errors",
    "CascadeWarning": "errors",
}
__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from bayescascade.cascade import evaluate as evaluate
    from bayescascade.certifying import learn_then_test as learn_then_test
    from bayescascade.checks import check as check
    from bayescascade.comparing import compare as compare
    from bayescascade.comparison_plots import plot_comparison as plot_comparison
    from bayescascade.data import read_log as read_log
    from bayescascade.data import validate_log as validate_log
    from bayescascade.decision_plots import plot_flow as plot_flow
    from bayescascade.decision_plots import plot_label_value as plot_label_value
    from bayescascade.decision_plots import plot_promise as plot_promise
    from bayescascade.decision_plots import plot_thresholds as plot_thresholds
    from bayescascade.errors import CascadeError as CascadeError
    from bayescascade.errors import CascadeWarning as CascadeWarning
    from bayescascade.exploring import explore as explore
    from bayescascade.frontiers import frontier as frontier
    from bayescascade.induction import backward_induction as backward_induction
    from bayescascade.inference import fit as fit
    from bayescascade.labels import label_value as label_value
    from bayescascade.model import build_model as build_model
    from bayescascade.plots import plot_frontier as plot_frontier
    from bayescascade.plots import plot_links as plot_links
    from bayescascade.plots import plot_margins as plot_margins
    from bayescascade.plots import plot_reliability as plot_reliability
    from bayescascade.policy import Policy as Policy
    from bayescascade.reporting import report as report
    from bayescascade.scoring import score as score
    from bayescascade.sensitivities import sensitivity as sensitivity
    from bayescascade.simulation import load_example as load_example
    from bayescascade.simulation import simulate as simulate
    from bayescascade.solution import ThresholdSolution as ThresholdSolution
    from bayescascade.storage import load_fit as load_fit
    from bayescascade.storage import save_fit as save_fit
    from bayescascade.tasks import combine_tasks as combine_tasks
    from bayescascade.tasks import select_task as select_task
    from bayescascade.tuning import tune as tune
    from bayescascade.verdicts import verdict as verdict
    from bayescascade.whatif import drift as drift
    from bayescascade.whatif import reprice as reprice


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bayescascade' has no attribute {name!r}")
    value = getattr(import_module(f"bayescascade.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
