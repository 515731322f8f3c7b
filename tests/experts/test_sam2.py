"""SAM 2 of the ``sam2`` package behind our path, with random weights, against the package's own predictor."""

from __future__ import annotations

import pickle
import sys
import threading

import numpy as np
import pytest

from visenv import Image, Mask, plugins
from visenv.errors import BadValueError, ExpertError, MissingExtraError, UnknownNameError
from visenv.experts import ExpertSet, SegmentRequest
from visenv.testing import check_expert
from visenv.testing._stand_ins import draw_scene

# The package's own predictor compiles its transforms with what torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is:FutureWarning")
SIDE_PX = 128
PICTURES = [draw_scene((120, 90))[0], draw_scene((75, 110), seed=1)[0]]
FORMS = {
    "box": {"box_xyxy": (10.0, 12.0, 70.5, 60.0)},
    "click": {"points_xy": ((30.0, 40.0),), "points_positive": (True,)},
    "negative click": {"points_xy": ((30.0, 40.0),), "points_positive": (False,)},
    "two clicks": {"points_xy": ((30.0, 40.0), (60.5, 20.0)), "points_positive": (True, False)},
    "click, largest": {"points_xy": ((30.0, 40.0),), "points_positive": (True,), "prefer": "area"},
    "box, largest": {"box_xyxy": (10.0, 12.0, 70.0, 60.0), "prefer": "area"},
    "mask": {"refine": True},
    "mask, box and click": {
        "refine": True, "box_xyxy": (10.0, 12.0, 70.0, 60.0), "points_xy": ((30.0, 40.0),), "points_positive": (False,)
    },
}  # fmt: skip


def ask(image, form):
    form = dict(form)
    if form.pop("refine", False):
        form["previous"] = Mask.from_box((20, 20, 60, 70), image.size_wh[::-1])
    return SegmentRequest(image=image, **form)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sam2", None)
    monkeypatch.setitem(sys.modules, "sam2.build_sam", None)
    with pytest.raises(MissingExtraError, match=r"visenv\[sam2\]"):
        plugins.build("experts", "sam2")


@pytest.fixture(scope="module")
def torch():
    pytest.importorskip("sam2", reason="needs the extra visenv[sam2]")
    found = pytest.importorskip("torch", reason="needs the extra visenv[sam2]")
    before = found.get_num_threads()
    found.set_num_threads(1)  # so small a model gains nothing from more
    yield found
    found.set_num_threads(before)


