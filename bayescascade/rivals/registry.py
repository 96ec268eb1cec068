"""The methods by name, each loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bayescascade.errors import CascadeError, call, in_python, option

if TYPE_CHECKING:
    from bayescascade.rivals.base import Method

# name: module, class, options
_ENTRIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    # the first is what the others are compared with unless another is named: as we would run the log
    "bayes_subsets": ("ours", "Bayes", {"subsets": True}),
    "bayes": ("ours", "Bayes", {}),
    "bayes_point": ("ours", "Bayes", {"point": True}),
    "bayes_pair": ("ours", "Bayes", {"subsets": True, "largest": 2}),
    "bayes_refit": ("ours", "Bayes", {"refit": True}),
    "single_stages": ("simple", "SingleStages", {}),
    "random_mix": ("simple", "RandomMix", {}),
    "best_pair": ("simple", "BestPair", {}),
    "oracle": ("simple", "Oracle", {}),
    "ascent_raw": ("thresholds.ascent", "CoordinateAscent", {"calibrated": False}),
    "ascent_calibrated": ("thresholds.ascent", "CoordinateAscent", {"calibrated": True}),
    "grid_search": ("thresholds.grid", "GridSearch", {}),
    "bayesian_optimisation": ("thresholds.bayes_opt", "BayesianOptimisation", {}),
    "markov_copula_mle": ("published.mle", "PublishedCopula", {}),
    "isotonic_constrained": ("thresholds.isotonic", "Isotonic", {}),
    "conformal_cost": ("thresholds.conformal", "ConformalCost", {}),
    "learn_then_test": ("thresholds.conformal", "LearnThenTest", {}),
    "random_routing": ("routing.routers", "RandomRouting", {}),
    "routing": ("routing.routers", "Routing", {}),
    "hybrid_llm": ("routing.routers", "HybridLLM", {}),
    "frugalgpt": ("routing.routers", "FrugalGPT", {}),
    "frugalgpt_confidence": ("routing.routers", "FrugalGPT", {"confidence": True}),
    "margin_sampling": ("routing.routers", "MarginSampling", {}),
    "bayes_gain": ("routing.gains", "PosteriorGain", {}),
    "frugalgpt_cascade": ("routing.frugal", "FrugalCascade", {}),
}
METHODS = tuple(_ENTRIES)


def make(name: str) -> Method:
    """A method with its defaults."""
    if name not in _ENTRIES:
        raise CascadeError(
            "method {!r} is not known; choose among {}{}.",
            (name, ", ".join(METHODS), in_python(", or give an object")),
            parameter="methods",
            value=name,
        )
    module, kind, options = _ENTRIES[name]
    made = getattr(import_module(f"bayescascade.rivals.{module}"), kind)
    named = {"name": name} if any(field.name == "name" for field in fields(made)) else {}
    method: Method = made(**named, **options)
    return method


def choose(wanted: Sequence[str | Method] | None, has_text: bool, two_stages: bool = True) -> list[Method]:
    """The methods asked for, each name once; by default all that a log has what they need for.

    Those that choose between two stages are left out by default where a cascade has more: to play only its first
    and last stage would make straw men of them.

    Raises
    ------
    CascadeError
        For an unknown name, an object without ``name`` and ``fit``, a name that comes twice, or a method that
        reads prompts where the log has none.
    """
    if wanted is None:
        able = [method for method in map(make, METHODS) if has_text or not method.needs_text]
        return [method for method in able if two_stages or not hasattr(method, "pair")]
    if isinstance(wanted, str):
        wanted = [wanted]
    methods = [make(one) if isinstance(one, str) else one for one in wanted]
    if not methods:
        raise CascadeError(
            option("methods") + f" is empty; choose among {', '.join(METHODS)}.", parameter="methods", value=wanted
        )
    for method in methods:
        if not (hasattr(method, "name") and callable(getattr(method, "fit", None))):
            raise CascadeError(
                f"{method!r} is not a method: it needs a name and " + call("fit", "train, random_seed=...") + "."
            )
        if getattr(method, "needs_text", False) and not has_text:
            raise CascadeError(
                "method {!r} reads what was asked, but the logs have no variable 'prompt' over query; attach the "
                "prompts with {}, or leave the method out.",
                (method.name, call("bayescascade.logs.texts.with_prompts")),
            )
    names = [method.name for method in methods]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise CascadeError(f"two methods are called {double!r}; give each its own name.")
    return methods
