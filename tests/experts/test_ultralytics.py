"""Models of the ultralytics package: built from its own files, trained a little on EmojiWorld, asked through our path."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage
from visenv.tasks.emojiworld.rng import Rng
from visenv.tasks.emojiworld.scene import Scene, Thing, lay_out

from visenv.errors import BadValueError
from visenv.experts import Detections, DetectRequest, PointRequest, Segmentation, SegmentRequest
from visenv.experts.ultralytics import Ultralytics
from visenv.experts.ultralytics._loading import import_ultralytics
from visenv.images import Image
from visenv.masks import box_iou_matrix
from visenv.testing import check_expert

torch = pytest.importorskip("torch", reason='needs `pip install "visenv[ultralytics]"`')
if find_spec("ultralytics") is None:  # importing it is the expert's business, which takes precautions first
    pytest.skip('needs `pip install "visenv[ultralytics]"`', allow_module_level=True)

NAMES = ("apple", "car", "cat")
SIDE = 96


def draw(index: int) -> Scene:
    rng = Rng.of("emojiworld-v0", "experts", "yolo", index)
    things = [Thing(category=rng.choice(NAMES), size_px=rng.integer(44, 60), required=False) for _ in range(2)]
    layout = lay_out(things, size_wh=(SIDE, SIDE), level=1, rng=rng)
    assert layout is not None
    return layout.render(rng)


def noise(size_wh: tuple[int, int], seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 255, (size_wh[1], size_wh[0], 3)).astype(np.uint8))


@pytest.fixture(scope="module")
def package() -> Iterator[Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield import_ultralytics()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ultralytics")


def build(package: Any, folder: Path, name: str) -> str:
    """Save a network with random weights, built from the package's YAML."""
    path = folder / f"{name}.pt"
    if not path.is_file():
        torch.manual_seed(0)
        model = package.YOLO(f"{name}.yaml")
        calibrate(model.model)
        model.save(str(path))
    return str(path)


