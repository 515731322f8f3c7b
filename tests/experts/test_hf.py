"""Models of Transformers behind our path, built small with random weights, against what Transformers itself gives."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from visenv import Image, Mask, plugins
from visenv.errors import BadValueError, ExpertError, MissingExtraError, UnknownNameError
from visenv.experts import DetectRequest, PointRequest, SegmentRequest, UpscaleRequest
from visenv.testing import check_expert
from visenv.testing._stand_ins import draw_scene

sys.path.insert(0, str(Path(__file__).parent))
import small_models

PICTURES = [draw_scene((120, 90))[0], draw_scene((75, 110), seed=1)[0]]
PHRASES = ("object", "a red. apple")


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"visenv\[hf\]"):
        plugins.build("experts", "hf:model=nothing")


@pytest.fixture(scope="module")
def torch():
    pytest.importorskip("transformers", reason="needs the extra visenv[hf]")
    found = pytest.importorskip("torch", reason="needs the extra visenv[hf]")
    before = found.get_num_threads()
    found.set_num_threads(1)  # small models gain nothing from more
    yield found
    found.set_num_threads(before)


@pytest.fixture(scope="module")
def saved(torch, tmp_path_factory):
    """Give the folder of a model type, saved on first use."""
    folders = {}

    def folder(model_type):
        if model_type not in folders:
            torch.manual_seed(len(folders))
            folders[model_type] = tmp_path_factory.mktemp(model_type)
            small_models.SAVE[model_type](folders[model_type])
        return folders[model_type]

    return folder


@pytest.fixture
def make(saved):
    def build(model_type, **options):
        return plugins.build("experts", f"hf:model={saved(model_type)}", device="cpu", **options)

    return build


@pytest.mark.parametrize("model_type", list(small_models.SAVE))
def test_every_model_keeps_the_promises_of_an_expert(saved, model_type):
    images = [PICTURES[0].pixels[:40, :60].copy()] if model_type == "swin2sr" else [p.pixels for p in PICTURES[:1]]
    check_expert(f"hf:model={saved(model_type)},device=cpu", images=[Image(p.copy()) for p in images], phrases=PHRASES)


def test_the_models_offered_are_those_tested(torch):
    from visenv.experts.hf import TASKS

    assert set(TASKS) == {*small_models.SAVE, "sam2_video", "sam3_video"}


def plain(torch, saved, model_type, classes):
    import transformers

    model, processor = (getattr(transformers, name).from_pretrained(saved(model_type)) for name in classes)
    return model.eval(), processor


def same_finds(found, boxes, scores, image):
    """Whether the detections are these, cut at the picture's edges; in any order."""
    width, height = image.size_wh
    wanted = np.c_[np.asarray(boxes, np.float64).clip(0, [width, height, width, height]), np.asarray(scores)]
    wanted = wanted[(wanted[:, 2] > wanted[:, 0]) & (wanted[:, 3] > wanted[:, 1])]
    wanted = wanted[np.lexsort(wanted.T[::-1])]
    got = np.c_[found.boxes_xyxy, found.scores]
    got = got[np.lexsort(got.T[::-1])]
    assert len(got) == len(wanted) > 0
    np.testing.assert_allclose(got, wanted, atol=2e-3)


@pytest.mark.parametrize(
    ("model_type", "prefix", "threshold"), [("grounding-dino", "", 0.1), ("mm-grounding-dino", "MM", 0.001)]
)
def test_grounding_dino_finds_what_transformers_finds(torch, saved, make, model_type, prefix, threshold):
    model, processor = plain(
        torch, saved, model_type, [f"{prefix}GroundingDinoForObjectDetection", "GroundingDinoProcessor"]
    )
    expert = make(model_type, threshold=threshold, overlap=1)
    for image in PICTURES:
        inputs = processor(images=image.pixels.copy(), text="a red apple.", return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs)
        (wanted,) = processor.post_process_grounded_object_detection(
            outputs, inputs.input_ids, threshold=threshold, target_sizes=[image.size_wh[::-1]]
        )
        (found,) = expert.run([DetectRequest(image=image, phrase="A red  apple")])
        assert set(found.labels) == {"A red apple"}
        same_finds(found, wanted["boxes"], wanted["scores"], image)


