"""What visenv itself costs: environment overhead per tool, vector against one by one, memory policies, generation.

pytest tests/benchmarks --benchmark-enable -o addopts=--import-mode=importlib
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import pytest

from visenv import (
    Episode,
    Expert,
    ExpertSet,
    Mask,
    Rules,
    VisenvEnv,
    VisenvVectorEnv,
    make_experts,
    make_task,
)
from visenv.drivers import drive
from visenv.experts import Detections, Points, Request, Result, Segmentation, Upscaled
from visenv.images import Image
from visenv.memory import make_policy
from visenv.toolsets import FULL

NUM_OBJECTS = 12


class Instant(Expert):
    """Knows the answer beforehand, so that what is measured is everything but expert compute."""

    name, version = "instant", "1"
    capabilities = frozenset({"detect", "segment", "point", "upscale"})

    def __init__(self, target_boxes: np.ndarray, masks: Sequence[Mask], large: Image) -> None:
        self.boxes, self.masks, self.large = target_boxes, list(masks), large

    def run(self, requests: Sequence[Request]) -> list[Result]:
        out: list[Result] = []
        for r in requests:
            if r.capability == "detect":
                labels = ("apple",) * len(self.boxes)
                out.append(
                    Detections(boxes_xyxy=self.boxes, scores=np.linspace(0.9, 0.5, len(self.boxes)), labels=labels)
                )
            elif r.capability == "segment":
                index = 0 if r.box_xyxy is None else int(np.abs(self.boxes - r.box_xyxy).sum(1).argmin())
                out.append(Segmentation(mask=self.masks[index], score=0.9))
            elif r.capability == "point":
                out.append(
                    Points(points_xy=(self.boxes[:, :2] + self.boxes[:, 2:]) / 2, scores=np.ones(len(self.boxes)))
                )
            else:
                out.append(Upscaled(image=self.large))
        return out


@pytest.fixture(scope="module")
def sample():
    task = make_task("EmojiReason")
    for index in range(50):
        made = task.sample("val", 2, index)
        if made.images[0].size_wh == (512, 512):
            return made
    raise AssertionError("no 512 px sample")


@pytest.fixture(scope="module")
def instant(sample):
    rng = np.random.default_rng(0)
    centres = rng.uniform(60, 450, (NUM_OBJECTS, 2))
    yy, xx = np.mgrid[:512, :512]
    masks = [Mask.from_dense((xx - x) ** 2 / 900 + (yy - y) ** 2 / 700 < 1) for x, y in centres]
    boxes = np.array([m.box_xyxy for m in masks], np.float64)
    expert = Instant(boxes, masks, Image(np.repeat(np.repeat(sample.images[0].pixels, 2, 0), 2, 1)))
    return ExpertSet(dict.fromkeys(sorted(expert.capabilities), expert), cache_size=1)


FIND = {"name": "detect", "arguments": {"images": ["img_0"], "phrase": "apple"}}
MASKS = {"name": "segment", "arguments": {"objects": list(range(NUM_OBJECTS))}}
CASES = {
    "detect (12 boxes drawn)": ([], FIND, 3.0),
    "segment (12 masks drawn)": ([FIND], MASKS, 3.0),
    "refine (1 mask drawn)": (
        [FIND, MASKS],
        {"name": "refine", "arguments": dict(object=1, image="img_0", x=400, y=400, sign="positive")},
        3.0,
    ),
    "point (12 points drawn)": ([], {"name": "point", "arguments": {"image": "img_0", "phrase": "apple"}}, 3.0),
    "crop": ([], {"name": "crop", "arguments": dict(image="img_0", x1=100, y1=100, x2=600, y2=600)}, 3.0),
    "split (9 patches)": ([], {"name": "split", "arguments": {"images": ["img_0"], "patch_size": 200}}, None),
    "view": ([FIND], {"name": "view", "arguments": {"images": ["img_0"]}}, 1.0),
    "keep": ([FIND, MASKS], {"name": "keep", "arguments": {"objects": [0, 1, 2, 3]}}, 1.0),
    "drop": ([FIND, MASKS], {"name": "drop", "arguments": {"objects": [0]}}, 1.0),
    "undo": ([FIND, MASKS], {"name": "undo", "arguments": {}}, 1.0),
    "submit": ([FIND, MASKS], {"name": "submit", "arguments": {}}, 1.0),
    "submit_none": ([], {"name": "submit_none", "arguments": {}}, 1.0),
    "a bad call": ([], {"name": "detect", "arguments": {"images": ["nowhere"], "phrase": 3}}, 1.0),
    "unreadable text": ([], "<tool_call>{]</tool_call>", 1.0),
}


@pytest.mark.parametrize("name", CASES)
def test_environment_overhead(name, sample, instant, report, benchmark):
    """Everything of ``env.step`` but expert compute, 512 x 512, ``archive`` memory."""
    before, call, bar_ms = CASES[name]
    task = make_task("EmojiReason")

    def setup():
        episode = Episode(sample, profile=task.profile, rules=Rules(toolset=FULL))
        for one in before:
            drive(episode.play(one), instant)
        return (episode,), {}

    times = []

    def step(episode):
        start = time.perf_counter()
        drive(episode.play(call), instant)
        times.append(time.perf_counter() - start)

    benchmark.pedantic(step, setup=setup, rounds=150, warmup_rounds=10)
    p50, p95 = np.percentile(np.array(times[10:]) * 1000, [50, 95])
    report(f"overhead  {name:26s} p50 {p50:6.3f} ms   p95 {p95:6.3f} ms   bar {bar_ms or '-'}")


class Slow(Instant):
    """Costs 20 ms a call, whatever the batch, like a model on a GPU that is not full."""

    def run(self, requests: Sequence[Request]) -> list[Result]:
        time.sleep(0.02)
        return super().run(requests)


def _rollout(env, actions):
    """Seconds of stepping; drawing the scenes at reset is the same for both and left out."""
    env.reset(seed=0)
    start = time.perf_counter()
    for step in actions:
        env.step(step)
    return time.perf_counter() - start


@pytest.mark.parametrize("experts", ["embedded", "20 ms a call"])
def test_vector_against_sync(experts, instant, report, benchmark):
    """The vector environment against Gymnasium's SyncVectorEnv over the same environments, in one run, in turn."""
    num_envs, rounds = 8, 5
    script = [FIND, {"name": "segment", "arguments": {"objects": [0]}}, {"name": "segment_point", "arguments": dict(image="img_0", x=500, y=500)},
              {"name": "view", "arguments": {"images": ["img_0"]}}]  # fmt: skip
    actions = [[call] * num_envs for call in script]

    def expert_set():  # a fresh one each time: nothing is remembered from the rollout before
        if experts == "embedded":
            return make_experts("embedded")
        slow = Slow(instant.experts["detect"].boxes, instant.experts["detect"].masks, instant.experts["detect"].large)
        return ExpertSet(dict.fromkeys(sorted(slow.capabilities), slow))

    ratios = []
    for _ in range(rounds):
        shared = expert_set()
        sync = gym.vector.SyncVectorEnv(
            [lambda shared=shared: VisenvEnv(task="EmojiRef", level=2, experts=shared)] * num_envs
        )
        alone = _rollout(sync, actions)
        vector = VisenvVectorEnv(num_envs, task="EmojiRef", level=2, experts=expert_set())
        together = _rollout(vector, actions)
        ratios.append(alone / together)
    benchmark.pedantic(lambda: None, rounds=1)
    report(
        f"vector    {experts:26s} {num_envs} envs: {np.median(ratios):.2f} times SyncVectorEnv (of {', '.join(f'{r:.2f}' for r in ratios)})"
    )


