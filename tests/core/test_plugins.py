"""Plugins that misbehave: each is named as broken, and nothing else is hurt or taken over."""

from __future__ import annotations

import json
import sys

import pytest

from visenv import plugins
from visenv.cli import main
from visenv.errors import PluginError, UnknownNameError

SHIPPED = {"EmojiCount", "EmojiDense", "EmojiMulti", "EmojiReason", "EmojiRef"}


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Install a distribution that has these entry points and one module."""

    def put(entries, module="", name="odd"):
        info = tmp_path / f"{name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        lines = [f"[visenv.{group}]\n{line}" for group, line in entries]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        (tmp_path / f"{name}_plugin.py").write_text(module)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, f"{name}_plugin", raising=False)
        plugins.plugins.cache_clear()

    yield put
    plugins.plugins.cache_clear()


@pytest.fixture
def listed(capsys):
    def run():
        with pytest.raises(SystemExit) as end:
            main(["list", "--json"])
        assert end.value.code in (0, None)
        return json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize(
    ("group", "line", "module", "reason"),
    [
        ("commands", "odd = odd_plugin:run", "raise SystemExit(0)", "SystemExit"),
        ("agents", "odd = odd_plugin:Odd", "import sys; sys.exit('bye')", "SystemExit: bye"),
        ("agents", "odd = odd_plugin:Odd", "raise BaseException('rude')", "rude"),
        ("agents", "odd = odd_plugin:Odd", "class E(Exception):\n    __str__ = None\nraise E", "cannot be made"),
        ("commands", "odd = odd_plugin:NUMBER", "NUMBER = 5", "5, which cannot be called"),
        ("agents", "odd = odd_plugin:NUMBER", "NUMBER = 5", "5, which cannot be called"),
        ("tasks", "odd-v0 = odd_plugin:NUMBER", "NUMBER = 5", "5, which cannot be called"),
        ("toolsets", "odd = odd_plugin:NUMBER", "NUMBER = 5", "not a Toolset"),
        ("tasks", "Zed-v² = odd_plugin:Odd", "", "has no attribute"),
        ("tasks", f"Zed-v{'9' * 5000} = odd_plugin:Odd", "", "has no attribute"),
    ],
)
def test_whatever_a_plugin_does_it_is_only_listed(install, listed, group, line, module, reason):
    install([(group, line)], module)
    found = listed()
    assert set(found["tasks"]) >= SHIPPED and "random" in found["agents"]
    (broken,) = found["broken"]
    assert broken["group"] == group and reason in broken["reason"]


def test_a_verb_that_cannot_be_built_says_so_when_it_is_called(install, listed, capsys):
    install([("commands", "odd = odd_plugin:run")], "def run(x: 'Nowhere') -> None: ...")
    assert listed()["tasks"]
    with pytest.raises(SystemExit) as end:
        main(["odd"])
    assert end.value.code == 1 and "broken" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["emojiref = odd_plugin:Odd", "EmojiRef-v9 = odd_plugin:Odd", "EMOJIREF-v0 = odd_plugin:Odd"]
)
def test_nobody_takes_over_a_name(install, listed, line):
    install([("tasks", line)], "class Odd: ...")
    with pytest.raises(PluginError, match="Two packages provide"):
        plugins.load("tasks", "EmojiRef")
    found = listed()
    assert [b["name"] for b in found["broken"]] == ["EmojiRef"]
    assert SHIPPED - set(found["tasks"]) == {"EmojiRef"}


def test_of_one_packages_versions_the_highest_is_taken(install):
    install([("agents", "odd-v1 = odd_plugin:One\nodd-v3 = odd_plugin:Three\nodd-v2 = odd_plugin:Two")],
            "class One: ...\nclass Two: ...\nclass Three: ...")  # fmt: skip
    assert plugins.find("agents", "ODD").version == 3 and plugins.load("agents", "odd").__name__ == "Three"


def test_an_agent_that_exits_while_it_is_made(install):
    install(
        [("agents", "odd = odd_plugin:Odd")], "class Odd:\n    def __init__(self):\n        raise SystemExit('no key')"
    )
    with pytest.raises(PluginError, match="no key"):
        plugins.build("agents", "odd")
    with pytest.raises(UnknownNameError):
        plugins.build("agents", "od")
