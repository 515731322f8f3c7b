"""The site as files: whole, the same again, deaf to what is in it, and careful with what is not its own."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PilImage
from visenv.leaderboard import latest, read_records
from visenv.leaderboard.site import build_site
from visenv.leaderboard.site.command import report
from visenv.leaderboard.site.pictures import SIDE_PX
from visenv.leaderboard.site.shards import named_shard, parse_shard, shard
from visenv.leaderboard.units import PERCENT, unit_of
from visenv.tasks.profiles import PROFILES

from visenv import Answer, Image
from visenv.cli import main
from visenv.errors import BadValueError
from visenv.images import load_image
from visenv.masks import Mask


def tree(site: Path) -> dict[str, bytes]:
    return {p.relative_to(site).as_posix(): p.read_bytes() for p in sorted(site.rglob("*")) if p.is_file()}


def episodes(site, parsed):
    """Every episode of a site by agent and index, with its sample's entry in the list."""
    data = parsed(site)
    found = {}
    for block in data.index["blocks"]:
        listed = data.shard(block["list"])
        for player, sample, *_, name in listed["rows"]:
            entry = listed["samples"][sample]
            found[listed["players"][player][1], entry["index"]] = data.shard(name), entry
    return data, found


# What is in it


def test_every_episode_is_there_with_its_pictures(run, site, parsed):
    records = latest(read_records(run))
    data, found = episodes(site, parsed)
    assert {(k[0], k[4]) for k in records} == set(found)
    for (agent, index), (episode, entry) in found.items():
        record = next(r for k, r in records.items() if (k[0], k[4]) == (agent, index))
        assert episode["score"] == record.score and len(episode["turns"]) == len(record.transcript)
        assert entry["text"].endswith("<rectangle>")
        truth = data.shard(entry["file"])
        assert truth["masks"] and truth["instruction"] == entry["text"]
        for image in episode["images"]:
            assert not (image["overlay"] and image["file"]), "results are drawn live"
            if image["source"] == episode["images"].index(image):
                with PilImage.open(site / "images" / f"{image['file']}.jpg") as picture:
                    assert picture.format == "JPEG" and picture.size == (96, 96) and not picture.getexif()


def test_the_truth_comes_from_the_task_not_from_the_run(site, parsed, fakes):
    data, found = episodes(site, parsed)
    for (_, index), (_, entry) in found.items():
        sample = fakes.Blobs().sample("val", 1, index)
        assert data.shard(entry["file"])["masks"] == [m.to_json() for m in sample.target.masks]


def test_each_content_is_written_once(play, looker, tmp_path, site):
    again = play(tmp_path / "again", "blob-finder", "oracle", keep_images=4)
    both = build_site([again, again, play(tmp_path / "other", "blob-guesser", keep_images=0)], tmp_path / "site").parent
    assert len(list((both / "images").iterdir())) == 4  # one original of each sample; views are drawn from it


