"""``zoom``: regions enlarged, images turned, and every place of a view a known place of its source."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from visenv import EndReason
from visenv.context import map_points
from visenv.toolsets import ZOOM
from visenv.toolsets.zoom import GOAL_PX, MOST


def zoom(image, x1, y1, x2, y2):
    return "zoom", {"image": image, "x1": x1, "y1": y1, "x2": x2, "y2": y2}


def rotate(image, angle):
    return "rotate", {"image": image, "angle": str(angle)}


@pytest.fixture
def episode(make_episode):
    return make_episode(toolset=ZOOM)


def same_pixels(view, source):
    """Whether the middle of every pixel of a view is where its map says, exactly."""
    width, height = view.size_wh
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    places = np.floor(map_points(np.stack([x.ravel(), y.ravel()], axis=1), view.to_source)).astype(int)
    return np.array_equal(view.image.pixels.reshape(-1, 3), source.pixels[places[:, 1], places[:, 0]])


def test_a_region_is_enlarged_by_a_whole_factor(episode, play, picture):
    play(episode, zoom("img_0", 250, 250, 750, 750))
    view = episode.memory.images["zoom_1"]
    assert view.size_wh == (640, 512) and view.to_source.tolist() == [[0.25, 0, 80], [0, 0.25, 64]]
    assert episode.turns[-1].feedback == "zoom_1: 640 x 512 px of img_0, enlarged 4 times."
    assert max(view.size_wh) <= GOAL_PX and MOST == 4
    shrunk = view.image.pixels.reshape(128, 4, 160, 4, 3).mean(axis=(1, 3))
    cut = picture.pixels[64:192, 80:240]
    assert np.corrcoef(shrunk.ravel(), cut.ravel())[0, 1] > 0.95, "the same picture, only smoother"
    assert np.corrcoef(shrunk[:, 1:].ravel(), cut[:, :-1].ravel())[0, 1] < 0.5, "and nothing moved"
    play(episode, zoom("img_0", 0, 0, 1000, 1000))
    assert episode.memory.images["zoom_2"].size_wh == (640, 512), "the whole of it, twice as large"


def test_a_crop_of_a_crop_lies_in_the_source(episode, play):
    play(episode, zoom("img_0", 250, 250, 750, 750), zoom("zoom_1", 500, 500, 1000, 1000))
    inner = episode.memory.images["zoom_2"]
    assert inner.source == "img_0" and inner.parent == "zoom_1" and inner.depth == 2
    width, height = inner.size_wh
    assert map_points([(0, 0), (width, height)], inner.to_source).tolist() == [[160, 128], [240, 192]]
    play(episode, ("draw_box", {"image": "zoom_2", "x1": 0, "y1": 0, "x2": 500, "y2": 500}))
    assert episode.objects[0].box_xyxy == (160, 128, 200, 160)


def test_what_is_too_small_is_refused(episode, play):
    play(episode, zoom("img_0", 0, 0, 50, 500))
    assert episode.turns[-1].error == "too_small" and "16 x 128 px" in episode.turns[-1].feedback
    assert list(episode.memory.images) == ["img_0"]


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_a_turned_image_is_turned_clockwise_pixel_by_pixel(episode, play, picture, angle):
    play(episode, rotate("img_0", angle))
    view = episode.memory.images["turned_1"]
    assert np.array_equal(view.image.pixels, np.rot90(picture.pixels, -angle // 90))
    assert view.size_wh == ((320, 256) if angle == 180 else (256, 320)) and same_pixels(view, picture)


@pytest.mark.parametrize("angles", list(itertools.product([90, 180, 270], repeat=2)), ids=str)
def test_turning_twice_is_turning_by_the_sum(episode, play, picture, angles):
    play(episode, rotate("img_0", angles[0]), rotate("turned_1", angles[1]))
    view = episode.memory.images["turned_2"]
    assert np.array_equal(view.image.pixels, np.rot90(picture.pixels, -sum(angles) // 90)) and same_pixels(
        view, picture
    )
    if sum(angles) == 360:
        assert np.allclose(view.to_source, [[1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_a_box_drawn_on_a_part_of_a_turned_image_is_the_box_in_the_source(episode, play, angle):
    play(episode, rotate("img_0", angle), zoom("turned_1", 0, 0, 500, 500))
    view = episode.memory.images["zoom_2"]
    play(episode, ("draw_box", {"image": "zoom_2", "x1": 0, "y1": 0, "x2": 500, "y2": 1000}))
    width, height = view.size_wh
    corners = map_points([(0, 0), (width / 2, height)], view.to_source)
    assert episode.objects[0].box_xyxy == (*corners.min(axis=0), *corners.max(axis=0))
    quarter = {90: (0, 192, 160, 256), 180: (240, 128, 320, 256), 270: (160, 0, 320, 64)}
    assert episode.objects[0].box_xyxy == quarter[angle], "the half of the quarter that was seen on the left"
    drawn = episode.memory.images["view_3"].image.pixels != view.image.pixels
    assert drawn[: 2 * height // 3, : 2 * width // 3].any() and not drawn[:, 2 * width // 3 :].any()
    play(episode, ("submit", {}))
    assert episode.reason is EndReason.SUBMITTED


def test_results_cannot_be_zoomed_into_nor_turned(episode, play):
    play(episode, ("draw_box", {"image": "img_0", "x1": 0, "y1": 0, "x2": 500, "y2": 500}))
    play(episode, zoom("view_1", 0, 0, 500, 500), rotate("view_1", 90))
    assert [t.error for t in episode.turns] == [None, "not_an_input", "not_an_input"]
