"""Messages that name arguments and functions: Python's words, and the command line's own."""

import ast
import copy
import inspect
import pickle
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import numpy as np
import pytest
import typer.main

import bayescascade as bc
from bayescascade._common import validation
from bayescascade._common.messages import sentence
from bayescascade.cli.app import app
from bayescascade.cli.face import CALLS, RENAMED, CommandLine
from bayescascade.errors import (
    TO_FILL_IN,
    Blank,
    CascadeError,
    CascadeWarning,
    Message,
    Short,
    bad_value,
    call,
    in_python,
    option,
    render,
    said,
)
from bayescascade.logs.tables import EXAMPLE_PRICES

PACKAGE = Path(bc.__file__).parent
COMMANDS = typer.main.get_command(app).commands
FACE = CommandLine(COMMANDS.values())


@pytest.mark.parametrize(
    ("message", "python", "typed"),
    [
        (option("stages", [TO_FILL_IN]), "stages=[...]", "--stages A,B,..."),
        (option("stages", ["small", "large"]), "stages=['small', 'large']", "--stages small,large"),
        (option("stages", ["my model", "large"]), "stages=['my model', 'large']", "--stages 'my model,large'"),
        (option("cost", TO_FILL_IN), "cost=...", "--cost COLUMN"),
        (option("cost", {"large": TO_FILL_IN}), "cost={'large': ...}", "--cost large=PRICE"),
        (EXAMPLE_PRICES, "cost={'small': 1e-4, 'large': 1e-3}", "--cost small=1e-4,large=1e-3"),
        (option("task", TO_FILL_IN), "task=...", "--task-column COLUMN"),
        (option("error_price"), "error_price", "--error-price"),
        (option("error_price", -2.0), "error_price=-2.0", "--error-price -2.0"),
        (option("error_price", Short(2.0)), "error_price=2", "--error-price 2"),
        (option("random_seed", 1), "random_seed=1", "--seed 1"),
        (option("copula", "auto"), "copula='auto'", "--copula auto"),
        (option("copula", "..."), "copula='...'", "--copula ..."),
        (option("margin", ""), "margin=''", "--margin ''"),
        (option("labels", True), "labels=True", "--label-value"),
        (
            option("cascades", [["a", "b"], ["a", "c"]]),
            "cascades=[['a', 'b'], ['a', 'c']]",
            "--cascades 'a,b;a,c'",
        ),
        (option("thresholds", Blank("solution.thresholds")), "thresholds=solution.thresholds", "--policy POLICY"),
        (option("n_points", 3), "n_points=3", "n_points 3"),  # there is no such option
        (call("fit", "log"), "fit(log)", "`bayescascade fit`"),
        (call("Policy.save"), "Policy.save", "`bayescascade tune -o`"),
        (call("select_task", "fit", "it's"), 'select_task(fit, "it\'s")', "--task 'it'\"'\"'s'"),
        (in_python("None for ") + "all", "None for all", "all"),
        (in_python("call ", "run ") + call("check", "fit"), "call check(fit)", "run `bayescascade check`"),
        ("no file /data/cost=5/log.csv", "no file /data/cost=5/log.csv", "no file /data/cost=5/log.csv"),
    ],
)
def test_each_face_has_its_own_words(message, python, typed):
    assert str(message) == python
    assert render(message, FACE) == typed


@pytest.mark.parametrize("value", ["{}", "{x!r}", "it's", 'a "b"', "a=b", "stages=[...]", "\\1", "%s", ""])
def test_a_value_never_loses_a_word(value):
    error = bad_value("margin", value, "choose another", "is {not} known")
    assert str(error) == f"margin={value!r} is {{not}} known; choose another."
    assert error.render(FACE) == f"--margin {shlex.quote(value)} is {{not}} known; choose another."
    assert (error.parameter, error.value, error.hint) == ("margin", value, "choose another")


def test_messages_are_joined_like_strings():
    message = "a " + option("draws", 5) + f" b{1}" + call("fit", "log")
    message += " c"
    assert message == "a draws=5 b1fit(log) c"
    assert message.render(FACE) == "a --draws 5 b1`bayescascade fit` c"
    assert Message("; ").join(["x", option("tune")]).render(FACE) == "x; --tune"
    assert Message("; ").join([]) == ""
    assert sentence("fit with " + option("tune")).render(FACE) == "Fit with --tune"
    assert sentence(option("tune") + " is low") == "Tune is low"