def test_owlv2_finds_what_transformers_finds(torch, saved, make):
    model, processor = plain(torch, saved, "owlv2", ["Owlv2ForObjectDetection", "Owlv2Processor"])
    expert = make("owlv2", threshold=0.2, overlap=1)
    for image in PICTURES:
        inputs = processor(images=image.pixels.copy(), text=[["a red apple"]], return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs)
        sizes = torch.tensor([image.size_wh[::-1]])
        (wanted,) = processor.post_process_grounded_object_detection(outputs, threshold=0.2, target_sizes=sizes)
        (found,) = expert.run([DetectRequest(image=image, phrase="a red apple")])
        same_finds(found, wanted["boxes"], wanted["scores"], image)


def test_sam3_finds_what_transformers_finds_with_its_masks(torch, saved, make):
    model, processor = plain(torch, saved, "sam3", ["Sam3Model", "Sam3Processor"])
    expert = make("sam3", threshold=0.05, overlap=1)
    for image in PICTURES:
        inputs = processor(images=image.pixels.copy(), text="a red apple", return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs)
        (wanted,) = processor.post_process_instance_segmentation(
            outputs, threshold=0.05, target_sizes=[image.size_wh[::-1]]
        )
        (found,) = expert.run([DetectRequest(image=image, phrase="a red apple")])
        full = wanted["masks"].flatten(1).any(1)
        same_finds(found, wanted["boxes"][full], wanted["scores"][full], image)
        order = np.argsort(-wanted["scores"][full].numpy(), kind="stable")
        for mask, dense in zip(found.masks, wanted["masks"][full][torch.from_numpy(order)], strict=True):
            assert (mask.to_dense() != (dense.numpy() > 0)).sum() <= 2


def test_points_are_the_centres_of_the_boxes(make):
    expert = make("owlv2")
    for image in PICTURES:
        (found,) = expert.run([DetectRequest(image=image, phrase="apple")])
        (points,) = expert.run([PointRequest(image=image, phrase="apple")])
        np.testing.assert_array_equal(points.points_xy, (found.boxes_xyxy[:, :2] + found.boxes_xyxy[:, 2:]) / 2)
        np.testing.assert_array_equal(points.scores, found.scores)


@pytest.mark.parametrize("model_type", ["grounding-dino", "owlv2", "sam3"])
def test_an_empty_phrase_finds_nothing(make, model_type):
    (found,) = make(model_type).run([DetectRequest(image=PICTURES[0], phrase="  ")])
    assert found.labels == () and found.boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize("model_type", ["grounding-dino", "owlv2", "sam3"])
def test_passes_of_several_give_what_single_ones_give(make, model_type):
    requests = [
        DetectRequest(image=i, phrase=p) for i in (*PICTURES, draw_scene((120, 90), seed=2)[0]) for p in PHRASES
    ]
    one, several = make(model_type, batch=1, threshold=0.1), make(model_type, batch=4, threshold=0.1)
    for first, second in zip(one.run(requests), several.run(requests), strict=True):
        np.testing.assert_allclose(first.boxes_xyxy, second.boxes_xyxy, atol=1e-2)
        np.testing.assert_allclose(first.scores, second.scores, atol=1e-5)


def test_one_picture_is_embedded_once_for_all_its_phrases(torch, make):
    for model_type, part in (("owlv2", "owlv2.vision_model"), ("sam3", "vision_encoder")):
        expert, calls = make(model_type), []
        expert.model.get_submodule(part).register_forward_hook(lambda *_, calls=calls: calls.append(1))
        expert.run([DetectRequest(image=PICTURES[0], phrase=p) for p in ("cat", "dog")])
        expert.run([DetectRequest(image=PICTURES[0], phrase="bird")])
        assert len(calls) == 1
        assert expert.trim() and not expert.trim()
        expert.run([DetectRequest(image=PICTURES[0], phrase="bird")])
        assert len(calls) == 2


