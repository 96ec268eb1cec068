"""What users import: the names, the parameters they were promised, and that importing stays light."""

import inspect
import pkgutil

import pytest
from helpers.imports import HEAVY, loaded_by

import bayescascade as bc

NAMES = [
    "Aggregate",
    "Budget",
    "Cascade",
    "CascadeError",
    "CascadeWarning",
    "Endpoint",
    "NoConfidence",
    "Policy",
    "Reply",
    "StreamBudget",
    "TenantFits",
    "ThresholdSolution",
    "aggregate",
    "backward_induction",
    "build_model",
    "check",
    "combine_tasks",
    "compare",
    "confidence",
    "diff",
    "drift",
    "evaluate",
    "explore",
    "fit",
    "fit_tasks",
    "frontier",
    "label_value",
    "learn_then_test",
    "load_aggregate",
    "load_example",
    "load_fit",
    "monitor",
    "plot_comparison",
    "plot_flow",
    "plot_frontier",
    "plot_label_value",
    "plot_links",
    "plot_margins",
    "plot_promise",
    "plot_reliability",
    "plot_signal_quality",
    "plot_thresholds",
    "propose",
    "read_inspect",
    "read_lm_eval",
    "read_log",
    "read_promptfoo",
    "read_responses",
    "read_routerbench",
    "read_traces",
    "report",
    "report_tasks",
    "reprice",
    "save_aggregate",
    "save_fit",
    "score",
    "select_task",
    "sensitivity",
    "signal_quality",
    "simulate",
    "tune",
    "tune_tasks",
    "validate_log",
    "verdict",
    "verify",
    "write_log",
]

# Positional parameters without a default, and the keyword-only ones that users rely on, with their defaults.
REQUIRED = inspect.Parameter.empty
SIGNATURES = {
    "aggregate": (
        ["source", "thresholds"],
        {"confidence_kind": None, "cost": "cost", "stages": None, "task": None, "client": None},
    ),
    "save_aggregate": (["aggregate", "path"], {}),
    "fit_tasks": (
        ["logs", "folder"],
        {
            "by": "task",
            "client": None,
            "workers": 2,
            "pool": None,
            "confidence_kind": None,
            "cost": "cost",
            "random_seed": 0,
        },
    ),
    "report_tasks": (["fits", "path"], {"policies": None}),
    "tune_tasks": (["fits"], {"client": None, "workers": 2}),
    "load_aggregate": (["path"], {}),
    "read_log": (["source"], {"confidence_kind": None, "cost": "cost", "stages": None, "task": None}),
    "read_responses": (["source"], {"signal": None, "labels": None, "grade": "normalised", "prices": None}),
    "read_lm_eval": (["source"], {"metric": None, "filter": None, "pass_mark": None, "prices": None}),
    "read_inspect": (["source"], {"score": None, "pass_mark": None, "signal": None, "prices": None}),
    "read_promptfoo": (["source"], {"score": None, "pass_mark": None, "signal": None, "prices": None}),
    "read_routerbench": (["source"], {"confidence": REQUIRED, "confidence_kind": REQUIRED, "models": None}),
    "read_traces": (["source"], {"preset": None, "columns": None, "scores": None, "score": None, "signal": None}),
    "validate_log": (["log"], {"labels": True}),
    "write_log": (["log", "path"], {}),
    "combine_tasks": (["logs"], {}),
    "select_task": (["fit", "name"], {}),
    "load_example": ([], {}),
    "build_model": (
        ["log"],
        {"copula": None, "margin": "polya_tree", "calibration": "logistic", "difficulty": True},
    ),
    "fit": (
        ["log"],
        {
            **{"copula": None, "margin": "polya_tree", "calibration": "logistic", "difficulty": True},
            **{"population": None, "previous": None},
            **{"draws": 1000, "tune": 200, "chains": 4, "random_seed": None, "progressbar": True},
        },
    ),
    "backward_induction": (["fit"], {"error_price": REQUIRED, "abstain_price": None}),
    "verdict": (["fit"], {"error_price": None, "solution": None}),
    "label_value": (["fit"], {"error_price": None, "max_error": None, "stages": "all", "label_price": 0.0}),
    "learn_then_test": (["log"], {"max_error": REQUIRED, "prob": 0.9}),
    "confidence": (["response"], {}),
    "reprice": (["fit"], {"factor": None}),
    "drift": (["fit", "amount"], {}),
    "sensitivity": (["fit", "solution"], {}),
    "diff": (["old", "new"], {"fit": None}),
    "propose": (["fit", "new", "policy"], {"old_share": 1.0}),
    "save_fit": (["fit", "path"], {}),
    "load_fit": (["path"], {}),
    "evaluate": (["fit", "thresholds"], {}),
    "score": (["log", "thresholds"], {"cost": "mean", "fit": None}),
    "tune": (["fit"], {"error_price": None, "max_error": None, "max_cost": None, "prob": 0.9}),
    "frontier": (["fit"], {"n_points": 50, "ci_prob": 0.9}),
    "compare": (["train"], {"methods": None, "n": None, "seeds": None, "cascades": None, "resume": None}),
    "check": (["fit"], {}),
    "report": (["fit", "path"], {}),
    "plot_thresholds": (["fit_or_frontier"], {"ax": None, "ci_prob": None}),
    "plot_flow": (["solution"], {"ax": None}),
    "plot_promise": (["solution"], {"ax": None, "batch": None}),
    "plot_label_value": (["value"], {"ax": None}),
    "plot_margins": (["fit"], {"ax": None}),
    "plot_links": (["fit"], {"ax": None}),
    "explore": (["fit"], {"prob": 0.9}),
    "plot_comparison": (["comparison"], {"reference": None, "ax": None}),
    "plot_frontier": (["fit_or_frontier"], {}),
    "plot_reliability": (["fit"], {}),
    "signal_quality": (["candidates"], {"ci_prob": 0.9}),
    "plot_signal_quality": (["quality"], {"measure": "auroc", "ax": None}),
    "monitor": (["policy", "served"], {"level": 0.05, "leave_out": ()}),
    "verify": (["policy", "labelled"], {"by": None, "max_error": None, "prob": None}),
    "simulate": ([], {"n_stages": 3, "tau": 0.4, "random_seed": None}),
}


