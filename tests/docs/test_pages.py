"""The pages of tasks and the tables of metrics are what scripts/make_pages.py makes, and what they say can be done."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from visenv import env_ids, plugins
from visenv.cli import main
from visenv.experts import ExpertSet
from visenv.grammars import GRAMMARS, make_grammar

ROOT = Path(__file__).parents[2]
NAMES = plugins.names("tasks")
TEXTS = {name: (ROOT / f"docs/tasks/{name}.md").read_text(encoding="utf-8") for name in NAMES}


TOOLSETS = plugins.names("toolsets")
TOOLS = [
    *(f"toolsets/{name}" for name in [*TOOLSETS, "README"]),
    *(f"grammars/{name}" for name in [*GRAMMARS, "README"]),
]


@pytest.fixture(scope="module")
def script() -> Any:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        yield importlib.import_module("make_pages")
    finally:
        sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture(scope="module", autouse=True)
def miniatures(script: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("data")
    script.write_miniatures(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISENV_DATA", str(root))
        yield root


@pytest.fixture(scope="module")
def found(script: Any, miniatures: Path) -> dict[str, Any]:
    return script.measured()


@pytest.fixture(scope="module")
def made(script: Any, found: dict[str, Any]) -> dict[Path, str]:
    return script.pages(found)


def without_differences(text: str) -> str:
    """Leave out how far we are from golden numbers: that hangs on the machine, and tests/leaderboard/test_parity.py looks at it."""
    return re.sub(r"^(\| `\w+\.json` .*) \| [^|]+ \|$", r"\1 |", text, flags=re.MULTILINE)


def test_every_task_has_a_page_and_every_page_a_task(made):
    there = {p.relative_to(ROOT) for p in (ROOT / "docs/tasks").glob("*")}
    assert there == {p for p in made if p.parent.name == "tasks"}
    assert {p.stem for p in there} == {*NAMES, "README"} and Path("docs/metrics.md") in made


@pytest.mark.parametrize(
    "path",
    [
        *(f"docs/tasks/{name}.md" for name in [*NAMES, "README"]),
        *(f"docs/{name}.md" for name in TOOLS),
        "docs/metrics.md",
    ],
)
def test_pages_are_not_stale(made, path):
    there = (ROOT / path).read_text(encoding="utf-8")
    assert without_differences(there) == without_differences(made[Path(path)]), "Run python scripts/make_pages.py."


@pytest.mark.parametrize("folder", ["toolsets", "grammars"])
def test_every_toolset_and_every_grammar_has_a_page(folder):
    assert {p.relative_to(ROOT / "docs").with_suffix("").as_posix() for p in (ROOT / "docs" / folder).glob("*")} == {
        name for name in TOOLS if name.startswith(folder)
    }


@pytest.mark.parametrize("name", TOOLSETS)
def test_a_toolset_page_says_what_every_tool_takes_and_what_a_model_is_told(name):
    text = (ROOT / f"docs/toolsets/{name}.md").read_text(encoding="utf-8")
    toolset = plugins.load("toolsets", name)
    for tool in toolset.tools:
        assert f"### `{tool.name}`\n\n{tool.summary}" in text
        assert all(f"| `{p.name}` | {p.description} |" in text for p in tool.parameters)
    assert make_grammar("hermes").system_prompt(toolset) in text


@pytest.mark.parametrize(
    "name", ["toolsets/rsagent", "toolsets/imagent", "toolsets/sam3agent", "grammars/rsagent", "grammars/sam3agent"]
)
def test_what_a_paper_does_not_give_is_said_to_be_in_its_style(name):
    assert "n the style of" in (ROOT / f"docs/{name}.md").read_text(encoding="utf-8")


def test_check_says_what_is_stale_and_writes_nothing(script, made, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script, "measured", dict)
    monkeypatch.setattr(script, "pages", lambda found: dict(made))
    monkeypatch.setattr(script, "write_miniatures", lambda root: None)
    monkeypatch.setenv("VISENV_DATA", "set by main")  # and put back
    (tmp_path / "docs/tasks").mkdir(parents=True)
    (tmp_path / "docs/tasks/Gone.md").write_text("x")
    assert script.main(["--check"]) == 1
    assert "Gone.md: gone" in capsys.readouterr().out and (tmp_path / "docs/tasks/Gone.md").exists()
    assert script.main([]) == 0
    assert {p.relative_to(tmp_path) for p in tmp_path.glob("docs/**/*.md")} == set(made)
    assert script.main(["--check"]) == 0


GOOD = "First.\n\n" + "\n\n".join(f"## {title}\nText." for title in (
    "Description", "Action Space", "Observation Space", "Starting State", "Rewards", "Episode End", "Information", "Arguments",
    "Metrics", "References", "Version History",
))  # fmt: skip


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "none"),
        ("Just a line.", "none"),
        (GOOD.replace("First.\n\n", ""), "first paragraph"),
        (GOOD.replace("## Rewards\nText.\n\n", ""), "Rewards"),
        (GOOD.replace("## Rewards", "## Reward"), "Reward, "),
        (GOOD + "\n\n## More\nText.", "More"),
        (GOOD.replace("Episode End\nText.", "Episode End\n"), "'Episode End'"),
        (GOOD.replace("## Rewards", "## Metrics", 1), "Metrics, Episode End"),
    ],
    ids=[
        "no docstring",
        "no sections",
        "no first paragraph",
        "missing",
        "misspelt",
        "unknown",
        "empty",
        "out of order",
    ],
)
def test_a_docstring_that_is_no_page_is_refused(script, text, word):
    class Parent:
        __doc__ = GOOD

    about = type("Odd", (Parent,), {"__doc__": text})
    with pytest.raises(ValueError, match=re.escape(word)):
        script.sections(about)
    assert script.sections(Parent)[1]["Rewards"] == "Text."


def test_words_that_fit_no_profile_are_refused(found, monkeypatch):
    tables = sys.modules["page_tables"]
    native, at_480, _ = found["RefCOCO"]
    assert tables.falls_short(at_480.truth) and not tables.falls_short(native.truth)
    with pytest.raises(ValueError, match="coco/ap"):
        tables.check_words(found["RefCOCO"])  # others are missing
    every = [one for each in found.values() for one in each]
    tables.check_words(every)
    monkeypatch.setattr(tables, "TRUTH", {k: v for k, v in tables.TRUTH.items() if k != "refcoco/lavt480"})
    with pytest.raises(ValueError, match=r"\['refcoco/lavt480'\]"):
        tables.check_words(every)


def test_tables_go_between_their_marks_and_nowhere_else(script, found, monkeypatch):
    text = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    emptied = re.sub(r"(<!-- scripts/make_pages.py: \w+ -->\n).*?(<!-- end of)", r"\1\2", text, flags=re.DOTALL)
    assert emptied.count("<!-- end of") == 3 and len(emptied) < len(text) - 4000
    assert without_differences(script.metrics(emptied, found)) == without_differences(text)
    for damaged in (
        text.replace("make_pages.py: parity", "make_pages.py: golden"),
        text + text,
        text.replace("<!-- end of profiles -->", ""),
    ):
        with pytest.raises(ValueError, match=r"docs/metrics\.md"):
            script.metrics(damaged, found)


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_a_page_run(name, capsys):
    ((_, python),) = re.findall(r"```(python)\n(.*?)\n```", TEXTS[name], re.DOTALL)
    ((_, shell),) = re.findall(r"```(bash)\n(.*?)\n```", TEXTS[name], re.DOTALL)
    env_id = re.search(r'"(visenv/[^"]+)"', python)[1]
    assert env_id in env_ids()
    names: dict[str, Any] = {"gymnasium": type("Shared", (), {"make": staticmethod(_make)})}
    exec(compile(python, f"docs/tasks/{name}.md", "exec"), names)  # our own text
    assert names["env"].reset(seed=0)[0]["instruction"]
    program, *words = shell.split()
    assert program == "visenv"
    with pytest.raises(SystemExit) as end:
        main([*words, "--dry-run"])
    assert not end.value.code and "episodes would be played" in capsys.readouterr().out


def _make(env_id: str, **options: Any) -> Any:
    """Make an environment without experts, which need not be loaded for a look at a sample."""
    return gymnasium.make(env_id, experts=ExpertSet({}), disable_env_checker=True, **options)


@pytest.mark.parametrize(
    "path",
    sorted(
        p.relative_to(ROOT).as_posix()
        for folder in ("tasks", "toolsets", "grammars")
        for p in ROOT.glob(f"docs/{folder}/*.md")
    ),
)
def test_links_lead_somewhere(path):
    page = ROOT / path
    for target, anchor in re.findall(r"\]\(([^)#]+)(#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", (page.parent / target).read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor[1:] in {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}


def test_what_docstrings_have_of_another_markup_is_turned_into_markdown(script):
    assert script.markdown("``a``, :class:`GRES` and :func:`~visenv.x.y`") == "`a`, `GRES` and `y`"
    assert not [name for name, text in TEXTS.items() if "``" in text.replace("```", "") or ":class:" in text]
