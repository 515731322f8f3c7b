"""Every command that the docs show could be pasted: the verb exists, and so do its options; whatever a shell would cut is quoted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from visenv.cli import make_app

ROOT = Path(__file__).parents[2]
PAGES = sorted(p.relative_to(ROOT).as_posix() for p in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
LINE = re.compile(r"^(?:    )?(visenv (?:.*\\\n)*.*)$", re.MULTILINE)
CUT = {";", "&", "&&", "|", ">", "<"}


def words_of(line):
    """Return a command's words up to what a shell takes for itself."""
    shell = shlex.shlex(line.replace("\\\n", " "), posix=True, punctuation_chars=True)
    shell.whitespace_split = True
    return list(shell)


@pytest.mark.parametrize("page", PAGES)
def test_commands_could_be_pasted(page):
    group = typer.main.get_group(make_app())
    for line in LINE.findall((ROOT / page).read_text(encoding="utf-8")):
        verb, *words = words_of(line)[1:]
        command = group.commands[verb]
        while hasattr(command, "commands") and words:
            command = command.commands[words.pop(0)]
        shown = "[--" not in line and "…" not in words
        assert ";" not in words, f"{page}: quote it: {line}"
        words = words[: next((i for i, w in enumerate(words) if w in CUT), len(words))]
        options = {name: p for p in command.params for name in p.opts}
        options |= dict.fromkeys(command.get_help_option_names(typer.Context(command)))
        named = {w.strip("[").partition("=")[0] for w in words if w.strip("[").startswith("-")}
        assert named <= set(options), f"{page}: {named - set(options)} in {line}"
        needed = {p.name: p for p in command.params if p.required and p.param_type_name == "option"}
        if shown:
            missing = [name for name, p in needed.items() if not named & set(p.opts)]
            assert not missing, f"{page}: {missing} missing in {line}"
