"""Commands that judge decisions; `app` puts them on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bayescascade._common.messages import counted
from bayescascade.cli import terminal
from bayescascade.cli.choosing import NO_GOAL, checks_content
from bayescascade.cli.log_options import LogOptions, reads_a_log
from bayescascade.cli.options import (
    CURRENCY,
    ERROR_PRICE,
    AbstainPrice,
    FitFile,
    Json,
    LogFiles,
    MaxCost,
    MaxError,
    Prob,
    Seed,
    Task,
    TaskOfLog,
    counted_for,
    file_in,
    file_out,
    fit_of,
    given,
    is_many,
    keep_inputs,
    log_for,
)
from bayescascade.cli.parsing import names_of
from bayescascade.cli.tables import checks_table, labels_table, score_table, sensitivity_table, verdict_table
from bayescascade.errors import CascadeError, render

CHECKS_FAILED = 1  # exit code of `check --strict`


@reads_a_log
def score(
    log: LogFiles,
    policy: Annotated[Path, file_in("Policy file, as `tune -o` writes it.", metavar="POLICY")],
    reading: LogOptions,
    kind: Annotated[
        str | None, typer.Option("--kind", help="What a confidence is: {kinds}.", show_default="the policy's")
    ] = None,
    task: TaskOfLog = None,
    as_json: Json = False,
) -> None:
    """Run a policy on logged queries: error, cost, and whether it kept its promise."""
    import bayescascade as bc
    from bayescascade.posterior.schema import data_hash

    chosen = bc.Policy.load(policy)
    if kind is not None and kind != chosen.confidence_kind:
        raise CascadeError(
            f"{policy} decides on confidences of kind {chosen.confidence_kind!r}, so its thresholds mean "
            f"nothing on kind {kind!r}; tune a policy on a log of that kind."
        )
    if is_many(log):
        data = counted_for(log, chosen, reading, task)
    else:
        data = log_for(log, chosen, reading, task)
    scored = bc.score(data, chosen)
    same = not is_many(log) and chosen.metadata.get("data_hash") == data_hash(data)
    if as_json:
        terminal.emit(score_content(scored) | {"same_log": same})
        return
    show_score(scored, f"{policy.name} on {log.name}")
    if "error_expected" not in scored:
        terminal.say("The policy file does not say what to expect of so many queries; tune again.")
    if same:
        terminal.say("The policy was tuned on this very log, so these results are optimistic; score a new log.")


def show_score(scored: Any, title: str) -> None:
    """Whether the promise was kept, error and cost beside what was expected, and who answered."""
    from bayescascade.display.format import per_thousand, share

    n = scored.attrs["n_queries"]
    terminal.tell(f"{title}: {counted(n)}")
    print()
    lines = []
    if "promise" in scored.attrs:
        lines.append(("Promise", scored.attrs["promise"]))
    if "error_expected" in scored:
        from bayescascade.cascade.predictive import compared

        lines += compared(scored)
    else:
        error = float(scored["error"])
        lines.append(("Error", "not known (no labels)" if error != error else share(error)))
        lines.append(("Cost", f"{per_thousand(float(scored['cost']))} per 1,000 queries"))
    terminal.facts(lines)
    print()
    terminal.show(score_table(scored))


def score_content(scored: Any) -> dict[str, Any]:
    """What was scored, in plain numbers and texts."""
    stages = [str(name) for name in scored["stage"].values]
    one = {name: float(of) for name, of in scored.data_vars.items() if of.ndim == 0}
    each = {
        name: dict(zip(stages, of.values.tolist(), strict=True))
        for name, of in scored.data_vars.items()
        if of.dims == ("stage",)
    }
    return {**one, **each, **{str(name): value for name, value in scored.attrs.items()}}


def check(
    ctx: typer.Context,
    fit_file: FitFile,
    policy: Annotated[
        Path | None,
        file_in("Policy file: also compare its expected error and cost with the log.", metavar="POLICY"),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 if a check fails.")] = False,
    task: Task = None,
    as_json: Json = False,
) -> None:
    """Check a fit against its own log: what the model misses, how this affects the answer, and what to do."""
    import bayescascade as bc

    posterior = fit_of(fit_file, task)
    chosen = None if policy is None else bc.Policy.load(policy)
    with terminal.working("Checking"):
        found = bc.check(posterior, thresholds=chosen)
    shown = [result for result in found if chosen is not None or result.name != "cascade"]
    if as_json:
        each = [
            {"check": result.name, "passed": result.passed, "text": render(result.text, ctx.obj)}
            for result in shown
        ]
        terminal.emit(checks_content(found) | {"checks": each})
    else:
        terminal.tell(found.summary)
        print()
        terminal.show(checks_table(shown, ctx.obj))
    if strict and found.passed is False:
        raise typer.Exit(CHECKS_FAILED)


def verdict(
    ctx: typer.Context,
    fit_file: FitFile,
    error_price: Annotated[float | None, ERROR_PRICE] = None,
    max_error: MaxError = None,
    max_cost: MaxCost = None,
    prob: Prob = None,
    abstain_price: AbstainPrice = None,
    task: Task = None,
    as_json: Json = False,
) -> None:
    """Say whether a cascade is worth it, compared with single stages, pairs and random mixes of two stages.

    With a limit, only alternatives that keep the limit are compared.
    """
    goal = given(ctx, "max_error", "max_cost", "error_price", "prob", "abstain_price")
    if not {"error_price", "max_error", "max_cost"} & set(goal):
        raise CascadeError(NO_GOAL.format(""))
    import bayescascade as bc

    posterior = fit_of(fit_file, task)
    with terminal.working("Comparing"):
        if max_error is None and max_cost is None:
            found = bc.verdict(posterior, error_price=error_price, abstain_price=abstain_price)
        else:
            found = bc.verdict(posterior, solution=bc.tune(posterior, **goal))
    if as_json:
        terminal.emit({"decision": found.decision, "text": render(found.text, ctx.obj), "ways": found.table})
        return
    terminal.tell(render(found.text, ctx.obj))
    print()
    terminal.show(verdict_table(found.table))


def labels(
    ctx: typer.Context,
    fit_file: FitFile,
    error_price: Annotated[float | None, ERROR_PRICE] = None,
    max_error: MaxError = None,
    prob: Prob = None,
    n_labels: Annotated[
        str, typer.Option("--n-labels", metavar="N,...", help="Numbers of further queries to label.")
    ] = "25,50,100,200,400",
    stages: Annotated[
        str, typer.Option(metavar="A,B,...", help="Stages whose answers are labelled, all, or each in turn.")
    ] = "all",
    label_price: Annotated[float, typer.Option(help=f"What labelling one answer costs, {CURRENCY}.")] = 0.0,
    horizon: Annotated[
        int | None,
        typer.Option(help="Number of queries that will be served with the thresholds.", show_default="unknown"),
    ] = None,
    output: Annotated[
        Path | None,
        file_out("Output file for the ids of logged queries to label, drawn at random (CSV)."),
    ] = None,
    task: Task = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Say what more labelled queries are worth: in money, or what you could promise with them.

    Give --error-price, or --max-error with --prob. With -o, draw queries of the log to label.
    """
    goal = given(ctx, "error_price", "max_error", "prob")
    keep_inputs((fit_file,), output)
    sizes = _whole_numbers(n_labels)
    wanted: Any = stages if stages in ("all", "each") else names_of(stages)
    import bayescascade as bc

    posterior = fit_of(fit_file, task)
    ids = None
    if output is not None:
        from bayescascade.analysis.label_choice import draw_queries

        named = None if stages in ("all", "each") else wanted
        ids = draw_queries(posterior, max(sizes, default=1), stages=named, random_seed=seed)
    with terminal.working("Simulating labels and fitting again (a minute or two)"):
        found = bc.label_value(
            posterior,
            **goal,
            n_labels=sizes,
            stages=wanted,
            queries="new" if output is None else "logged",
            label_price=label_price,
            horizon=horizon,
            random_seed=seed,
        )
    if ids is not None and output is not None:
        done = terminal.written(output)
        _save_ids(ids, output)
    if as_json:
        listed = None if ids is None else ids.tolist()
        terminal.emit({"text": render(found.text, ctx.obj), "labels": found.table, "queries": listed})
        return
    terminal.tell(render(found.text, ctx.obj))
    print()
    terminal.show(labels_table(found.table))
    if ids is not None:
        typer.echo(f"{done}: {len(ids)} queries, drawn at random. Label those on top first if you label fewer.")


