"""Commands that decide and judge decisions; `cli` puts them on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bayescascade.cli import terminal
from bayescascade.cli.options import (
    CURRENCY,
    ERROR_PRICE,
    AbstainPrice,
    Cost,
    FitFile,
    Grades,
    LogFile,
    Prob,
    Seed,
    Task,
    TaskColumn,
    TaskOfLog,
    file_in,
    file_out,
    fit_of,
    given,
    keep_inputs,
    log_for,
    models_of,
    names_of,
)
from bayescascade.errors import CascadeError, render


def tune(
    ctx: typer.Context,
    fit_file: FitFile,
    output: Annotated[Path | None, file_out("Where the policy goes (JSON), e.g. policy.json.")] = None,
    max_error: Annotated[
        float | None, typer.Option(help="The error is at most this, with --prob; else the cheapest thresholds.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="The cost per query is at most this, with --prob; else the least error.")
    ] = None,
    max_latency: Annotated[
        float | None, typer.Option(help="The latency per query is at most this, with --prob.")
    ] = None,
    error_price: Annotated[float | None, ERROR_PRICE] = None,
    abstain_price: AbstainPrice = None,
    latency_price: Annotated[float | None, typer.Option(help=f"What a unit of latency costs, {CURRENCY}.")] = None,
    prob: Prob = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Promise the limits for the next so many queries.", show_default="the long run"),
    ] = None,
    risk: Annotated[
        str | None,
        typer.Option(
            help="Average the loss over all draws (mean), the worst --alpha (cvar), or what the worst lose to "
            "their own optimum (regret).",
            show_default="mean",
        ),
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Share of the worst draws.", show_default="0.1")] = None,
    stages: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="Run these stages only.", show_default="the best ones"),
    ] = None,
    doubt: Annotated[
        float | None,
        typer.Option(
            help="Room for what the model misses of the error, as a share of it; 0 believes the model.",
            show_default="0.1 with --max-error, or 1 for a fit without a difficulty; else 0",
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(metavar="A=MODEL,...", help="Model and version of each stage, for the policy file."),
    ] = None,
    template: Annotated[
        Path | None, file_in("The prompts' template: the policy file says its digest.", metavar="FILE")
    ] = None,
    currency: Annotated[
        str | None, typer.Option(metavar="NAME", help="Currency of the log, for the policy file.")
    ] = None,
    task: Task = None,
) -> None:
    """Choose thresholds: for a price of errors, for limits that hold with a probability, or both."""
    bounds = ("max_error", "max_cost", "max_latency")
    prices = ("error_price", "abstain_price", "latency_price")
    goal = given(ctx, *bounds, *prices, "prob", "batch", "risk", "alpha", "doubt")
    if not {"error_price", "max_error", "max_cost", "max_latency"} & set(goal):
        raise CascadeError("no goal came; give --max-error, --max-cost, --max-latency or --error-price.")
    if prob is not None and None is max_error is max_cost is max_latency:
        raise CascadeError("--prob goes with a limit such as --max-error; --error-price weighs all draws alike.")
    if alpha is not None and risk in (None, "mean"):
        raise CascadeError("--alpha goes with --risk cvar or --risk regret; the mean is over all draws.")
    if stages is not None:
        goal["stages"] = names_of(stages)
    if output is None and (models or template or currency):
        raise CascadeError("--models, --template and --currency go into the policy file; name one with -o.")
    keep_inputs((fit_file, template), output)
    import bayescascade as bc

    posterior = fit_of(fit_file, task)
    with terminal.working("Tuning"):
        solution = bc.tune(posterior, **goal)
    if not solution.feasible:
        terminal.say(render(solution.text, ctx.obj))
        if output is not None:
            terminal.say(f"{output} was not written.")
        raise typer.Exit(terminal.INFEASIBLE)
    if output is not None:  # before the tables, whose reader may hang up
        prompts = None if template is None else template.read_bytes().decode("utf-8", "surrogateescape")
        solution.to_policy(output, models=models_of(models), prompts=prompts, currency=currency)
    terminal.show(
        terminal.thresholds_table(solution, str(posterior.attrs["confidence_kind"])),
        terminal.expected_table(solution),
    )
    typer.echo(render(solution.text, ctx.obj))
    if output is None:
        typer.echo("No policy was written; name one with -o policy.json.")
    else:
        typer.echo(f"Wrote {output}.")


def score(
    log: LogFile,
    policy: Annotated[Path, file_in("Written by `bayescascade tune`.", metavar="POLICY")],
    kind: Annotated[
        str | None, typer.Option("--kind", help="What a confidence is: {kinds}.", show_default="the policy's")
    ] = None,
    cost: Cost = "cost",
    grades: Grades = None,
    task: TaskOfLog = None,
    task_column: TaskColumn = None,
) -> None:
    """Run a policy on the queries of a log and print its error and cost."""
    import bayescascade as bc
    from bayescascade.posterior.schema import data_hash

    chosen = bc.Policy.load(policy)
    if kind is not None and kind != chosen.confidence_kind:
        raise CascadeError(
            f"{policy} decides on confidences of kind {chosen.confidence_kind!r}, so its thresholds mean "
            f"nothing on kind {kind!r}; tune a policy on a log of that kind."
        )
    data = log_for(log, chosen, cost, task, task_column, grades)
    scored = bc.score(data, chosen)
    terminal.show(*terminal.score_lines(scored, f"{policy.name} on {log.name}"))
    if "error_expected" not in scored:
        terminal.say("The policy file does not say enough to tell what so many queries should show; tune again.")
    if chosen.metadata.get("data_hash") == data_hash(data):
        terminal.say(
            "The policy was tuned on this very log, which flatters it; one that it has not seen tells more."
        )


def check(
    ctx: typer.Context,
    fit_file: FitFile,
    policy: Annotated[
        Path | None, file_in("Compare what is expected of this policy with the log, too.", metavar="POLICY")
    ] = None,
    task: Task = None,
) -> None:
    """Check a fit against its own log: what the model misses, and what to do about it."""
    import bayescascade as bc

    posterior = fit_of(fit_file, task)
    chosen = None if policy is None else bc.Policy.load(policy)
    with terminal.working("Checking"):
        found = bc.check(posterior, thresholds=chosen)
    terminal.show(terminal.checks_table(found, ctx.obj))


def verdict(
    ctx: typer.Context,
    fit_file: FitFile,
    error_price: Annotated[float | None, ERROR_PRICE] = None,
    max_error: Annotated[
        float | None, typer.Option(help="Judge by this limit instead: what is cheapest of all that keeps it.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="Judge by this limit instead: what errs least of all that keeps it.")
    ] = None,
    prob: Prob = None,
    abstain_price: AbstainPrice = None,
    task: Task = None,
) -> None:
    """Say whether the cascade is worth running, beside single stages, pairs and random mixes."""
    goal = given(ctx, "max_error", "max_cost", "error_price", "prob", "abstain_price")
    if not {"error_price", "max_error", "max_cost"} & set(goal):
        raise CascadeError("no goal came; give --error-price, --max-error or --max-cost.")
    import bayescascade as bc

    posterior = fit_of(fit_file, task)
    with terminal.working("Comparing"):
        if max_error is None and max_cost is None:
            found = bc.verdict(posterior, error_price=error_price, abstain_price=abstain_price)
        else:
            found = bc.verdict(posterior, solution=bc.tune(posterior, **goal))
    terminal.show(terminal.verdict_table(found.table))
    typer.echo(render(found.text, ctx.obj))


def labels(
    ctx: typer.Context,
    fit_file: FitFile,
    error_price: Annotated[float, ERROR_PRICE],
    n_labels: Annotated[
        str, typer.Option("--n-labels", metavar="N,...", help="Numbers of queries to be labelled.")
    ] = "25,50,100,200,400",
    stages: Annotated[
        str, typer.Option(metavar="A,B,...", help="Stages whose answers are labelled, all, or each in turn.")
    ] = "all",
    label_price: Annotated[float, typer.Option(help=f"What labelling one answer costs, {CURRENCY}.")] = 0.0,
    horizon: Annotated[
        int | None, typer.Option(help="Queries that will be served with the thresholds.", show_default="unknown")
    ] = None,
    task: Task = None,
    seed: Seed = None,
) -> None:
    """Say what more labelled queries are worth: in money, and in narrower intervals."""
    sizes = _whole_numbers(n_labels)
    wanted: Any = stages if stages in ("all", "each") else names_of(stages)
    import bayescascade as bc

    posterior = fit_of(fit_file, task)
    with terminal.working("Simulating labels and fitting again (a minute or two)"):
        found = bc.label_value(
            posterior,
            error_price=error_price,
            n_labels=sizes,
            stages=wanted,
            label_price=label_price,
            horizon=horizon,
            random_seed=seed,
        )
    terminal.show(terminal.labels_table(found.table))
    typer.echo(render(found.text, ctx.obj))


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in names_of(text) or []]
    except ValueError:
        raise CascadeError(f"--n-labels {text} is no list of whole numbers; write e.g. 50,100,200.") from None


def sensitivity(
    ctx: typer.Context,
    fit_file: FitFile,
    max_error: Annotated[float | None, typer.Option(help="The error is at most this, with --prob.")] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="The cost per query is at most this, with --prob.")
    ] = None,
    error_price: Annotated[float | None, ERROR_PRICE] = None,
    prob: Prob = None,
    task: Task = None,
) -> None:
    """Tune, and say how error, cost and thresholds move with prices, with the prior and with harder queries."""
    goal = given(ctx, "max_error", "max_cost", "error_price", "prob")
    if not set(goal) - {"prob"}:
        raise CascadeError("no goal came; give --max-error, --max-cost or --error-price.")
    import bayescascade as bc

    posterior = fit_of(fit_file, task)
    with terminal.working("Tuning under each change"):
        solution = bc.tune(posterior, **goal)
        found = bc.sensitivity(posterior, solution)
    terminal.show(terminal.sensitivity_table(found.table))
    typer.echo(render(found.text, ctx.obj))