def test_visual_tokens_by_memory_policy(sample, instant, report, benchmark):
    """Visual tokens of the prompts of a 12-turn episode, four policies side by side."""
    task = make_task("EmojiReason")
    calls = [
        FIND,
        MASKS,
        *[
            {"name": "refine", "arguments": dict(object=i, image="img_0", x=90 * i, y=500, sign="positive")}
            for i in range(9)
        ],
    ]
    for policy in ("append", "prune:k=2", "window:k=2", "archive"):
        episode = Episode(
            sample, profile=task.profile, rules=Rules(toolset=FULL, memory=make_policy(policy), max_turns=12)
        )
        for call in [*calls, {"name": "submit", "arguments": {}}]:
            drive(episode.play(call), instant)
        tokens = [t.visual_tokens for t in episode.turns]
        report(
            f"memory    {policy:12s} {len(tokens)} turns: largest prompt {max(tokens):5d}, all prompts {sum(tokens):6d} visual tokens"
        )
    benchmark.pedantic(lambda: None, rounds=1)


@pytest.mark.parametrize(("level", "bar"), [(1, 200), (2, None), (3, 60)])
def test_scene_generation(level, bar, report, benchmark):
    """Scenes a second on one core, 512 x 512, 12 objects, exact masks included; then with every mask as COCO RLE too."""
    from visenv.tasks.emojiworld.rng import Rng
    from visenv.tasks.emojiworld.scene import lay_out, make_thing
    from visenv.tasks.emojiworld.world import pools, side_for

    pool = pools("train").targets

    def one(number: int, encode: bool) -> None:
        rng = Rng.of("benchmark", level, number)
        layout = None
        while layout is None:
            side = side_for((512, 512), NUM_OBJECTS, level)
            names = rng.sample(pool, NUM_OBJECTS)
            things = [make_thing(n, round(side * rng.uniform(0.7, 1.1)), rng, level) for n in names]
            layout = lay_out(things, size_wh=(512, 512), level=level, rng=rng)
        scene = layout.render(rng)
        assert all(o.visible_crop.any() for o in scene.objects)
        if encode:
            for o in scene.objects:
                o.mask((512, 512))

    def rate(encode: bool) -> float:
        best, count = 0.0, 100
        for block in range(5):
            start = time.perf_counter()
            for number in range(count):
                one(1000 + block * count + number, encode)
            best = max(best, count / (time.perf_counter() - start))
        return best

    for number in range(60):
        one(number, True)
    report(
        f"generate  level {level}: {rate(False):.0f} scenes/s, with RLE {rate(True):.0f}; best of five   bar {bar or '-'}"
    )
    benchmark.pedantic(lambda: one(7, False), rounds=20)