def test_a_view_is_carried_where_the_run_has_it_unless_it_is_a_plain_cut(site, run, parsed, tmp_path):
    _, found = episodes(site, parsed)
    crops = [e["images"][1] for (agent, _), (e, _) in found.items() if agent == "blob-looker"]
    assert all(c["name"] == "crop_1" and c["born"] == 1 and c["source"] == 0 for c in crops)
    assert sorted(c["stored"] for c in crops) == [False, False, True, True] and not any(c["file"] for c in crops)
    enlarged = tmp_path / "run"
    shutil.copytree(run, enlarged)
    lines = [json.loads(line) for line in (run / "episodes.jsonl").read_text("ascii").splitlines()]
    for record in lines:
        for image in record["images"].values():
            if image["parent"] and not image["overlay"]:
                image["to_source"][0] = image["to_source"][4] = 0.5
    (enlarged / "episodes.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines), "ascii")
    _, found = episodes(build_site([enlarged], tmp_path / "site").parent, parsed)
    views = [e["images"][1] for (agent, _), (e, _) in found.items() if agent == "blob-looker"]
    assert [bool(v["file"]) for v in views] == [v["stored"] for v in views] and any(v["file"] for v in views)


def test_the_index_ranks_as_the_table_does(run, parsed, site):
    (block,) = parsed(site).index["blocks"]
    assert [r["place"] for r in block["rows"]][-1] == "*" and block["rows"][-1]["agent"] == "oracle"
    places = {r["agent"]: r["place"] for r in block["rows"]}
    assert places["blob-finder"] == "1" and block["profiles"] == [["blobs/iou", "none: a fake"]]
    assert parsed(site).index["overall"] == []


def test_means_over_tasks_need_all_of_them(play, fakes, parsed, tmp_path):
    class Other(fakes.Blobs):
        name = "Other"

    both = play(tmp_path / "both", tasks=("Blobs", Other()), limit=1)
    one = play(tmp_path / "one", "blob-guesser", limit=1)
    overall = parsed(build_site([both, one], tmp_path / "site", tasks={"Other": Other()}).parent).index["overall"]
    assert [(r["agent"], r["scored"], r["of"], r["place"]) for r in overall] == [
        ("blob-finder", 2, 2, "1"), ("blob-guesser", 1, 2, "-"),
    ]  # fmt: skip
    assert overall[1]["mean"] is None
    for row in overall[:1]:  # both tasks have one sample, so no interval
        assert row["low"] is row["high"] is None


def test_the_mean_of_all_has_an_interval(play, fakes, parsed, tmp_path):
    class Other(fakes.Blobs):
        name = "Other"

    both = play(tmp_path / "both", "blob-guesser", tasks=("Blobs", Other()), limit=4)
    index = parsed(build_site([both], tmp_path / "site", tasks={"Other": Other()}).parent).index
    one, other = (block["rows"][0] for block in index["blocks"])
    (row,) = index["overall"]
    half = math.hypot(one["score"] - one["low"], other["score"] - other["low"]) / 2
    assert row["low"] == pytest.approx(max(0, row["mean"] - half)) and row["low"] <= row["mean"] <= row["high"]
    assert row["high"] - row["low"] < max(one["high"] - one["low"], other["high"] - other["low"])


def rewritten(run: Path, out: Path, change: Callable[[dict], None] = lambda record: None, **settings: Any) -> Path:
    """Copy a run with every record changed by somebody, and its settings too."""
    shutil.copytree(run, out)
    lines = [json.loads(line) for line in (run / "episodes.jsonl").read_text("ascii").splitlines()]
    for record in lines:
        change(record)
    text = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in lines)
    (out / "episodes.jsonl").write_text(text, "ascii")
    info = json.loads((run / "run.json").read_text("utf-8"))
    (out / "run.json").write_text(json.dumps(info | settings), "utf-8")
    return out


# Whose word is taken


