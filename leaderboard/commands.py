"""The verbs ``bench``, ``demo``, ``doctor``, ``list`` and ``play``, found by :mod:`visenv.cli` through their entry points."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from visenv.env import VisenvEnv, default_split, make_task
from visenv.errors import VisenvError
from visenv.redaction import redact
from visenv.specs import split_specs

from .cast import RunSettings
from .doctor import examine
from .listing import catalogue
from .playing import env_to_task, play_by_hand
from .progress import ProgressReporter
from .rundir import StorageError, read_states
from .runner import plan_bench, run_bench
from .site.command import write_report
from .table import print_table

__all__ = ["bench", "demo", "doctor", "list_all", "play"]

DEMO_AGENTS = ("random", "prior", "one-shot", "scripted", "demonstrator", "oracle")
DEMO_TASKS = ("EmojiReason", "EmojiRef", "EmojiDense", "EmojiCount", "EmojiMulti")
DEMO_SAMPLES = 8
DEMO_PICTURES = 2

DEFAULTS = {
    "toolset": "full", "memory": "archive", "experts": "embedded", "seed": 0, "workers": 1,
    "keep-images": 8,
}  # fmt: skip
"""The options of `bench` that a printed command leaves out."""


def bench(
    agent: Annotated[str, typer.Option(help="Agents, comma-separated: NAME or NAME:key=value.", show_default=False)],
    task: Annotated[str, typer.Option(help="Tasks, comma-separated: NAME or NAME:key=value.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The run directory. An existing one is continued.", show_default=False)],
    split: Annotated[str | None, typer.Option(help="Which samples; val by default, or a task's first split.")] = None,
    level: Annotated[int | None, typer.Option(min=1, max=3, help="Difficulty; each task's first by default.")] = None,
    toolset: Annotated[str, typer.Option(help="The tools to play with.")] = "full",
    memory: Annotated[str, typer.Option(help="Which images stay visible, such as archive or window:k=2.")] = "archive",
    experts: Annotated[
        str, typer.Option(help="Who stands behind the tools: NAME, ROLE=NAME,…, cache=FOLDER or replay=FOLDER.")
    ] = "embedded",
    limit: Annotated[int | None, typer.Option(min=1, help="Samples of each task; all by default.")] = None,
    sample: Annotated[str | None, typer.Option(help="These samples instead: ids or indices, comma-separated.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the agents' choices and of which samples --limit takes.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that play. Does not change any result.")] = 1,
    max_turns: Annotated[int | None, typer.Option(min=1, help="Turn limit; each task's own by default.")] = None,
    keep_images: Annotated[int, typer.Option(min=0, help="Store every picture of this many samples of each task.")] = 8,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
) -> None:
    """Run agents on tasks and score them.

    Every finished episode is recorded at once: interrupt it, run the same command again, and it goes on where it was.
    Episodes that fail for our reasons, not the agent's, are played again up to twice, and once more by the same command.

    Examples:
      visenv bench --agent random,scripted --task EmojiRef --limit 20 --out runs/a
      visenv bench --agent scripted --task EmojiRef,EmojiDense --level 2 --workers 2 --out runs/b
      visenv bench --agent random,prior --task EmojiCount --toolset none --memory window:k=2 --out runs/c
      visenv bench --agent scripted --task EmojiRef --sample 3,EmojiRef/val/1/17 --out runs/d --dry-run
      visenv bench --agent scripted --task COCO:mode=count,COCO:mode=segment --limit 50 --out runs/e
      visenv bench --agent scripted --task EmojiRef --limit 50 --experts segmenter=sam2,cache=runs/cache --out runs/f
    """
    settings = RunSettings(
        agents=split_specs(agent), tasks=split_specs(task), split=split, level=level, toolset=toolset, memory=memory,
        experts=experts, limit=limit, samples=_listed(sample), seed=seed, max_turns=max_turns, keep_images=keep_images,
    )  # fmt: skip
    if dry_run:
        _say_plan(settings, out, workers=workers)
        return
    given = {
        "agent": agent, "task": task, "split": split, "level": level, "toolset": toolset, "memory": memory,
        "experts": experts, "limit": limit, "sample": sample, "seed": seed, "workers": workers, "max-turns": max_turns,
        "keep-images": keep_images, "out": out,
    }  # fmt: skip
    _run(settings, out, workers=workers, command=_command("bench", given))


def demo(
    out: Annotated[Path, typer.Option(help="Where the run goes. An existing one is continued.")] = Path("visenv-demo"),
) -> None:
    """Run the shipped agents on the five families of EmojiWorld, in about a minute, and show what they did.

    Needs no GPU, no download and no key. Makes a run directory with a table, and in its folder `site` a page with a
    replay of every episode.

    Examples:
      visenv demo
      visenv demo --out /tmp/demo
    """
    settings = RunSettings(agents=DEMO_AGENTS, tasks=DEMO_TASKS, limit=DEMO_SAMPLES, keep_images=DEMO_PICTURES)
    _run(settings, out, workers=2, command=_command("demo", {"out": out}), site=out / "site")


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
                options = f"; options {', '.join(found.options[name])}" if found.options[name] else ""
                typer.echo(f"  {' ' * width}  splits {', '.join(found.splits[name])}; levels {levels}{options}")
    typer.echo("environments: " + ", ".join(found.envs))
    if found.broken:
        typer.echo("broken:")
    for one in found.broken:
        typer.echo(f"  {one['group']} {one['name']}: {one['reason']}")


def doctor(
    experts: Annotated[
        str | None, typer.Option(help="Also make these experts and ask whether they can answer.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Print versions, extras, devices, data and broken plugins, for a bug report.

    Names of environment variables and folders may appear, their values and paths do not.

    Examples:
      visenv doctor
      visenv doctor --json
      visenv doctor --experts http://127.0.0.1:8750
    """
    found = examine(experts=experts)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    typer.echo("versions: " + ", ".join(f"{k} {v or 'missing'}" for k, v in found["versions"].items()))
    typer.echo("extras:")
    for extra, packages in sorted(found["extras"].items()):
        missing = [name for name, version in packages.items() if version is None]
        state = f'missing {", ".join(missing)}; pip install "visenv[{extra}]"' if missing else "installed"
        typer.echo(f"  {extra}: {state}")
    typer.echo("machine: " + ", ".join(f"{k} {_plainly(v)}" for k, v in found["machine"].items()))
    typer.echo("data: " + ", ".join(f"{k} {_plainly(v)}" for k, v in found["data"].items()))
    typer.echo("environment: " + (", ".join(found["environment"]) or "no VISENV_ variables"))
    for group, members in found["plugins"].items():
        typer.echo(f"{group}: {', '.join(members)}")
    for capability, expert in found.get("expert_health", {}).items():
        typer.echo(f"{capability}: {expert['identity']}: {expert['health']}")
    for problem in found["problems"]:
        typer.echo(f"problem: {problem}")
    number = len(found["problems"])
    typer.echo(f"{number} problem{'' if number == 1 else 's'}." if number else "No problems found.")


