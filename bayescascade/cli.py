"""The command line: each command reads, calls the public functions, and writes. Nothing is computed here.

Only Typer is imported at the top, so that ``--help`` does not wait for PyMC.
"""

from __future__ import annotations

import errno
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from bayescascade._terminal import (
    checks_table,
    describe,
    expected_table,
    remarks,
    say,
    score_lines,
    show,
    thresholds_table,
    working,
)
from bayescascade.errors import CascadeError
from bayescascade.files import whole_file

if TYPE_CHECKING:
    import xarray as xr

MISTAKE, INFEASIBLE, INTERRUPTED = 2, 3, 130

# What the demo asks of the embedded example, and the share of it that is kept back for scoring.
DEMO_MAX_ERROR, DEMO_PROB, DEMO_TEST_SHARE = 0.3, 0.9, 1 / 3


class _Commands(TyperGroup):
    """Turn mistakes and interrupts into one sentence and an exit code, for every command alike."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with remarks():
                return super().invoke(ctx)
        except typer.TyperException as error:  # a wrong option or argument
            where = getattr(getattr(error, "ctx", None), "command_path", "bayescascade")
            message = f"{error.format_message().rstrip('. ')}. See `{where} --help`."
        except CascadeError as error:
            message = str(error)
        except OSError as error:
            if error.errno == errno.EPIPE:  # `| head` is no mistake; Typer knows what to do
                raise
            message = f"{error.filename}: {error.strerror}." if error.filename else f"{error}."
        except KeyboardInterrupt:
            say("Interrupted; no half-written file is left.")
            raise typer.Exit(INTERRUPTED) from None
        typer.echo(f"{typer.style('Error:', fg='red', bold=True)} {message}", err=True)
        raise typer.Exit(MISTAKE)


app = typer.Typer(
    cls=_Commands,
    name="bayescascade",
    help="Bayesian tuning of language model cascades: from a log to thresholds, with honest uncertainty.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _writable(path: Path | None) -> Path | None:
    """Refuse an output that cannot be written before the work, not after it."""
    if path is not None:
        folder = path.parent
        if path.is_dir():
            raise typer.BadParameter(f"{path} is a folder; name a file in it.")
        if not folder.is_dir():
            raise typer.BadParameter(f"the folder {folder} does not exist; create it first.")
        if not os.access(folder, os.W_OK):
            raise typer.BadParameter(f"the folder {folder} cannot be written to; choose another.")
    return path


def _at_least_two(stages: str | None) -> str | None:
    if stages is not None and len(_names(stages) or []) < 2:
        raise typer.BadParameter(f"a cascade has at least two stages, separated by commas, but got {stages!r}.")
    return stages


LogFile = Annotated[
    Path,
    typer.Argument(metavar="LOG", exists=True, dir_okay=False, help="CSV, Parquet or JSON lines, long or wide."),
]
FitFile = Annotated[
    Path, typer.Argument(metavar="FIT", exists=True, dir_okay=False, help="Written by `bayescascade fit`.")
]
CostColumn = Annotated[str, typer.Option("--cost", metavar="COLUMN", help="Column that holds the cost.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Random seed; the same seed, the same result.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"bayescascade {version('bayescascade')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@app.command()
def fit(
    log: LogFile,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", callback=_writable, help="Where the fit goes (netCDF), e.g. fit.nc."),
    ],
    kind: Annotated[
        str,
        typer.Option("--kind", help="What a confidence is: logprob, p_true, probability, margin, votes or score."),
    ],
    cost: CostColumn = "cost",
    stages: Annotated[
        str | None,
        typer.Option(
            callback=_at_least_two,
            metavar="A,B,...",
            help="Stages to keep, cheapest first.",
            show_default="all",
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=4, help="Draws kept from each chain.")] = 1000,
    tune: Annotated[int, typer.Option(min=10, help="Tuning steps of each chain, thrown away.")] = 300,
    chains: Annotated[int, typer.Option(min=1, help="Chains.")] = 4,
    seed: Seed = None,
    copula: Annotated[str, typer.Option(help="Family of the links between stages.")] = "gumbel",
) -> None:
    """Fit the model to a log of queries and save the posterior."""
    _keep_input(log, output)
    import bayescascade as bc

    data = bc.read_log(log, confidence_kind=kind, cost=cost, stages=_names(stages))
    say(describe(data))
    with working(f"Fitting, {chains} x {draws} draws (a first fit compiles too: a minute)"):
        posterior = bc.fit(
            data, copula=copula, draws=draws, tune=tune, chains=chains, random_seed=seed, progressbar=False
        )
    bc.save_fit(posterior, output)
    typer.echo(f"Wrote {output}. Next: bayescascade tune {_quoted(output)} --max-error 0.2 -o policy.json")


@app.command()
def tune(
    fit_file: FitFile,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", callback=_writable, help="Where the policy goes (JSON), e.g. policy.json."),
    ] = None,
    max_error: Annotated[
        float | None, typer.Option(help="Cheapest thresholds whose error is at most this, with --prob.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="Best thresholds whose cost per query is at most this, with --prob.")
    ] = None,
    error_price: Annotated[
        float | None, typer.Option(help="What one wrong answer costs, in the log's currency.")
    ] = None,
    prob: Annotated[
        float | None,
        typer.Option(help="Posterior probability with which the limit holds.", show_default="0.9"),
    ] = None,
) -> None:
    """Choose thresholds for one goal: --max-error, --max-cost or --error-price."""
    goals = {"max_error": max_error, "max_cost": max_cost, "error_price": error_price}
    goal = {name: value for name, value in goals.items() if value is not None}
    if len(goal) != 1:
        came = " and ".join(f"--{name.replace('_', '-')}" for name in goal) or "none"
        raise CascadeError(f"give exactly one of --max-error, --max-cost and --error-price; {came} came.")
    if prob is not None and error_price is not None:
        raise CascadeError("--prob goes with --max-error or --max-cost; --error-price weighs all draws alike.")
    if output is not None:
        _keep_input(fit_file, output)
    import bayescascade as bc

    posterior = bc.load_fit(fit_file)
    with working("Tuning"):
        solution = bc.tune(posterior, **goal, **({} if prob is None else {"prob": prob}))
    if not solution.feasible:
        say(solution.text)
        if output is not None:
            say(f"{output} was not written.")
        raise typer.Exit(INFEASIBLE)
    show(thresholds_table(solution, str(posterior.attrs["confidence_kind"])), expected_table(solution))
    typer.echo(solution.text)
    if output is None:
        typer.echo("No policy was written; name one with -o policy.json.")
    else:
        solution.to_policy(output)
        typer.echo(f"Wrote {output}.")


@app.command()
def score(
    log: LogFile,
    policy: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Written by `bayescascade tune`.")],
    kind: Annotated[
        str | None, typer.Option("--kind", help="What a confidence is.", show_default="the policy's")
    ] = None,
    cost: CostColumn = "cost",
) -> None:
    """Run a policy on the queries of a log and print its error and cost."""
    import bayescascade as bc

    chosen = bc.Policy.load(policy)
    if kind is not None and kind != chosen.confidence_kind:
        raise CascadeError(
            f"{policy} decides on confidences of kind {chosen.confidence_kind!r}, so its thresholds mean "
            f"nothing on kind {kind!r}; tune a policy on a log of that kind."
        )
    data = bc.read_log(log, confidence_kind=chosen.confidence_kind, cost=cost, stages=chosen.stages)
    show(*score_lines(bc.score(data, chosen.thresholds), f"{policy.name} on {log.name}"))


@app.command()
def report(
    fit_file: FitFile,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", callback=_writable, help="Where the page goes (HTML), e.g. report.html."),
    ],
    policy: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Put this policy's thresholds at the head of the page."),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A log the fit has not seen: score the policy on it."),
    ] = None,
    cost: CostColumn = "cost",
) -> None:
    """Write a page with the answer, the checks, the frontier and the calibration of a fit."""
    if test is not None and policy is None:
        raise CascadeError("--test goes with --policy: there are no thresholds to score without one.")
    _keep_input(fit_file, output)
    import bayescascade as bc

    posterior = bc.load_fit(fit_file)
    options: dict[str, Any] = {}
    if policy is not None:
        chosen = bc.Policy.load(policy)
        options["thresholds"] = chosen.thresholds
        if test is not None:
            kind = chosen.confidence_kind
            options["test"] = bc.read_log(test, confidence_kind=kind, cost=cost, stages=chosen.stages)
    with working("Writing the report"), whole_file(output, "the report") as part:
        bc.report(posterior, part, **options)
    typer.echo(f"Wrote {output}.")


@app.command()
def simulate(
    output: Annotated[
        Path, typer.Option("--output", "-o", callback=_writable, help="Where the log goes: .parquet or .csv.")
    ],
    queries: Annotated[int, typer.Option(min=1, help="Queries.")] = 300,
    stages: Annotated[int, typer.Option(min=2, help="Stages.")] = 3,
    labelled: Annotated[
        int | None, typer.Option(min=1, help="Queries that keep their label.", show_default="all")
    ] = None,
    seed: Seed = None,
) -> None:
    """Draw a log from the model with known parameters, to try things on."""
    if output.suffix not in (".parquet", ".csv"):
        raise CascadeError(f"a log is written as .parquet or .csv, but the output is called {output.name!r}.")
    import bayescascade as bc

    log = bc.simulate(queries, n_stages=stages, n_labelled=labelled, random_seed=seed)
    _write_log(log, output)
    kind = log.attrs["confidence_kind"]
    typer.echo(f"Wrote {output}. Next: bayescascade fit {_quoted(output)} --kind {kind} -o fit.nc")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for what the demo writes.")] = Path(
        "bayescascade-demo"
    ),
) -> None:
    """Run the whole job on the embedded example, and say what to look at."""
    out.mkdir(parents=True, exist_ok=True)
    import bayescascade as bc

    log = bc.load_example()
    n_test = int(log.sizes["query"] * DEMO_TEST_SHARE)
    train, test = log.isel(query=slice(n_test, None)), log.isel(query=slice(n_test))
    _write_log(log, out / "log.csv")
    typer.echo(f"{describe(log)}; {n_test} queries are kept back for scoring.")
    with working("Fitting, 4 x 1000 draws (a first fit compiles too: a minute)"):
        posterior = bc.fit(train, random_seed=1, progressbar=False)
    bc.save_fit(posterior, out / "fit.nc")
    with working("Checking the fit"):
        checks = list(bc.check(posterior))
    with working(f"Tuning: error at most {DEMO_MAX_ERROR:g} with probability {DEMO_PROB:g}"):
        solution = bc.tune(posterior, max_error=DEMO_MAX_ERROR, prob=DEMO_PROB)
    policy = solution.to_policy(out / "policy.json")
    scored = bc.score(test, policy.thresholds)
    with working("Writing the report"), whole_file(out / "report.html", "the report") as part:
        bc.report(posterior, part, solution=solution, log=train, test=test)

    show(
        checks_table(checks),
        thresholds_table(solution, policy.confidence_kind),
        expected_table(solution),
        *score_lines(scored, f"The same policy on the {n_test} queries kept back"),
    )
    typer.echo(solution.text)
    kind = policy.confidence_kind
    typer.echo(
        f"\nIn {out}:\n"
        "  report.html   open this first: is the fit to be believed, and what does the frontier offer?\n"
        "  policy.json   the thresholds; a service loads it with bayescascade.Policy.load\n"
        "  fit.nc        the posterior, for bayescascade.load_fit and ArviZ\n"
        "  log.csv       the log it all came from\n"
        f"Your own log: bayescascade fit LOG --kind {kind} --cost COLUMN -o fit.nc"
    )


def main() -> None:
    """Run the command line (the ``bayescascade`` script)."""
    app(prog_name="bayescascade")


# ---- reading and writing


def _names(stages: str | None) -> list[str] | None:
    return None if stages is None else [name.strip() for name in stages.split(",") if name.strip()]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _keep_input(source: Path, output: Path) -> None:
    if output.exists() and output.samefile(source):
        raise CascadeError(f"the output {output} is the input itself; give it another name.")


def _write_log(log: xr.Dataset, path: Path) -> None:
    """One row for each query and stage that was run, as `read_log` takes it."""
    fields = [name for name in ("confidence", "correct", "cost", "latency") if name in log]
    table = log[fields].to_dataframe().reset_index().dropna(subset="confidence")
    position = {name: number for number, name in enumerate(log["stage"].values)}
    table = table.rename(columns={"stage": "model"}).assign(stage=lambda t: t["model"].map(position))
    table = table[["query", "stage", "model", *fields]].astype({"correct": "Int8"})
    with whole_file(path, "the log") as part:
        if path.suffix == ".csv":
            table.to_csv(part, index=False)
        else:
            table.to_parquet(part, index=False)


if __name__ == "__main__":
    main()
