"""The verbs ``bench``, ``demo``, ``list`` and ``play``, found by :mod:`visenv.cli` through their entry points."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from visenv import plugins
from visenv.env import VisenvEnv, make_task
from visenv.specs import split_specs

from .cast import RunSettings
from .listing import catalogue
from .playing import env_to_task, play_by_hand
from .progress import ProgressReporter
from .redaction import redact
from .rundir import latest, read_records
from .runner import run_bench
from .strips import write_strips
from .table import print_table

__all__ = ["bench", "demo", "list_all", "play"]

DEMO_AGENTS = ("random", "prior", "one-shot", "scripted", "demonstrator", "oracle")
DEMO_TASKS = ("EmojiReason", "EmojiRef", "EmojiDense", "EmojiCount", "EmojiMulti")
DEMO_SAMPLES = 8
DEMO_PICTURES = 2

DEFAULTS = {
    "split": "val", "toolset": "full", "memory": "archive", "experts": "embedded", "seed": 0, "workers": 1,
    "keep-images": 8,
}  # fmt: skip
"""The options of `bench` that a printed command leaves out."""


def bench(
    agent: Annotated[str, typer.Option(help="Agents, comma-separated: NAME or NAME:key=value.", show_default=False)],
    task: Annotated[str, typer.Option(help="Tasks, comma-separated.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The run directory. An existing one is continued.", show_default=False)],
    split: Annotated[str, typer.Option(help="Which samples.")] = "val",
    level: Annotated[int | None, typer.Option(min=1, max=3, help="Difficulty; each task's first by default.")] = None,
    toolset: Annotated[str, typer.Option(help="The tools to play with.")] = "full",
    memory: Annotated[str, typer.Option(help="Which images stay visible, such as archive or window:k=2.")] = "archive",
    experts: Annotated[str, typer.Option(help="Who stands behind the tools, NAME or ROLE=NAME,…")] = "embedded",
    limit: Annotated[int | None, typer.Option(min=1, help="Samples of each task; all by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the agents' choices and of which samples --limit takes.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that play. Does not change any result.")] = 1,
    max_turns: Annotated[int | None, typer.Option(min=1, help="Turn limit; each task's own by default.")] = None,
    keep_images: Annotated[int, typer.Option(min=0, help="Store the pictures of this many samples of each task.")] = 8,
) -> None:
    """Run agents on tasks and score them.

    Every finished episode is recorded at once: interrupt it, run the same command again, and it goes on where it was.
    Episodes that failed for our reasons are then played again.

    Examples:
      visenv bench --agent random,scripted --task EmojiRef --limit 20 --out runs/a
      visenv bench --agent scripted --task EmojiRef,EmojiDense --level 2 --workers 2 --out runs/b
      visenv bench --agent random,prior --task EmojiCount --toolset none --memory window:k=2 --out runs/c
    """
    settings = RunSettings(
        agents=split_specs(agent), tasks=split_specs(task), split=split, level=level, toolset=toolset, memory=memory,
        experts=experts, limit=limit, seed=seed, max_turns=max_turns, keep_images=keep_images,
    )  # fmt: skip
    given = {
        "agent": agent, "task": task, "split": split, "level": level, "toolset": toolset, "memory": memory,
        "experts": experts, "limit": limit, "seed": seed, "workers": workers, "max-turns": max_turns,
        "keep-images": keep_images, "out": out,
    }  # fmt: skip
    _run(settings, out, workers=workers, command=_command("bench", given))


def demo(
    out: Annotated[Path, typer.Option(help="Where the run goes. An existing one is continued.")] = Path("visenv-demo"),
) -> None:
    """Run the shipped agents on the five families of EmojiWorld, in about a minute, and show what they did.

    Needs no GPU, no download and no key. Makes a run directory with a table and a page of pictures.

    Examples:
      visenv demo
      visenv demo --out /tmp/demo
    """
    settings = RunSettings(agents=DEMO_AGENTS, tasks=DEMO_TASKS, limit=DEMO_SAMPLES, keep_images=DEMO_PICTURES)
    _run(settings, out, workers=2, command=_command("demo", {"out": out}))


def list_all(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """List what is installed: environments, tasks, toolsets, agents, experts, metric profiles, and what is broken.

    Examples:
      visenv list
      visenv list --json
    """
    found = catalogue()
    if as_json:
        typer.echo(json.dumps({k: v for k, v in vars(found).items() if k not in ("about", "commands")}, indent=2))
        return
    for group in ("tasks", "toolsets", "agents", "experts", "profiles"):
        members: list[str] = getattr(found, group)
        typer.echo(f"{group}:")
        width = max(map(len, members), default=0)
        for name in members:
            typer.echo(f"  {name.ljust(width)}  {found.about.get(f'{group}/{name}', '')}".rstrip())
            if group == "tasks":
                levels = ", ".join(map(str, found.levels[name]))
                typer.echo(f"  {' ' * width}  splits {', '.join(found.splits[name])}; levels {levels}")
    typer.echo("environments: " + ", ".join(found.envs))
    if found.broken:
        typer.echo("broken:")
    for one in found.broken:
        typer.echo(f"  {one['group']} {one['name']}: {one['reason']}")


def play(
    env: Annotated[str, typer.Argument(help="A task or environment, such as EmojiRef.", show_default=False)],
    split: Annotated[str, typer.Option(help="Which samples.")] = "val",
    level: Annotated[int | None, typer.Option(min=1, max=3, help="Difficulty; the first by default.")] = None,
    index: Annotated[int, typer.Option(min=0, help="Which sample of the split.")] = 0,
    toolset: Annotated[str, typer.Option(help="The tools to play with.")] = "full",
    experts: Annotated[str, typer.Option(help="Who stands behind the tools.")] = "embedded",
    out: Annotated[Path, typer.Option(help="Where the pictures of what is in view go.")] = Path("visenv-play"),
) -> None:
    """Play one episode yourself: type calls, look at the pictures, submit, get the score.

    A call is `detect images=img_0 phrase="red car"` or JSON; `help` shows the tools, `quit` leaves. Calls may also be
    piped in.

    Examples:
      visenv play EmojiRef
      visenv play EmojiCount --level 2 --index 7
      echo submit_none | visenv play EmojiRef
    """
    name = env_to_task(env)
    task = make_task(name)
    splits = {s.lower(): s for s in task.splits}
    made = VisenvEnv(name, split=splits.get(split.lower(), split), level=level, toolset=toolset, experts=experts)
    try:
        play_by_hand(made, index=index, out=out)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    finally:
        made.experts.close()


def _command(verb: str, given: Mapping[str, object]) -> str:
    """Return the command that does the same again; what has its default is left out, and so are secrets."""
    words = ["visenv", verb]
    for name, value in given.items():
        if value is not None and value != DEFAULTS.get(name):
            words += [f"--{name}", redact(str(value))]
    return shlex.join(words)


def _run(settings: RunSettings, out: Path, *, workers: int, command: str) -> None:
    with ProgressReporter(out, workers=workers) as reporter:
        try:
            summary = run_bench(settings, out, workers=workers, reporter=reporter)
        except KeyboardInterrupt:
            reporter.stop()
            done = sum(not r.failed for r in latest(read_records(out)).values())
            said = (
                f"{done} of {reporter.total} episodes are recorded in {out}" if reporter.total else "Nothing was begun"
            )
            print(f"Interrupted. {said}. Continue with\n  {command}", file=sys.stderr)
            raise typer.Exit(130) from None
    print_table(summary)
    page = write_strips(out)
    typer.echo(f"Run directory: {out}")
    failures = sum(row.failures for row in summary.rows)
    if page is not None:
        typer.echo(f"Episodes as pictures: {page}")
    if "report" in plugins.names("commands"):
        typer.echo(f"Next: visenv report {shlex.quote(str(out))} --out {shlex.quote(str(out))}-site")
    elif page is not None:
        typer.echo(f"Next: {shlex.join(['python', '-m', 'webbrowser', '-t', page.resolve().as_uri()])}")
    if not summary.complete:
        print(f"{failures} episodes failed and have no score. Play them again with\n  {command}", file=sys.stderr)
        raise typer.Exit(1)
