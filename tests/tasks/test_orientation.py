"""EXIF's orientation: what was annotated on the stored picture lies where it lay, on the upright one; or the picture is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps
from visenv.tasks.coco import COCO
from visenv.tasks.dense200 import Dense200
from visenv.tasks.grefcoco import GRES
from visenv.tasks.orientation import orientation_of, upright_boxes, upright_points
from visenv.tasks.rec8k import REC8K
from visenv.tasks.refer import RefCOCO
from visenv.tasks.visdrone import VisDrone

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import write
from fixtures._playing import refused

TAGS = range(1, 9)
SIDES = (7, 5)
"""Width and height of the stored picture."""


def tag(path: Path, orientation: int, format: str | None = None) -> None:
    """Write a tag into a picture without moving a pixel; losslessly, whatever the file is called."""
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    with Pillow.open(path) as file:
        pixels = file.convert("RGB")
    pixels.save(path, format=format or "PNG", exif=exif)


@pytest.mark.parametrize("orientation", TAGS)
def test_boxes_and_points_go_where_pillow_puts_their_pixels(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "marked.png"
    width, height = SIDES
    for x, y in ((0, 0), (5, 1), (2, 4), (6, 4)):
        stored = np.zeros((height, width, 3), np.uint8)
        stored[y, x] = 255
        Pillow.fromarray(stored).save(path)
        tag(path, orientation)
        assert orientation_of(path) == orientation_of(path.read_bytes()) == orientation
        with Pillow.open(path) as file:
            upright = np.asarray(ImageOps.exif_transpose(file))
        (row,), (column,) = np.nonzero(upright[:, :, 0])
        size_wh = upright.shape[1], upright.shape[0]
        assert upright_boxes([(x, y, x + 1.0, y + 1.0)], orientation, size_wh) == ((column, row, column + 1, row + 1),)
        assert upright_points([(x + 0.5, y + 0.25)], orientation, size_wh)[0][0] // 1 == column
        assert upright_points([(x + 0.5, y + 0.25)], orientation, size_wh)[0][1] // 1 == row


def test_a_box_keeps_its_sides_and_a_reversed_one_stays_reversed() -> None:
    assert upright_boxes([(1, 2, 4, 3)], 6, (5, 7)) == ((2, 1, 3, 4),)
    assert upright_boxes([(4, 2, 1, 3)], 3, SIDES) == ((6, 2, 3, 3),)
    assert upright_boxes([(-2, 0, 9, 5)], 2, SIDES) == ((-2, 0, 9, 5),)


@pytest.mark.parametrize("value", [0, 9, 6])
def test_tags_that_mean_nothing_turn_nothing(value: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Pillow.fromarray(np.zeros((5, 7, 3), np.uint8)).save(path)
    tag(path, value, "TIFF" if value == 6 else "JPEG")  # Pillow turns TIFF as it decodes, for the authors' code too
    assert orientation_of(path) == 1


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    refused(lambda: orientation_of(tmp_path / "a.jpg"), "a.jpg")


def contents(sample: Any) -> list[list[Any]]:
    """Return the pixels under each box, sorted, and the colour under each point."""
    pixels = sample.images[0].pixels.astype(int)
    boxes = (*sample.target.boxes_xyxy, *sample.target.ignore_boxes_xyxy, *sample.meta.get("others_xyxy", ()))
    under = []
    for box in boxes:
        x1, y1, x2, y2 = (max(0, int(v)) for v in box)
        under.append(sorted(pixels[y1:y2, x1:x2].reshape(-1, 3).tolist()))
    return under + [pixels[int(y), int(x)].tolist() for x, y in sample.target.points_xy if x % 1 and y % 1]


@pytest.mark.parametrize("orientation", TAGS)
@pytest.mark.parametrize(
    ("make", "name", "split", "index"),
    [(REC8K, "rec8k", "val", 3), (VisDrone, "visdrone", "val", 2), (Dense200, "dense200", "test", 3)],
    ids=["REC8K", "VisDrone", "Dense200"],
)
def test_what_is_annotated_on_the_stored_picture_is_turned_with_it(
    make: Any, name: str, split: str, index: int, orientation: int, tmp_path: Path
) -> None:
    write(name, tmp_path)
    if name == "dense200":  # whole pixels, so that what is under a box can be compared
        path = tmp_path / "Dense200/_annotations/box_eval/Dense200.jsonl"
        path.write_text(path.read_text().replace(".5,", ".0,"))
    path = make(tmp_path).sample(split, 1, index).files[0]
    tag(path, 1)
    before = make(tmp_path).sample(split, 1, index)
    tag(path, orientation)
    task = make(tmp_path)
    after = task.sample(split, 1, index)
    assert after.images[0].size_wh == before.images[0].size_wh[:: -1 if orientation > 4 else 1]
    assert contents(after) == contents(before) and len(contents(before)) > 4
    assert after.target.labels == before.target.labels and after.target.crowd == before.target.crowd
    moved = [f.what for f in task.audit_entry(split, index, task.entries(split)[index]) if "EXIF" in f.what]
    assert len(moved) == (orientation != 1) and all(f"EXIF orientation {orientation}" in what for what in moved)


@pytest.mark.parametrize("orientation", TAGS)
@pytest.mark.parametrize(
    ("make", "name", "split"),
    [(COCO, "coco", "val"), (GRES, "grefcoco", "testA"), (RefCOCO, "refcoco", "val")],
    ids=["COCO", "GRES", "RefCOCO"],
)
def test_annotations_of_cocos_form_need_the_picture_as_it_is_stored(
    make: Any, name: str, split: str, orientation: int, tmp_path: Path
) -> None:
    write(name, tmp_path)
    path = make(tmp_path).sample(split, 1, 0).files[0]
    tag(path, orientation)
    task = make(tmp_path)
    if orientation == 1:
        assert task.sample(split, 1, 0).target.boxes_xyxy
        return
    message = refused(lambda: task.sample(split, 1, 0), f"EXIF orientation {orientation}", path.name)
    assert [f.what for f in task.audit_entry(split, 0, task.entries(split)[0])] == [message]
