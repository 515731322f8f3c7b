"""Records: exact round trips, torn lines, locks, atomic files, no secrets."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image as PilImage
from visenv.leaderboard import Patience, run_bench
from visenv.leaderboard.records import EpisodeRecord, RunInfo
from visenv.leaderboard.rundir import EpisodeLog, ImageFiles, latest, read_records, read_states

from visenv.errors import BadValueError, VisenvError
from visenv.images import load_image
from visenv.redaction import find_secrets, redact


@pytest.fixture
def run(settings, tmp_path):
    run_bench(settings("blob-finder", "blob-hostile", limit=3), tmp_path / "run")
    return tmp_path / "run"


def test_a_record_survives_its_line(run):
    for line in (run / "episodes.jsonl").read_text("ascii").splitlines():
        record = EpisodeRecord.from_json(line)
        assert EpisodeRecord.from_json(record.to_json()) == record
        assert json.loads(record.to_json()) == json.loads(line)


def test_what_differs_from_run_to_run_is_not_part_of_a_record(run):
    record = read_records(run)[0]
    assert replace(record, measured={"seconds": 99.0}, attempts=3) == record
    assert replace(record, seed=1) != record


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "null", '{"agent": "a"}', '{"extra": 1}', "[" * 5000, '{"agent": NaN}'],
    ids=["empty", "torn", "list", "null", "incomplete", "unknown key", "deep", "nan"],
)
def test_anything_else_is_refused(line):
    with pytest.raises(BadValueError, match="episode record"):
        EpisodeRecord.from_json(line)


def test_an_unknown_key_is_refused(run):
    data = json.loads((run / "episodes.jsonl").read_text().splitlines()[0])
    with pytest.raises(BadValueError):
        EpisodeRecord.from_json(json.dumps(data | {"bonus": 1}))


@pytest.mark.parametrize("torn", [b"{", b'{"agent": "x"', b"\xff\xfe", b"x" * 200_000])
def test_a_torn_last_line_is_dropped(run, torn):
    path = run / "episodes.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert len(read_records(run)) == 6
    with EpisodeLog(run):
        pass
    assert path.read_bytes() == whole


def test_a_log_without_any_line_end_is_emptied(tmp_path):
    (tmp_path / "episodes.jsonl").write_bytes(b"x" * 100_000)
    with EpisodeLog(tmp_path):
        assert (tmp_path / "episodes.jsonl").stat().st_size == 0


def test_a_damaged_line_in_the_middle_is_named(run):
    lines = (run / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (run / "episodes.jsonl").write_bytes(b"".join([*lines[:2], b"damaged\n", *lines[3:]]))
    with pytest.raises(BadValueError, match="line 3"):
        read_records(run)


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.warns(UserWarning, match="cannot be locked"), EpisodeLog(tmp_path):
        pass


def test_a_run_that_was_killed_before_its_settings_goes_on(settings, tmp_path, monkeypatch):
    def cut_off(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("visenv.leaderboard.runner.write_json", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run_bench(settings(limit=1), tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["episodes.jsonl"]
    (tmp_path / "run/.run.json.77.visenv-partial").write_bytes(b"{")
    assert run_bench(settings(limit=1), tmp_path / "run").complete
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.parametrize("name", [".vimrc.2024", "notes.txt", "episodes.jsonl"])
def test_a_directory_with_files_of_its_own_is_left_alone(settings, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(BadValueError, match="new or empty directory"):
        run_bench(settings(limit=1), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "mine"


def test_states_are_what_the_records_say(run):
    assert read_states(run) == {key: not r.failed for key, r in latest(read_records(run)).items()}
    lines = (run / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (run / "episodes.jsonl").write_bytes(b"".join([lines[0], b"damaged\n", *lines[1:]]))
    with pytest.raises(BadValueError, match="line 2"):
        read_states(run)


def test_one_writer_per_run(tmp_path):
    with EpisodeLog(tmp_path), pytest.raises(VisenvError, match="Another visenv process"):
        EpisodeLog(tmp_path)
    with EpisodeLog(tmp_path):
        pass


def test_a_later_record_counts_unless_it_failed(run):
    record = read_records(run)[0]
    failed = replace(record, failed=True, score=None, row=None)
    for order, kept in (([record, failed], record), ([failed, record], record), ([failed, failed], failed)):
        assert latest(order) == {record.key: kept}


def test_pictures_are_stored_once_and_whole(run, fakes):
    images = ImageFiles(run / "images")
    image = fakes.Blobs().sample("val", 1, 0).images[0]
    path = images.path(images.put(image))
    before = path.stat()
    images.put(image)
    assert path.stat().st_mtime_ns == before.st_mtime_ns and path.stat().st_ino == before.st_ino
    assert all(p.suffix == ".png" and not p.name.startswith(".") for p in (run / "images").iterdir())


def test_every_recorded_picture_is_there(run):
    files = {i.file for r in read_records(run) for i in r.images.values()}
    assert files and files == {p.name for p in (run / "images").iterdir()}


@pytest.mark.parametrize("links", [True, False], ids=["linked", "copied"])
def test_pictures_that_lie_on_a_disk_are_linked(settings, fakes, tmp_path, monkeypatch, links):
    class Filed(fakes.Blobs):
        """The same blobs, from files with two endings."""

        def sample(self, split, level, index):
            made = super().sample(split, level, index)
            path = tmp_path / f"{index}{('.PNG', '.bmp')[index % 2]}"
            if not path.exists():
                PilImage.fromarray(made.images[0].pixels).save(path)
            return replace(made, images=(load_image(path),), files=(path,))

    def refuse(*_):
        raise OSError("another disk")

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    run_bench(settings("blob-finder", "blob-guesser", tasks=(Filed(),), keep_images=0), tmp_path / "run")
    found = read_records(tmp_path / "run")
    stored = {i.file for r in found for i in r.images.values() if i.file}
    assert len(stored) == 6 == len(list((tmp_path / "run/images").iterdir()))
    for record in found:
        (image,) = [i for i in record.images.values() if i.file]
        source = tmp_path / f"{record.index}{('.PNG', '.bmp')[record.index % 2]}"
        path = tmp_path / "run/images" / image.file
        assert image.source == "img_0" and path.stem == image.hash == load_image(path).hash
        assert path.samefile(source) == links and path.read_bytes() == source.read_bytes()


def test_run_json_comes_back(run):
    info = RunInfo.read(run)
    assert info.to_dict() == json.loads(json.dumps(info.to_dict()))
    assert info.expert_identities == {"detect": "blobs@1", "segment": "blobs@1"}
    assert info.differences(info) == []
    assert info.differences(replace(info, seed=1)) == ["seed: 0 -> 1"]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"visenv": 1}'])
def test_a_damaged_run_json_is_named(run, content):
    (run / "run.json").write_text(content)
    with pytest.raises(BadValueError, match=r"run\.json"):
        RunInfo.read(run)


@pytest.mark.parametrize("name", ["api_key", "key_secret", "openai_api_key", "password", "token", "API_KEY"])
def test_secrets_are_left_out(name):
    assert redact(f"zero-shot:model=m,{name}=hush,n=1") == f"zero-shot:model=m,{name}=***,n=1"


def test_other_options_stay():
    assert redact("a:max_tokens=5,monkey=1") == "a:max_tokens=5,monkey=1"


@pytest.mark.parametrize(
    "name",
    [
        "hf_token",
        "access_token",
        "my_openai_api_key",
        "gpt4_api_key",
        "secret_key",
        "aws_secret_access_key",
        "api-key",
        "passwd",
        "key",
        "auth",
    ],
)
def test_secrets_by_other_names(name):
    assert redact(f"zero-shot:model=m,{name}=hush,stop_tokens=3") == f"zero-shot:model=m,{name}=***,stop_tokens=3"
    assert "hush" not in redact("embedded:url=https://me:hush@host/v1")


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("a:api_key='quoted secret',n=1", "a:api_key=***,n=1"),
        ('a:token="x,y",n=1', "a:token=***,n=1"),
        ("a:credentials=abcdef", "a:credentials=***"),
        ("a:pwd=abcdef,cwd=b", "a:pwd=***,cwd=b"),
        ("a:base_url=https://sk-tok12345678@h/v1", "a:base_url=https://***@h/v1"),
        ("https://u:p@ss12345@host/x", "https://***@host/x"),
        ("mail me@host, see https://host/a@b", "mail me@host, see https://host/a@b"),
    ],
)
def test_secrets_in_other_forms(given, left):
    assert redact(given) == left


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("HTTPS_PROXY", "http://me:hunter2hunter2@proxy:80", "hunter2hunter2"),
        ("DATABASE_URL", "pg://u:p@ssw0rd99@h/db", "p@ssw0rd99"),
        ("MYSQL_PWD", "abcdefgh1", "abcdefgh1"),
        ("AWS_ACCESS_KEY_ID", "AKIA12345678", "AKIA12345678"),
    ],
)
def test_secrets_of_the_environment(monkeypatch, name, value, secret):
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("PWD", "/home/somebody")
    assert secret in find_secrets() and "/home/somebody" not in find_secrets()
    assert secret not in redact(f"failed with {secret}")


@pytest.mark.parametrize(
    "value",
    [
        "33333333",
        "transcript",
        "blob-leaky",
        "Blobs/val",
        'p\u00e4ssw\u00f6rd"1234',
        "C:\\secret\\12345",
        "xy\u2028\U0001f600secret",
    ],
)
def test_no_secret_breaks_a_record(settings, tmp_path, monkeypatch, value):
    monkeypatch.setenv("BLOBS_API_KEY", value)
    for agent in ("blob-leaky", "blob-leaky:how=is-refused", "blob-leaky:how=cannot-start"):
        run = tmp_path / agent.replace(":", "_")
        run_bench(settings(agent, limit=2), run, patience=Patience(retries=0))
        said = [(t.reply, t.feedback, t.call) for r in read_records(run) for t in r.transcript]
        said += [(r.failure, [o.label for o in r.objects], r.answer) for r in read_records(run)]
        assert value not in json.dumps(said, ensure_ascii=False) and "***" in json.dumps(said)
        assert {r.task for r in read_records(run)} == {"Blobs"}


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a" * 63 + ".png", "A" * 64 + ".png", "a" * 64])
def test_a_picture_name_that_is_no_hash_leads_nowhere(tmp_path, name):
    with pytest.raises(ValueError, match="hexadecimal"):
        ImageFiles(tmp_path).path(name)
