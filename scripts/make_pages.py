"""Make the pages of tasks, toolsets and grammars from the code, an index of each, and the tables of docs/metrics.md.

    python scripts/make_pages.py            writes what has changed, and removes pages of what is gone
    python scripts/make_pages.py --check    writes nothing; exit status 1 when something would change

A task's class docstring is its page: a first paragraph, then the sections of ``SECTIONS``, all of them, in this order.
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from page_tables import (
    Extremes,
    check_words,
    data_of,
    extremes,
    extremes_table,
    parity_table,
    profiles_table,
    specs,
)
from page_tools import GRAMMAR_PAGES, TOOLSET_PAGES, markdown, tool_pages

from visenv import plugins
from visenv.answers import AnswerKind
from visenv.env import default_split
from visenv.task import Profile, Task, profiles_of
from visenv.tools import Tool, Toolset

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fixtures import write_all

__all__ = ["SECTIONS", "main", "pages", "sections"]

ROOT = Path(__file__).parents[1]
PAGES = Path("docs/tasks")
METRICS = Path("docs/metrics.md")
SHEET = "../images/sheets/{}-1.jpg"
SECTIONS = (
    "Description", "Action Space", "Observation Space", "Starting State", "Rewards", "Episode End", "Information", "Arguments",
    "Metrics", "References", "Version History",
)  # fmt: skip
ANSWERS = {
    AnswerKind.MASK: "masks, or that nothing matches",
    AnswerKind.BOXES: "boxes, or that nothing matches",
    AnswerKind.COUNT: "a count, better with boxes",
    AnswerKind.CHOICE: "the letter of an option",
}
WARNING = (
    "<!-- Made by scripts/make_pages.py from the docstrings of the tasks' classes: edit those and run it again. -->"
)
EXTREMES = (
    "What the [oracle](../metrics.md#the-oracle-and-nothing-submitted) gets, which submits the truth, and what an agent gets that submits "
    "nothing, on samples of the tests (task, split, number):"
)
MARKS = ("<!-- scripts/make_pages.py: {} -->", "<!-- end of {} -->")


def main(words: Sequence[str] | None = None) -> int:
    """Write the pages, or with ``--check`` say which are not as they would be written; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 when something would change")
    check = parser.parse_args(words).check
    with tempfile.TemporaryDirectory() as data:
        write_miniatures(Path(data))
        os.environ["VISENV_DATA"] = data
        made = pages(measured())
    folders = (PAGES, TOOLSET_PAGES, GRAMMAR_PAGES)
    gone = {path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).glob("*.md")} - set(made)
    stale = sorted({path for path, text in made.items() if _read(ROOT / path) != text} | gone)
    for path in stale:
        print(f"{path}: {'gone' if path in gone else 'changed'}")
        if not check and path in gone:
            (ROOT / path).unlink()
        elif not check:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(made[path], encoding="utf-8")
    print(f"{len(made)} pages, {len(stale)} of them {'not up to date' if check else 'written'}.")
    return int(check and bool(stale))


def write_miniatures(root: Path) -> None:
    """Write the tests' miniature of every benchmark into a folder.

    Raises:
        MissingExtraError: One cannot be written; the message names the extra.
    """
    for error in write_all(root).values():
        raise error


def measured() -> dict[str, list[Extremes]]:
    """Return what the truth and nothing get, for each task; ``VISENV_DATA`` must name a folder with the miniatures."""
    return {spec: extremes(spec) for name in _names() for spec in specs(name)}


def pages(found: Mapping[str, Sequence[Extremes]]) -> dict[Path, str]:
    """Return the text of every file that is made here, by its path in the repository.

    Raises:
        ValueError: A docstring is not a page, or the words about profiles do not fit what they score.
    """
    names = _names()
    check_words(one for each in found.values() for one in each)
    out = {PAGES / f"{name}.md": page(name, found) for name in names}
    out[PAGES / "README.md"] = index(names)
    out[METRICS] = metrics(_read(ROOT / METRICS), found)
    return out | tool_pages()


def sections(about: type) -> tuple[str, dict[str, str]]:
    """Split a task's docstring into what comes first and its sections.

    Raises:
        ValueError: It has none, or a section is missing, unknown, empty or out of order.
    """
    text = inspect.cleandoc(vars(about).get("__doc__") or "")
    first, *rest = re.split(r"^## +", text, flags=re.MULTILINE)
    parts = [(title.strip(), body.strip()) for title, _, body in (part.partition("\n") for part in rest)]
    titles = tuple(title for title, _ in parts)
    if not first.strip() or titles != SECTIONS:
        raise ValueError(
            f"The docstring of {about.__name__} has the sections {', '.join(titles) or 'none'}. Expected a first paragraph, then "
            f"{', '.join(SECTIONS)}, in this order."
        )
    for title, body in parts:
        if not body:
            raise ValueError(
                f"Section {title!r} in the docstring of {about.__name__} is empty. Say it, or say that there is none."
            )
    return markdown(first.strip()), {title: markdown(body) for title, body in parts}


