"""Draw the picture of a report for its documentation: the tables and one replay, side by side.

Needs playwright (extra `dev`) and a Chromium.

visenv demo --out demo
python scripts/report_picture.py demo/site --episode '#/episode/demo/EmojiReason~0~val~1~211~demonstrator/end' --out docs/images/report.png
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

SIZE_WH = 1180, 860
SCALE = 0.6
GAP_PX = 16
PAPER = (228, 226, 221)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, help="a folder that `visenv report` made")
    parser.add_argument("--episode", required=True, help="the part of a replay's address from # on")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    page_uri = (chosen.site / "index.html").resolve().as_uri()
    shots = []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for place in ("#/", chosen.episode):
            page = browser.new_page(viewport={"width": SIZE_WH[0], "height": SIZE_WH[1]}, device_scale_factor=1.5)
            page.goto(page_uri + place)
            page.wait_for_timeout(800)
            shots.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
        browser.close()
    width, height = (round(side * SCALE) for side in SIZE_WH)
    sheet = Image.new("RGB", (2 * width + 3 * GAP_PX, height + 2 * GAP_PX), PAPER)
    for i, shot in enumerate(shots):
        small = shot.resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(small, (GAP_PX + i * (width + GAP_PX), GAP_PX))
    sheet.save(chosen.out, optimize=True)


if __name__ == "__main__":
    main()