def test_names():
    assert sorted(bc.__all__) == NAMES
    assert set(NAMES) == {name for name in dir(bc) if not name.startswith("__")}
    for name in NAMES:
        assert getattr(bc, name).__name__ == name
        assert inspect.getdoc(getattr(bc, name))


def test_every_public_function_is_pinned():
    functions = {name for name in NAMES if inspect.isfunction(getattr(bc, name))}
    assert functions == set(SIGNATURES)


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_signature(name):
    required, keywords = SIGNATURES[name]
    parameters = inspect.signature(getattr(bc, name)).parameters
    positional = [
        p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is REQUIRED
    ]
    assert positional == required
    for keyword, default in keywords.items():
        assert parameters[keyword].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[keyword].default == default, keyword
    # whatever else there is can be left out
    extra = [p for p in parameters.values() if p.name not in (*required, *keywords)]
    assert all(p.default is not REQUIRED or p.kind is p.VAR_KEYWORD for p in extra)


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_docstring_opens_with_an_example(name):
    doc = inspect.getdoc(getattr(bc, name))
    first, _, rest = doc.partition("\n\n")
    assert first.rstrip().endswith(".")
    assert rest.startswith("Examples\n--------\n>>> ")


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'bayescascade' has no attribute 'fitt'"):
        bc.fitt  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import bayescascade",
        "import bayescascade as bc; bc.score(bc.load_example(), [0.8, 0.8, float('-inf')])",
        "from bayescascade import read_log, simulate, load_fit, evaluate, tune, frontier, fit, build_model",
    ],
    ids=["import", "score", "names"],
)
def test_importing_is_light(code):
    assert loaded_by(code).isdisjoint(HEAVY)


@pytest.mark.parametrize("made", ["example_fit", "hard_fit"])
def test_opening_a_fit_and_tuning_it_again_loads_no_sampler(made, request, tmp_path):
    """It takes a second or two; loading PyMC takes ten."""
    path = tmp_path / "fit.nc"
    bc.save_fit(request.getfixturevalue(made), path)
    code = f"""
import bayescascade as bc
fit = bc.load_fit({str(path)!r})
solution = bc.tune(fit, max_error=0.9)
solution.to_policy({str(tmp_path / "policy.json")!r})
bc.frontier(fit, n_points=3)
bc.evaluate(fit, solution)
"""
    assert loaded_by(code).isdisjoint(HEAVY)


def test_policy_needs_neither_xarray_nor_scipy():
    loaded = loaded_by("from bayescascade import Policy; Policy(['a', 'b'], [0.5, float('-inf')], 'probability')")
    assert loaded.isdisjoint([*HEAVY, "xarray", "pandas", "scipy"])


def test_no_module_hides_a_public_name():
    modules = {module.name for module in pkgutil.iter_modules(bc.__path__)}
    assert "analysis" in modules
    assert not modules & set(NAMES)