@pytest.fixture(scope="module")
def checkpoint(torch, tmp_path_factory):
    """A checkpoint of SAM 2.1 tiny as it is published, with random weights."""
    from sam2.build_sam import build_sam2

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("sam2") / "sam2.1_hiera_tiny.pt"
    torch.save({"model": build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu").state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def expert(checkpoint):
    return plugins.build("experts", f"sam2:model={checkpoint},side={SIDE_PX},device=cpu")


@pytest.fixture(scope="module")
def predictor(expert):
    """The package's own, over the very same model."""
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    plain = SAM2ImagePredictor(expert.model)
    plain._bb_feat_sizes = [(SIDE_PX // k, SIDE_PX // k) for k in (4, 8, 16)]  # it knows those of 1024 px only
    return plain


def predict(predictor, expert, request):
    """What a careful user of the package writes."""
    single = len(request.points_xy) == 1 and request.box_xyxy is None and request.previous is None
    masks, scores, _ = predictor.predict(
        point_coords=np.array(request.points_xy) if request.points_xy else None,
        point_labels=np.array(request.points_positive, int) if request.points_xy else None,
        box=np.array(request.box_xyxy) if request.box_xyxy else None,
        mask_input=expert.mask_to_logits(request.previous)[0].numpy() if request.previous else None,
        multimask_output=single or request.prefer == "area",
    )
    best = scores.argmax() if request.prefer == "score" else masks.sum((1, 2)).argmax()
    return masks[best] > 0, float(scores[best])


def test_it_keeps_the_promises_of_an_expert(expert):
    from visenv.experts.sam2 import Sam2Segmenter

    check_expert(Sam2Segmenter(expert.model, device="cpu"), images=PICTURES[:1])


@pytest.mark.parametrize("form", list(FORMS))
def test_masks_are_those_of_the_packages_predictor(expert, predictor, form):
    for image in PICTURES:
        request = ask(image, FORMS[form])
        predictor.set_image(image.pixels.copy())
        dense, score = predict(predictor, expert, request)
        (found,) = expert.run([request])
        np.testing.assert_array_equal(found.mask.to_dense(), dense)
        assert found.score == pytest.approx(score, abs=1e-6)


def test_the_forms_tested_give_masks_to_compare(expert):
    areas = [expert.run([ask(PICTURES[0], form)])[0].mask.area_px for form in FORMS.values()]
    assert all(0 < area < 120 * 90 for area in areas) and len(set(areas)) > len(areas) // 2


def test_a_batch_equals_its_requests_alone_and_in_any_order(expert):
    requests = [ask(image, form) for image in PICTURES for form in FORMS.values()]
    whole = expert.run(requests)
    assert whole == [expert.run([r])[0] for r in requests] == expert.run(requests[::-1])[::-1]


@pytest.mark.parametrize("across", [False, True], ids=["one picture a pass", "several pictures a pass"])
def test_many_prompts_in_one_pass_give_nearly_the_same(torch, expert, across):
    """They are rounded otherwise, in the seventh digit: a pixel on a mask's edge may turn over."""
    from visenv.experts.sam2 import Sam2Segmenter

    several = Sam2Segmenter(expert.model, device="cpu", prompts=8, pictures=2)
    several.across = across  # as on a GPU
    passes = []
    handle = expert.model.sam_mask_decoder.register_forward_hook(lambda *_: passes.append(1))
    requests = [
        ask(i, {**form, "box_xyxy": (k, k, 50.0 + k, 60.0)})
        for k in range(4)
        for i in PICTURES
        for form in FORMS.values()
    ]
    found = several.run(requests)
    handle.remove()
    # Seven forms, for both clicks are of one; over both pictures that one has sixteen prompts, two passes of eight.
    assert len(passes) == (8 if across else 14) < len(requests)
    for one, other in zip(found, expert.run(requests), strict=True):
        height, width = one.mask.size_hw
        apart = np.count_nonzero(one.mask.to_dense() != other.mask.to_dense())
        assert apart <= 1e-3 * height * width and one.score == pytest.approx(other.score, abs=1e-4)


def test_one_picture_is_embedded_once_whoever_asks(expert):
    from visenv.experts.sam2 import Sam2Segmenter

    fresh = Sam2Segmenter(expert.model, device="cpu")
    calls = []
    handle = expert.model.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    request = ask(PICTURES[0], FORMS["click"])
    threads = [threading.Thread(target=fresh.run, args=([request] * 2,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh.run([SegmentRequest(image=Image(PICTURES[0].pixels.copy()), box_xyxy=(1, 2, 30, 40))])
    assert len(calls) == 1
    assert fresh.embeddings.num_bytes == 4 * (32 * 32**2 + 64 * 16**2 + 256 * 8**2)
    assert fresh.trim() and not fresh.trim()
    fresh.run([request])
    assert len(calls) == 2
    handle.remove()


def test_embeddings_beyond_the_limit_are_not_kept(expert):
    from visenv.experts.sam2 import Sam2Segmenter

    none = Sam2Segmenter(expert.model, device="cpu", embeddings_mb=0)
    assert none.run([ask(PICTURES[0], FORMS["box"])]) == expert.run([ask(PICTURES[0], FORMS["box"])])
    assert none.embeddings.num_bytes == 0


def test_nothing_asked_gives_an_empty_mask_and_a_wrong_mask_its_own_error(expert):
    empty = SegmentRequest(image=PICTURES[0], previous=Mask.empty((90, 120)))
    (found,) = expert.run([empty])
    assert not found.mask.area_px and found.score == 0
    wrong = SegmentRequest(image=PICTURES[0], previous=Mask.from_box((1, 1, 5, 5), (20, 20)))
    first, second = ExpertSet({"segment": expert}).execute([wrong, ask(PICTURES[0], FORMS["box"])])
    assert isinstance(first, ExpertError) and not isinstance(second, ExpertError)


def test_a_mask_to_refine_becomes_logits_of_plus_and_minus_ten(expert):
    logits = expert.mask_to_logits(Mask.from_box((0, 0, 64, 128), (128, 128)))
    assert tuple(logits.shape) == (1, 1, *expert.mask_hw) == (1, 1, 32, 32)
    np.testing.assert_allclose(logits[0, 0, :, :15], 10, rtol=1e-5)
    np.testing.assert_allclose(logits[0, 0, :, 17:], -10, rtol=1e-5)


def test_computing_in_half_numbers_stays_near(expert):
    from visenv.experts.sam2 import Sam2Segmenter

    half = Sam2Segmenter(expert.model, device="cpu", dtype="bfloat16")
    assert half.identity != expert.identity
    (first,), (second,) = (e.run([ask(PICTURES[0], FORMS["box"])]) for e in (expert, half))
    assert second.score == pytest.approx(first.score, abs=0.05)


def test_identities_follow_the_weights(torch, expert, checkpoint, tmp_path):
    again = plugins.build("experts", f"sam2:model={checkpoint},side={SIDE_PX},device=cpu,embeddings_mb=3")
    assert again.identity == expert.identity and again.identity.startswith("sam2@1/")
    several = plugins.build("experts", f"sam2:model={checkpoint},side={SIDE_PX},device=cpu,prompts=8,pictures=2")
    assert several.identity == expert.identity.replace("+", "/prompts8-pictures2+")  # rounded otherwise
    assert several.health() == "loaded on cpu"
    weights = torch.load(checkpoint, weights_only=True)
    weights["model"]["no_mem_embed"] += 1
    other = tmp_path / "mine.pt"
    torch.save(weights, other)
    made = plugins.build("experts", f"sam2:model={other},config=sam2.1_hiera_tiny,side={SIDE_PX},device=cpu")
    assert made.identity != expert.identity
    with pytest.raises(UnknownNameError, match=r"'mine'.*sam2\.1_hiera_tiny"):
        plugins.build("experts", f"sam2:model={other}")
    with pytest.raises(BadValueError, match="architecture"):
        plugins.build("experts", f"sam2:model={other},config=sam2.1_hiera_large")


def test_the_architectures_known_are_those_of_the_package(torch):
    from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES

    from visenv.experts.sam2._loading import CONFIGS, SIZES

    assert {name.removesuffix(".pt"): config for config, name in HF_MODEL_ID_TO_FILENAMES.values()} == CONFIGS
    assert {f"facebook/sam2.1-hiera-{size}" for size in SIZES} <= HF_MODEL_ID_TO_FILENAMES.keys()


class Evil:
    def __reduce__(self):
        return print, ("this must not run",)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", pickle.dumps({"model": Evil()}), pickle.dumps([1])],
    ids=["empty", "text", "code", "list"],
)
def test_checkpoints_that_are_none_are_refused_and_run_nothing(torch, tmp_path, capsys, content):
    path = tmp_path / "sam2.1_hiera_tiny.pt"
    path.write_bytes(content)
    with pytest.raises(BadValueError, match="checkpoint"):
        plugins.build("experts", f"sam2:model={path},side=64")
    assert "must not run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("model=huge", "tiny, small, base-plus, large"), ("model=/no/such/file.pt", "checkpoint"), ("side=100", "multiple of 64"),
        ("side=big", "integer"), ("model=tiny,config=sam2.1_hiera_tiny", "architecture is known"),
    ],
)  # fmt: skip
def test_options_that_name_nothing_are_refused(torch, option, expected):
    with pytest.raises((BadValueError, UnknownNameError), match=expected):
        plugins.build("experts", f"sam2:{option}")


def test_a_hub_that_cannot_be_reached_is_named(torch, monkeypatch):
    import huggingface_hub

    def refuse(*_: object, **__: object):
        raise OSError("no route to the hub")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(BadValueError, match=r"sam2\.1_hiera_tiny\.pt.*no route"):
        plugins.build("experts", "sam2:model=Tiny")
