"""The commands that put a policy to work elsewhere: behind an address, and in the words of other systems."""

from __future__ import annotations

import asyncio
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bayescascade.cli.options import Json, PolicyFile, file_in, file_out, keep_inputs
from bayescascade.cli.parsing import columns_of
from bayescascade.cli.running import a_decision_log
from bayescascade.cli.terminal import emit, written
from bayescascade.errors import CascadeError, CascadeWarning

DAY = 86_400.0


def serve(
    policy: PolicyFile,
    endpoints: Annotated[Path, file_in("TOML file with a table for each stage: model, base_url, price.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all addresses of this machine.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.")] = 8000,
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="LOG",
            callback=a_decision_log,
            help="Log of each call (.jsonl); an existing one is continued.",
        ),
    ] = None,
    token_env: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Environment variable with the token that clients send as their key."),
    ] = None,
    name: Annotated[str, typer.Option(help="The model's name, as clients request it.")] = "bayescascade",
    max_queue: Annotated[
        int, typer.Option(min=1, help="Highest number of requests at a time; others get status 429.")
    ] = 512,
    max_bytes: Annotated[int, typer.Option(min=1, help="Largest request in bytes; others get status 413.")] = 4
    * 2**20,
    max_daily_cost: Annotated[
        float | None, typer.Option(metavar="COST", help="Highest cost of all calls within 24 hours.")
    ] = None,
    explore: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Share of accepted queries for which the later stages are also called."
        ),
    ] = 0.0,
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Calls at a time.")] = 64,
    as_json: Json = False,
) -> None:
    """Serve a cascade as one model with an API like OpenAI's. Ctrl-C finishes the running requests first."""
    if max_daily_cost is not None and not max_daily_cost > 0.0:
        raise CascadeError(f"--max-daily-cost should be above 0 but is {max_daily_cost:g}.")
    keep_inputs((policy, endpoints), log)
    import bayescascade as bc
    from bayescascade.runtime.endpoints_file import load_endpoints

    try:
        from bayescascade.serving import app
        from bayescascade.serving.server import is_loopback
        from bayescascade.serving.server import serve as serve_app

        chosen = bc.Policy.load(policy)
        stages = load_endpoints(endpoints, chosen.stages)
        budget = None if max_daily_cost is None else bc.Budget(per_period=max_daily_cost, period=DAY)
        cascade = bc.Cascade(chosen, stages, log=log, explore=explore, budget=budget, concurrency=concurrency)
    except ImportError as error:
        raise CascadeError(f"{error}.") from None
    try:
        served = app(cascade, model=name, token_env=token_env, max_queue=max_queue, max_bytes=max_bytes)
        if token_env is None and not is_loopback(host):
            warnings.warn(
                f"anyone who can reach {host} can send requests, and you pay; set a token by --token-env",
                CascadeWarning,
                stacklevel=2,
            )
        where = f"Serving policy {cascade.policy_id} as {name} on"

        def ready(url: str) -> None:
            if as_json:
                emit({"url": f"{url}/v1", "policy": cascade.policy_id, "model": name})
            else:
                typer.echo(f"{where} {url}/v1; Ctrl-C stops it.")

        serve_app(served, host, port, ready)
    finally:
        asyncio.run(cascade.close())  # where the server has not come to do it
    if as_json:
        return
    typer.echo("Stopped." if log is None else f"Stopped. Every query that has ended is in {log}.")


class Target(StrEnum):
    """Where a policy may be taken."""

    sql = "sql"
    vllm_router = "vllm-router"


def export(
    policy: PolicyFile,
    to: Annotated[
        Target, typer.Option(help="sql: CASE expressions; vllm-router: a route of vLLM's semantic router.")
    ],
    table: Annotated[
        str | None, typer.Option(metavar="NAME", help="With sql: a whole query of this table.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="STAGE=COLUMN,...",
            help="With sql: columns of the confidences, if they are not named like the stages.",
        ),
    ] = None,
    output: Annotated[Path | None, file_out("Output file; the terminal by default.")] = None,
    as_json: Json = False,
) -> None:
    """Write a policy as a rule for another system that decides the same, or say why there is none."""
    if to is Target.vllm_router and (table is not None or columns is not None):
        raise CascadeError("--table and --columns go with --to sql.")
    keep_inputs((policy,), output)
    import bayescascade as bc

    chosen = bc.Policy.load(policy)
    text = chosen.to_sql(table, columns_of(columns)) if to is Target.sql else chosen.to_vllm_router()
    if output is None:
        if as_json:
            emit({"to": to.value, "text": text})
        else:
            typer.echo(text, nl=False)
        return
    from bayescascade._common.files import whole_file

    done = written(output)
    with whole_file(output, "the rule") as part:
        part.write_text(text, encoding="utf-8")
    if as_json:
        emit({"to": to.value, "rule": str(output)})
        return
    typer.echo(f"{done}.")