def test_of_boxes_that_lie_upon_each_other_the_surest_stays():
    from visenv.experts.hf._detector import clean_boxes

    boxes = np.array(
        [[0, 0, 10, 10], [0, 0, 10, 9.5], [-5, -5, 20, 20], [12, 3, 12, 9], [50, 50, 60, 60], [1, 1, 3, 3]], float
    )
    scores = np.array([0.5, 0.9, 0.4, 0.8, 0.7, 0.1])
    clean, kept = clean_boxes(boxes, scores, (20, 15), threshold=0.1, overlap=0.8)
    assert kept == [1, 2]  # the first lies on the second; others are empty, outside or too unsure
    assert clean.tolist() == [[0, 0, 10, 9.5], [0, 0, 20, 15]]
    assert clean_boxes(boxes, scores, (20, 15), threshold=0.0, overlap=1)[1] == [1, 0, 2, 5]


@pytest.mark.parametrize("model_type", ["grounding-dino", "owlv2", "sam3"])
def test_a_phrase_that_is_cut_off_is_said_once(make, caplog, model_type):
    expert = make(model_type, threshold=0.0)
    start = "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f"  # a letter is a token
    left, right, short = f"{start} on the left", f"{start} on the right", "on the left"
    requests = [DetectRequest(image=PICTURES[0], phrase=phrase) for phrase in (left, right, short, left)]
    first, second, other, _ = expert.run(requests)
    assert first.labels[:1] in ((), (left,)) and np.array_equal(first.scores, second.scores)
    assert not np.array_equal(first.scores, other.scores)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("visenv")]
    assert len(said) == 2 and all("looks at the first" in line and start in line.lower() for line in said)


@pytest.mark.parametrize("model_type", list(small_models.SAVE))
def test_health_tries_the_device(torch, make, monkeypatch, model_type):
    expert = make(model_type)
    assert expert.health().startswith("loaded on cpu")

    def fail(*_: object, **__: object):
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nlong story")

    monkeypatch.setattr(torch, "ones", fail)
    with pytest.raises(ExpertError, match=r"illegal memory access was encountered$"):
        expert.health()


SEGMENTS = [
    {"box_xyxy": (10.0, 12.0, 70.5, 60.0)},
    {"points_xy": ((30.0, 40.0),), "points_positive": (True,)},
    {"points_xy": ((30.0, 40.0), (60.0, 20.0)), "points_positive": (True, False)},
    {"points_xy": ((30.0, 40.0),), "points_positive": (True,), "prefer": "area"},
    {"box_xyxy": (10.0, 12.0, 70.0, 60.0), "points_xy": ((30.0, 40.0),), "points_positive": (False,), "refine": True},
    {"refine": True},
]


def ask(image, form):
    form = dict(form)
    if form.pop("refine", False):
        form["previous"] = Mask.from_box((20, 20, 60, 70), image.size_wh[::-1])
    return SegmentRequest(image=image, **form)


def test_sam2_gives_the_masks_that_transformers_gives(torch, saved, make):
    model, processor = plain(torch, saved, "sam2", ["Sam2Model", "Sam2Processor"])
    expert = make("sam2")
    for image in PICTURES:
        for form in SEGMENTS:
            request = ask(image, form)
            inputs = processor(
                images=image.pixels.copy(), return_tensors="pt",
                input_points=[[[list(p) for p in request.points_xy]]] if request.points_xy else None,
                input_labels=[[[int(p) for p in request.points_positive]]] if request.points_xy else None,
                input_boxes=[[list(request.box_xyxy)]] if request.box_xyxy else None,
            )  # fmt: skip
            masks = expert.mask_to_logits(request.previous) if request.previous else None
            single = len(request.points_xy) == 1 and not request.box_xyxy and not request.previous
            with torch.no_grad():
                outputs = model(
                    pixel_values=inputs.pixel_values, input_points=inputs.get("input_points"), input_labels=inputs.get("input_labels"),
                    input_boxes=inputs.get("input_boxes"), input_masks=masks, multimask_output=single or request.prefer == "area",
                )  # fmt: skip
            full = processor.post_process_masks(outputs.pred_masks, [image.size_wh[::-1]])[0][0]
            scores = outputs.iou_scores[0, 0]
            best = int(scores.argmax() if request.prefer == "score" else full.sum((1, 2)).argmax())
            (found,) = expert.run([request])
            np.testing.assert_array_equal(found.mask.to_dense(), full[best].numpy())
            assert found.score == pytest.approx(float(scores[best]), abs=1e-6)