def test_the_page_says_whether_a_run_was_verified(run, parsed, tmp_path, monkeypatch, play):
    def better(record):
        if record["agent"] == "blob-finder":
            record["score"] = 1.0
            record["row"] = dict.fromkeys(record["row"], 9)

    forged = rewritten(run, tmp_path / "forged", better)
    halted = play(tmp_path / "halted", limit=2)
    records = (halted / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (halted / "episodes.jsonl").write_bytes(records[0])
    (halted / "summary.json").unlink()
    index = parsed(build_site([run, forged, halted], tmp_path / "site").parent).index
    checks = [r["check"] for r in index["runs"]]
    assert [c["state"] for c in checks] == ["verified", "different", "unfinished"]
    assert checks[0]["rescored"] == 20 and checks[1]["problems"] and "NOT equal" in checks[1]["verdict"]
    places = {(r["run"], r["agent"]): r["place"] for r in index["blocks"][0]["rows"]}
    assert places[0, "blob-finder"] == "1" and places[1, "blob-finder"] == "!" and places[1, "oracle"] == "!"
    monkeypatch.setattr("visenv.leaderboard.shelf.make_task", lambda name: 1 / 0)
    index = parsed(build_site([run], tmp_path / "blind").parent).index
    assert index["runs"][0]["check"]["state"] == "unchecked"


@pytest.mark.parametrize("first", ["forged", "honest"])
def test_a_forged_truth_marks_its_own_record_only(run, parsed, tmp_path, first):
    forged = rewritten(run, tmp_path / "forged", lambda record: record.update(target="0" * 64))
    runs = [forged, run] if first == "forged" else [run, forged]
    data = parsed(build_site(runs, tmp_path / "site").parent)
    listed = data.shard(data.index["blocks"][0]["list"])
    assert all(sample["file"] and sample["why"] is None for sample in listed["samples"])
    for row in listed["rows"]:
        number, _ = listed["players"][row[0]]
        assert data.shard(row[-1])["same_truth"] is (runs[number] == run)


def test_a_task_counts_once(run, tmp_path):
    info = json.loads((run / "run.json").read_text("utf-8"))
    twice = rewritten(run, tmp_path / "twice", tasks=info["tasks"] * 3)
    with pytest.raises(BadValueError, match="once"):
        build_site([twice], tmp_path / "site")


def test_who_knew_the_truth_is_known_by_name(run, parsed, tmp_path):
    info = json.loads((run / "run.json").read_text("utf-8"))
    agents = [{**agent, "privileged": agent["name"] != "oracle"} for agent in info["agents"]]
    index = parsed(build_site([rewritten(run, tmp_path / "turned", agents=agents)], tmp_path / "site").parent).index
    assert {r["agent"] for r in index["blocks"][0]["rows"] if r["privileged"]} == {"oracle"}


# Files that are none


@pytest.mark.parametrize("name", ["run.json", "episodes.jsonl"])
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_is_no_plain_file_is_not_read(run, tmp_path, name, kind):
    copy = rewritten(run, tmp_path / "run")
    path = copy / name
    path.unlink()
    os.mkfifo(path) if kind == "pipe" else path.symlink_to(run / name)
    with pytest.raises(BadValueError, match=r"plain file|link"):
        build_site([copy], tmp_path / "site")


def test_pictures_that_are_none_are_missed(run, parsed, tmp_path, monkeypatch):
    copy = rewritten(run, tmp_path / "run")
    for number, path in enumerate(sorted((copy / "images").iterdir())):
        path.unlink()
        os.mkfifo(path) if number % 2 else path.symlink_to("/etc/passwd")
    monkeypatch.setattr("visenv.leaderboard.shelf.make_task", lambda name: 1 / 0)
    _, found = episodes(build_site([copy], tmp_path / "site").parent, parsed)
    assert all(not i["file"] for e, _ in found.values() for i in e["images"])


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000], ids=["lists", "objects"],
)  # fmt: skip
def test_deep_nesting_is_refused(run, tmp_path, text):
    copy = rewritten(run, tmp_path / "run")
    (copy / "run.json").write_text(text)
    with pytest.raises(BadValueError):
        build_site([copy], tmp_path / "site")
    (copy / "run.json").write_bytes((run / "run.json").read_bytes())
    (copy / "episodes.jsonl").write_text(text + "\n")
    with pytest.raises(BadValueError, match="line 1"):
        build_site([copy], tmp_path / "site")


@pytest.mark.parametrize("score", ["NaN", "Infinity", "7.0"])
def test_a_score_that_is_none_is_a_mistake_and_no_crash(run, tmp_path, capsys, score):
    copy = rewritten(run, tmp_path / "run", lambda record: record.update(score=record["score"] and "SCORE"))
    text = (copy / "episodes.jsonl").read_text("ascii").replace('"SCORE"', score)
    (copy / "episodes.jsonl").write_text(text, "ascii")
    assert visenv(copy, "--out", tmp_path / "site", "--json") == 2
    out, err = capsys.readouterr()
    assert not out and "line" in err and "Traceback" not in err


# What is drawn