def calibrate(network: Any) -> None:
    """Let batch normalisation see noise: else random weights give nearly the same to every picture and text."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 0.9
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(2, 3, 64, 64))
    network.eval()


TRAIN = """
import sys
from visenv.experts.ultralytics._loading import import_ultralytics
package = import_ultralytics()
import torch
torch.set_num_threads(1)
package.YOLO("yolo11n.yaml").train(
    data=sys.argv[1], project=sys.argv[2], name="run", epochs=10, imgsz=96, batch=4, nbs=4, optimizer="AdamW", lr0=0.002, lrf=0.1,
    warmup_epochs=0.5, workers=0, plots=False, val=False, amp=False, verbose=False, device="cpu", seed=0, mosaic=0.0, scale=0.0,
    translate=0.05, hsv_h=0.0, hsv_s=0.0, hsv_v=0.0, erasing=0.0,
)
"""


@pytest.fixture(scope="module")
def trained(package: Any, folder: Path) -> str:
    """Train YOLO11n on 64 pictures; about 40 seconds of one core."""
    for part in ("images", "labels"):
        (folder / "data" / part).mkdir(parents=True)
    for index in range(64):
        scene = draw(index)
        PilImage.fromarray(np.array(scene.pixels)).save(folder / "data" / "images" / f"{index}.png")
        rows = []
        for thing in scene.objects:
            x1, y1, x2, y2 = (side / SIDE for side in thing.box_xyxy)
            rows.append(f"{NAMES.index(thing.category)} {(x1 + x2) / 2} {(y1 + y2) / 2} {x2 - x1} {y2 - y1}\n")
        (folder / "data" / "labels" / f"{index}.txt").write_text("".join(rows))
    listed = "".join(f"  {k}: {name}\n" for k, name in enumerate(NAMES))
    data = folder / "data.yaml"
    data.write_text(f"path: {folder / 'data'}\ntrain: images\nval: images\nnames:\n{listed}")
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(data), str(folder)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return str(folder / "run" / "weights" / "last.pt")


def test_a_trained_detector_finds_what_a_phrase_names(trained: str, caplog: pytest.LogCaptureFixture) -> None:
    expert = Ultralytics(trained, side=SIDE, threshold=0.1)
    assert expert.health() == "knows 3 classes: apple, car, cat"
    assert Ultralytics(trained, side=SIDE, batch=4).version == expert.version.replace("/closed", "/batch4/closed")
    found = wrong = total = 0
    for index in range(1000, 1012):
        scene = draw(index)
        image = Image(np.array(scene.pixels))
        for name in NAMES:
            (result,) = expert.run([DetectRequest(image=image, phrase=f"the {name}s")])
            assert isinstance(result, Detections) and set(result.labels) <= {name}
            truth = np.array([o.box_xyxy for o in scene.objects if o.category == name], np.float64).reshape(-1, 4)
            iou = box_iou_matrix(result.boxes_xyxy, truth)
            total += len(truth)
            found += int((iou.max(0, initial=0) >= 0.5).sum())
            wrong += int((iou.max(1, initial=0) < 0.5).sum())
    assert found >= 0.6 * total and wrong <= 0.5 * total, (found, wrong, total)
    (nothing,) = expert.run([PointRequest(image=image, phrase="unicorns")])
    expert.run([PointRequest(image=image, phrase="unicorns")])
    assert len(nothing.scores) == 0  # type: ignore[union-attr]
    assert ["unicorns" in record.getMessage() for record in caplog.records].count(True) == 1


@pytest.mark.parametrize("size_wh", [(96, 96), (90, 57), (50, 96), (96, 9), (1, 1)])
def test_boxes_are_those_of_the_package(package: Any, trained: str, size_wh: tuple[int, int]) -> None:
    image = Image(np.array(draw(2000).pixels)[: size_wh[1], : size_wh[0]].copy())
    (ours,) = Ultralytics(trained, side=SIDE, threshold=0.01).run([DetectRequest(image=image, phrase="objects")])
    (theirs,) = package.YOLO(trained).predict(
        image.pixels[:, :, ::-1].copy(), imgsz=SIDE, conf=0.01, iou=0.7, max_det=1000, verbose=False
    )
    assert isinstance(ours, Detections) and (len(ours.labels) or size_wh != (96, 96))
    assert ours.boxes_xyxy == pytest.approx(theirs.boxes.xyxy.numpy(), abs=1e-3)
    assert ours.scores == pytest.approx(theirs.boxes.conf.numpy(), abs=1e-5)


def test_masks_are_those_of_the_package(package: Any, folder: Path, trained: str) -> None:
    path = folder / "trained-seg.pt"
    model = package.YOLO("yolo11n-seg.yaml")
    model.model = type(model.model)("yolo11n-seg.yaml", nc=len(NAMES), verbose=False)
    model.model.load(package.YOLO(trained).model, verbose=False)  # what finds; what masks keeps its random weights
    model.model.names, model.model.task = dict(enumerate(NAMES)), "segment"
    model.save(str(path))
    image = Image(np.array(draw(2000).pixels)[:70].copy())
    (ours,) = Ultralytics(str(path), side=SIDE, threshold=0.01).run([DetectRequest(image=image, phrase="objects")])
    (theirs,) = package.YOLO(str(path)).predict(
        image.pixels[:, :, ::-1].copy(), imgsz=SIDE, conf=0.01, iou=0.7, max_det=1000, verbose=False, retina_masks=True
    )
    assert isinstance(ours, Detections) and ours.masks is not None and len(ours.masks) == len(theirs.masks.data) > 0
    for mask, dense in zip(ours.masks, theirs.masks.data.numpy(), strict=True):
        assert np.array_equal(mask.to_dense(), dense > 0.5)


@pytest.mark.parametrize("name", ["yolo11n", "yolo11n-seg"])
def test_check_expert(package: Any, folder: Path, name: str) -> None:
    check_expert(Ultralytics(build(package, folder, name), side=64, threshold=1e-5, most=20))


def test_a_batch_gives_what_each_picture_alone_gives(package: Any, folder: Path) -> None:
    path = build(package, folder, "yolo11n")
    images = [noise((90, 60), seed) for seed in range(5)] + [noise((60, 90), 9)]
    requests = [DetectRequest(image=image, phrase="objects") for image in images]
    alone = [Ultralytics(path, side=96, threshold=1e-5).run([request])[0] for request in requests]
    together = Ultralytics(path, side=96, threshold=1e-5, batch=4).run(requests)
    for one, other in zip(alone, together, strict=True):
        assert isinstance(one, Detections) and isinstance(other, Detections)
        assert one.boxes_xyxy == pytest.approx(other.boxes_xyxy, abs=0.01)


@pytest.mark.parametrize("name", ["yolov8s-world", "yoloe-11s", "yoloe-11s-seg"])
def test_open_vocabularies_take_any_phrase(
    package: Any, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text encoders need downloads, so a stand-in makes a vector of each text; everything after it is real."""
    path, image = build(package, folder, name), noise((90, 60))
    monkeypatch.setitem(sys.modules, "clip", None)
    with pytest.raises(BadValueError, match="text encoder"):
        Ultralytics(path, side=96)
    closed = Ultralytics(path, side=96, vocabulary="closed", threshold=1e-5)
    assert "80 classes" in closed.health()
    from ultralytics.nn import tasks

    kind = tasks.WorldModel if "world" in name else tasks.YOLOEModel

    def encode(self: Any, texts: list[str], **_: Any) -> Any:
        seeds = [int.from_bytes(text.encode()[:6], "big") for text in texts]
        vectors = [torch.randn(512, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.nn.functional.normalize(torch.stack(vectors)[None], dim=-1)

    monkeypatch.setattr(kind, "get_text_pe", encode)
    expert = Ultralytics(path, side=96, threshold=1e-6)
    assert expert.identity != closed.identity and expert.health() == "finds any phrase"
    requests = [DetectRequest(image=image, phrase=phrase) for phrase in ("a purple unicorn", "cat")]
    unicorn, cat = expert.run(requests)
    assert isinstance(unicorn, Detections) and set(unicorn.labels) == {"a purple unicorn"}
    assert (unicorn.masks is not None) == name.endswith("-seg")
    assert isinstance(cat, Detections) and not np.array_equal(unicorn.scores, cat.scores)
    again = expert.run(requests[::-1])[::-1]
    assert all(np.array_equal(a.scores, b.scores) for a, b in zip((unicorn, cat), again, strict=True))  # type: ignore[union-attr]


def test_fastsam_chooses_among_its_masks(package: Any, folder: Path) -> None:
    path = folder / "everything.pt"
    model = package.YOLO("yolo11n-seg.yaml")
    model.model = type(model.model)("yolo11n-seg.yaml", nc=1, verbose=False)
    model.model.names, model.model.task = {0: "object"}, "segment"
    calibrate(model.model)
    model.save(str(path))
    expert = Ultralytics(str(path), side=128, threshold=1e-5, most=30)
    assert expert.name == "ultralytics-fastsam" and expert.capabilities == {"segment"}
    assert expert.health() == "loaded on cpu"
    check_expert(expert)
    image = noise((120, 80))
    (whole,) = Ultralytics(str(path), role="detector", side=128, threshold=1e-5, most=30, overlap=0.9).run(
        [DetectRequest(image=image, phrase="objects")]
    )
    assert isinstance(whole, Detections) and whole.masks
    chosen = next(m for m in whole.masks if m.area_px)
    box = tuple(map(float, chosen.box_xyxy))
    (found,) = expert.run([SegmentRequest(image=image, previous=chosen, box_xyxy=None)])
    assert isinstance(found, Segmentation) and found.mask == chosen
    ys, xs = np.nonzero(chosen.to_dense())
    click = (float(xs[0]) + 0.5, float(ys[0]) + 0.5)
    (found,) = expert.run(
        [SegmentRequest(image=image, box_xyxy=box, points_xy=(click,), points_positive=(True,))]  # type: ignore[arg-type]
    )
    assert isinstance(found, Segmentation) and found.mask.to_dense()[ys[0], xs[0]]


@pytest.mark.parametrize(("name", "nested"), [("mobile_sam.pt", False), ("sam2_t.pt", True)])
def test_sam_masks_are_those_of_the_package(package: Any, folder: Path, name: str, nested: bool) -> None:
    from ultralytics.models.sam import build as builders

    made = builders.build_sam2_t() if nested else builders.build_mobile_sam()
    decoder = made.sam_mask_decoder if nested else made.mask_decoder
    decoder.iou_prediction_head.layers[-1].bias.data += 2.0  # the package leaves out masks of low score
    weights = made.state_dict()
    torch.save({"model": weights} if nested else weights, folder / name)
    expert = Ultralytics(str(folder / name), side=256)
    theirs = package.SAM(str(folder / name))
    for size_wh in ((200, 120), (97, 161)):
        image = noise(size_wh)
        options: dict[str, Any] = {"imgsz": 256, "conf": 0.0, "verbose": False}
        box, points, labels = (10.0, 20.0, 80.0, 90.0), ((30.0, 40.0), (60.0, 70.0)), (True, False)
        ours = expert.run([
            SegmentRequest(image=image, box_xyxy=box),
            SegmentRequest(image=image, points_xy=points, points_positive=labels),
        ])  # fmt: skip
        bgr = image.pixels[:, :, ::-1].copy()
        wanted = (
            theirs.predict(bgr, bboxes=[list(box)], **options),
            theirs.predict(bgr, points=[[list(p) for p in points]], labels=[[1, 0]], **options),
        )
        for one, (other,) in zip(ours, wanted, strict=True):
            assert isinstance(one, Segmentation)
            assert np.array_equal(one.mask.to_dense(), other.masks.data[0].numpy() > 0)


def test_sam_is_an_expert(package: Any, folder: Path) -> None:
    from ultralytics.models.sam import build as builders

    torch.save(builders.build_mobile_sam().state_dict(), folder / "my_mobile_sam.pt")
    expert = Ultralytics(str(folder / "my_mobile_sam.pt"), side=64)
    assert expert.capabilities == {"segment"}
    check_expert(expert)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["yolo.pt", "mobile_sam.pt"])
@pytest.mark.parametrize("form", ["torch", "pickle", "text", "empty"])
def test_a_hostile_checkpoint_is_refused_and_runs_nothing(package: Any, tmp_path: Path, name: str, form: str) -> None:
    trap = tmp_path / "trap"
    content = {"model": Bomb(trap), "ema": None, "train_args": {}}
    path = tmp_path / name
    if form == "torch":
        torch.save(content, path)
    else:
        path.write_bytes({"pickle": pickle.dumps(content), "text": b"hello", "empty": b""}[form])
    with pytest.raises(BadValueError, match="checkpoint"):
        Ultralytics(str(path))
    assert not trap.exists()


def test_nothing_is_fetched_and_options_are_checked(package: Any, folder: Path, tmp_path: Path) -> None:
    for name in ("yolo11n.pt", "yolo11n.yaml", "https://example.com/yolo11n.pt", str(tmp_path)):
        with pytest.raises(BadValueError, match="path of a checkpoint"):
            Ultralytics(name)
    path = build(package, folder, "yolo11n")
    for options in (
        {"role": "segmenter"}, {"role": "x"}, {"vocabulary": "open"}, {"vocabulary": "x"}, {"side": 8}, {"threshold": 2}, {"most": 0},
        {"batch": -1}, {"device": "tpu"}, {"side": 650}, {"side": "big"}, {"overlap": -1}, {"overlap": -1.0},
    ):  # fmt: skip
        with pytest.raises(BadValueError):
            Ultralytics(path, **options)  # type: ignore[arg-type]


def test_options_that_a_model_does_not_have_are_refused(package: Any, folder: Path) -> None:
    from ultralytics.models.sam import build as builders

    torch.save(builders.build_mobile_sam().state_dict(), folder / "mobile_sam.pt")
    for option in ({"threshold": 0.9}, {"most": 3}, {"overlap": 0.1}, {"vocabulary": "closed"}, {"batch": 2}):
        with pytest.raises(BadValueError, match="SAM has"):
            Ultralytics(str(folder / "mobile_sam.pt"), **option)  # type: ignore[arg-type]
    with pytest.raises(BadValueError, match="is a SAM"):
        Ultralytics(str(folder / "mobile_sam.pt"), role="detector")
    for side in (96, "big"):
        with pytest.raises(BadValueError, match="side"):
            Ultralytics(str(folder / "mobile_sam.pt"), side=side)  # type: ignore[arg-type]
    with pytest.raises(BadValueError, match=r"vocabulary.*FastSAM has"):
        Ultralytics(build(package, folder, "yolo11n-seg"), role="segmenter", vocabulary="open")


def test_importing_it_turns_everything_off_that_reaches_out(package: Any) -> None:
    code = (
        "from visenv.experts.ultralytics._loading import import_ultralytics; import_ultralytics(); "
        "from ultralytics.utils import AUTOINSTALL, ONLINE, SAFE_LOAD, SETTINGS, SETTINGS_FILE; "
        "from ultralytics.utils.events import events; "
        "print(AUTOINSTALL, ONLINE, SAFE_LOAD, SETTINGS['sync'], events.enabled, SETTINGS_FILE)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO_", "ULTRALYTICS_"))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    *flags, settings = done.stdout.split()
    assert flags == ["False", "False", "True", "False", "False"] and "visenv-ultralytics-" in settings
    assert not Path(settings).exists() and done.stderr == ""
    late = (
        "import ultralytics; from visenv.experts.ultralytics._loading import import_ultralytics; import_ultralytics()"
    )
    done = subprocess.run(
        [sys.executable, "-c", late],
        env=environment | {"YOLO_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Make the expert first" in done.stderr
