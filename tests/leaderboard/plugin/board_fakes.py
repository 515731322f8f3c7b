"""A plugin package as an outsider would write it: a small task, two experts and four agents, for the board's tests."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import numpy as np

from visenv import Answer, AnswerKind, Image, Mask, Profile, Sample, Target
from visenv.errors import InfrastructureError, UnsuitedError, bad_value, unknown_name
from visenv.experts import Detections, Expert, Segmentation
from visenv.masks import union_masks

SIDE = 96
COLOURS = {"red": (220, 40, 40), "blue": (40, 60, 220), "green": (30, 160, 60)}


def row(target: Target, answer: Answer | None) -> dict:
    given = union_masks(answer.masks if answer else (), target.size_hw)
    both = given.intersection_px(target.union)
    return {"intersection": both, "union": given.area_px + target.union.area_px - both, "submitted": answer is not None}


def primary(row: dict) -> float:
    return row["intersection"] / row["union"] if row["union"] else 1.0


PROFILE = Profile(
    name="blobs/iou",
    source="none: a fake",
    row=row,
    aggregate=lambda rows: {"giou": sum(map(primary, rows)) / len(rows), "undefined": None},
    primary=primary,
)


class Blobs:
    """Find the rectangle of a colour."""

    name = "Blobs"
    version = "0.1.0"
    kind = AnswerKind.MASK
    max_turns = 4
    splits = ("train", "val", "test")
    levels = (1, 2)
    profile = PROFILE

    def __init__(self, shift: int = 0, words: str = "rectangle", api_key: str | None = None) -> None:
        self.shift, self.words = shift, words

    def num_samples(self, split: str, level: int) -> int | None:
        if split not in self.splits:
            raise unknown_name("split", split, self.splits, remedy="Use one of these.")
        if level not in self.levels:
            raise unknown_name("level", level, map(str, self.levels), remedy="Use one of these.")
        return None if split == "train" else 40

    def sample(self, split: str, level: int, index: int) -> Sample:
        size = self.num_samples(split, level)
        if not 0 <= index < (size or 2**31):
            raise bad_value("index", index, expected="an index of the split")
        rng = random.Random(f"{split}/{level}/{index + self.shift}")
        pixels = np.full((SIDE, SIDE, 3), 235, np.uint8)
        wanted = rng.choice(sorted(COLOURS))
        for order, (name, colour) in enumerate(sorted(COLOURS.items())):
            y, x = order * 30 + rng.randrange(6), rng.randrange(60)
            pixels[y : y + 20, x : x + 30] = colour
            if name == wanted:
                box = (x, y, x + 30, y + 20)
        return Sample(
            id=f"Blobs/{split}/{level}/{index}", task="Blobs", split=split, level=level, index=index,
            instruction=f"the {wanted} <{self.words}>", images=(Image(pixels),), cluster=f"Blobs/{split}/{index // 2}",
            target=Target(
                kind=AnswerKind.MASK, size_hw=(SIDE, SIDE), masks=(Mask.from_box(box, (SIDE, SIDE)),),
                boxes_xyxy=(tuple(map(float, box)),), labels=(wanted,),
            ),
        )  # fmt: skip


class BlobExpert(Expert):
    """Finds rectangles by colour word; a segmenter that fills the box it is given."""

    name = "blobs"
    version = "1"
    capabilities = frozenset({"detect", "segment"})

    def __init__(self, sleep: float = 0.0) -> None:
        if os.environ.get("BLOBS_FATAL") not in (None, str(os.getpid())):
            os._exit(7)
        self.sleep = float(sleep)

    def run(self, requests):
        time.sleep(self.sleep)
        return [self.detect(r) if r.capability == "detect" else self.segment(r) for r in requests]

    def detect(self, request):
        boxes = []
        for word, colour in COLOURS.items():
            if word in request.phrase.split():
                found = np.argwhere((request.image.pixels == colour).all(axis=2))
                if len(found):
                    (y1, x1), (y2, x2) = found.min(axis=0), found.max(axis=0) + 1
                    boxes.append((x1 + 2.0, y1 + 2.0, float(x2), float(y2)))
        return Detections(
            boxes_xyxy=np.array(boxes).reshape(-1, 4), scores=np.full(len(boxes), 0.9), labels=("blob",) * len(boxes)
        )

    def segment(self, request):
        width, height = request.image.size_wh
        return Segmentation(mask=Mask.from_box(request.box_xyxy or (0, 0, 1, 1), (height, width)), score=0.8)


class FlakyExpert(BlobExpert):
    """Fails for red while the environment says so."""

    name = "flaky"

    def run(self, requests):
        if os.environ.get("BLOBS_DOWN") and any("red" in getattr(r, "phrase", "") for r in requests):
            raise RuntimeError("the detector is down")
        return super().run(requests)


def call(name: str, **arguments) -> dict:
    return {"name": name, "arguments": arguments}


class _Player:
    def __init__(self, act) -> None:
        self.act = act


class Finder:
    """Detects the colour, segments, submits."""

    name = "blob-finder"

    def __init__(self, slow: float = 0.0) -> None:
        self.slow = float(slow)

    def start(self, spec):
        def act(observation):
            time.sleep(self.slow)
            turn = observation["turn"]
            if turn == 0:
                return call("detect", images=["img_0"], phrase=observation["instruction"].split()[1])
            return call("segment", objects=[0]) if turn == 1 else call("submit")

        return _Player(act)


class Guesser:
    """Submits a random box, by raw text; in batches."""

    name = "blob-guesser"

    def start(self, spec):
        return _Player(None) if spec.privilege else random.Random(spec.seed)

    def act_batch(self, players, observations):
        return [self._act(*both) for both in zip(players, observations, strict=True)]

    def _act(self, rng, observation):
        if observation["objects"]:
            return '<tool_call>{"name": "submit", "arguments": {}}</tool_call>'
        x, y = rng.randrange(500), rng.randrange(500)
        return call("draw_box", image="img_0", x1=x, y1=y, x2=x + 300, y2=y + 200)


MISCHIEF = "\u202eRLO\u202dLRO\u2067RLI\u2066LRI\u2068FSI\u200e\u200f\u200b\u2028\x07\x1b]0;title\x07</script><svg onload=alert(1)>"
"""Changes of direction left open, what cannot be seen, terminal escapes, and markup."""


class Hostile:
    """Says what should hurt a page, a record or a terminal."""

    name = "blob-hostile"

    def start(self, spec):
        said = iter(
            [
                "<script>alert(1)</script>\ud800\x00\x1b[31m</td>" + MISCHIEF + "A" * 1_000_000,
                {
                    "name": "detect",
                    "arguments": {"images": ["img_0"], "phrase": "<img src=x onerror=alert(1)>" + MISCHIEF},
                },
                object(),
                {"name": "submit", "arguments": {"a": float("nan")}},
            ]
        )
        return _Player(lambda observation: next(said))


class Killer(Finder):
    """Kills its process in the episodes of some samples."""

    name = "blob-killer"

    def start(self, spec):
        player = super().start(spec)

        def act(observation):
            if spec.seed % 4 == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return player.act(observation)

        return _Player(act)


class Moody(Finder):
    """Its endpoint is busy whenever an episode is tried for the first two times."""

    name = "blob-moody"

    def __init__(self) -> None:
        super().__init__()
        self.tries: dict[int, int] = {}

    def start(self, spec):
        player = super().start(spec)

        def act(observation):
            if not observation["turn"]:
                self.tries[spec.seed] = self.tries.get(spec.seed, 0) + 1
            tries = self.tries[spec.seed]
            if tries < 3 and observation["turn"] == tries - 1:
                raise InfrastructureError("the endpoint is busy, try later")
            return player.act(observation)

        return _Player(act)


class Rude(Finder):
    """Does in its second turn what no agent should."""

    name = "blob-rude"

    def __init__(self, how: str = "exit") -> None:
        super().__init__()
        self.how = how

    def start(self, spec):
        player = super().start(spec)

        def act(observation):
            if not observation["turn"]:
                return player.act(observation)
            if self.how == "exit":
                raise SystemExit(0)
            if self.how == "cancelled":
                raise asyncio.CancelledError
            raise UnspeakableError

        return _Player(act)

    def close(self):
        if self.how == "exit":
            raise SystemExit("cannot close")


class UnspeakableError(Exception):
    """Has no words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Choosy(Finder):
    """Plays level 1 only."""

    name = "blob-choosy"

    def start(self, spec):
        if spec.level > 1:
            raise UnsuitedError("`level` is 2. Expected 1, all that `blob-choosy` plays. Use --level 1.")
        return super().start(spec)