def test_masks_that_do_not_fit_are_left_out(run, parsed, tmp_path):
    huge = Mask.from_box((0, 0, 8000, 8000), (8000, 8000)).to_json()

    def enlarge(record):
        for image in list(record["images"].values())[:1]:
            image["size_wh"] = [8000, 8000]  # the record agrees with itself; the task knows better
        record["objects"] = [{**o, "mask": huge} for o in record["objects"]]
        if record["answer"]:
            record["answer"]["masks"] = [huge] * 40

    _, found = episodes(build_site([rewritten(run, tmp_path / "run", enlarge)], tmp_path / "site").parent, parsed)
    objects = [o for e, _ in found.values() for o in e["objects"]]
    assert objects and all(o["mask"] is None and o["unfit"] for o in objects)
    answers = [e for e, _ in found.values() if e["answer"]]
    assert answers and all(e["answer"]["masks"] == [None] * 40 and "40 of 40" in e["unfit"] for e in answers)


def test_an_answer_of_no_form_is_said_to_be_none(run, parsed, tmp_path):
    copy = rewritten(run, tmp_path / "run", lambda r: r.update(answer={"masks": "x"} if r["answer"] else None))
    _, found = episodes(build_site([copy], tmp_path / "site").parent, parsed)
    assert all(e["answer"] is None for e, _ in found.values())
    assert {e["unfit"] for e, _ in found.values()} == {"", "The recorded answer is not readable."}


def test_a_repeated_call_draws_what_the_agent_saw(play, fakes, parsed, tmp_path):
    class Twice:
        name = "blob-twice"

        def start(self, spec):
            calls = iter(
                [fakes.call("detect", images=["img_0"], phrase=" ".join(fakes.COLOURS))] * 2 + [fakes.call("submit")]
            )
            return SimpleNamespace(act=lambda observation: next(calls))

    run = play(tmp_path / "run", Twice(), limit=1)
    (record,) = latest(read_records(run)).values()
    first, second = (image.objects for image in record.images.values() if image.overlay)
    assert first and first == second == record.transcript[0].objects
    _, found = episodes(build_site([run], tmp_path / "site").parent, parsed)
    ((episode, _),) = found.values()
    assert [i["draws"] for i in episode["images"] if i["overlay"]] == [list(first)] * 2
    assert all(i["live"] for i in episode["images"] if i["overlay"])


def test_metrics_name_their_unit():
    given = {"gIoU": 0.5, "T_acc": 0.5, "MAE": 0.5, "odd": 7.0}
    assert [unit_of(n, ["gres/native"], [v, None]) for n, v in given.items()] == ["%", "0-1", "", ""]
    assert unit_of("gIoU", ["gres/gsva"], [0.5]) == "0-1"
    for names in PERCENT:
        assert names in PROFILES


def test_further_profiles_are_beside_the_score(beside_site, parsed):
    index = parsed(beside_site).index
    (block,) = index["blocks"]
    assert index["runs"][0]["check"]["state"] == "verified"
    assert [(one["name"], one["source"], one["metrics"]) for one in block["also"]] == [
        ("gres/native", "none: a fake", [["gIoU", "%"]]),
        ("blobs/odd", "some code", [["odd one", "0-1"], ["edge", "0-1"], ["plain", "0-1"]]),
    ]
    assert [row["agent"] for row in block["rows"]] == ["blob-finder", "blob-hostile", "oracle"]
    assert block["also"][0]["rows"] == [[50.0]] * 3
    for row, (odd, edge, plain) in zip(block["rows"], block["also"][1]["rows"], strict=True):
        assert odd == pytest.approx(1 - row["score"]) and edge == "needs edges" and plain is None
    _, found = episodes(beside_site, parsed)
    for episode, _ in found.values():
        assert [name for name, _ in episode["also"]] == ["gres/native", "blobs/odd"]
        assert all(row == episode["row"] for _, row in episode["also"])


