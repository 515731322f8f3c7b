"""Small real parts shared by the tests: experts with known answers, one drawn sample, episodes over it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visenv import Answer, AnswerKind, Episode, Expert, ExpertSet, Image, Mask, Profile, Rules, Sample, Target
from visenv.drivers import drive
from visenv.experts import Detections, Points, Request, Result, Segmentation, Upscaled
from visenv.masks import union_masks
from visenv.toolsets import FULL


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="fail if a test is skipped, as for a missing package")


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not session.config.getoption("--no-skips"):
        return
    reporter.ensure_newline()
    for report in reporter.stats.get("skipped", ()):
        reporter.write_line(f"--no-skips: {report.nodeid}: {report.longrepr[2]}", red=True)  # file, line, reason
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


BOXES = np.array([[10.0, 10, 50, 60], [100, 100, 180, 200]])
"""What :class:`KnownExpert` finds in every picture, for every phrase but "nothing"."""


class KnownExpert(Expert):
    """Finds the same two boxes everywhere; a segment is the box, or a square around the last click."""

    name, version = "known", "1"
    capabilities = frozenset({"detect", "segment", "point", "upscale"})

    def __init__(self) -> None:
        self.batches: list[list[Request]] = []

    def run(self, requests: Sequence[Request]) -> list[Result]:
        self.batches.append(list(requests))
        return [self._one(r) for r in requests]

    def _one(self, r: Any) -> Result:
        width, height = r.image.size_wh
        match r.capability:
            case "detect":
                boxes = np.minimum(BOXES, [width, height, width, height])
                keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & (r.phrase != "nothing")
                labels = tuple(n for n, k in zip("ab", keep, strict=True) if k)
                return Detections(boxes_xyxy=boxes[keep], scores=np.array([0.9, 0.8])[keep], labels=labels)
            case "segment":
                x, y = r.points_xy[-1] if r.points_xy else (0, 0)
                box = (x - 10, y - 10, x + 10, y + 10) if r.points_xy else r.box_xyxy
                return Segmentation(mask=Mask.from_box(box, (height, width)), score=0.7)
            case "point":
                return Points(points_xy=(BOXES[:, :2] + BOXES[:, 2:]) / 2, scores=np.array([0.9, 0.8]))
        pixels = np.repeat(np.repeat(r.image.pixels, r.scale, 0), r.scale, 1)
        return Upscaled(image=Image(pixels))


def _row(target: Target, answer: Answer | None) -> dict[str, Any]:
    if target.kind is AnswerKind.CHOICE:
        return {"i": int(answer is not None and answer.choice == target.choice), "u": 1}
    given = union_masks(answer.masks if answer else (), target.size_hw)
    inter = given.intersection_px(target.union)
    return {"i": inter, "u": given.area_px + target.union.area_px - inter}


PROFILE = Profile(
    name="test/iou",
    source="made for the tests",
    row=_row,
    aggregate=lambda rows: {"iou": sum(r["i"] for r in rows) / max(1, sum(r["u"] for r in rows))},
    primary=lambda row: row["i"] / max(1, row["u"]),
)


@pytest.fixture
def known() -> KnownExpert:
    return KnownExpert()


@pytest.fixture
def experts(known: KnownExpert) -> ExpertSet:
    return ExpertSet(dict.fromkeys(sorted(known.capabilities), known))


@pytest.fixture(scope="session")
def picture() -> Image:
    return Image(np.random.default_rng(0).integers(0, 256, (256, 320, 3), np.uint8))


@pytest.fixture
def make_episode(picture: Image) -> Callable[..., Episode]:
    def make(
        *, kind: AnswerKind = AnswerKind.MASK, images: int = 1, choice: str | None = None, **rules: Any
    ) -> Episode:
        mask = Mask.from_box((10, 10, 50, 60), (256, 320))
        target = Target(kind=kind, size_hw=(256, 320), masks=(mask,), boxes_xyxy=((10, 10, 50, 60),), choice=choice)
        sample = Sample(
            id="T/val/1/0", task="T", split="val", level=1, index=0, instruction="the a", cluster="0", target=target,
            images=(picture,) * images,
        )  # fmt: skip
        return Episode(sample, profile=PROFILE, rules=Rules(**{"toolset": FULL, **rules}))

    return make


@pytest.fixture
def play(experts: ExpertSet) -> Callable[..., Any]:
    """Play calls in an episode; ``("detect", images=…)`` as (name, arguments) or text. Returns the last outcome."""

    def run(episode: Episode, *actions: Any) -> Any:
        outcome = None
        for action in actions:
            if isinstance(action, tuple):
                action = {"name": action[0], "arguments": action[1] if len(action) > 1 else {}}
            outcome = drive(episode.play(action), experts)
        return outcome

    return run


@pytest.fixture
def outside() -> dict[str, str]:
    """The environment of a process in which the board's plugin package of fakes is installed."""
    plugin = Path(__file__).parent / "leaderboard" / "plugin"
    path = os.pathsep.join(filter(None, [str(plugin), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "default"}