@pytest.mark.parametrize("value", ["{}", "{x!r}", "}", "%s", ""])
def test_parts_of_a_template_are_not_read_again(value):
    parts = (value, 0.5, value, option("draws", 5), bad_value("margin", value).message)
    expected = f"{{a}} {value} 50% {value!r} draws=5; margin={value!r} is not allowed."
    assert said("{{a}} {} {:.0%} {!r} {}; {}", parts) == expected
    assert CascadeError("{{a}} {} {:.0%} {!r} {}; {}", parts).message == expected
    typed = f"{{a}} {value} 50% {value!r} --draws 5; --margin {shlex.quote(value)} is not allowed."
    assert CascadeError("{{a}} {} {:.0%} {!r} {}; {}", parts).render(FACE) == typed
    assert CascadeError(value).message == value


@pytest.mark.parametrize("kind", [CascadeError, CascadeWarning])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_messages_survive_a_copy(kind, copied):
    error = copied(kind("give " + option("prob", 0.5), parameter="prob", value=0.5, hint="less"))
    assert str(error) == "give prob=0.5"
    assert error.render(FACE) == "give --prob 0.5"
    assert (error.parameter, error.value, error.hint) == ("prob", 0.5, "less")


@pytest.mark.parametrize(
    ("check", "parameter", "value"),
    [
        (lambda: validation.check_prob("prob", 90), "prob", 90),
        (lambda: validation.check_positive("max_cost", -1.0), "max_cost", -1.0),
        (lambda: validation.check_batch(0), "batch", 0),
        (lambda: validation.check_doubt(-0.5), "doubt", -0.5),
        (lambda: validation.check_doubt(0.5, risk="regret"), "doubt", 0.5),
        (lambda: validation.check_worth_abstaining(2.0, np.float64(1.0)), "abstain_price", 2.0),
    ],
)
def test_checks_say_which_argument_is_at_fault(check, parameter, value):
    with pytest.raises(CascadeError) as caught:
        check()
    assert (caught.value.parameter, caught.value.value) == (parameter, value)
    assert caught.value.hint in str(caught.value)
    typed = caught.value.render(FACE)
    assert typed.startswith(f"--{parameter.replace('_', '-')} {value:g}")
    assert "=" not in typed


# ---- what the package's sources say


# Drawing, which the command line does by its report alone, and what is no sentence: HTML and SVG.
NOT_SAID = ("cli/", "plots/", "display/", "_common/html.py", "reporting/notebook.py", "reporting/tables.py")
NOT_SAID += ("errors.py", "posterior/draws.py", "runtime/policy.py")  # a repr, and two faults of ours
HELPERS = ("option", "call", "in_python", "bad_value")
FUNCTIONS = {name for name in bc.__all__ if inspect.isfunction(getattr(bc, name))}
ARGUMENTS = {name for function in FUNCTIONS for name in inspect.signature(getattr(bc, function)).parameters}
OURS = "|".join(sorted(name for name in FUNCTIONS | ARGUMENTS if "_" in name))
PYTHON = re.compile(rf"(?<![\w.'\"])[a-z]\w*=(?!=)|\b\w+\((?:fit|log)\b|\b(?:{OURS})\b")


def _name(node: ast.AST) -> str:
    return getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""


def _texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """What is said in so many words: strings with a space, and all pieces of f-strings."""
    quiet = {id(n) for node in ast.walk(tree) if _name(node) in HELPERS[:3] for n in ast.walk(node)}
    quiet |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            for before, piece in zip([None, *node.values], node.values, strict=False):
                if isinstance(piece, ast.Constant) and id(piece) not in quiet:
                    yield piece.lineno, ("x" if isinstance(before, ast.FormattedValue) else "") + piece.value
        elif isinstance(node, ast.Constant) and id(node) not in quiet and " " in str(node.value):
            yield node.lineno, str(node.value)


def _sources() -> list[tuple[str, ast.AST]]:
    paths = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
    return [(name, ast.parse(path.read_text(encoding="utf-8"))) for name, path in paths.items()]


SOURCES = _sources()


def test_no_text_that_reaches_the_command_line_is_python():
    """An argument or a function of ours is named by `option`, `call` or `in_python`, never in plain words."""
    said = [
        f"{name}:{line}: {text!r}"
        for name, tree in SOURCES
        if not name.startswith(NOT_SAID)
        for line, text in _texts(tree)
        if PYTHON.search(text)
    ]
    assert said == []


def test_no_message_is_lost_in_an_f_string():
    lost = [
        f"{name}:{node.lineno}"
        for name, tree in SOURCES
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr) and any(_name(inner) in HELPERS for inner in ast.walk(node))
    ]
    assert lost == []


def test_a_template_holds_no_values():
    """What is filled into ``{}`` is not read again, but what stands in the template is."""
    templates = [
        (f"{name}:{node.lineno}", node.args[0], node.args[1])
        for name, tree in SOURCES
        for node in ast.walk(tree)
        if _name(node) in ("said", "CascadeError") and len(node.args) == 2 and name != "errors.py"
    ]
    assert len(templates) > 10
    assert [where for where, text, _ in templates if not isinstance(text, ast.Constant)] == []
    fields = {
        where: sum(field is not None for _, field, _, _ in Formatter().parse(text.value))
        for where, text, _ in templates
    }
    assert fields == {where: len(parts.elts) for where, _, parts in templates}


