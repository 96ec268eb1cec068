"""The command that chooses thresholds, and how its answer is shown; `app` puts it on the command line."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from bayescascade.cli import terminal
from bayescascade.cli.options import (
    CURRENCY,
    ERROR_PRICE,
    AbstainPrice,
    CurrencyName,
    FitFile,
    Json,
    MaxCost,
    MaxError,
    Prob,
    Task,
    file_in,
    file_out,
    fit_of,
    given,
    keep_inputs,
)
from bayescascade.cli.parsing import cost_per_query, models_of, names_of, prices_by_stage
from bayescascade.cli.tables import thresholds_table
from bayescascade.errors import CascadeError, Face, render

GOALS = ("error_price", "max_error", "max_cost", "max_latency")
NO_GOAL = "No goal given: use --max-error, --max-cost, {}--error-price, or several."


def tune(
    ctx: typer.Context,
    fit_file: FitFile,
    output: Annotated[Path | None, file_out("Output file for the policy (JSON), e.g. policy.json.")] = None,
    max_error: MaxError = None,
    max_cost: MaxCost = None,
    max_latency: Annotated[
        float | None, typer.Option(help="Limit: the latency of a query is at most this on average.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="AMOUNT/TIME", help="Instead of --max-cost: what may be spent, e.g. 20/day."),
    ] = None,
    traffic: Annotated[
        str | None, typer.Option(metavar="QUERIES/TIME", help="Number of queries to expect, e.g. 50000/day.")
    ] = None,
    error_price: Annotated[float | None, ERROR_PRICE] = None,
    abstain_price: AbstainPrice = None,
    latency_price: Annotated[float | None, typer.Option(help=f"What a unit of latency costs, {CURRENCY}.")] = None,
    prob: Prob = None,
    batch: Annotated[
        int | None,
        typer.Option(
            help="Keep the limits for a batch of this many queries, not for the long run.",
            show_default="the long run",
        ),
    ] = None,
    risk: Annotated[
        str | None,
        typer.Option(
            help="Average over all draws (mean), over the worst --alpha (cvar), or over the "
            "regret of the worst --alpha (regret).",
            show_default="mean",
        ),
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Share of the worst draws.", show_default="0.1")] = None,
    stages: Annotated[
        str | None,
        typer.Option(
            "--stages", metavar="A,B,...", help="Stages to keep, cheapest first.", show_default="the best ones"
        ),
    ] = None,
    doubt: Annotated[
        float | None,
        typer.Option(
            help="Safety margin for model error, as a share of the error; 0 trusts the model.",
            show_default="0.2 with --max-error, or 1 for a fit without a difficulty; else 0",
        ),
    ] = None,
    prices: Annotated[
        str | None,
        typer.Option(
            metavar="A=PRICE,...", help="Price of one call by stage.", show_default="what the log's calls cost"
        ),
    ] = None,
    currency: CurrencyName = None,
    models: Annotated[
        str | None,
        typer.Option(metavar="A=MODEL,...", help="Model and version of each stage, for the policy file."),
    ] = None,
    template: Annotated[
        Path | None, file_in("The prompts' template; the policy file keeps its digest.", metavar="FILE")
    ] = None,
    task: Task = None,
    as_json: Json = False,
) -> None:
    """Choose thresholds for a cost per error, for limits, or both.

    Shorter cascades and single stages are also tried, unless you name the --stages.
    """
    bounds = ("max_error", "max_cost", "max_latency")
    goal = given(
        ctx, *GOALS, "abstain_price", "latency_price", "prob", "batch", "risk", "alpha", "doubt", "currency"
    )
    if (allowed := cost_per_query(budget, traffic)) is not None:
        if max_cost is not None:
            raise CascadeError("--budget with --traffic is a --max-cost; give one of the two.")
        goal["max_cost"] = allowed
    if not set(GOALS) & set(goal):
        raise CascadeError(NO_GOAL.format("--max-latency, "))
    if prob is not None and not set(bounds) & set(goal):
        raise CascadeError("--prob goes with a limit such as --max-error; --error-price weighs all draws alike.")
    if alpha is not None and risk in (None, "mean"):
        raise CascadeError("--alpha goes with --risk cvar or --risk regret; the mean is over all draws.")
    if stages is not None:
        goal["stages"] = names_of(stages)
    if output is None and (models or template):
        raise CascadeError("--models and --template go into the policy file; name one with -o.")
    keep_inputs((fit_file, template), output)
    import bayescascade as bc

    posterior = fit_of(fit_file, task)
    if prices is not None:
        posterior = bc.reprice(posterior, prices_by_stage(prices))
    with terminal.working("Tuning"):
        solution = bc.tune(posterior, **goal)
    if not solution.feasible:
        if as_json:
            terminal.emit(content(solution, None, None))
        terminal.say(render(solution.text, ctx.obj))
        if output is not None:
            terminal.say(terminal.not_written(output))
        raise typer.Exit(terminal.INFEASIBLE)
    if output is not None:  # before the tables, whose reader may hang up
        done = terminal.written(output)
        prompts = None if template is None else template.read_bytes().decode("utf-8", "surrogateescape")
        solution.to_policy(output, models=models_of(models), prompts=prompts, currency=currency)
    with terminal.working("Checking the fit"):
        checks = bc.check(posterior, thresholds=solution)
    if as_json:
        terminal.emit(content(solution, checks, output))
        return
    show_answer(solution, checks, ctx.obj, shlex.quote(str(fit_file)))
    if output is None:
        typer.echo("No policy was written; name one with -o policy.json.")
    else:
        named = shlex.quote(str(output))
        typer.echo(f"{done}. Next, on queries that the fit has not seen:")
        typer.echo(f"  bayescascade score NEW_LOG --policy {named}")


def show_answer(solution: Any, checks: Any, face: Face, fit_name: str | None) -> None:
    """What to run first, then thresholds, what they bring, and a line on the checks."""
    from bayescascade.tuning.answer import facts, headline, notes

    for note in notes(solution):
        terminal.tell(f"Note: {render(note, face)}")
    terminal.tell(headline(solution))
    print()
    terminal.show(thresholds_table(solution))
    print()
    failed = checks.passed is False
    see = f" See `bayescascade check {fit_name}`." if failed and fit_name else ""
    terminal.facts([*facts(solution), ("Checks", checks.summary + see)])


def content(solution: Any, checks: Any, output: Path | None) -> dict[str, Any]:
    """The answer as plain numbers and texts."""
    from bayescascade._common.arrays import tail_probabilities
    from bayescascade.display.format import CI_PROB

    stages = [str(name) for name in solution.thresholds["stage"].values]
    out: dict[str, Any] = {
        "feasible": solution.feasible,
        "goal": solution.goal,
        "stages": stages,
        "thresholds": dict(zip(stages, solution.thresholds.values.tolist(), strict=True)),
        "confidence_kind": solution.confidence_kind,
    }
    if solution.reject is not None:
        out["reject"] = dict(zip(stages, solution.reject.values.tolist(), strict=True))
    if solution.as_good is not None:
        out["as_good"] = dict(zip(stages, solution.as_good.values.tolist(), strict=True))
    for name in ("error", "cost", "abstained", "latency"):
        draws = getattr(solution, name)
        if draws is not None:
            low, high = draws.quantile(tail_probabilities(CI_PROB)).values.tolist()
            out[name] = {"mean": float(draws.mean()), "low": low, "high": high}
    for name in ("reach", "answered"):
        mean = getattr(solution, name).mean(("chain", "draw")).values.tolist()
        out[name] = dict(zip(stages, mean, strict=True))
    return out | {
        "currency": solution.currency,
        "kept": solution.kept,
        "upper_bounds": solution.upper_bounds,
        "lowest_limits": solution.lowest_limits,
        "alternatives": [vars(one) for one in solution.alternatives],
        "checks": None if checks is None else checks_content(checks),
        "policy": None if output is None else str(output),
        "text": str(solution.text),
    }


def checks_content(checks: Any) -> dict[str, Any]:
    """Which checks passed, which failed, and what the failures do to the answer."""
    return {
        "passed": [result.name for result in checks if result.passed],
        "failed": [result.name for result in checks if result.passed is False],
        "skipped": [result.name for result in checks if result.passed is None],
        "text": checks.summary,
    }
