"""What the runner costs: overhead a step with experts that cost nothing, and two processes against one.

pytest tests/benchmarks/test_runner.py --benchmark-enable -o addopts=--import-mode=importlib
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
from visenv.leaderboard import RunSettings, read_records, run_bench

from visenv import Episode, Expert, ExpertSet, Image, Mask, Rules, make_task
from visenv.drivers import drive
from visenv.experts import Detections, Request, Result, Segmentation
from visenv.toolsets import FULL

NUM_OBJECTS = 12
NUM_EPISODES = 40


def call(name, **arguments):
    return {"name": name, "arguments": arguments}


SCRIPT = [
    call("detect", images=["img_0"], phrase="apple"),
    call("segment", objects=list(range(NUM_OBJECTS))),
    call("refine", object=1, image="img_0", x=400, y=400, sign="positive"),
    call("crop", image="img_0", x1=100, y1=100, x2=600, y2=600),
    call("view", images=["img_0"]),
    call("segment_point", image="img_0", x=700, y=300),
    call("keep", objects=[0, 1, 2, 3]),
    call("undo"),
    call("drop", objects=[0]),
    "<tool_call>{]</tool_call>",
    call("submit"),
]


class Null(Expert):
    """Twelve objects that are known beforehand."""

    name, version = "null", "1"
    capabilities = frozenset({"detect", "segment"})

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        yy, xx = np.mgrid[:512, :512]
        centres = rng.uniform(60, 450, (NUM_OBJECTS, 2))
        self.masks = [Mask.from_dense((xx - x) ** 2 / 900 + (yy - y) ** 2 / 700 < 1) for x, y in centres]
        self.boxes = np.array([m.box_xyxy for m in self.masks], np.float64)

    def run(self, requests: Sequence[Request]) -> list[Result]:
        return [self._detections() if r.capability == "detect" else self._mask(r) for r in requests]

    def _detections(self):
        labels = ("apple",) * NUM_OBJECTS
        return Detections(boxes_xyxy=self.boxes, scores=np.linspace(0.9, 0.5, NUM_OBJECTS), labels=labels)

    def _mask(self, request):
        index = 0 if request.box_xyxy is None else int(np.abs(self.boxes - request.box_xyxy).sum(1).argmin())
        return Segmentation(mask=self.masks[index], score=0.9)


class Ready:
    """A 512 px question of EmojiReason under many names, drawn beforehand, each with a pixel of its own."""

    def __init__(self) -> None:
        task = make_task("EmojiReason")
        made = next(s for i in range(50) if (s := task.sample("val", 2, i)).images[0].size_wh == (512, 512))
        self.name, self.version, self.kind, self.profile = "Ready", "1", task.kind, task.profile
        self.max_turns, self.splits, self.levels = len(SCRIPT), ("val",), (1,)
        self.samples = []
        for index in range(NUM_EPISODES):
            pixels = made.images[0].pixels.copy()
            pixels[0, 0] = index
            image = Image(pixels)
            self.samples.append(
                replace(made, id=f"Ready/val/1/{index}", index=index, images=(image,), cluster=str(index))
            )

    def num_samples(self, split: str, level: int) -> int:
        return NUM_EPISODES

    def sample(self, split: str, level: int, index: int):
        return self.samples[index]


class Reciter:
    """Says its part."""

    name = "reciter"

    def start(self, spec):
        lines = iter(SCRIPT)
        return type("Player", (), {"act": lambda self, observation: next(lines)})()


def test_overhead_of_a_step(report, benchmark, tmp_path):
    """Everything but experts and drawing samples: the environment's step, observing, batching, recording, syncing."""
    task, null = Ready(), Null()
    for sample in task.samples:
        assert sample.images[0].hash  # known beforehand, as with pictures of a data set
    experts = ExpertSet(dict.fromkeys(sorted(null.capabilities), null), cache_size=1)
    settings = RunSettings(agents=(Reciter(),), tasks=(task,), experts=experts, keep_images=0)
    steps = NUM_EPISODES * len(SCRIPT)
    whole, bare = [], []
    for number in range(6):
        start = time.perf_counter()
        summary = run_bench(settings, tmp_path / str(number))
        whole.append((time.perf_counter() - start) * 1000 / steps)
        assert summary.complete and summary.rows[0].turns == len(SCRIPT)
        start = time.perf_counter()
        for sample in task.samples:
            episode = Episode(sample, profile=task.profile, rules=Rules(toolset=FULL, max_turns=len(SCRIPT)))
            for line in SCRIPT:
                drive(episode.play(line), experts)
        bare.append((time.perf_counter() - start) * 1000 / steps)
    size = (tmp_path / "0/episodes.jsonl").stat().st_size / NUM_EPISODES / 1024
    report(
        f"runner    {steps} steps: {min(whole[1:]):.3f} ms a step, best of five (of {', '.join(f'{w:.2f}' for w in whole)}), of which"
        f" the environment {min(bare[1:]):.3f}; record {size:.0f} KiB an episode; bar 2"
    )
    benchmark.pedantic(lambda: None, rounds=1)


@pytest.fixture
def one_thread():
    """Let OpenCV use one thread here too, as it does in the workers: pictures are drawn outside the experts."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)


@pytest.mark.parametrize(
    ("agent", "task", "limit"), [("demonstrator", "EmojiReason", 320), ("scripted", "EmojiRef", 320)]
)
def test_two_workers_against_one(agent, task, limit, report, benchmark, tmp_path, one_thread):
    """The same run with one process and with two, in turn, starting the processes included; one thread in each."""
    settings = RunSettings(
        agents=(agent,), tasks=(task,), level=2, limit=limit, experts="embedded:threads=1", keep_images=0
    )  # fmt: skip
    ratios, seconds = [], []
    for number in range(3):
        spent = []
        for workers in (1, 2):
            start = time.perf_counter()
            run_bench(settings, tmp_path / f"{number}-{workers}", workers=workers)
            spent.append(time.perf_counter() - start)
        ratios.append(spent[0] / spent[1])
        seconds.append(spent)
    assert sorted(read_records(tmp_path / "0-1"), key=lambda r: r.key) == sorted(
        read_records(tmp_path / "0-2"), key=lambda r: r.key
    )
    report(
        f"workers   {agent} on {task}, {limit} episodes: two are {np.median(ratios):.2f} times one (of "
        f"{', '.join(f'{a:.1f}/{b:.1f} s' for a, b in seconds)}); bar 1.7"
    )
    benchmark.pedantic(lambda: None, rounds=1)