def play(
    env: Annotated[
        str, typer.Argument(help="A task or environment, such as EmojiRef or COCO:mode=count.", show_default=False)
    ],
    split: Annotated[str | None, typer.Option(help="Which samples; val by default, or the task's first.")] = None,
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
    asked = default_split(task) if split is None else split
    splits = {s.lower(): s for s in task.splits}
    made = VisenvEnv(name, split=splits.get(asked.lower(), asked), level=level, toolset=toolset, experts=experts)
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


@contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    """Treat SIGTERM, as clusters send it before they take a machine away, like Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _what_is_safe(reporter: ProgressReporter, out: Path) -> str:
    done = sum(read_states(out).values())
    return f"{done} of {reporter.total} episodes are recorded in {out} and safe."


def _plainly(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "none"
    return "not installed" if value is None else str(value)


def _listed(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(","))


def _say_plan(settings: RunSettings, out: Path, *, workers: int) -> None:
    plan = plan_bench(settings, out)
    ProgressReporter(out, workers=workers).announce(plan)
    typer.echo(
        f"Dry run: {len(plan.left)} episodes would be played, {plan.max_turns:,} turns at most. Nothing was done."
    )


def _run(settings: RunSettings, out: Path, *, workers: int, command: str, site: Path | None = None) -> None:
    with ProgressReporter(out, workers=workers) as reporter, _terminated_is_interrupted():
        try:
            summary = run_bench(settings, out, workers=workers, reporter=reporter)
        except KeyboardInterrupt:
            reporter.stop()
            safe = _what_is_safe(reporter, out) if reporter.total else "Nothing was played."
            print(f"Interrupted. {safe} Continue with\n  {command}", file=sys.stderr)
            raise typer.Exit(130) from None
        except StorageError as error:
            reporter.stop()
            if not reporter.total:
                raise VisenvError(f"No run can be written to {str(out)!r}. {error}. Use another directory.") from error
            raise VisenvError(
                f"The run stopped. {error}. {_what_is_safe(reporter, out)} When that is mended, continue with\n  {command}"
            ) from error
    print_table(summary)
    typer.echo(f"Run directory: {out}")
    if site is not None:
        page, _ = write_report([out], site, command=command)
        typer.echo(f"Report: {page}")
        typer.echo(f"Next: {shlex.join(['python', '-m', 'webbrowser', '-t', page.resolve().as_uri()])}")
    else:
        typer.echo(f"Next: {shlex.join(['visenv', 'report', str(out), '--out', f'{out}-site'])}")
    failures = sum(row.failures for row in summary.rows)
    if not summary.complete:
        missing = sum(row.of - row.n for row in summary.rows)
        failed = f", {failures} of them failed" if failures else ""
        why = f" Most often: {reporter.commonest_failure}" if reporter.commonest_failure else ""
        print(f"{missing} episodes have no score{failed}.{why} Play them again with\n  {command}", file=sys.stderr)
        raise typer.Exit(1)
