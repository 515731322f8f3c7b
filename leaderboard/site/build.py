"""Building the site of one or several runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from visenv.errors import bad_value
from visenv.task import Task

from ..records import EpisodeRecord, plain
from ..shelf import TaskShelf
from ..summary import Beside, SummaryRow
from ..units import unit_of
from .checks import check_run
from .episodes import episode_data
from .folder import FORMAT, SiteFolder
from .gathering import Place, Run, find_blocks, overall_rows, read_runs, table_rows
from .samples import Known, Samples
from .shards import shard, text_hash

__all__ = ["Progress", "build_site", "site_data", "write_page"]

Progress = Callable[[int, int], None]
"""Called with the number of steps done and of all: each record is checked, and then written."""
SCRIPTS = ("text", "load", "rle", "view", "table", "metrics", "board", "episodes", "answer", "pane", "replay", "main")
"""In the order in which the page runs them."""
NUMBERS = "the same numbers are in each run's summary.json"
OTHER = "the task makes another sample now than the one that was played"


def build_site(
    runs: Sequence[Path],
    out: Path,
    *,
    tasks: Mapping[str, Task] | None = None,
    trust_options: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write the site of some runs: tables, and a replay of every episode. It opens from disk.

    Each run is verified on the way, and the page says what came of it. The same runs give the same bytes. Pictures that
    an earlier build made are taken over; the page changes only at the end, in one step, so an interrupted build leaves
    the site as it was.

    Args:
        runs: Run directories.
        out: The site's folder: new, empty, or of an earlier site.
        tasks: Tasks by name, to score answers again and to show questions, truths and pictures that the runs did not
            store; those not given are looked up. What cannot be made again is shown without, and the page says why.
        trust_options: Make tasks with whatever options the runs name (:class:`~visenv.leaderboard.shelf.TaskShelf`).
        progress: Told how far it is.

    Returns:
        The path of ``index.html``.

    Raises:
        BadValueError: A run is none, or ``out`` holds what is not ours.
    """
    page, _ = site_data(runs, out, tasks=tasks, trust_options=trust_options, progress=progress)
    return page