def test_swin2sr_is_what_transformers_gives_and_tiles_do_not_show(torch, saved, make):
    import transformers

    image = draw_scene((90, 70))[0]
    whole, tiled = make("swin2sr", tile=4096), make("swin2sr", tile=32, batch=3)
    (first,), (second,) = (e.run([UpscaleRequest(image=image, scale=2)]) for e in (whole, tiled))
    apart = np.abs(first.image.pixels.astype(int) - second.image.pixels)
    assert apart.max() <= 1
    model = transformers.Swin2SRForImageSuperResolution.from_pretrained(saved("swin2sr")).eval()
    inputs = transformers.Swin2SRImageProcessor()(image.pixels.copy(), return_tensors="pt")
    with torch.no_grad():
        made = model(**inputs).reconstruction[0].numpy().clip(0, 1).transpose(1, 2, 0)[:140, :180]
    inner = np.s_[32:-32, 32:-32]  # at the edges the mirrored border is another one
    assert np.abs(first.image.pixels[inner] - (made * 255).round()[inner]).max() <= 1


def test_swin2sr_reaches_factors_that_are_not_its_own(make):
    image = Image(PICTURES[0].pixels[:20, :30].copy())
    for scale in (1, 2, 3, 4):
        (made,) = make("swin2sr").run([UpscaleRequest(image=image, scale=scale)])
        assert made.image.size_wh == (30 * scale, 20 * scale)
    assert made.image != image


@pytest.mark.parametrize("kind", ["sam2", "sam3"])
def test_checkpoints_published_as_video_models_are_loaded(torch, saved, tmp_path, kind):
    """The authors' checkpoints hold image and video models together; the image model's weights are those used."""
    import transformers as hf

    if kind == "sam2":
        model = hf.Sam2VideoModel(hf.Sam2VideoConfig(
            **small_models.sam2_parts(), memory_attention_hidden_size=32, memory_attention_num_layers=1, memory_attention_num_attention_heads=1,
            memory_attention_feed_forward_hidden_size=32, memory_encoder_hidden_size=32, memory_encoder_output_channels=16,
            memory_fuser_num_layers=1, memory_fuser_embed_dim=32, memory_fuser_intermediate_dim=32, mask_downsampler_embed_dim=32,
        ))  # fmt: skip
        names = {"prompt_encoder", "mask_decoder", "vision_encoder"}
        held = {k: v for k, v in model.state_dict().items() if k.split(".")[0] in names}
    else:
        inner = hf.Sam3Model(small_models.sam3_config(small_models.clip_tokenizer(32)[1]))
        held = inner.state_dict()
    folder = tmp_path / kind
    if kind == "sam2":
        model.save_pretrained(folder)
    else:
        from safetensors.torch import save_file

        folder.mkdir()
        save_file(
            {f"detector_model.{k}": v.clone() for k, v in held.items()}, folder / "model.safetensors", {"format": "pt"}
        )
        config = {
            "model_type": "sam3_video",
            "detector_config": inner.config.to_dict(),
            "architectures": ["Sam3VideoModel"],
        }
        (folder / "config.json").write_text(json.dumps(config))
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        if (saved(kind) / name).is_file():
            (folder / name).write_bytes((saved(kind) / name).read_bytes())
    expert = plugins.build("experts", f"hf:model={folder}", device="cpu")
    assert expert.name == f"hf-{kind}_video"
    loaded = expert.model.state_dict()
    assert held.keys() & loaded.keys() and not loaded.keys() - held.keys() - {
        "no_memory_embedding",
        "shared_image_embedding.positional_embedding",
    }
    assert all(torch.equal(loaded[k], held[k]) for k in loaded.keys() & held.keys())


