"""The checker on small scenes made by hand: what it selects, and where it refuses to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from visenv.tasks.emojiworld.check import AmbiguousError, Query, matching, right_options
from visenv.tasks.emojiworld.scene import SceneObject


def thing(category: str, x: int, y: int, *, size: int = 40, rotation: int = 0, **more: Any) -> SceneObject:
    """A square object with its centre at (x, y)."""
    box = (x - size // 2, y - size // 2, x + size // 2, y + size // 2)
    return SceneObject(
        category=category, text=more.get("text"), visible_crop=np.ones((size, size), bool), box_xyxy=box,
        full_box_xyxy=box, full_area_px=size * size, size_px=size, rotation_deg=rotation, flipped=False,
        blurry=more.get("blurry", False), grey=more.get("grey", False), upside_down=rotation == 180,
    )  # fmt: skip


APPLES = [thing("apple", 60, 60), thing("apple", 300, 60), thing("car", 200, 60), thing("dog", 200, 300)]
SIZES = [thing("apple", 60, 60), thing("apple", 150, 60, size=80), thing("apple", 300, 60, size=82)]

CASES = [
    ("all of a category", APPLES, {"categories": ("apple",)}, {0, 1}),
    ("absent category", APPLES, {"categories": ("chair",)}, set()),
    ("two categories", APPLES, {"categories": ("apple", "dog")}, {0, 1, 3}),
    ("something similar is around", [*APPLES, thing("police car", 400, 400)], {"categories": ("car",)}, None),
    ("left of", APPLES, {"categories": ("apple",), "relation": "left", "anchor": "car"}, {0}),
    ("right of", APPLES, {"categories": ("apple",), "relation": "right", "anchor": "car"}, {1}),
    ("above", APPLES, {"categories": ("apple",), "relation": "above", "anchor": "dog"}, {0, 1}),
    ("half left of", [*APPLES, thing("apple", 190, 200)], {"categories": ("apple",), "relation": "left",
                                                          "anchor": "car"}, None),
    ("anchor twice", [*APPLES, thing("car", 400, 400)], {"categories": ("apple",), "relation": "left",
                                                        "anchor": "car"}, None),
    ("nearest", APPLES, {"categories": ("apple",), "relation": "nearest", "anchor": "car"}, {1}),
    ("about equally near", [thing("apple", 100, 60), thing("apple", 302, 60), thing("car", 200, 60)],
     {"categories": ("apple",), "relation": "nearest", "anchor": "car"}, None),
    ("leftmost", APPLES, {"categories": ("apple",), "relation": "leftmost"}, {0}),
    ("topmost of two in a row", APPLES, {"categories": ("apple",), "relation": "topmost"}, None),
    ("directly above", APPLES[2:], {"relation": "directly_above", "anchor": "dog"}, {0}),
    ("something else is above", APPLES, {"relation": "directly_above", "anchor": "dog"}, None),
    ("nothing directly below", APPLES, {"relation": "directly_below", "anchor": "dog"}, None),
    ("upside down", [thing("car", 60, 60, rotation=180), thing("dog", 200, 60)], {"attribute": "upside_down"}, {0}),
    ("on its side", [thing("car", 60, 60, rotation=90), thing("dog", 200, 60)], {"attribute": "upside_down"}, None),
    ("no clear top", [thing("car", 60, 60, rotation=180), thing("pizza", 200, 60)], {"attribute": "upside_down"}, None),
    ("grey", [thing("apple", 60, 60, grey=True), thing("dog", 200, 60)], {"attribute": "grey"}, None),
    ("grey among colourful", [thing("apple", 60, 60, grey=True), thing("car", 200, 60)], {"attribute": "grey"}, {0}),
    ("blurry", [thing("apple", 60, 60, blurry=True), thing("zebra", 200, 60)], {"attribute": "blurry"}, {0}),
    ("small", SIZES, {"categories": ("apple",), "attribute": "small"}, {0}),
    ("large", SIZES, {"categories": ("apple",), "attribute": "large"}, {1, 2}),
    ("sizes alike", SIZES[1:], {"categories": ("apple",), "attribute": "small"}, None),
    ("largest", [*APPLES, thing("bus", 400, 200, size=90)], {"attribute": "largest"}, {4}),
    ("no clear largest", APPLES, {"attribute": "largest"}, None),
    ("next to a sign", [*APPLES, thing("sign", 60, 120, text="EXIT")],
     {"relation": "nearest", "anchor": "sign:EXIT"}, {0}),
    ("a sign is no apple", [thing("sign", 60, 120, text="EXIT"), *APPLES[:1]], {"categories": ("apple",)}, {1}),
    ("a sign could be meant", [thing("sign", 60, 120, text="EXIT"), *APPLES], {"attribute": "largest"}, None),
    ("next to", [thing("car", 60, 60), thing("dog", 160, 60)], {"relation": "directly_right", "anchor": "car"}, {1}),
    ("one nearer in the same band", [thing("car", 60, 60, size=70), thing("dog", 240, 60), thing("cat", 118, 102)],
     {"relation": "directly_right", "anchor": "car"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("objects", "query", "expected"), [pytest.param(*c[1:], id=c[0]) for c in CASES])
def test_matching(objects: Sequence[SceneObject], query: dict[str, Any], expected: set[int] | None) -> None:
    if expected is None:
        with pytest.raises(AmbiguousError):
            matching(objects, Query(kind="test", **query))
    else:
        assert matching(objects, Query(kind="test", **query)) == expected


def image(*names: str) -> list[SceneObject]:
    return [thing(n, 50 + 60 * k, 50) for k, n in enumerate(names)]


IMAGES = list(range(3))
SCENES = [image("apple", "apple", "dog"), image("apple", "dog", "bus"), image("dog", "bus", "key")]
CHOICES = [
    ("most", SCENES, ("most", ("apple",)), IMAGES, {0}),
    ("fewest", SCENES, ("fewest", ("apple",)), IMAGES, {2}),
    ("only", SCENES, ("only", ("key",)), IMAGES, {2}),
    ("in two images", SCENES, ("only", ("bus",)), IMAGES, None),
    ("equal", SCENES, ("most", ("dog",)), IMAGES, None),
    ("total", SCENES, ("total", ("apple",)), [2, 3, 4], {1}),
    ("common", SCENES, ("common", ()), ["apple", "dog", "bus"], {1}),
    ("removed", SCENES[:2], ("removed", ()), ["apple", "dog"], None),
    ("added", SCENES[:2], ("added", ()), ["apple", "bus"], {1}),
    ("lacks", [image("apple", "dog"), image("apple", "bus"), image("key")], ("odd_lacks", ()), IMAGES, {2}),
    ("extra", [image("apple"), image("apple", "bus"), image("apple")], ("odd_extra", ()), IMAGES, {1}),
    ("two extras", [image("apple", "key"), image("apple", "bus"), image("apple")], ("odd_extra", ()), IMAGES, None),
]


@pytest.mark.parametrize(("scenes", "query", "options", "expected"), [pytest.param(*c[1:], id=c[0]) for c in CHOICES])
def test_right_options(scenes: Any, query: Any, options: list[Any], expected: set[int] | None) -> None:
    asked = Query(kind=query[0], categories=query[1])
    if expected is None:
        with pytest.raises(AmbiguousError):
            right_options(scenes, asked, options)
    else:
        assert right_options(scenes, asked, options) == expected
