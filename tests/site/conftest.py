"""Runs and their sites, made once for all tests of the folder: kind agents and hostile ones on a small task."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from visenv.leaderboard import RunSettings, run_bench
from visenv.leaderboard.site import build_site

from visenv import plugins

PLUGIN = Path(__file__).parents[1] / "leaderboard" / "plugin"
PROBE = "<img src=x onerror='window.hurt=1'><script>window.hurt=1</script></script>\u202e\u2066\u200b\x1b[31m\ud800"
"""Text that would set a global, if anything of it were more than text."""


@pytest.fixture(scope="session")
def fakes() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        plugins.plugins.cache_clear()
        yield importlib.import_module("board_fakes")
    plugins.plugins.cache_clear()


@pytest.fixture(scope="session")
def looker(fakes: ModuleType) -> Any:
    """An agent that cuts a crop out, places a mask on it, and submits."""

    class Looker:
        name = "blob-looker"

        def start(self, spec):
            calls = iter(
                [
                    fakes.call("crop", image="img_0", x1=100, y1=100, x2=900, y2=900),
                    fakes.call("segment_box", image="crop_1", x1=200, y1=300, x2=600, y2=500, label="<b>here</b>"),
                    fakes.call("submit"),
                ]
            )
            return SimpleNamespace(act=lambda observation: next(calls))

    return Looker()


@pytest.fixture(scope="session")
def turner(fakes: ModuleType) -> Any:
    """An agent that turns the picture, cuts a part out of that, places masks on both, and submits."""

    class Turner:
        name = "blob-turner"

        def __init__(self, angle: int) -> None:
            self.angle = angle

        def start(self, spec):
            calls = iter(
                [
                    fakes.call("rotate", image="img_0", angle=str(self.angle)),
                    fakes.call("segment_box", image="turned_1", x1=100, y1=300, x2=500, y2=450),
                    fakes.call("zoom", image="turned_1", x1=50, y1=200, x2=650, y2=700),
                    fakes.call("segment_box", image="zoom_3", x1=200, y1=300, x2=600, y2=500),
                    fakes.call("submit"),
                ]
            )
            return SimpleNamespace(act=lambda observation: next(calls))

    return Turner


@pytest.fixture(scope="session")
def play(fakes: ModuleType) -> Any:
    """Play agents on the small task into a folder."""

    def run(out: Path, *agents: Any, **changes: Any) -> Path:
        base = {"agents": agents or ("blob-finder",), "tasks": ("Blobs",), "experts": "blobs", "limit": 4}
        run_bench(RunSettings(**(base | changes)), out)
        return out

    return run


@pytest.fixture(scope="session")
def run(play: Any, looker: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of kind and unkind agents; pictures of two of the four samples are stored."""
    out: Path = play(
        tmp_path_factory.mktemp("runs") / "small", "blob-finder", "blob-hostile", "blob-crash", "oracle", looker,
        keep_images=2,
    )  # fmt: skip
    return out


@pytest.fixture(scope="session")
def site(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site([run], tmp_path_factory.mktemp("sites") / "small").parent


@pytest.fixture(scope="session")
def beside_site(play: Any, fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of a task with two further profiles, of which one has a metric without a value."""

    def second(rows: Any) -> Any:
        return {"odd one": 1.0 - sum(map(fakes.primary, rows)) / len(rows), "edge": None, "plain": None}

    class Beside(fakes.Blobs):
        also = (
            dataclasses.replace(fakes.PROFILE, name="gres/native", aggregate=lambda rows: {"gIoU": 50.0}),
            dataclasses.replace(fakes.PROFILE, name="blobs/odd", source="some code", aggregate=second, undefined={"edge": "needs edges"}),
        )  # fmt: skip

    run = play(tmp_path_factory.mktemp("runs") / "beside", "blob-finder", "blob-hostile", "oracle", tasks=(Beside(),))
    return build_site([run], tmp_path_factory.mktemp("sites") / "beside", tasks={"Blobs": Beside()}).parent


@pytest.fixture(scope="session")
def hostile_run(run: Path, fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A run whose every text was replaced by somebody, and a task that says such things too."""
    out = tmp_path_factory.mktemp("runs") / "hostile <b> \u202e run"
    out.mkdir()
    info = json.loads((run / "run.json").read_text("utf-8"))
    names = {agent["name"]: PROBE + agent["name"] for agent in info["agents"]}
    for agent in info["agents"]:
        agent["name"] = names[agent["name"]]
    for key in ("toolset", "memory", "experts", "reward", "grammar"):
        info[key] = PROBE
    info["versions"] = {PROBE: PROBE, "__proto__": PROBE}
    (out / "run.json").write_text(json.dumps(info), "utf-8")
    with (out / "episodes.jsonl").open("w", encoding="ascii") as file:
        for line in (run / "episodes.jsonl").read_text("ascii").splitlines():
            record = json.loads(line)
            record |= {"agent": names[record["agent"]], "reason": PROBE, "profile": PROBE, "failure": PROBE}
            record["sample_id"] = PROBE + "x" * 1_000_000
            record["row"] = record["row"] and {**record["row"], PROBE: PROBE, "__proto__": [PROBE]}
            record["also"] = record["row"] and {PROBE + "beside": record["row"]}
            for turn in record["transcript"]:
                turn["feedback"] = PROBE + "A" * 1_000_000 + "\u202e" * 1000
                turn["call"] = turn["call"] and {
                    "name": PROBE,
                    "arguments": {PROBE: PROBE, "__proto__": PROBE, "n": {"a": [PROBE]}},
                }
                turn["terms"] = {PROBE: 1.0}
            for number, o in enumerate(record["objects"]):
                o["label"] = PROBE
                if number == 1:
                    o["mask"] = {"size": [10**9, 10**9], "counts": PROBE}
            for image in record["images"].values():
                image["origin"] = PROBE
                if image["file"]:
                    image["file"] = "../../../../etc/passwd"
            file.write(json.dumps(record) + "\n")

    class Nasty(fakes.Blobs):
        def sample(self, split, level, index):
            kind = super().sample(split, level, index)
            return dataclasses.replace(kind, instruction=PROBE + "\n" + PROBE + "W" * 1_000_000)

        profile = dataclasses.replace(
            fakes.PROFILE, name=PROBE, source=PROBE, aggregate=lambda rows: {PROBE: 1.0, "__proto__": 0.5},
        )  # fmt: skip
        also = (
            dataclasses.replace(
                profile, name=PROBE + "beside", undefined={PROBE: PROBE, "__proto__": PROBE},
                aggregate=lambda rows: {PROBE: None, "__proto__": None, "constructor": 0.5},
            ),
        )  # fmt: skip

    return out, Nasty()


@pytest.fixture(scope="session")
def hostile_site(hostile_run: tuple[Path, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run, task = hostile_run
    return build_site([run], tmp_path_factory.mktemp("sites") / "hostile", tasks={"Blobs": task}).parent


@pytest.fixture(scope="session")
def parsed() -> Any:
    """Read a site's data from its files: the index, and any shard by name."""
    from visenv.leaderboard.site.shards import parse_shard

    def read(site: Path) -> SimpleNamespace:
        page = (site / "index.html").read_text("utf-8")
        name = page.split('src="data/')[1].split(".js")[0]
        return SimpleNamespace(
            index=parse_shard((site / f"data/{name}.js").read_bytes()),
            shard=lambda name: parse_shard((site / f"data/{name}.js").read_bytes()),
        )

    return read