def page(name: str, found: Mapping[str, Sequence[Extremes]]) -> str:
    """Return the page of a task."""
    plugin = plugins.find("tasks", name)
    tasks: dict[str, Task] = {spec: plugins.build("tasks", spec) for spec in specs(name)}
    task = tasks[name]
    first, parts = sections(plugin.load())
    env_id = f"visenv/{name}-v{plugin.version}"
    split = default_split(task)
    lines = [WARNING, "", f"# {name}", "", first, "", *facts(env_id, tasks), ""]
    if (ROOT / PAGES / SHEET.format(name)).is_file():
        lines += [f"![Samples of level 1]({SHEET.format(name)})", ""]
    lines += [
        "```python",
        f'env = gymnasium.make("{env_id}", split="{split}")  # after `import gymnasium, visenv`',
        "```",
        "",
        "```bash",
    ]
    lines += [f"visenv bench --agent scripted --task {name} --split {split} --limit 20 --out runs/{name}", "```"]
    for title in SECTIONS:
        lines += ["", f"## {title}", "", parts[title]]
        if title == "Action Space":
            lines += ["", "The calls that submit it, by toolset:", "", *final_calls(tasks)]
        if title == "Metrics":
            lines += ["", EXTREMES, "", *extremes_table(one for spec in specs(name) for one in found[spec])]
    return "\n".join(lines) + "\n"


def facts(env_id: str, tasks: Mapping[str, Task]) -> list[str]:
    """Return the lines of the table at the head of a page."""
    spec, task = next(iter(tasks.items()))
    rows = [("environment", f"`{env_id}`")]
    for other, one in tasks.items():
        where = "" if other == spec else f", `{other.partition(':')[2]}`"
        rows.append((f"answer{where}", f"{ANSWERS[one.kind]} (`{one.kind.value}`)"))
        rows.append((f"scored by{where}", _profile(profiles_of(one)[0])))
        rows += [(f"beside it{where}", _profile(profile)) for profile in profiles_of(one)[1:]]
    rows.append(("splits", ", ".join(_splits(task)) + f"; `{default_split(task)}` by default"))
    rows.append(("levels", ", ".join(map(str, task.levels))))
    rows.append(("turns", f"at most {task.max_turns}"))
    rows.append(("version", task.version))
    data = data_of(task)
    if data is None:
        rows.append(("data", "none needed: every sample is made"))
    else:
        rows += [("data", f"`$VISENV_DATA/{data.folder}`"), ("published", data.published), ("licence", data.licence)]
    return ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows)]


def final_calls(tasks: Mapping[str, Task]) -> list[str]:
    """Return the lines of a table of the calls that submit an answer, from the tools themselves."""
    seen: dict[str, tuple[Tool, list[str]]] = {}
    kinds = {task.kind for task in tasks.values()}
    for name in plugins.names("toolsets"):
        toolset: Toolset = plugins.load("toolsets", name)
        for tool in toolset.tools:
            if tool.answers is not None and tool.answers & kinds:
                seen.setdefault(tool.name, (tool, []))[1].append(f"`{name}`")
    lines = ["| call | arguments | what it does | toolsets |", "|---|---|---|---|"]
    for tool, toolsets in seen.values():
        given = "; ".join(f"`{p.name}`: {p.kind.words()}. {p.description}" for p in tool.parameters)
        lines.append(f"| `{tool.name}` | {given or 'none'} | {tool.summary} | {', '.join(toolsets)} |")
    return lines


def index(names: Sequence[str]) -> str:
    """Return the table of all tasks."""
    lines = [
        WARNING, "", "# Tasks", "", "A page for every task. [Metrics](../metrics.md) says which code the profiles agree with.", "",
        "| task | what is asked | answer | scored by | beside it | samples by split |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name in names:
        task: Task = plugins.build("tasks", name)
        first, _ = sections(plugins.load("tasks", name))
        scored, *beside = (f"`{profile.name}`" for profile in profiles_of(task))
        cells = [
            f"[{name}]({name}.md)",
            " ".join(first.split()),
            ANSWERS[task.kind],
            scored,
            ", ".join(beside),
            ", ".join(_splits(task)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def metrics(text: str, found: Mapping[str, Sequence[Extremes]]) -> str:
    """Return docs/metrics.md with its tables made anew.

    Raises:
        ValueError: The marks around a table are not there.
    """
    first: dict[str, Extremes] = {}
    for spec in sorted(found, key=lambda spec: (data_of(plugins.build("tasks", spec)) is None, ":" in spec, spec)):
        for one in found[spec]:  # where data are read comes before where they are made
            first.setdefault(one.profile.name, one)
    tables = {
        "profiles": profiles_table(),
        "parity": parity_table(),
        "extremes": extremes_table(one for _, one in sorted(first.items())),
    }
    for name, lines in tables.items():
        marks = [mark.format(name) for mark in MARKS]
        before, start, rest = text.partition(marks[0])
        _, end, after = rest.partition(marks[1])
        if not end or marks[0] in before + after:
            raise ValueError(
                f"{METRICS} has no place for a table. Expected one line {marks[0]!r}, and {marks[1]!r} behind it."
            )
        text = "\n".join([before + start, *lines, end]) + after
    return text


def _profile(profile: Profile) -> str:
    return f"`{profile.name}`: {profile.source}"


def _splits(task: Task) -> Iterator[str]:
    """Yield each split with its official number of samples, as far as that is known."""
    data, times = data_of(task), getattr(task, "orders", 1)
    for split in task.splits:
        if data is None:
            size = task.num_samples(split, task.levels[0])
            yield f"`{split}` {'without end' if size is None else f'{size:,} a level'}"
        elif split in data.sizes:
            yield f"`{split}` {times * data.sizes[split]:,}"
        else:
            yield f"`{split}` (size not stated)"


def _names() -> list[str]:
    """Return the tasks that visenv ships: those of other packages have pages elsewhere."""
    return [name for name, p in plugins.plugins("tasks").items() if p.entry_point.value.startswith("visenv.")]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main())
