"""Pictures read from files: decided by content, upright, RGB of 8 bits, and nothing but one error for what is no picture."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from visenv import images
from visenv.errors import BadValueError
from visenv.images import FORMATS, decode_image, load_image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(/tmp/x) (w) file\nshowpage\n%%EOF\n"


def encoded(form: str, mode: str = "RGB", size_wh: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    rng = np.random.default_rng(0)
    picture = Pillow.fromarray(rng.integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)).convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", FORMATS)
def test_every_listed_format_is_read(form: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.anything"
    path.write_bytes(encoded(form))
    assert load_image(path).size_wh == (8, 6)


def test_a_file_of_several_pictures_gives_the_first() -> None:
    second = Pillow.new("RGB", (8, 6), "red")
    assert decode_image(encoded("MPO", save_all=True, append_images=[second]), where="x").size_wh == (8, 6)


@pytest.mark.parametrize(
    "content",
    [
        EPS,
        b"",
        b"hello",
        encoded("JPEG", size_wh=(64, 64))[:400],
        encoded("PNG")[:40],
        encoded("PNG")[:-30],
        encoded("TIFF")[:50],
        b"II*\0" + struct.pack("<I", 2**31) + bytes(40),
        encoded("GIF")[:20],
        encoded("PPM"),
        encoded("TIFF", "F"),
        encoded("TIFF", "I"),
    ],
    ids=["eps", "nothing", "text", "jpeg cut", "png head", "png cut", "tiff cut", "tiff far", "gif cut", "ppm", "float", "int"],
)  # fmt: skip
def test_what_is_no_picture_is_one_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    with pytest.raises(BadValueError, match=r"picture\.jpg"):
        load_image(path)


def test_no_other_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gs").write_text("#!/bin/sh\ntouch started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picture.jpg").write_bytes(EPS)
    with pytest.raises(BadValueError):
        load_image("picture.jpg")
    assert not Path("started").exists()


@pytest.mark.parametrize("error", [ValueError, TypeError, struct.error, IndexError, KeyError, MemoryError, OSError])
def test_whatever_a_decoder_raises_is_one_error(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded("PNG")

    def broken(*_: object) -> None:
        raise error("inside the decoder")

    monkeypatch.setattr(Pillow.Image, "convert", broken)
    with pytest.raises(BadValueError, match="inside the decoder"):
        decode_image(content, where="here")


def test_sixteen_bits_are_cut_to_their_upper_eight() -> None:
    deep = np.array([[0, 255, 256, 32_768, 65_535]], np.uint16)
    for form, values in (("grey", deep), ("colour", np.repeat(deep[:, :, None], 3, 2))):
        content = cv2.imencode(".png", values)[1].tobytes()
        assert decode_image(content, where=form).pixels[0, :, 0].tolist() == [0, 0, 1, 128, 255], form


@pytest.mark.parametrize("transparency", [0, bytes([0, 128, 255])], ids=["one colour", "each colour"])
def test_a_palette_with_transparency_shows_the_colours_below(transparency: int | bytes) -> None:
    picture = Pillow.new("P", (3, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    picture.putdata([0, 1, 2])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=transparency)
    expected = [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    assert decode_image(buffer.getvalue(), where="x").pixels[0].tolist() == expected


@pytest.mark.parametrize(
    ("tag", "upright"),
    [(1, lambda a: a), (2, np.fliplr), (3, lambda a: np.rot90(a, 2)), (4, np.flipud), (6, lambda a: np.rot90(a, -1)), (8, np.rot90)],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["RGB", "I;16"])
def test_pictures_are_turned_as_their_exif_tag_says(tag: int, upright: Callable[[Any], Any], mode: str) -> None:
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    exif = Pillow.Exif()
    exif[0x0112] = tag
    buffer = io.BytesIO()
    made = Pillow.fromarray(stored).convert("RGB") if mode == "RGB" else Pillow.fromarray(stored.astype(np.uint16) << 8)
    made.save(buffer, "PNG", exif=exif)
    assert (decode_image(buffer.getvalue(), where="x").pixels[:, :, 1] == upright(stored)).all()


def test_limits_hold_before_a_pixel_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded("PNG", size_wh=(50, 4)))
    assert load_image(path, max_side_px=50).size_wh == (50, 4)
    with pytest.raises(BadValueError, match="at most 49 px"):
        load_image(path, max_side_px=49)
    with pytest.raises(BadValueError, match="at most 10 bytes"):
        load_image(path, max_bytes=10)
    with pytest.raises(BadValueError, match="at most 10 bytes"):
        decode_image(bytes(11), where="x", max_bytes=10)


@pytest.mark.parametrize(
    ("limit", "own", "refused"),
    [(40, 1000, False), (10, 1000, True), (40, 40, True)],
    ids=["Pillow would warn", "Pillow refuses", "ours is lower"],
)
def test_our_limit_of_pixels_is_the_one_that_is_told(
    limit: int, own: int, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", limit)
    monkeypatch.setattr(images, "MAX_PX", own)
    if not refused:
        assert decode_image(encoded("PNG"), where="x").size_wh == (8, 6)
        return
    with pytest.raises(BadValueError, match=f"at most {own} pixels in x"):
        decode_image(encoded("PNG"), where="x")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "nothing", "a\0b"):
        with pytest.raises(BadValueError):
            load_image(f"{tmp_path}/{name}")