# Arguments and functions that no command passes on or leads to, so that their messages are Python's alone.
PYTHON_ONLY = {"queries", "n_simulations", "drifts", "factor", "spread", "method", "n_replicates", "n_points"}
PYTHON_ONLY |= {"best", "place", "quantile", "same", "grade", "tolerance", "measure"}  # of signals
PYTHON_ONLY |= {"source", "models", "preset", "columns", "name", "population"}  # of readers, and of `fit`
PYTHON_ONLY |= {"first_prices", "max_vectors", "pair", "path", "probs", "share", "step", "threshold"}
PYTHON_ONLY |= {"model", "base_url", "signal_options", "expected_cost", "timeout", "on_failure"}  # of endpoints
PYTHON_ONLY |= {"per_query", "per_period", "period", "when_spent", "warm_up", "budget"}
PYTHON_ONLY |= {"cascade"}  # of what serves one
PYTHON_CALLS = {"save_aggregate", "tune", "read_log", "validate_log", "label_value"}


def test_every_option_that_is_named_exists():
    """What a sentence tells the user to type must be an option of some command."""
    named = {
        node.args[0].value
        for _, tree in SOURCES
        for node in ast.walk(tree)
        if _name(node) in ("option", "bad_value") and isinstance(node.args[0], ast.Constant)
    }
    known = {param.name for command in COMMANDS.values() for param in command.params}
    assert {name for name in named if RENAMED.get(name, name) not in known} <= PYTHON_ONLY
    assert set(RENAMED.values()) <= known


def test_every_function_that_is_named_has_a_command():
    named = {
        node.args[0].value for _, tree in SOURCES for node in ast.walk(tree) if _name(node) == "call" and node.args
    }
    assert named - PYTHON_CALLS <= set(CALLS)
    commands = {text.split()[1].strip("`") for text in CALLS.values() if text.startswith("`")}
    assert commands <= set(COMMANDS)


def test_an_option_has_one_spelling():
    spelt: dict[str, set[str]] = {}
    for command in COMMANDS.values():
        for param in command.params:
            spelt.setdefault(param.name, set()).update(name for name in param.opts if name.startswith("--"))
    assert {name: names for name, names in spelt.items() if len(names) > 1} == {}


# ---- one word for one thing


# What was said once, and what is said now.
RETIRED = {
    r"\bun?graded\b|\bgraded\b": "labelled, not labelled",
    r"(?<!sampled )\banew\b": "again",
    r"\bdear(?:er|est)\b": "more (most) expensive",
    r"\bpass(?:es|ed)? (?:it |them |a query )?on to\b": "escalate, defer",
    r"\broom for what\b|\bleaves? (?:more|no) room\b": "safety margin",
    r"\bwith doubt\b|\bdoubt \{": "safety margin",
    r"\bturned round\b": "flipped",
    r"\bcan be believed\b|\bto be believed\b": "holds",
    r"\bto be had\b|\bcan be had\b": "possible",
    r"\b[Ii]nfeasible\b": "not possible",
    r"\bgross (?:failure|misfit)": "large misfit",
    r"\bno goal came\b|\bcame; give\b": "no goal given",
    r"\bdoes not say enough\b|\bflatters?\b": "optimistic",
    r"\bis to be least\b|\bLeast expected\b": "minimise, cheapest",
    r"\bembedded example\b": "bundled example",
    r"\bPrint the version and leave\b": "Show the version and exit",
    r"\blabels or confidences turned\b": "flipped labels",
    r"\beveryone else's\b": "baselines",
    r"\berror kept\b|\bNothing is known of\b": "not tested",
}


def _help_texts() -> Iterator[tuple[str, str]]:
    for name, command in COMMANDS.items():
        yield name, command.help or ""
        yield from ((f"{name} {param.name}", getattr(param, "help", None) or "") for param in command.params)


def test_retired_words_stay_out_of_what_people_read():
    """Sentences of the package and the help of its command line say one thing by one word."""
    pages = ("reporting/", "display/", "plots/")  # of pictures and pages, which have words of their own
    read = [
        (f"{name}:{line}", text)
        for name, tree in SOURCES
        if not name.startswith(pages)
        for line, text in _sentences(tree)
    ]
    found = [
        f"{where}: {text!r}: rather {better}"
        for where, text in (*read, *_help_texts())
        for retired, better in RETIRED.items()
        if re.search(retired, text)
    ]
    assert found == []


def _sentences(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """All strings of more than one word but docstrings, and the pieces of f-strings."""
    quiet = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        said = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in quiet
        if said and " " in node.value:
            yield node.lineno, node.value