def site_data(
    runs: Sequence[Path],
    out: Path,
    *,
    tasks: Mapping[str, Task] | None = None,
    trust_options: bool = False,
    progress: Progress | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Do as :func:`build_site`; return also the rows of its tables, as ``visenv report --json`` prints them."""
    if not runs:
        raise bad_value("runs", [], expected="at least one run directory")
    shelf = TaskShelf(tasks, trust_options=trust_options)
    read = read_runs(runs, shelf)
    folder = SiteFolder.open(out)
    samples = Samples(folder, shelf)
    total = 2 * sum(len(run.records) for run in read)
    done = 0

    def step() -> None:
        nonlocal done
        done = min(total, done + 1)  # a run may hold several records of an episode, and all are checked
        if progress is not None:
            progress(done, total)

    checks = [check_run(run, samples, step, trust_options=trust_options) for run in read]
    forged = [check["state"] == "different" for check in checks]
    done = total // 2
    places = find_blocks(read)
    blocks = []
    for place in places:
        lists, num_episodes = _write_episodes(folder, read, place, samples, step)
        blocks.append(_block(read, place, forged) | {"list": lists, "num_episodes": num_episodes})
    overall = overall_rows(read, list(places), forged)
    runs_data = [_run(run) | {"check": check} for run, check in zip(read, checks, strict=True)]
    index = {"format": FORMAT, "runs": runs_data, "blocks": blocks, "overall": overall}
    name, script = shard(index)
    folder.put(f"data/{name}.js", script)
    write_page(folder, name)
    folder.sweep()
    rows = [
        {
            "place": at,
            "run": read[number].label,
            "check": checks[number]["state"],
            "toolset": read[number].info.toolset,
            "memory": read[number].info.memory,
            **plain(dataclasses.asdict(row)),
        }
        for place in places
        for at, number, row in table_rows(read, place, forged)
    ]
    named = [{**row, "run": read[row["run"]].label} for row in overall]
    verdicts = [{"run": run.label, **check} for run, check in zip(read, checks, strict=True)]
    page = out / "index.html"
    return page, {"index": str(page), "runs": verdicts, "rows": rows, "overall": named}


def write_page(folder: SiteFolder, index: str, *, title: str = "visenv report", numbers: str = NUMBERS) -> None:
    """Write the page of a site, which changes with this.

    Args:
        folder: The site's, everything else in it.
        index: Name of the first shard.
        title: Until the page's scripts say better.
        numbers: Where a person without scripts finds what the page shows.
    """
    source = files("visenv.leaderboard.site") / "page"
    parts = {f"{name}.js": (source / f"{name}.js").read_text("utf-8") for name in SCRIPTS}
    parts["site.css"] = (source / "site.css").read_text("utf-8")
    code = f"page-{text_hash(*parts.values())}"
    for name, text in parts.items():
        folder.put(f"{code}/{name}", text.encode("utf-8"), always=True)
    scripts = "\n".join(f'<script defer src="{code}/{name}.js"></script>' for name in SCRIPTS[:-1])
    page = Template((source / "index.html").read_text("utf-8")).substitute(
        code=code, scripts=scripts, index=index, title=title, numbers=numbers
    )  # fmt: skip
    folder.put("index.html", page.encode("utf-8"), always=True)


def _write_episodes(
    folder: SiteFolder, runs: Sequence[Run], place: Place, samples: Samples, step: Callable[[], None]
) -> tuple[str, int]:
    """Write every episode of one table and their list; return the list's name and their number."""
    by_index: dict[int, list[tuple[int, EpisodeRecord]]] = {}
    for number, run in enumerate(runs):
        for key, record in sorted(run.records.items()):
            if (key[1], record.task_version, *key[2:4]) == place:
                by_index.setdefault(key[4], []).append((number, record))
    players = {
        (number, agent.name): i
        for i, (number, agent) in enumerate((n, a) for n, run in enumerate(runs) for a in run.info.agents)
    }
    reasons: dict[str, int] = {}
    listed, rows = [], []
    for at, index in enumerate(sorted(by_index)):
        found = by_index[index]
        known, entry = _question(found, samples.known(place, index))
        listed.append(entry | {"index": index})
        for number, record in sorted(found, key=lambda f: players.get((f[0], f[1].agent), len(players))):
            same = not isinstance(known, Known) or record.target in ("", known.fingerprint)
            run = runs[number]
            data = episode_data(folder, record, known, run=run.path, memory=run.info.memory) | {"same_truth": same}
            name, script = shard(data)
            folder.put(f"data/{name}.js", script)
            reason = reasons.setdefault(record.reason, len(reasons))
            player = players.setdefault((number, record.agent), len(players))
            rows.append([player, at, record.score, reason, record.costs.turns, int(record.failed), name])
            step()
    content = {
        "players": [[number, agent] for number, agent in players], "reasons": list(reasons), "samples": listed,
        "rows": rows,
    }  # fmt: skip
    name, script = shard(content)
    folder.put(f"data/{name}.js", script)
    return name, len(rows)


def _question(found: Sequence[tuple[int, EpisodeRecord]], known: Known | str) -> tuple[Known | str, dict[str, Any]]:
    """Return a sample as the task makes it, unless all its records are of another one; and its entry in the list."""
    records = [record for _, record in found]
    targets = {record.target for record in records if record.target}
    if isinstance(known, Known) and not targets:
        known = "no episode got as far as its truth"
    elif isinstance(known, Known) and known.fingerprint not in targets:
        known = OTHER
    if isinstance(known, str):
        return known, {"id": records[0].sample_id, "text": None, "file": None, "why": known}
    return known, {"id": known.id, "text": known.text, "file": known.file, "why": None}


def _block(runs: Sequence[Run], place: Place, forged: Sequence[bool]) -> dict[str, Any]:
    rows = table_rows(runs, place, forged)
    task, version, split, level = place
    profiles = list(dict.fromkeys((row.profile, row.profile_source) for _, _, row in rows))
    columns, values = _metrics([name for name, _ in profiles], [row for _, _, row in rows])
    beside = []
    for name in dict.fromkeys(name for _, _, row in rows for name in row.also):
        found = [row.also.get(name) for _, _, row in rows]
        source = next(one.source for one in found if one is not None)
        theirs, given = _metrics([name], found)
        beside.append({"name": name, "source": source, "metrics": theirs, "rows": given})
    return {
        "task": task, "version": version, "split": split, "level": level,
        "metrics": columns, "profiles": profiles, "also": beside, "differ": _differ(runs, place),
        "rows": [
            {
                "place": at, "run": number, "agent": row.agent, "privileged": row.privileged, "score": row.primary,
                "low": row.ci_low, "high": row.ci_high, "clusters": row.num_clusters, "profile": row.profile,
                "metrics": values[i], "n": row.n, "of": row.of,
                "failures": row.failures, "turns": row.turns, "tool_calls": row.tool_calls,
                "invalid_calls": row.invalid_calls, "visual_tokens": row.visual_tokens,
                "max_visual_tokens": row.max_visual_tokens, "seconds": row.measured.get("seconds"),
                "memory_mib": row.measured.get("peak_memory_mib"),
                "prompt_tokens": row.measured.get("prompt_tokens"),
                "completion_tokens": row.measured.get("completion_tokens"), "cost_usd": row.measured.get("cost_usd"),
                "reasons": sorted(row.reasons.items(), key=lambda kv: (-kv[1], kv[0])),
            }
            for i, (at, number, row) in enumerate(rows)
        ],
    }  # fmt: skip


def _metrics(
    profiles: Sequence[str], rows: Sequence[SummaryRow | Beside | None]
) -> tuple[list[list[str]], list[list[float | str | None]]]:
    """Return the metrics of some profiles: name and unit of each, and for each row its values.

    A text in place of a number says why there is none.
    """
    names = list(dict.fromkeys(name for row in rows if row is not None for name in row.metrics))
    columns = []
    for name in names:
        numbers = [None if row is None else row.metrics.get(name) for row in rows]
        columns.append([name, unit_of(name, profiles, numbers)])
    values: list[list[float | str | None]] = []
    for row in rows:
        given = {} if row is None else {**row.metrics, **row.undefined}
        values.append([given.get(name) for name in names])
    return columns, values


def _differ(runs: Sequence[Run], place: Place) -> bool:
    """Whether the runs of a table were asked different samples."""
    asked = []
    for run in runs:
        mine = {k[4] for k, r in run.records.items() if (k[1], r.task_version, *k[2:4]) == place}
        if mine:
            asked.append(mine)
    return any(a != asked[0] for a in asked)


def _run(run: Run) -> dict[str, Any]:
    info = run.info
    return {
        "label": run.label, "toolset": info.toolset, "memory": info.memory, "experts": info.experts,
        "reward": info.reward, "grammar": info.grammar, "seed": info.seed, "limit": info.limit,
        "max_turns": info.max_turns, "keep_images": info.keep_images, "versions": sorted(info.versions.items()),
        "identities": sorted(info.expert_identities.items()), "agents": [a.name for a in info.agents],
        "samples": None if info.samples is None else len(info.samples), "complete": run.summary.complete,
        "records": len(run.records), "sha256": run.summary.records_sha256,
    }  # fmt: skip
