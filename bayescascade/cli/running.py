"""The command that runs prompts through a cascade; `cli` puts it on the command line."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayescascade.cli.options import Json, PolicyFile, file_in, file_out, keep_inputs, writable
from bayescascade.cli.terminal import emit, say, tell
from bayescascade.errors import CascadeError

if TYPE_CHECKING:
    from bayescascade.runtime.cascade import Cascade

FAILED = 1  # exit code where some queries have no answer


def a_decision_log(path: Path | None) -> Path | None:
    """A decision log is JSON lines, and its name must say so to be read as such."""
    if path is not None and path.suffix not in (".jsonl", ".ndjson"):
        raise typer.BadParameter(f"the log is written as .jsonl, but the output is called {path.name!r}.")
    return writable(path)


def run(
    policy: PolicyFile,
    prompts: Annotated[
        Path, typer.Argument(metavar="PROMPTS", help="JSON lines with query and prompt, or query and messages.")
    ],
    endpoints: Annotated[Path, file_in("TOML file with a table for each stage: model, base_url, price.")],
    output: Annotated[Path, file_out("The log (.jsonl). An existing one is continued.", a_decision_log)],
    explore: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Share of accepted queries for which the later stages are also called."
        ),
    ] = 0.0,
    max_total_cost: Annotated[
        float | None,
        typer.Option(
            metavar="COST", help="Highest total cost of all queries, including those already in the log."
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Calls at a time.")] = 8,
    as_json: Json = False,
) -> None:
    """Run prompts through a cascade, and log each call. An interrupted run continues where it stopped."""
    keep_inputs((policy, prompts, endpoints), output)
    if max_total_cost is not None and not max_total_cost > 0.0:
        raise CascadeError(f"--max-total-cost should be above 0 but is {max_total_cost:g}.")
    import bayescascade as bc
    from bayescascade.runtime.endpoints_file import load_endpoints

    chosen = bc.Policy.load(policy)
    stages = load_endpoints(endpoints, chosen.stages)
    queries = queries_of(prompts)
    budget = None if max_total_cost is None else bc.Budget(per_period=max_total_cost, period=float("inf"))
    try:
        cascade = bc.Cascade(chosen, stages, log=output, explore=explore, budget=budget, concurrency=concurrency)
    except ImportError as error:
        raise CascadeError(f"{error}.") from None
    open_ = {query: messages for query, messages in queries.items() if query not in cascade}
    if len(open_) < len(queries):
        say(f"{len(queries) - len(open_)} of {len(queries)} queries are in {output} already.")
    work = _Work(cascade, open_)
    try:
        with progress(len(open_)) as advance:
            asyncio.run(work.all(concurrency, advance))
    except CascadeError:
        say(work.text())
        raise
    if as_json:
        emit({"log": str(output), "ended": work.answered, "failed": work.failed, "cost": work.cost})
    else:
        tell(work.text())
        typer.echo(f"Wrote {output}.")
    if work.failed:
        raise typer.Exit(FAILED)


def queries_of(path: Path) -> dict[str, Any]:
    """Messages by query; a line is an object with ``query``, and ``prompt`` or ``messages``."""
    from bayescascade.logs.importers.lines import json_lines
    from bayescascade.runtime.endpoint import check_messages

    found: dict[str, Any] = {}
    for where, line in json_lines(path):
        query = line.get("query")
        query = str(query) if isinstance(query, int) and not isinstance(query, bool) else query
        if not isinstance(query, str) or not query.strip():
            raise CascadeError(
                f'{where}: there is no query; write, for example, {{"query": "q1", "prompt": "..."}}.'
            )
        if query in found:
            raise CascadeError(f"{where}: the query {query!r} is there twice; give each its own.")
        if ("prompt" in line) == ("messages" in line):
            raise CascadeError(f"{where}: a line has either prompt or messages; give one of them.")
        try:
            found[query] = check_messages(line.get("prompt", line.get("messages")))
        except CascadeError as error:
            raise CascadeError(f"{where}: {error}.") from None
    return found


@dataclass
class _Work:
    """Queries that are asked by some workers, and what came of them."""

    cascade: Cascade
    queries: dict[str, Any]
    answered: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    cost: float = 0.0

    async def all(self, workers: int, advance: Callable[[], object]) -> None:
        todo = iter(self.queries.items())
        async with self.cascade:
            tasks = [asyncio.create_task(self._some(todo, advance)) for _ in range(workers)]
            try:
                await asyncio.gather(*tasks)
            finally:  # after a mistake the queries under way end, and no more begin
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _some(self, todo: Iterator[tuple[str, Any]], advance: Callable[[], object]) -> None:
        from bayescascade.runtime.result import NoAnswer

        for query, messages in todo:
            try:
                result = await self.cascade.answer(messages, query)
                name = f"{result.stage} answered" if result.decision == "accept" else "abstained"
                self.answered[name] += 1
            except NoAnswer as error:
                result = error.result
                self.failed.append(str(error))
            self.cost += result.cost if result.cost == result.cost else 0.0
            advance()

    def text(self) -> str:
        parts = [f"{name} {count}" for name, count in sorted(self.answered.items())]
        if self.failed:
            parts.append(f"{len(self.failed)} failed (the first: {self.failed[0]})")
        if not parts:
            return "No query was run."
        done = self.answered.total() + len(self.failed)
        return f"{done} of {len(self.queries)} queries were run: {'; '.join(parts)}. They cost {self.cost:.6g}."


@contextmanager
def progress(total: int) -> Iterator[Callable[[], object]]:
    """A bar on stderr, and the function that moves it by one query; where nobody watches, a line now and then."""
    if not sys.stderr.isatty():
        done = iter(range(1, total + 1))
        yield lambda: _line(next(done, total), total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("Running", total=total)
        yield lambda: bar.advance(task)


def _line(done: int, total: int) -> None:
    """Ten lines in all, and one for the last query."""
    if done == total or done % max(total // 10, 1) == 0:
        say(f"Running: {done} of {total} queries")
