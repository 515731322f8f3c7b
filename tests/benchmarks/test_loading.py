"""What opening a large annotation file costs: seconds, memory, and what a sample costs afterwards.

pytest tests/benchmarks --benchmark-enable -o addopts=--import-mode=importlib
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures._python2 import python2_pickle

NUM_PICTURES, NUM_REFERENCES = 8_000, 50_000
REFCOCO = {"pictures": 19_994, "sentences": 141_666}
"""As it is published, with 196,771 annotations."""
MEASURE = """
import sys, time
module, name, root = sys.argv[1:]
task = getattr(__import__(module, fromlist=[name]), name)(root)
peak = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
before, start = peak(), time.perf_counter()
size = task.num_samples("train", 1)
opened, after = time.perf_counter() - start, peak()
task.sample("train", 1, 0)
start = time.perf_counter()
for _ in range(200):
    task.sample("train", 1, 0)
print(size, opened, before, after, (time.perf_counter() - start) / 200)
"""


def instances(num_pictures: int, per_picture: int) -> dict[str, object]:
    """Objects of thirty corners, with every key that COCO has."""
    rng = random.Random(0)
    images = [
        {
            "license": 1, "file_name": f"COCO_train2014_{k:012d}.jpg", "coco_url": "http://images.cocodataset.org/x.jpg",
            "height": 480, "width": 640, "date_captured": "2013-11-18", "flickr_url": "http://farm.staticflickr.com/x.jpg", "id": k,
        }
        for k in range(num_pictures)
    ]  # fmt: skip
    annotations = [
        {
            "segmentation": [[round(rng.uniform(0, 480), 2) for _ in range(60)]], "area": 100.5, "iscrowd": 0,
            "image_id": k, "bbox": [1.5, 2.5, 30.25, 40.5], "category_id": 1, "id": 10 * k + place,
        }
        for k in range(num_pictures) for place in range(per_picture)
    ]  # fmt: skip
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}


def references(num_pictures: int, num_sentences: int, *, several: bool) -> list[dict[str, object]]:
    """Two or three sentences each, so many in all; of several objects, a third mean nothing and the others two."""
    found: list[dict[str, object]] = []
    sent_id = 0
    for number in range(NUM_REFERENCES):
        image_id = number % num_pictures
        ids = [-1] if number % 3 == 0 else [10 * image_id, 10 * image_id + 1 + number % 8]
        here = 2 + (number < num_sentences - 2 * NUM_REFERENCES)
        sentences = [
            {
                "tokens": ["the", "two", "people", "on", "left"], "raw": f"the two people on the left {number}",
                "sent_id": k, "sent": "the two people on left",
            }
            for k in range(sent_id, sent_id + here)
        ]  # fmt: skip
        sent_id += here
        found.append({
            "sent_ids": [s["sent_id"] for s in sentences], "file_name": f"COCO_train2014_{image_id:012d}_1.jpg", "ref_id": number,
            "ann_id": ids if several else 10 * image_id, "image_id": image_id, "split": "train", "sentences": sentences,
            "category_id": [1] * len(ids) if several else 1, **({"no_target": ids == [-1]} if several else {}),
        })  # fmt: skip
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred thousand sentences as gRefCOCO has them, and RefCOCO at its own size as Python 2 pickled it, in two protocols."""
    root = tmp_path_factory.mktemp("large")
    for folder in ("grefcoco", "refcoco", "refcoco+"):
        (root / folder).mkdir()
    (root / "grefcoco" / "instances.json").write_text(json.dumps(instances(NUM_PICTURES, 9)))
    (root / "grefcoco" / "grefs(unc).json").write_text(json.dumps(references(NUM_PICTURES, 100_000, several=True)))
    text = json.dumps(instances(REFCOCO["pictures"], 10))
    held = references(REFCOCO["pictures"], REFCOCO["sentences"], several=False)
    for folder, protocol in (("refcoco", 0), ("refcoco+", 2)):
        (root / folder / "instances.json").write_text(text)
        (root / folder / "refs(unc).p").write_bytes(python2_pickle(held, protocol=protocol))
    pictures = root / "images" / "train2014"
    pictures.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    Pillow.fromarray(pixels).save(pictures / "COCO_train2014_000000000000.jpg")
    return root


@pytest.mark.parametrize(
    ("module", "name", "folder", "sentences", "limit_s"),
    [
        ("visenv.tasks.grefcoco", "GRES", "grefcoco", 100_000, 5),
        ("visenv.tasks.grefcoco", "GREC", "grefcoco", 100_000, 5),
        ("visenv.tasks.refer", "RefCOCO", "refcoco", REFCOCO["sentences"], 8),
        ("visenv.tasks.refer", "RefCOCOPlus", "refcoco+", REFCOCO["sentences"], 8),
    ],
)
def test_opening_a_hundred_thousand_expressions(
    root: Path, module: str, name: str, folder: str, sentences: int, limit_s: float, report
) -> None:
    """In a process of its own, so that its peak of memory is its own."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, module, name, str(root)], capture_output=True, text=True, check=True
    )
    size, opened, before, after, each = map(float, done.stdout.split())
    megabytes = sum(p.stat().st_size for p in (root / folder).iterdir()) / 2**20
    report(
        f"{name}: {size:,.0f} expressions, {megabytes:.0f} MB of annotations opened in {opened:.2f} s; peak memory {after:.0f} MB "
        f"({before:.0f} MB before); then {each * 1000:.2f} ms for a sample whose picture is known"
    )
    assert size == sentences and opened < limit_s and after < 1000