def test_runs_of_one_name_are_told_apart(play, parsed, tmp_path):
    runs = [play(tmp_path / place / "run", limit=limit) for place, limit in (("a", 1), ("b", 2))]
    index = parsed(build_site(runs, tmp_path / "site").parent).index
    assert [r["label"] for r in index["runs"]] == ["run", "run (2)"] and index["blocks"][0]["differ"]


def test_an_unplayed_run_says_so(play, parsed, tmp_path):
    run = play(tmp_path / "run", limit=1)
    (run / "episodes.jsonl").write_bytes(b"")
    (block,) = parsed(build_site([run], tmp_path / "site").parent).index["blocks"]
    assert block["num_episodes"] == 0 and block["rows"][0]["score"] is None and block["rows"][0]["place"] == "-"


# What cannot be made again


def test_a_task_that_is_not_here(run, parsed, tmp_path, monkeypatch):
    monkeypatch.setattr("visenv.leaderboard.shelf.make_task", lambda name: 1 / 0)
    data, found = episodes(build_site([run], tmp_path / "site").parent, parsed)
    (block,) = data.index["blocks"]
    assert block["rows"][0]["score"] == pytest.approx(0.84) and "not computed again" in block["profiles"][0][1]
    for episode, entry in found.values():
        assert entry["file"] is None and "cannot be used here" in entry["why"]
        for image in episode["images"][:1]:
            assert image["file"] or "cannot be used here" in image["why"]
    assert {bool(e["images"][0]["file"]) for e, _ in found.values() if e["images"]} == {True, False}


@pytest.mark.parametrize(
    ("change", "why"),
    [({"version": "9"}, "9 is installed"), ({"sample": lambda self, *place: 1 / 0}, "cannot make it again")],
)
def test_a_task_of_another_make(run, fakes, parsed, tmp_path, change, why):
    task = type("Changed", (fakes.Blobs,), change)()
    _, found = episodes(build_site([run], tmp_path / "site", tasks={"Blobs": task}).parent, parsed)
    assert all(why in entry["why"] for _, entry in found.values())


def test_a_task_that_makes_another_truth_or_picture(run, fakes, parsed, tmp_path):
    class Moved(fakes.Blobs):
        def sample(self, split, level, index):
            return super().sample(split, level, index + 1)

    class Repainted(fakes.Blobs):
        def sample(self, split, level, index):
            sample = super().sample(split, level, index)
            return dataclasses.replace(sample, images=(Image(255 - sample.images[0].pixels),))

    _, found = episodes(build_site([run], tmp_path / "moved", tasks={"Blobs": Moved()}).parent, parsed)
    assert all("another sample now" in entry["why"] for _, entry in found.values())
    _, found = episodes(build_site([run], tmp_path / "painted", tasks={"Blobs": Repainted()}).parent, parsed)
    missing = [e["images"][0]["why"] for e, _ in found.values() if e["images"] and not e["images"][0]["file"]]
    assert missing and all("another picture now" in why for why in missing)


def test_damaged_pictures_are_made_again_or_missed(run, parsed, tmp_path, monkeypatch):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for number, picture in enumerate(sorted((copy / "images").iterdir())):
        picture.write_bytes(b"damaged" if number % 2 else Image(np.zeros((8, 8, 3), np.uint8)).to_png())
    _, found = episodes(build_site([copy], tmp_path / "site").parent, parsed)
    assert all(e["images"][0]["file"] for e, _ in found.values() if e["images"])
    crops = [e["images"][1] for (a, _), (e, _) in found.items() if a == "blob-looker"]
    assert {c["why"] for c in crops} >= {""} and not any(c["file"] for c in crops)


