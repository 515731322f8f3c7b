"""Counting ripe apples: a task drawn by a seeded generator, and the way it is scored."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visenv import Answer, AnswerKind, Image, Profile, Sample, Target
from visenv.errors import bad_value, unknown_name

WIDTH, HEIGHT, CELL = 240, 180, 60
LAWN, RIPE, UNRIPE = (96, 140, 90), (200, 40, 45), (150, 205, 60)


def row(target: Target, answer: Answer | None) -> dict[str, Any]:
    """Score one answer in integers and flags; ``None`` means that nothing was submitted."""
    given = answer is not None and not answer.no_target
    return {
        "counted": answer.num_objects if given else 0,
        "truth": len(target.boxes_xyxy),
        "submitted": answer is not None,
    }


def primary(row: Mapping[str, Any]) -> float:
    """Return 1 minus the relative error, at least 0."""
    if not row["submitted"]:
        return 0.0
    return max(0.0, 1.0 - abs(row["counted"] - row["truth"]) / max(1, row["truth"]))


def aggregate(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Reduce rows to the mean error and the share of right counts."""
    if not rows:
        return {"MAE": None, "exact": None}
    errors = [abs(r["counted"] - r["truth"]) for r in rows]
    return {"MAE": sum(errors) / len(rows), "exact": sum(e == 0 for e in errors) / len(rows)}


class Orchard:
    """Count the ripe apples on a lawn."""

    name = "Orchard"
    version = "0"
    kind = AnswerKind.COUNT
    max_turns = 5
    splits = ("train", "val")
    levels = (1, 2)
    profile = Profile(
        name="orchard/count",
        source="none: made for this package",
        row=row,
        aggregate=aggregate,
        primary=primary,
    )

    def num_samples(self, split: str, level: int) -> int | None:
        """Return 100 for ``val``; ``train`` has no end."""
        if split not in self.splits:
            raise unknown_name("split", split, self.splits, remedy="Use one of these.")
        if level not in self.levels:
            raise unknown_name("level", level, map(str, self.levels), remedy="Use one of these.")
        return None if split == "train" else 100

    def sample(self, split: str, level: int, index: int) -> Sample:
        """Draw one sample, from nothing but the three arguments."""
        size = self.num_samples(split, level)
        if index < 0 or (size is not None and index >= size):
            raise bad_value("index", index, expected="an index of the split")
        key = f"{self.name}/{split}/{level}/{index}"
        rng = random.Random(key)
        pixels = np.full((HEIGHT, WIDTH, 3), LAWN, np.uint8)
        cells = [(x, y) for x in range(0, WIDTH, CELL) for y in range(0, HEIGHT, CELL)]
        boxes = []
        for x, y in rng.sample(cells, 4 * level):
            side = rng.randrange(16, 40)
            x, y = x + rng.randrange(CELL - side), y + rng.randrange(CELL - side)
            ripe = rng.random() < 0.6
            draw_disc(pixels[y : y + side, x : x + side], RIPE if ripe else UNRIPE)
            if ripe:
                boxes.append((float(x), float(y), float(x + side), float(y + side)))
        target = Target(
            kind=self.kind,
            size_hw=(HEIGHT, WIDTH),
            boxes_xyxy=tuple(boxes),
            labels=("ripe apple",) * len(boxes),
        )
        return Sample(
            id=key,
            task=self.name,
            split=split,
            level=level,
            index=index,
            instruction="How many ripe apples lie on the lawn?",
            images=(Image(pixels),),
            target=target,
            cluster=key,
        )


def draw_disc(square: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Fill the disc that touches the sides of a square."""
    side = len(square)
    y, x = np.ogrid[:side, :side]
    middle = (side - 1) / 2
    square[(x - middle) ** 2 + (y - middle) ** 2 <= side * side / 4] = colour
