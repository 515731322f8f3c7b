"""Names that data give to files stay in the data's folder, links included; where the folders lie is anybody's own choice."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from visenv.tasks.benchmark import inside, plain_name
from visenv.tasks.coco import COCO
from visenv.tasks.dense200 import Dense200
from visenv.tasks.grefcoco import GRES
from visenv.tasks.multiqa import MultiQA
from visenv.tasks.reasonseg import ReasonSeg
from visenv.tasks.rec8k import REC8K
from visenv.tasks.refer import RefCOCO
from visenv.tasks.visdrone import VisDrone
from visenv.tasks.vstar import VStar

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures import write
from fixtures._playing import refused

CASES: dict[str, tuple[type[Any], str, str, tuple[str, ...]]] = {
    "coco": (COCO, "coco", "val", ("coco", "coco/val2017", "coco/annotations")),
    "dense200": (Dense200, "dense200", "test", ("Dense200", "Dense200/dense200", "Dense200/_annotations")),
    "grefcoco": (GRES, "grefcoco", "val", ("grefcoco", "images")),
    "multiqa": (MultiQA, "multiqa", "test", ("MultiQA",)),
    "reasonseg": (ReasonSeg, "reasonseg", "val", ("ReasonSeg", "ReasonSeg/val")),
    "rec8k": (REC8K, "rec8k", "val", ("REC8K", "REC8K/rec-8k", "REC8K/anno")),
    "refcoco": (RefCOCO, "refcoco", "val", ("refcoco", "images")),
    "visdrone": (
        VisDrone,
        "visdrone",
        "val",
        ("VisDrone", "VisDrone/VisDrone2019-DET-val", "VisDrone/VisDrone2019-DET-val/images"),
    ),
    "vstar": (VStar, "vstar", "test", ("VStar", "VStar/direct_attributes")),
    "vstar-files": (VStar, "vstar", "OCR", ("VStar", "VStar/OCR")),
}


def picture_of(task: Any, split: str, index: int) -> Path:
    """Return the file of a sample's first picture, which not every benchmark tells."""
    sample = task.sample(split, 1, index)
    if sample.files:
        return sample.files[0]
    return (
        task.root / task.entries(split)[index].pictures if isinstance(task, VStar) else first_file(task, split, index)
    )


def first_file(task: MultiQA, split: str, index: int) -> Path:
    return task.root / task.entries(split)[index].pictures[0]


@pytest.mark.parametrize("name", CASES)
def test_a_picture_that_is_a_link_out_of_the_folder_is_not_opened(name: str, tmp_path: Path) -> None:
    make, miniature, split, _ = CASES[name]
    data = tmp_path / "data"
    write(miniature, data)
    path = picture_of(make(data), split, 1)
    secret = path.rename(tmp_path / f"secret{path.suffix}")
    path.symlink_to(secret)
    task = make(data)
    message = refused(lambda: task.sample(split, 1, 1), "no link out of it", "Put the file itself there")
    assert message in [f.what for f in task.audit_entry(split, 1, task.entries(split)[1])]
    path.unlink()
    path.symlink_to(secret.rename(path.with_name(f"beside{path.suffix}.bak")))  # a link that stays inside
    assert make(data).sample(split, 1, 1).images


@pytest.mark.parametrize("name", CASES)
def test_folders_of_the_layout_may_be_links(name: str, tmp_path: Path) -> None:
    make, miniature, split, folders = CASES[name]
    for number, folder in enumerate(folders):
        data = tmp_path / str(number)
        write(miniature, data)
        before = make(data).sample(split, 1, 1)
        real = (data / folder).rename(tmp_path / f"elsewhere{number}")
        (data / folder).symlink_to(real)
        assert make(data).sample(split, 1, 1) == before


def test_an_annotation_file_that_is_a_link_is_not_opened(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write("reasonseg", data)
    path = data / "ReasonSeg/val/val_001.json"
    path.symlink_to(path.rename(tmp_path / "secret.json"))
    refused(lambda: ReasonSeg(data).sample("val", 1, 1), "no link out of it")


def test_the_cache_of_the_hub_links_to_its_own_blobs(tmp_path: Path) -> None:
    folder = tmp_path / "datasets--a--b" / "snapshots" / "0123" / "pictures"
    blobs = tmp_path / "datasets--a--b" / "blobs"
    folder.mkdir(parents=True)
    blobs.mkdir()
    for target, name in ((blobs / "beef", "in.jpg"), (tmp_path / "secret", "out.jpg")):
        target.write_bytes(b"")
        (folder / name).symlink_to(target)
    assert inside(folder, "in.jpg") == folder / "in.jpg"
    refused(lambda: inside(folder, "out.jpg"), "no link out of it")


def test_a_link_that_turns_in_a_circle_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert not inside(tmp_path, "a").is_file()


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../../b", "a\\b", "a\0b", "C:/a", "\ud800", "x" * 256])
def test_names_that_lead_out(name: str) -> None:
    refused(lambda: plain_name(name), "`file name`")
