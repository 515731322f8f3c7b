"""Sizes and visual tokens of the families against the processors of Transformers themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from visenv import Image
from visenv.encoding import resize_image
from visenv.vision import make_vision

torch = pytest.importorskip("torch", reason="needs the extra visenv[hf]")
hf = pytest.importorskip("transformers", reason="needs the extra visenv[hf]")
pytest.importorskip("torchvision", reason="needs the extra visenv[hf]")

# The limits of the published checkpoints' preprocessor_config.json.
PUBLISHED = {
    "qwen2-vl": {"size": {"shortest_edge": 56 * 56, "longest_edge": 12_845_056}, "patch_size": 14},
    "qwen2.5-vl": {"size": {"shortest_edge": 56 * 56, "longest_edge": 12_845_056}, "patch_size": 14},
    "qwen3-vl": {"size": {"shortest_edge": 256 * 256, "longest_edge": 16_777_216}, "patch_size": 16},
}
EDGES = [(1, 1), (1, 150), (27, 29), (28, 28), (42, 42), (256, 256), (1000, 6), (511, 513), (90, 1400)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _sizes(seed: int, count: int, most: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    drawn = np.exp(rng.uniform(np.log(8), np.log(most), (count, 2))).astype(int)
    return [(int(w), int(h)) for w, h in drawn if max(w, h) <= 200 * min(w, h)]


def _grid_wh(processor: Any, image: Image) -> tuple[int, int]:
    found = processor(images=[PilImage.fromarray(np.asarray(image.pixels))], return_tensors="pt")
    time, height, width = found["image_grid_thw"][0].tolist()
    assert time == 1 and len(found["pixel_values"]) == height * width
    return width, height


@pytest.mark.parametrize("limits", ["published", "narrow"])
@pytest.mark.parametrize("family", sorted(PUBLISHED))
def test_sizes_and_tokens_are_those_of_the_processor(family: str, limits: str) -> None:
    settings = {**PUBLISHED[family], "merge_size": 2}
    spec = family
    if limits == "narrow":  # so that pictures are enlarged and shrunk
        settings["size"] = {"shortest_edge": 200 * 200, "longest_edge": 300 * 300}
        spec = f"{family}:min_pixels=40000,max_pixels=90000"
    processor, vision = hf.Qwen2VLImageProcessor(**settings), make_vision(spec)
    patch_px = settings["patch_size"]
    for size_wh in [*EDGES, *_sizes(7, 9, 900)]:
        image = Image(np.full((*size_wh[::-1], 3), 90, np.uint8))
        seen = resize_image(image, vision.resized_wh(size_wh))
        for one in (image, seen):
            grid_wh = _grid_wh(processor, one)
            assert tuple(side * patch_px for side in grid_wh) == vision.resized_wh(size_wh), size_wh
            assert grid_wh[0] * grid_wh[1] // 4 == vision.tokens(size_wh), size_wh


def test_a_picture_that_we_resized_reaches_the_model_unchanged() -> None:
    processor, vision = hf.Qwen2VLImageProcessor(do_normalize=False, do_rescale=False), make_vision("qwen2.5-vl")
    image = Image(np.random.default_rng(0).integers(0, 256, (75, 131, 3), dtype=np.uint8))
    seen = resize_image(image, vision.resized_wh(image.size_wh))
    found = processor(images=[PilImage.fromarray(np.asarray(seen.pixels))], return_tensors="pt")
    values = np.sort(found["pixel_values"].numpy().reshape(-1, 3, 2, 14 * 14)[:, :, 0].ravel())
    assert np.array_equal(values, np.sort(seen.pixels.ravel()).astype(values.dtype))