def _save_ids(ids: Any, output: Path) -> None:
    """Ids of queries as a table of one column."""
    import pandas as pd

    from bayescascade._common.files import whole_file

    with whole_file(output, "the list of queries") as part:
        pd.DataFrame({"query": ids}).to_csv(part, index=False)


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in names_of(text) or []]
    except ValueError:
        raise CascadeError(f"--n-labels {text} is not a list of whole numbers; write e.g. 50,100,200.") from None


def sensitivity(
    ctx: typer.Context,
    fit_file: FitFile,
    max_error: MaxError = None,
    max_cost: MaxCost = None,
    error_price: Annotated[float | None, ERROR_PRICE] = None,
    prob: Prob = None,
    task: Task = None,
    as_json: Json = False,
) -> None:
    """Tune, and say how error, cost and thresholds change with prices, with the prior and with harder queries."""
    goal = given(ctx, "max_error", "max_cost", "error_price", "prob")
    if not set(goal) - {"prob"}:
        raise CascadeError(NO_GOAL.format(""))
    import bayescascade as bc

    posterior = fit_of(fit_file, task)
    with terminal.working("Tuning under each change"):
        solution = bc.tune(posterior, **goal)
        found = bc.sensitivity(posterior, solution)
    if as_json:
        terminal.emit({"text": render(found.text, ctx.obj), "changes": found.table.reset_index()})
        return
    terminal.tell(render(found.text, ctx.obj))
    print()
    terminal.show(sensitivity_table(found.table))