def test_weights_kept_in_half_numbers_are_computed_with_in_whole_ones(torch, saved, tmp_path):
    import transformers

    transformers.Owlv2ForObjectDetection.from_pretrained(saved("owlv2")).half().save_pretrained(tmp_path)
    for name in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((saved("owlv2") / name).read_bytes())
    expert = plugins.build("experts", f"hf:model={tmp_path}", device="cpu")
    assert expert.model.dtype == torch.float32
    (found,) = expert.run([DetectRequest(image=PICTURES[0], phrase="apple")])
    assert len(found.labels)


def test_identities_follow_the_weights_and_the_options_that_change_results(saved, make, tmp_path):
    first = make("owlv2")
    assert first.identity == make("owlv2").identity and first.name == "hf-owlv2"
    assert first.identity != make("owlv2", threshold=0.5).identity
    assert first.identity == make("owlv2", embeddings_mb=1, batch=1).identity
    together = make("owlv2", batch=2)  # rounded otherwise
    assert together.identity == first.identity.replace("+", "/batch2+")
    assert make("swin2sr", batch=3).identity == make("swin2sr").identity.replace("+", "/batch3+")
    assert make("sam2", batch=2, prompts=4).version.endswith("/prompts4-pictures2")
    for file in saved("owlv2").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert plugins.build("experts", f"hf:model={tmp_path}", device="cpu").identity == first.identity
    other = make("owlv2").model
    other.class_head.dense0.weight.data[0, 0] += 1
    from visenv.experts.hf._owlv2 import Owlv2

    assert Owlv2(other, first.processor, model_type="owlv2", device="cpu").identity != first.identity


def test_a_model_of_another_type_names_those_supported(torch, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UnknownNameError, match=r"'bert'.*grounding-dino, .*owlv2, .*sam3, .*swin2sr"):
        plugins.build("experts", f"hf:model={tmp_path}")


def test_options_of_another_kind_of_model_are_refused(saved):
    with pytest.raises(BadValueError, match=r"threshold.*batch, tile"):
        plugins.build("experts", f"hf:model={saved('swin2sr')},threshold=0.5")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("threshold=2", "0 to 1"),
        ("overlap=x", "0 to 1"),
        ("batch=-1", "integer"),
        ("dtype=int8", "float32"),
        ("device=tpu9", "cuda:N"),
    ],
)
def test_options_out_of_range_are_refused(saved, option, expected):
    with pytest.raises(BadValueError, match=expected):
        plugins.build("experts", f"hf:model={saved('owlv2')},{option}")


def test_code_that_comes_with_a_model_is_never_run(torch, saved, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in saved("owlv2").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}
    (folder / "config.json").write_text(json.dumps(config))
    processor = json.loads((folder / "processor_config.json").read_text())
    processor["auto_map"] = {"AutoProcessor": "evil.Processor"}
    (folder / "processor_config.json").write_text(json.dumps(processor))
    (folder / "evil.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Model: ...\nclass Config: ...\nclass Processor: ...\n"
    )
    plugins.build("experts", f"hf:model={folder}", device="cpu").run([DetectRequest(image=PICTURES[0], phrase="x")])
    assert not (tmp_path / "ran").exists()


def test_only_safetensors_are_read(torch, saved, tmp_path):
    from safetensors.torch import load_file

    for file in saved("owlv2").iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save(load_file(saved("owlv2") / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(BadValueError, match="safetensors"):
        plugins.build("experts", f"hf:model={tmp_path}")


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"model_type": ["a"]}', '"sam2"'])
def test_damaged_configurations_are_refused(torch, tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises((BadValueError, UnknownNameError)):
        plugins.build("experts", f"hf:model={tmp_path}")


def test_a_folder_without_a_model_is_refused(torch, tmp_path):
    with pytest.raises(BadValueError, match=r"config\.json"):
        plugins.build("experts", f"hf:model={tmp_path}")