def test_an_original_file_is_shrunk_and_stripped(fakes, play, parsed, tmp_path):
    place = tmp_path / "data" / "photo.jpg"
    place.parent.mkdir()
    exif = PilImage.Exif()
    exif[0x010E] = "a secret description"
    exif[0x0112] = 6  # turned by a quarter
    PilImage.fromarray(np.random.default_rng(0).integers(0, 255, (600, 2000, 3), np.uint8)).save(place, exif=exif)

    class Photos(fakes.Blobs):
        name = "Photos"

        def sample(self, split, level, index):
            image = load_image(place)
            target = dataclasses.replace(
                super().sample(split, level, 0).target, size_hw=image.pixels.shape[:2], masks=()
            )
            return dataclasses.replace(
                super().sample(split, level, index), images=(image,), files=(place,), target=target, task="Photos"
            )

    run = play(tmp_path / "run", "blob-guesser", tasks=(Photos(),), limit=1, keep_images=0)
    (stored,) = (run / "images").iterdir()
    assert stored.stat().st_ino == place.stat().st_ino
    site = build_site([run], tmp_path / "site").parent  # the task is not installed: the run's own file does
    (picture,) = (site / "images").iterdir()
    with PilImage.open(picture) as shown:
        assert shown.size == (384, SIDE_PX) and not shown.getexif()
    assert b"secret" not in picture.read_bytes() and b"secret" in place.read_bytes()


# Text


@given(st.recursive(st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.none() | st.text("<>&'\"\\\u2028\u2029\ud800\udfff\x00/"),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8))  # fmt: skip
def test_any_text_survives_a_shard_and_stays_inside_it(data):
    name, script = shard(data)
    assert parse_shard(script) == json.loads(json.dumps(data)) and script.isascii()  # halves side by side become one
    inside = script.decode()[len(f"visenvShard('{name}','") : -len("');\n")]
    assert not re.search(r"[<>&'\n\r]", inside) and not re.search(r"(?<!\\)(\\\\)*\\(?![\\u])", inside)
    with pytest.raises(ValueError, match="not a shard"):
        parse_shard(script[:-4])


def test_numbers_that_are_none():
    assert parse_shard(shard([float("nan"), {"a": float("inf")}, 1.5])[1]) == [None, {"a": None}, 1.5]
    assert parse_shard(named_shard("0" * 24, {"a": 1})) == {"a": 1}


def test_no_text_is_a_file_name_or_markup(hostile_site):
    for path in hostile_site.rglob("*"):
        name = path.relative_to(hostile_site).as_posix()
        assert re.fullmatch(
            r"index\.html|visenv-site\.json|data|images|page-[0-9a-f]{24}|"
            r"data/[0-9a-f]{24}\.js|images/[0-9a-f]{24}\.jpg|page-[0-9a-f]{24}/[a-z]+\.(js|css)", name,
        ), name  # fmt: skip
    page = (hostile_site / "index.html").read_text("ascii")
    assert "hurt" not in page and page.count("<script") == 13 and "innerHTML" not in page
    for code in hostile_site.glob("page-*/*.js"):
        text = code.read_text("utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|https?://", text
        )
        assert len(text.splitlines()) < 560


def test_a_record_leads_to_no_other_file(hostile_site, parsed):
    _, found = episodes(hostile_site, parsed)
    files = {i["file"] for e, _ in found.values() for i in e["images"]} - {None}
    assert {p.stem for p in (hostile_site / "images").iterdir()} == files


# Building


def test_the_same_runs_give_the_same_bytes(run, site, tmp_path):
    other = build_site([run], tmp_path / "site").parent
    assert tree(other) == tree(site)
    made = {p: p.stat().st_mtime_ns for p in (other / "images").iterdir()}
    build_site([run], other)
    assert tree(other) == tree(site) and {p: p.stat().st_mtime_ns for p in (other / "images").iterdir()} == made


def test_nothing_is_made_twice(run, tmp_path, fakes):
    asked = []

    class Counting(fakes.Blobs):
        def sample(self, *place):
            asked.append(place)
            return super().sample(*place)

    build_site([run], tmp_path / "site", tasks={"Blobs": Counting()})
    assert len(asked) == 4
    pictures = {p: p.stat().st_mtime_ns for p in (tmp_path / "site" / "images").iterdir()}
    build_site([run], tmp_path / "site", tasks={"Blobs": Counting()})
    assert len(asked) == 8  # to verify the run, and for the page too
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "site" / "images").iterdir()} == pictures
    broken = next(p for p in (tmp_path / "site" / "data").iterdir() if b'"kind":"mask"' in p.read_bytes())
    before = broken.read_bytes()
    broken.write_bytes(before[:50])
    build_site([run], tmp_path / "site", tasks={"Blobs": Counting()})
    assert broken.read_bytes() == before