class Weightless(Finder):
    """Has no weights."""

    name = "blob-weightless"

    def __init__(self) -> None:
        super().__init__()
        Path("/nonexistent/weights.pt").read_bytes()


class Leaky:
    """Has a key from the environment and from its options, and says both wherever it can."""

    name = "blob-leaky"

    def __init__(self, api_key: str = "", how: str = "says") -> None:
        self.keys = f"{os.environ.get('BLOBS_API_KEY', '')} api_key={api_key}"
        self.how = how

    def start(self, spec):
        if self.how == "cannot-start":
            raise ValueError(f"401 for {self.keys}")
        if self.how == "is-unsuited":
            raise UnsuitedError(f"`how` is 'is-unsuited', and the key {self.keys}. Expected another.")
        said = iter([self.keys, call("detect", images=["img_0"], phrase=self.keys), call("submit_none")])

        def act(observation):
            if self.how == "is-refused" and observation["turn"] == 1:
                raise InfrastructureError(f"https://me:{os.environ['BLOBS_API_KEY']}@host refused {self.keys}")
            return next(said)

        return _Player(act)


class Crasher:
    """Raises in its second turn, or at once where the index is odd."""

    name = "blob-crash"

    def start(self, spec):
        if spec.seed % 2:
            raise ValueError("cannot start <b>")

        def act(observation):
            if observation["turn"]:
                raise KeyError("lost")
            return call("detect", images=["img_0"], phrase="red")

        return _Player(act)
