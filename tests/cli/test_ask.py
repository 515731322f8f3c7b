"""``visenv ask`` as a person and a script use it, and what it leaves on the disk."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage
from pycocotools.coco import COCO
from visenv.leaderboard import save_answer

from visenv import ask, plugins
from visenv.cli import main
from visenv.errors import BadValueError
from visenv.images import load_image

PLUGIN = Path(__file__).parents[1] / "leaderboard" / "plugin"
AGENT = ["--agent", "blob-finder", "--experts", "blobs"]
BOXES = {"red": (10, 20, 40, 60), "blue": (60, 30, 90, 90)}
COLOURS = {"red": (220, 40, 40), "blue": (40, 60, 220)}


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.chdir(tmp_path)
    plugins.plugins.cache_clear()
    pixels = np.full((100, 120, 3), 230, np.uint8)
    for name, (x1, y1, x2, y2) in BOXES.items():
        pixels[y1:y2, x1:x2] = COLOURS[name]
    PilImage.fromarray(pixels).save("photo.png")
    yield importlib.import_module("board_fakes")
    plugins.plugins.cache_clear()


@pytest.fixture
def visenv(capsys):
    def run(*words):
        with pytest.raises(SystemExit) as end:
            main(["ask", *words])
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return run


def files(folder):
    return sorted(p.name for p in Path(folder).iterdir() if p.is_file())


def test_the_answer_is_printed_and_saved(visenv):
    code, out, err = visenv("photo.png", "the red thing", *AGENT)
    assert code == 0 and "\x1b" not in out + err
    assert out.splitlines()[:2] == ["1 object", "  1  blob  box 12, 22, 40, 60, mask of 1,064 px"]
    assert out.splitlines()[-1] == "Page: visenv-ask/index.html"
    assert files("visenv-ask") == ["answer.json", "index.html", "mask.png", "mask_1.png", "overlay.png"]
    assert " 1  detect" in err and " 3  submit" in err and "score" not in (out + err).lower()


def test_the_masks_are_those_of_the_answer(visenv):
    visenv("photo.png", "the red thing", *AGENT, "--out", "a")
    with PilImage.open("a/mask_1.png") as file:
        assert (file.mode, file.size) == ("L", (120, 100))
        mask = np.asarray(file)
    assert set(np.unique(mask)) == {0, 255} and (np.asarray(PilImage.open("a/mask.png")) == mask).all()
    assert mask[22:60, 12:40].all() and mask.sum() == 255 * 38 * 28
    drawn, plain = load_image("a/overlay.png").pixels, load_image("photo.png").pixels
    assert drawn.shape == plain.shape and (drawn[25:55, 15:35] != plain[25:55, 15:35]).any(axis=2).all()
    assert (drawn[70:, :50] == plain[70:, :50]).all()


def test_pycocotools_reads_the_answer(visenv, capsys):
    visenv("photo.png", "the red thing", *AGENT, "--out", "a")
    coco = COCO("a/answer.json")
    (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert (coco.annToMask(annotation) * 255 == np.asarray(PilImage.open("a/mask_1.png"))).all()
    assert annotation["bbox"] == [12, 22, 28, 38] and annotation["area"] == 38 * 28 and "score" not in annotation
    assert coco.loadCats([annotation["category_id"]])[0]["name"] == "blob"
    assert coco.loadImgs([1])[0] == {"id": 1, "file_name": "photo.png", "width": 120, "height": 100}
    assert coco.dataset["answer"] == {"kind": "mask", "no_target": False, "count": None, "choice": None, "option": None}


def test_json_says_the_same_to_a_machine(visenv):
    code, out, _ = visenv("photo.png", "the red thing", *AGENT, "--out", "a", "--json")
    found = json.loads(out)
    assert code == 0 and found["why_not"] is None and found["reason"] == "submitted"
    (one,) = found["answer"]["objects"]
    assert one == {"label": "blob", "box_xyxy": [12, 22, 40, 60], "area_px": 1064, "mask": "a/mask_1.png"}
    assert sorted(found["files"]) == files("a") and all(Path(path).is_file() for path in found["files"].values())
    assert not {"score", "reward", "row", "profile"} & set(found)


@pytest.mark.parametrize(
    ("words", "said", "left"),
    [
        (["--agent", "scripted"], "No such object.", ["answer.json", "index.html", "mask.png", "overlay.png"]),
        (["--agent", "scripted", "--answer", "boxes"], "No such object.", ["answer.json", "index.html", "overlay.png"]),
        (["--agent", "scripted", "--answer", "COUNT"], "Count: 0 (no such", ["answer.json", "index.html", "overlay.png"]),
        (["--agent", "one-shot", "--option", "a cat", "--option", "a dog"], "A: a cat", ["answer.json", "index.html"]),
        (["--agent", "blob-finder", "--experts", "blobs", "--max-turns", "2"], "Page:", ["index.html"]),
        (["--agent", "blob-crash", "--experts", "blobs"], "Page:", ["index.html"]),
    ],
)  # fmt: skip
def test_every_outcome_leaves_its_files(visenv, words, said, left):
    code, out, err = visenv("photo.png", "the red thing", *words, "--out", "a")
    assert out.startswith(said) and files("a") == left
    assert code == (1 if left == ["index.html"] else 0) and ("visenv: No answer: " in err) == (code == 1)


@pytest.mark.parametrize("json_wanted", [False, True])
def test_a_choice_that_is_no_option_exits_with_1_and_says_so(visenv, json_wanted):
    words = ["--agent", "random", "--seed", "8", "--option", "a", "--option", "b", "--out", "a"]
    code, out, err = visenv("photo.png", "photo.png", "which", *words, *(["--json"] if json_wanted else []))
    assert code == 1 and files("a") == ["answer.json", "index.html"]
    assert "none of the options" in (err if json_wanted else out)


def test_the_embedded_detector_is_spoken_of_only_where_it_was_asked(visenv):
    photo = ["photo.png", "which", "--option", "a", "--option", "b"]
    assert "docs/ask.md" not in visenv(*photo, "--agent", "random", "--toolset", "none")[2]
    assert "docs/ask.md" in visenv("photo.png", "the red thing", "--agent", "scripted")[2]


def test_a_failing_agent_exits_with_1_and_the_reason(visenv):
    code, out, _ = visenv("photo.png", "the red thing", "--agent", "blob-crash", "--experts", "blobs", "--json")
    found = json.loads(out)
    assert code == 1 and found["answer"] is None and found["reason"] == "agent_error" and "lost" in found["why_not"]


def test_a_failing_expert_exits_with_1_and_the_reason(visenv, monkeypatch):
    monkeypatch.setenv("BLOBS_DOWN", "1")
    code, _, err = visenv("photo.png", "the red thing", "--agent", "blob-finder", "--experts", "flaky")
    assert code == 1 and "No answer: a failure that is not the agent's" in err and "the detector is down" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["photo.png", "the red thing", "--agent", "oracle"], "nobody gave the truth"),
        (["photo.png", "the red thing", "--agent", "demonstrator"], "nobody gave the truth"),
        (["photo.png", "the red thing", "--agent", "scriptd"], "Did you mean 'scripted'"),
        (["photo.png", "the red thing", "--agent", "scripted", "--toolset", "visharness"], "--toolset full"),
        (["photo.png", "the red thing", "--answer", "msk"], "Did you mean 'mask'"),
        (["photo.png", "the red thing", "--answer", "choice"], "--option"),
        (["photo.png", "the red thing", "--answer", "mask", "--option", "a", "--option", "b"], "none for an answer"),
        (["photo.png", "the", "red", "thing"], "the instruction in quotes"),
        (["the red thing", "photo.png"], "the instruction in quotes"),
        (["photo.png"], "IMAGE"),
        (["photo.png", ""], "in words"),
        ([".", "the red thing"], "a file that holds a picture"),
        (["bad.jpg", "the red thing"], "a readable picture"),
        (["photo.png", "the red thing", "--out", "full"], "it holds files"),
        (["photo.png", "the red thing", "--out", "photo.png"], "it is a file"),
        (["photo.png", "the red thing", "--out", "photo.png/a"], "it is a file"),
    ],
)
def test_wrong_usage_says_what_to_do_and_leaves_nothing(visenv, words, said):
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    Path("bad.jpg").write_bytes(b"%!PS-Adobe-3.0\n")
    before = sorted(Path().rglob("*"))
    code, out, err = visenv(*words)
    assert code == 2 and said in err and not out and "Traceback" not in err
    assert sorted(Path().rglob("*")) == before


def test_nothing_is_ever_overwritten(visenv):
    for place in ("visenv-ask", "visenv-ask-2", "visenv-ask-3"):
        code, out, _ = visenv("photo.png", "the red thing", *AGENT)
        assert code == 0 and f"Page: {place}/index.html" in out
    Path("empty").mkdir()
    assert visenv("photo.png", "the red thing", *AGENT, "--out", "empty")[0] == 0
    before = Path("empty/answer.json").read_bytes()
    assert visenv("photo.png", "the blue thing", *AGENT, "--out", "empty")[0] == 2
    assert Path("empty/answer.json").read_bytes() == before


def test_an_instruction_may_be_the_name_of_a_folder(visenv):
    Path("coins").mkdir()
    assert visenv("photo.png", "coins", "--agent", "one-shot")[0] == 0


def test_several_pictures_are_one_question(visenv):
    PilImage.fromarray(np.full((50, 60, 3), 9, np.uint8)).save("dark.png")
    code, _, _ = visenv(
        "dark.png", "photo.png", "the red thing", "--agent", "one-shot", "--experts", "blobs", "--out", "a"
    )
    images = json.loads(Path("a/answer.json").read_text())["images"]
    assert code == 0 and [i["file_name"] for i in images] == ["dark.png", "photo.png"]
    assert load_image("a/overlay.png").size_wh == (60, 50)


def test_what_an_agent_says_hurts_no_terminal(visenv):
    code, out, err = visenv("photo.png", "the red thing", "--agent", "blob-hostile", "--experts", "blobs")
    assert code == 1 and all(line.isprintable() for line in (out + err).splitlines())
    assert len(out + err) < 10_000


def test_secrets_stay_where_they_are(visenv, monkeypatch):
    monkeypatch.setenv("BLOBS_API_KEY", "sk-environment-1234")
    for how in ("says", "cannot-start", "is-unsuited", "is-refused"):
        agent = f"blob-leaky:api_key=sk-option-5678,how={how}"
        _, out, err = visenv(
            "photo.png", "the red thing", "--agent", agent, "--experts", "blobs", "--out", how, "--json"
        )
        left = b"".join(p.read_bytes() for p in Path().rglob("*") if p.is_file())
        for secret in ("sk-environment-1234", "sk-option-5678"):
            assert secret not in out + err and secret.encode() not in left, (how, secret)


def test_only_a_photo_s_pixels_leave_it(visenv):
    exif = PilImage.Exif()
    exif[0x010E] = "where I live"
    folder = Path("home of somebody")
    folder.mkdir()
    PilImage.open("photo.png").save(folder / "p.jpg", exif=exif)
    assert visenv(str(folder / "p.jpg"), "the red thing", "--agent", "one-shot", "--out", "a")[0] == 0
    left = b"".join(p.read_bytes() for p in Path("a").rglob("*") if p.is_file())
    assert b"where I live" not in left and b"home of somebody" not in left


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_interrupted_it_leaves_nothing_and_says_so():
    environment = os.environ | {"PYTHONPATH": str(PLUGIN)}
    words = ["photo.png", "the red thing", "--agent", "blob-finder:slow=30", "--experts", "blobs"]
    with subprocess.Popen([sys.executable, "-m", "visenv.cli", "ask", *words], stderr=subprocess.PIPE, text=True, env=environment) as asked:  # fmt: skip
        asked.stderr.readline()
        time.sleep(1.0)
        asked.send_signal(signal.SIGINT)
        said = asked.stderr.read()
        assert asked.wait(20) == 130 and "Interrupted. Nothing was saved." in said
    assert not Path("visenv-ask").exists()


def test_five_lines_of_python(here):
    found = ask("photo.png", "the blue thing", agent=here.Finder(), experts=here_experts(here))
    paths = save_answer(found, "a/b")
    assert str(found).startswith("1 object") and files("a/b") == sorted(paths)
    with pytest.raises(BadValueError, match="holds files"):
        save_answer(found, "a/b")


def here_experts(fakes):
    from visenv import ExpertSet

    blobs = fakes.BlobExpert()
    return ExpertSet({"detect": blobs, "segment": blobs})
