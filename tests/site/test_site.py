"""The site as files: whole, the same again, deaf to what is in it, and careful with what is not its own."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

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

from visenv import Answer, Image
from visenv.cli import main
from visenv.errors import BadValueError
from visenv.images import load_image


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
    monkeypatch.setattr("visenv.leaderboard.site.gathering.make_task", lambda name: 1 / 0)
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
    [({"version": "9"}, "version 9 is installed"), ({"sample": lambda self, *place: 1 / 0}, "cannot make it again")],
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
    assert "hurt" not in page and page.count("<script") == 11 and "innerHTML" not in page
    for code in hostile_site.glob("page-*/*.js"):
        text = code.read_text("utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|https?://", text
        )
        assert len(text.splitlines()) < 330


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
    build_site([run], tmp_path / "site", tasks={"Blobs": Counting()})
    assert len(asked) == 4
    broken = next(p for p in (tmp_path / "site" / "data").iterdir() if b'"kind":"mask"' in p.read_bytes())
    before = broken.read_bytes()
    broken.write_bytes(before[:50])
    build_site([run], tmp_path / "site", tasks={"Blobs": Counting()})
    assert len(asked) == 5 and broken.read_bytes() == before


def test_an_interrupted_build_leaves_the_site_whole(run, site, play, tmp_path):
    out = tmp_path / "site"
    small = play(tmp_path / "small", limit=1)
    build_site([small], out)
    before = tree(out)

    def stop(done, total):
        if done == 7:
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
        out == f"Report: {tmp_path / 'site' / 'index.html'}\n" and "20/20 episodes" in err and "\x1b" not in out + err
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
