"""Reading the signs of EmojiWorld."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from visenv.tasks.emojiworld.render import WORDS
from visenv.tasks.emojiworld.rng import Rng
from visenv.tasks.emojiworld.scene import Scene, Thing, lay_out

pytest.importorskip("rapidocr", reason='needs `pip install "visenv[ocr]"`')

from visenv.env import VisenvEnv
from visenv.errors import BadValueError, ExpertError
from visenv.experts import ReadRequest, TextLines
from visenv.experts.embedded.names import categories
from visenv.experts.ocr import DETECTION, OCR, _extended
from visenv.images import Image
from visenv.masks import box_iou_matrix
from visenv.testing import check_expert


def draw(index: int, level: int) -> Scene:
    """Draw a scene of a few objects and one sign, of the sizes that the tasks use."""
    rng = Rng.of("emojiworld-v0", "experts", "ocr", level, index)
    while True:
        names = rng.sample([c.name for c in categories()], 6)
        things = [Thing(category=name, size_px=rng.integer(40, 100), required=False) for name in names]
        things.append(Thing(category="sign", size_px=rng.integer(24, 38), text=rng.choice(WORDS)))
        layout = lay_out(things, size_wh=(512, 512), level=level, rng=rng)
        if layout is not None:
            return layout.render(rng)


def sign_of(scene: Scene) -> tuple[str, tuple[int, int, int, int]]:
    (sign,) = [o for o in scene.objects if o.category == "sign"]
    return str(sign.text), sign.box_xyxy


@pytest.fixture(scope="module")
def reader() -> Iterator[OCR]:
    made = OCR()
    yield made
    made.close()


@pytest.mark.parametrize("level", [2, 3])
def test_signs_are_read_where_they_are(reader: OCR, level: int) -> None:
    scenes = [draw(index, level) for index in range(5)]
    results = reader.run([ReadRequest(image=Image(np.array(scene.pixels))) for scene in scenes])
    right = 0
    for scene, found in zip(scenes, results, strict=True):
        assert isinstance(found, TextLines)
        text, box = sign_of(scene)
        if text in found.lines:
            right += 1
            place = found.boxes_xyxy[found.lines.index(text)]
            assert box_iou_matrix(place[None], np.array([box], np.float64))[0, 0] > 0.4, (text, place, box)
    assert right >= 4, [(sign_of(s)[0], r) for s, r in zip(scenes, results, strict=True)]


def test_an_agent_reads_a_sign_with_the_full_toolset() -> None:
    env = VisenvEnv("EmojiReason", split="val", level=2, experts="reader=ocr")
    for index in range(200):
        observation, _ = env.reset(options={"index": index})
        if "the sign that says" in observation["instruction"]:
            break
    (word,) = [w for w in WORDS if f"says {w}" in observation["instruction"]]
    observation, *_, info = env.step({"name": "read", "arguments": {"image": "img_0"}})
    assert info["error"] is None and word in observation["feedback"].splitlines()
    env.close()
    without = VisenvEnv("EmojiReason", experts="embedded")
    assert "read" not in {t.name for t in without.rules.toolset.tools}
    assert "read" in {t.name for t in env.rules.toolset.tools}
    without.close()


def test_check_expert() -> None:
    check_expert(OCR(threads=2))


@pytest.mark.parametrize("size_wh", [(1, 600), (600, 2), (40_000, 1), (3, 40_000)])
def test_thin_pictures_cost_no_more_than_others(reader: OCR, size_wh: tuple[int, int]) -> None:
    image = Image(np.random.default_rng(0).integers(0, 255, (size_wh[1], size_wh[0], 3)).astype(np.uint8))
    seen, _ = _extended(image)
    assert max(seen.shape) <= 2000 and seen.nbytes <= 2000 * 667 * 3
    (found,) = reader.run([ReadRequest(image=image)])
    assert isinstance(found, TextLines)


@pytest.mark.parametrize("size_wh", [(1000, 120), (5000, 400)])
def test_a_line_in_a_long_strip_is_where_it_is(reader: OCR, size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    pixels = np.full((height, width, 3), 255, np.uint8)
    at, scale = (width // 2, height * 2 // 3), height / 60
    cv2.putText(pixels, "HELLO", at, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), round(2 * scale))
    dark_yx = np.argwhere(pixels[:, :, 0] < 128)
    truth = np.array([[*dark_yx.min(0)[::-1], *dark_yx.max(0)[::-1] + 1]], np.float64)
    (found,) = reader.run([ReadRequest(image=Image(pixels))])
    assert isinstance(found, TextLines) and found.lines == ("HELLO",)
    assert box_iou_matrix(found.boxes_xyxy, truth)[0, 0] > 0.4


def test_health_loads_the_networks(tmp_path: Path) -> None:
    reader = OCR(threads=1)
    assert DETECTION in reader.health()
    reader.close()
    reader._models["Det"] = tmp_path / "gone.onnx"
    with pytest.raises(ExpertError, match=r"gone\.onnx"):
        reader.health()


def test_identity_holds_the_models_and_the_options() -> None:
    assert OCR().identity == OCR(threads=1).identity
    assert len({OCR().identity, OCR(min_score=0.7).identity, OCR(turned=True).identity}) == 3


@pytest.mark.parametrize("options", [{"min_score": 1.5}, {"min_score": "x"}, {"turned": "no"}, {"turned": 1}])
def test_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(BadValueError):
        OCR(**options)  # type: ignore[arg-type]
