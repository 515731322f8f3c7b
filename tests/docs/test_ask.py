"""What docs/ask.md shows: its Python runs on the photos that it names and prints what it says; its picture's script runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from visenv.images import load_image

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/ask.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_examples_do_what_they_say(tmp_path, monkeypatch, capsys):
    data = pytest.importorskip("skimage.data", reason='scikit-image is not installed: pip install "visenv[dev]"')
    monkeypatch.chdir(tmp_path)
    for name in ("coffee", "coins"):
        Image.fromarray(getattr(data, name)()).save(f"{name}.png")
    exec(compile("\n".join(BLOCKS), "docs/ask.md", "exec"), {})  # our own text
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 object" and "cup" in lines[1] and lines[-1] == "Count: 24"
    assert {p.name for p in Path("cup").iterdir() if p.is_file()} == {
        "answer.json", "index.html", "mask.png", "mask_1.png", "overlay.png",
    }  # fmt: skip


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium is installed")
def test_the_picture_can_be_made_again(tmp_path):
    pytest.importorskip("skimage.data", reason='scikit-image is not installed: pip install "visenv[dev]"')
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    out = tmp_path / "ask.jpg"
    subprocess.run([sys.executable, ROOT / "scripts/ask_picture.py", "--out", out], check=True, capture_output=True)
    assert load_image(out).size_wh == load_image(ROOT / "docs/images/ask.jpg").size_wh