def test_an_interrupted_build_leaves_the_site_whole(run, site, play, tmp_path):
    out = tmp_path / "site"
    small = play(tmp_path / "small", limit=1)
    build_site([small], out)
    before = tree(out)

    def stop(done, total):
        if done == 27:  # all 20 are checked, 7 written
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_site([run], out, progress=stop)
    now = tree(out)
    assert all(now[name] == content for name, content in before.items()) and len(now) > len(before)
    (out / "data" / ".0123456789abcdef01234567.js.123.part").write_bytes(b"left by a kill")
    build_site([run], out)
    assert tree(out) == tree(site)


def test_only_what_is_ours_is_removed(run, site, tmp_path):
    out = build_site([run], tmp_path / "site").parent
    ours = [out / "data" / f"{'0' * 24}.js", out / "images" / f"{'a' * 24}.jpg", out / f"page-{'b' * 24}" / "old.js"]
    theirs = [out / "CNAME", out / "data" / "mine.js", out / "images" / "photo.jpg", out / "notes" / f"{'0' * 24}.js"]
    for path in ours + theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    build_site([run], out)
    assert not any(p.exists() for p in ours) and all(p.read_text() == "x" for p in theirs)
    assert not ours[2].parent.exists()


# Mistakes


def test_a_folder_that_is_no_run(tmp_path, run):
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "empty", tmp_path / "missing", Path(__file__)):
        with pytest.raises(BadValueError, match="run directory"):
            build_site([run, wrong], tmp_path / "site")
    assert not (tmp_path / "site").exists()
    with pytest.raises(BadValueError, match="at least one"):
        build_site([], tmp_path / "site")


def test_a_place_that_is_taken(tmp_path, run):
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.tex").write_text("years of work")
    for wrong in (full, full / "thesis.tex", run):
        before = tree(full), tree(run)
        with pytest.raises(BadValueError, match="--out"):
            build_site([run], wrong)
        assert (tree(full), tree(run)) == before


def visenv(*words):
    with pytest.raises(SystemExit) as end:
        main(["report", *map(str, words)])
    return end.value.code or 0


def test_the_command(run, tmp_path, capsys, monkeypatch):
    assert visenv(run, "--out", tmp_path / "site") == 0
    out, err = capsys.readouterr()
    assert (
        out.startswith("Mean costs of an episode\nrun ")
        and out.endswith(f"\n\nReport: {tmp_path / 'site' / 'index.html'}\n")
        and "40/40 records checked and written" in err
        and "\x1b" not in out + err
    )
    assert visenv(run, "--out", tmp_path / "site", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["index"] == str(tmp_path / "site" / "index.html")
    assert {r["agent"] for r in said["rows"]} >= {"blob-finder", "oracle"} and said["rows"][0]["run"] == "small"
    assert said["rows"][0]["place"] == "1" and said["rows"][0]["primary"] == pytest.approx(0.84)
    assert visenv(tmp_path / "nothing", "--out", tmp_path / "site") == 2
    assert "nothing" in capsys.readouterr().err
    assert visenv(run, "--out", run) == 2 and "--out" in capsys.readouterr().err

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("visenv.leaderboard.site.command.site_data", stop)
    assert visenv(run, "--out", tmp_path / "site") == 130
    assert f"visenv report {run} --out {tmp_path / 'site'}" in capsys.readouterr().err
    assert "Examples:" in (report.__doc__ or "")


def test_an_answer_of_every_form_is_carried(site, parsed):
    _, found = episodes(site, parsed)
    answers = [e["answer"] for e, _ in found.values() if e["answer"]]
    assert answers and all(set(a) == set(Answer().to_json()) for a in answers)
