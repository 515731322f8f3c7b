"""Experts behind a real server on a real socket: the same answers as in one process, and nothing that a stranger sends hurts."""

from __future__ import annotations

import contextlib
import http.server
import importlib
import inspect
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from visenv.leaderboard import Patience, RunSettings, latest, read_records, run_bench

from visenv import Episode, Expert, ExpertSet, Image, Mask, make_experts
from visenv.drivers import drive
from visenv.env import make_rules
from visenv.episode import EndReason
from visenv.errors import BadValueError, ExpertError, MissingExtraError, TemporaryExpertError
from visenv.experts import Detections, DetectRequest, PointRequest, SegmentRequest, UpscaleRequest
from visenv.experts.embedded import LanczosUpscaler
from visenv.experts.running import run_isolated
from visenv.testing import check_expert

for package in ("msgpack", "fastapi", "uvicorn", "httpx"):
    pytest.importorskip(package, reason=f"needs the extra `serve`: {package} is not installed")

import httpx  # noqa: E402

from visenv.experts.remote import RemoteExperts, calls  # noqa: E402
from visenv.experts.remote.frames import CONTENT_TYPE, MAGIC, pack  # noqa: E402
from visenv.experts.remote.server import ExpertServer, ServerSettings, is_loopback, read_token  # noqa: E402


def write_call(*arguments, **options) -> bytes:
    return b"".join(calls.write_call(*arguments, **options))


TOKEN = "a-token-of-the-tests-0123456789"


@contextlib.contextmanager
def serving(*experts: Expert, **settings):
    """A server in a thread of this process, on a free port."""
    made = ExpertSet({c: e for e in experts for c in e.capabilities})
    server = ExpertServer(made, ServerSettings(**{"port": 0, **settings}))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()


@contextlib.contextmanager
def connected(url: str, **options):
    made = ExpertSet({c: e for e in RemoteExperts(url, **{"patience_s": 10.0, **options}) for c in e.capabilities})
    try:
        yield made
    finally:
        made.close()


def pictures(number: int, size_hw=(40, 60)) -> list[Image]:
    rng = np.random.default_rng(number)
    return [Image(rng.integers(0, 256, (*size_hw, 3), np.uint8)) for _ in range(number)]


def requests_of(image: Image) -> list:
    mask = Mask.from_box((3, 3, 20, 20), image.size_wh[::-1])
    return [
        DetectRequest(image=image, phrase="a thing"), DetectRequest(image=image, phrase="nothing"),
        PointRequest(image=image, phrase="a thing"), UpscaleRequest(image=image, scale=2),
        SegmentRequest(image=image, box_xyxy=(1, 2.5, 30, 31)),
        SegmentRequest(image=image, points_xy=((15, 16.25), (3, 4)), points_positive=(True, False), previous=mask, prefer="area"),
    ]  # fmt: skip


def equal(first, second) -> bool:
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    names = getattr(type(first), "__dataclass_fields__", None)
    if names is not None:
        return type(first) is type(second) and all(equal(getattr(first, n), getattr(second, n)) for n in names)
    return bool(first == second)


class Picky(Expert):
    """Fails for some phrases, and is slow when told so."""

    name, version, weights_hash = "picky", "3", "0123456789abcdef" * 4
    capabilities = frozenset({"detect"})
    mixed_sizes = True

    def __init__(self, version: str = "3", sleep_s: float = 0.0) -> None:
        self.version, self.sleep_s = version, sleep_s
        self.asked: list[str] = []
        self.closed = 0

    def run(self, requests: Sequence) -> list:
        self.asked += [r.phrase for r in requests]
        time.sleep(self.sleep_s)
        if any("fails" in r.phrase for r in requests):
            raise RuntimeError("no such luck")
        if any("busy" in r.phrase for r in requests):
            raise TemporaryExpertError("the model is elsewhere", retry_after_s=1)
        box = np.array([[0.0, 0, 1, 1]])
        return [
            Detections(boxes_xyxy=box, scores=np.array([1 / (1 + len(r.phrase))]), labels=(r.phrase,)) for r in requests
        ]

    def close(self) -> None:
        self.closed += 1


def test_the_same_answers_and_identities_as_in_one_process(known):
    requests = [r for image in pictures(5, (220, 240)) for r in requests_of(image)]
    here = ExpertSet(dict.fromkeys(sorted(known.capabilities), known))
    with serving(type(known)()) as server:
        for options in ({}, {"png": True}, {"batch": 2, "parallel": 3}):
            with connected(server.url, **options) as there:
                assert there.identities() == here.identities()
                found, expected = there.execute(requests), here.execute(requests)
                assert all(equal(a, b) for a, b in zip(expected, found, strict=True)), options


def test_it_keeps_the_promises_of_an_expert():
    with serving(Picky(), LanczosUpscaler()) as server:
        check_expert(f"remote:url={server.url}")


def test_embedded_experts_answer_alike_from_another_process(tmp_path):
    image = pictures(1, (96, 96))[0]
    requests = [UpscaleRequest(image=image, scale=2), SegmentRequest(image=image, box_xyxy=(10, 10, 60, 60))]
    with process("embedded") as url, connected(url) as there:
        here = make_experts("embedded")
        assert there.identities() == here.identities()
        assert all(equal(a, b) for a, b in zip(here.execute(requests), there.execute(requests), strict=True))


def metric(server: ExpertServer, name: str) -> float:
    return metric_at(server.url, name)


def metric_at(url: str, name: str) -> float:
    text = httpx.get(f"{url}/metrics", trust_env=False, timeout=60).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def test_each_picture_is_sent_once_whoever_asks(known):
    three = pictures(3)
    with serving(known) as server, connected(server.url) as first, connected(server.url) as second:
        for _ in range(2):
            first.execute([DetectRequest(image=i, phrase="x") for i in three])
        second.execute([SegmentRequest(image=i, box_xyxy=(1, 1, 9, 9)) for i in three])
        assert metric(server, "visenv_pictures_received_total") == 3
        assert metric(server, "visenv_picture_bytes") == sum(i.pixels.nbytes for i in three)


@pytest.mark.parametrize("room", [0, 1, 2.5], ids=["none fits", "one fits", "two fit"])
def test_pictures_that_the_server_lets_go_of_are_sent_again(known, room):
    five = pictures(5)
    with serving(known, picture_bytes=max(1, int(room * five[0].pixels.nbytes))) as server:
        with connected(server.url) as there:
            for phrase in "abc":
                outcomes = there.execute([DetectRequest(image=i, phrase=phrase) for i in five])
                assert not [o for o in outcomes if isinstance(o, ExpertError)]
        assert metric(server, "visenv_picture_bytes") <= room * five[0].pixels.nbytes


def test_a_request_that_fails_fails_alone():
    image = pictures(1)[0]
    phrases = ["a", "bb", "fails", "cccc", "fails too", *"defghijk"]
    with serving(Picky()) as server, connected(server.url) as there:
        outcomes = there.execute([DetectRequest(image=image, phrase=p) for p in phrases])
    for phrase, outcome in zip(phrases, outcomes, strict=True):
        if "fails" in phrase:
            assert isinstance(outcome, ExpertError) and "picky" in str(outcome) and "no such luck" in str(outcome)
        else:
            assert outcome.labels == (phrase,)


def test_failures_stay_with_their_requests_and_are_asked_once_over_the_wire():
    image, expert = pictures(1)[0], Picky()
    for phrases in ([f"fails {n}" for n in range(32)], ["fails", *(f"good {n}" for n in range(31))]):
        expert.asked.clear()
        with serving(expert) as server, connected(server.url) as there:
            before = metric(server, "visenv_calls_total")
            outcomes = there.execute([DetectRequest(image=image, phrase=p) for p in phrases])
            assert [isinstance(o, ExpertError) for o in outcomes] == ["fails" in p for p in phrases]
            assert metric(server, "visenv_calls_total") - before == 2, "once for the picture, once for all requests"


def test_a_call_that_is_refused_is_asked_in_parts_until_what_it_is_refused_for_stands_alone():
    image = pictures(1)[0]
    phrases = ["a", "b" * 5000, "c", "d", "\ud800"]  # one longer than the wire takes, one that is no text
    with serving(Picky()) as server, connected(server.url) as there:
        outcomes = there.execute([DetectRequest(image=image, phrase=p) for p in phrases])
    assert [getattr(o, "labels", None) for o in outcomes] == [("a",), None, ("c",), ("d",), None]
    assert "422" in str(outcomes[1]) and "cannot be sent" in str(outcomes[4])


def test_a_served_replay_is_known_as_the_expert_it_stands_for(tmp_path):
    request = UpscaleRequest(image=pictures(1)[0], scale=2)
    first = make_experts(f"embedded,cache={tmp_path}")
    (expected,) = first.execute([request])
    replayed = make_experts(f"embedded,replay={tmp_path}")
    server = ExpertServer(replayed, ServerSettings(port=0))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with connected(server.url) as there:
            assert there.identities() == first.identities() == replayed.identities()
            assert equal(there.execute([request])[0], expected)
    finally:
        server.stop()
        thread.join(30)


def test_answers_are_remembered_by_the_server():
    expert, image = Picky(), pictures(1)[0]
    with serving(expert) as server:
        for _ in range(3):
            with connected(server.url) as there:
                there.execute([DetectRequest(image=image, phrase="a"), DetectRequest(image=image, phrase="b")])
    assert sorted(expert.asked) == ["a", "b"] and expert.closed == 1


def test_a_model_that_is_busy_is_asked_again_until_patience_ends():
    image = pictures(1)[0]
    with serving(Picky()) as server, connected(server.url, patience_s=0.5) as there:
        start = time.monotonic()
        (outcome,) = there.execute([DetectRequest(image=image, phrase="busy")])
        assert isinstance(outcome, TemporaryExpertError) and "the model is elsewhere" in str(outcome)
        assert outcome.retry_after_s == 1 and 0.4 < time.monotonic() - start < 5


def test_more_calls_than_are_taken_come_back_later():
    image = pictures(1)[0]
    with serving(Picky(sleep_s=0.05), concurrency=2) as server, connected(server.url, patience_s=60) as there:
        with ThreadPoolExecutor(16) as pool:
            outcomes = list(
                pool.map(lambda n: there.execute([DetectRequest(image=image, phrase="x" * n)])[0], range(1, 17))
            )
        assert [o.labels[0] for o in outcomes] == ["x" * n for n in range(1, 17)]
        assert metric(server, 'visenv_calls_total{status="503"}') > 0


def test_calls_from_many_threads_go_out_together(known):
    with serving(known) as server, connected(server.url) as there:
        images = pictures(8)
        with ThreadPoolExecutor(16) as pool:
            found = list(
                pool.map(lambda n: there.execute([DetectRequest(image=images[n % 8], phrase=str(n))])[0], range(96))
            )
        assert all(len(f.labels) == 2 or f.boxes_xyxy.shape[1] == 4 for f in found)
        assert metric(server, "visenv_pictures_received_total") >= 8 and len(known.batches) < 96


def test_another_expert_in_the_middle_of_a_run_is_an_error_not_an_answer():
    image = pictures(1)[0]
    with serving(Picky()) as server:
        port = int(server.url.rpartition(":")[2])
        there = ExpertSet({"detect": RemoteExperts(server.url, patience_s=20)[0]})
        (before,) = there.execute([DetectRequest(image=image, phrase="a")])
    with serving(Picky(version="4"), port=port):
        (after,) = there.execute([DetectRequest(image=image, phrase="b")])
        assert before.labels == ("a",) and isinstance(after, ExpertError)
        assert not isinstance(after, TemporaryExpertError)
        assert "picky@4+0123456789ab" in str(after) and "Expected picky@3+0123456789ab" in str(after)
    there.close()


def test_a_server_that_comes_back_is_asked_again_with_the_pictures_it_lost(caplog):
    image = pictures(1)[0]
    with serving(Picky()) as server:
        port = int(server.url.rpartition(":")[2])
        there = ExpertSet({"detect": RemoteExperts(server.url, patience_s=30)[0]})
        there.execute([DetectRequest(image=image, phrase="a")])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(there.execute, [DetectRequest(image=image, phrase="b")])
        time.sleep(0.5)
        assert not waiting.done()
        with serving(Picky(), port=port):
            (found,) = waiting.result(30)
    assert found.labels == ("b",)
    said = [r.getMessage() for r in caplog.records if r.name == "visenv.experts.remote"]
    assert (
        len(said) == 2 and "gives no answer" in said[0] and "for up to 30 s" in said[0] and "answers again" in said[1]
    )
    there.close()


def test_nobody_there_is_a_temporary_error_within_the_patience():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    start = time.monotonic()
    with pytest.raises(TemporaryExpertError, match="visenv experts serve"):
        RemoteExperts(url, start_s=0.3)
    assert time.monotonic() - start < 5


def test_closing_ends_who_waits():
    with serving(Picky()) as server:
        there = ExpertSet({"detect": RemoteExperts(server.url, patience_s=600)[0]})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(there.execute, [DetectRequest(image=pictures(1)[0], phrase="b")])
        time.sleep(0.3)
        there.close()
        (outcome,) = waiting.result(10)
    assert isinstance(outcome, ExpertError) and "was closed" in str(outcome)


def test_closing_ends_who_waits_for_a_reply(caplog):
    expert = Picky(sleep_s=4.0)
    with serving(expert) as server, ThreadPoolExecutor(1) as pool:
        there = ExpertSet({"detect": RemoteExperts(server.url, patience_s=600)[0]})
        waiting = pool.submit(there.execute, [DetectRequest(image=pictures(1)[0], phrase="b")])
        while not expert.asked:
            time.sleep(0.01)
        there.close()
        (outcome,) = waiting.result(1.0)
    assert isinstance(outcome, ExpertError) and "was closed" in str(outcome)
    assert not [r for r in caplog.records if "Asking again" in r.getMessage()]


def test_a_connection_that_ended_meanwhile_is_made_anew_at_once():
    image = pictures(1)[0]
    with serving(Picky()) as server:
        port = int(server.url.rpartition(":")[2])
        there = ExpertSet({"detect": RemoteExperts(server.url, patience_s=0)[0]})
        there.execute([DetectRequest(image=image, phrase="a")])
    with serving(Picky(), port=port):
        assert there.execute([DetectRequest(image=image, phrase="b")])[0].labels == ("b",)
    there.close()


def test_a_server_that_is_told_to_end_answers_what_it_is_asked_first():
    expert, image = Picky(sleep_s=1.0), pictures(1)[0]
    with ThreadPoolExecutor(1) as pool:
        with serving(expert) as server:
            there = ExpertSet({"detect": RemoteExperts(server.url, patience_s=0)[0]})
            waiting = pool.submit(there.execute, [DetectRequest(image=image, phrase="a")])
            while not expert.asked:
                time.sleep(0.01)
        assert waiting.result(1)[0].labels == ("a",) and expert.closed == 1
    there.close()


def test_experts_travel_to_other_processes(known):
    with serving(known) as server, connected(server.url) as there:
        copy = pickle.loads(pickle.dumps(there))
        request = DetectRequest(image=pictures(1)[0], phrase="a")
        assert (
            equal(copy.execute([request])[0], there.execute([request])[0]) and copy.identities() == there.identities()
        )
        copy.close()


def test_an_address_is_enough_and_options_follow_it(known, monkeypatch):
    monkeypatch.setenv("EXPERTS_TOKEN", TOKEN)
    with serving(known, token=TOKEN) as server:
        there = make_experts(f"upscaler={server.url},token_env=EXPERTS_TOKEN,patience_s=1")
        assert there.identities()["upscale"] == known.identity and "embedded" in there.identities()["detect"]
        there.close()


@pytest.mark.parametrize(
    ("options", "named"),
    [({"patience_s": -1}, "patience_s"), ({"start_s": "soon"}, "start_s"), ({"timeout_s": 0}, "timeout_s"), ({"batch": 0}, "batch"), ({"parallel": True}, "parallel"), ({"batch": 2.5}, "batch"), ({"parallel": 1.5}, "parallel"),
     ({"url": "ftp://a"}, "url"), ({"url": "http://"}, "url"), ({"url": "http://a:99999"}, "url"), ({"url": "127.0.0.1:8750"}, "url"),
     ({"url": "http://a/?x=1"}, "url"), ({"url": "http://a..b"}, "url"), ({"url": "http://a%41"}, "url"),
     ({"url": "http://" + "a" * 300}, "url"), ({"url": "http://[::1"}, "url"), ({"url": "http://me:secret-word@a"}, "url"), ({"token_env": "NOT_SET_ANYWHERE"}, "token_env")],
)  # fmt: skip
def test_options_of_another_form_are_refused(options, named):
    with pytest.raises(BadValueError, match=f"`{named}`") as error:
        RemoteExperts(**{"url": "http://127.0.0.1:1", "start_s": 0, **options})
    assert "secret-word" not in str(error.value)


def test_a_package_that_is_not_installed_is_named_by_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(MissingExtraError, match=r"visenv\[serve\]"):
        RemoteExperts("http://127.0.0.1:1", start_s=0)


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_so_is_one_of_the_servers(monkeypatch, known, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"visenv\[serve\]"):
        ExpertServer(ExpertSet({"detect": known}), ServerSettings(port=0))


# Who is let in


def test_without_the_token_nothing_but_health_is_told(known, monkeypatch):
    monkeypatch.setenv("EXPERTS_TOKEN", TOKEN)
    call = write_call([DetectRequest(image=pictures(1)[0], phrase="a")], send=())
    with serving(known, token=TOKEN) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        for shown in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": TOKEN},
                      {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Bearer {TOKEN[:-1]}"}, {"Authorization": "Bearer \xe9"}):  # fmt: skip
            shown = {k: v.encode("latin-1") for k, v in shown.items()}
            assert client.get("/v1/experts", headers=shown).status_code == 401
            assert client.get("/metrics", headers=shown).status_code == 401
            refused = client.post("/v1/run", content=call, headers={"Content-Type": CONTENT_TYPE, **shown})
            assert (
                refused.status_code == 401
                and refused.headers["www-authenticate"] == "Bearer"
                and TOKEN not in refused.text
            )
        assert client.get("/health").json() == {"status": "ok"}
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert client.get("/v1/experts", headers=right).status_code == 200
        with pytest.raises(ExpertError, match=r"401.*token_env") as error:
            RemoteExperts(server.url, start_s=0)
        assert TOKEN not in str(error.value) and not isinstance(error.value, TemporaryExpertError)
        with connected(server.url, token_env="EXPERTS_TOKEN") as there:
            assert there.execute([DetectRequest(image=pictures(1)[0], phrase="a")])[0].labels
    assert known.batches and not any(TOKEN in repr(b) for b in known.batches)


@pytest.mark.parametrize(
    ("host", "inside"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("", False),
     ("192.168.1.2", False), ("localhost.example.org", False), ("0", False)],
)  # fmt: skip
def test_only_this_machine_needs_no_token(host, inside):
    assert is_loopback(host) == inside
    if inside:
        ServerSettings(host=host)
    else:
        with pytest.raises(BadValueError, match="--token-env"):
            ServerSettings(host=host)
    ServerSettings(host=host, token=TOKEN)


@pytest.mark.parametrize(
    "value",
    [None, "", "short", "with a space in it, long", "tab\tand-more-than-sixteen", "ünïcödé-and-more-than-sixteen"],
)
def test_tokens_that_are_none_are_refused(monkeypatch, value):
    monkeypatch.delenv("EXPERTS_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("EXPERTS_TOKEN", value)
    with pytest.raises(BadValueError, match="EXPERTS_TOKEN") as error:
        read_token("EXPERTS_TOKEN")
    assert not value or value not in str(error.value)


# What strangers send


@pytest.fixture(scope="module")
def open_server():
    with serving(Picky(), body_bytes=200_000, picture_bytes=200_000) as server:
        yield server


FORM = {"Content-Type": CONTENT_TYPE}
GOOD = write_call([DetectRequest(image=Image(np.zeros((2, 2, 3), np.uint8)), phrase="a")], send={Image(np.zeros((2, 2, 3), np.uint8)).hash})  # fmt: skip

HOSTILE = {
    "a pickle": (415, "POST", "/v1/run", {"Content-Type": "application/octet-stream"}, pickle.dumps(print)),
    "a pickle under our name": (400, "POST", "/v1/run", FORM, pickle.dumps(print)),
    "json": (415, "POST", "/v1/run", {"Content-Type": "application/json"}, b"{}"),
    "a form of a web page": (415, "POST", "/v1/run", {"Content-Type": "application/x-www-form-urlencoded"}, b"a=b"),
    "no type": (415, "POST", "/v1/run", {}, GOOD),
    "no body": (400, "POST", "/v1/run", FORM, b""),
    "no msgpack": (400, "POST", "/v1/run", FORM, MAGIC + b"\x00\x00\x00\x02\xc1\xc1"),
    "another form": (422, "POST", "/v1/run", FORM, pack({"capability": "detect", "requests": [1], "images": []})),
    "another capability": (422, "POST", "/v1/run", FORM, write_call([UpscaleRequest(image=Image(np.zeros((2, 2, 3), np.uint8)), scale=2)], send=())),
    "a path as picture": (409, "POST", "/v1/run", FORM, pack({"capability": "detect", "requests": [{"image": "a" * 64, "phrase": ""}], "images": []})),
    "a path name": (422, "POST", "/v1/run", FORM, pack({"capability": "detect", "requests": [{"image": "/etc/passwd", "phrase": ""}], "images": []})),
    "too long": (413, "POST", "/v1/run", FORM, MAGIC + bytes(200_001)),
    "a long map": (400, "POST", "/v1/run", FORM, MAGIC + b"\xff\xff\xff\xff" + bytes(1000)),
    "another method": (405, "GET", "/v1/run", {}, None),
    "deleting": (405, "DELETE", "/v1/experts", {}, None),
    "nothing there": (404, "GET", "/", {}, None),
    "the docs": (404, "GET", "/openapi.json", {}, None),
    "up and out": (404, "GET", "/v1/../../etc/passwd", {}, None),
    "up and out, encoded": (404, "GET", "/v1/%2e%2e/%2e%2e/etc/passwd", {}, None),
    "a zero in the path": (404, "GET", "/health%00", {}, None),
    "another name for us": (400, "GET", "/v1/experts", {"Host": "evil.example.org"}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE.values(), ids=HOSTILE)
def test_hostile_calls_get_the_right_status(open_server, case):
    status, method, path, headers, body = case
    with httpx.Client(trust_env=False) as client:
        request = client.build_request(method, open_server.url, headers=headers, content=body)
        request.url = httpx.URL(open_server.url).copy_with(raw_path=path.encode())
        reply = client.send(request)
        assert reply.status_code == status, reply.text
        assert "Traceback" not in reply.text and "site-packages" not in reply.text and len(reply.content) < 1000
        assert client.post(f"{open_server.url}/v1/run", content=GOOD, headers=FORM).status_code == 200


def talk(server: ExpertServer, data: bytes, *, wait_s: float = 5.0) -> bytes:
    """Send bytes as they are and return what comes back."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait_s) as line:
        with contextlib.suppress(OSError):
            line.sendall(data)
        got = b""
        with contextlib.suppress(OSError):
            while chunk := line.recv(65536):
                got += chunk
                if b"\r\n\r\n" in got:
                    break
        return got


HEAD = f"POST /v1/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: {CONTENT_TYPE}\r\n".encode()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (HEAD + b"Content-Length: 99999999999\r\n\r\nVEX", b"413"),
        (HEAD + b"Content-Length: -1\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nVEX\x01\x00", b"400"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"8\r\n" + MAGIC + b"\x00\xff\xff\xff\r\n" + (b"ffff\r\n" + bytes(0xFFFF) + b"\r\n") * 5, b"413"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"GET /health HTTP/9.9\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00", b""),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000, b"4"),
    ],
    ids=["announced too long", "negative length", "two lengths", "chunks without end", "no chunk", "another HTTP", "TLS", "a header without end"],
)  # fmt: skip
def test_hostile_bytes_get_the_right_status_while_they_arrive(open_server, data, status):
    got = talk(open_server, data)
    assert got.startswith(b"HTTP/1.1 " + status) or (not status and not got.startswith(b"HTTP/1.1 2")), got[:200]
    with connected(open_server.url) as there:
        assert there.execute([DetectRequest(image=pictures(1)[0], phrase="still there")])[0].labels


def test_a_body_that_does_not_come_is_not_waited_for(open_server, monkeypatch):
    monkeypatch.setattr("visenv.experts.remote.app.BODY_S", 0.3)
    got = talk(open_server, HEAD + b"Content-Length: 100\r\n\r\nVEX")
    assert got.startswith(b"HTTP/1.1 408")


def test_whoever_hangs_up_leaves_nothing_behind(open_server):
    host, port = open_server.url.removeprefix("http://").split(":")
    for _ in range(30):
        with socket.create_connection((host, int(port))) as line:
            line.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + bytes(50_000))
    until = time.monotonic() + 10
    while metric(open_server, "visenv_calls_in_flight ") and time.monotonic() < until:
        time.sleep(0.05)
    assert metric(open_server, "visenv_calls_in_flight ") == 0


def is_closed_within(server: ExpertServer, data: bytes, wait_s: float) -> bool:
    """Whether the server closes a connection over which no more than ``data`` comes."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait_s) as line:
        line.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            try:
                while line.recv(65536):
                    pass
            except TimeoutError:
                return False
        return True


@pytest.mark.parametrize("data", [b"", b"POST /v1/r", HEAD, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /h"], ids=["nothing", "half a line", "no end of the headers", "half a second one"])  # fmt: skip
def test_a_request_that_does_not_come_is_not_waited_for(known, monkeypatch, data):
    monkeypatch.setattr("visenv.experts.remote.connections.HEAD_S", 0.4)
    monkeypatch.setattr("visenv.experts.remote.server.KEEP_ALIVE_S", 1)
    with serving(known, token=TOKEN) as server:
        assert is_closed_within(server, data, 5.0)


def test_a_body_that_does_not_come_after_its_refusal_is_not_waited_for(known, monkeypatch):
    monkeypatch.setattr("visenv.experts.remote.connections.BODY_S", 0.3)
    monkeypatch.setattr("visenv.experts.remote.connections.SLACK_S", 0.1)
    with serving(known, token=TOKEN) as server:
        start = time.monotonic()
        assert is_closed_within(server, HEAD + b"Content-Length: 100\r\n\r\nVEX", 5.0)
        assert time.monotonic() - start < 3


def test_who_asks_and_does_not_read_is_let_go_of(known, monkeypatch):
    monkeypatch.setattr("visenv.experts.remote.connections.BODY_S", 1.0)
    with serving(known, token=TOKEN, concurrency=1) as server, contextlib.ExitStack() as kept:
        host, port = server.url.removeprefix("http://").split(":")
        image = Image(np.zeros((256, 256, 3), np.uint8))
        body = write_call([UpscaleRequest(image=image, scale=8)], send={image.hash})  # 12 MiB come back
        head = HEAD + f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        line = kept.enter_context(socket.create_connection((host, int(port)), timeout=20))
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.sendall(head + body)
        assert line.recv(12) == b"HTTP/1.1 200"
        until = time.monotonic() + 15
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                headers = {**FORM, "Authorization": f"Bearer {TOKEN}"}
                if (
                    httpx.post(f"{server.url}/v1/run", content=GOOD, headers=headers, trust_env=False).status_code
                    != 503
                ):
                    return
            time.sleep(0.1)
        pytest.fail("nobody else is answered")


def test_a_refused_key_is_asked_about_once(known, monkeypatch):
    monkeypatch.setenv("VISENV_TEST_TOKEN", TOKEN)
    with serving(known, token=TOKEN) as server:
        there = RemoteExperts(server.url, token_env="VISENV_TEST_TOKEN", patience_s=1)
        monkeypatch.setenv("VISENV_TEST_TOKEN", "another")
        stranger = pickle.loads(pickle.dumps(next(e for e in there if "detect" in e.capabilities)))
        found = run_isolated(stranger, [DetectRequest(image=image, phrase="x") for image in pictures(16)])
        for expert in (*there, stranger):
            expert.close()
        monkeypatch.setenv("VISENV_TEST_TOKEN", TOKEN)
        assert all("status 401" in str(f) for f in found)
        calls = httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False).text
        assert 'visenv_calls_total{status="401"} 1' in calls


def test_connections_above_the_limit_take_the_place_of_idle_ones(known):
    with serving(known, token=TOKEN, concurrency=2) as server, contextlib.ExitStack() as kept:
        host, port = server.url.removeprefix("http://").split(":")
        lines = [kept.enter_context(socket.create_connection((host, int(port)), timeout=5)) for _ in range(12)]
        ended = 0
        for line in lines[:4]:  # the oldest
            with contextlib.suppress(ConnectionResetError):
                assert line.recv(1) == b""
            ended += 1
        assert ended == 4
        for line in lines:
            line.close()
        until = time.monotonic() + 5
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{server.url}/health", trust_env=False).status_code == 200:
                    return
        pytest.fail("no room again")


# How much a call may hold


def flat_pngs(number: int, side: int) -> list[Image]:
    return [Image(np.full((side, side, 3), n, np.uint8)) for n in range(number)]


def post(server: ExpertServer, body: bytes) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/run", content=body, headers=FORM, trust_env=False, timeout=60)


def test_pictures_that_are_small_on_the_way_and_large_in_memory_are_refused(monkeypatch):
    def never(*_, **__):
        raise AssertionError("decoded")

    monkeypatch.setattr("visenv.experts.remote.forms.decode_image", never)
    bombs = flat_pngs(8, 600)
    body = write_call([DetectRequest(image=i, phrase="a") for i in bombs], send={i.hash for i in bombs}, as_png=True)
    assert len(body) < 2**17
    with serving(Picky(), body_bytes=2**20) as server:
        refused = post(server, body)
        assert refused.status_code == 413 and str(2**20) in refused.text
        assert metric(server, "visenv_call_bytes") == 0


def test_a_png_that_is_larger_than_announced_is_not_decoded(monkeypatch):
    large, small = flat_pngs(1, 600)[0], Image(np.zeros((600, 1, 3), np.uint8))
    form = {"hash": small.hash, "size_hw": [600, 1], "encoding": "png", "num_bytes": len(large.to_png())}
    call = {"capability": "detect", "requests": [{"image": small.hash, "phrase": "a"}], "images": [form]}
    decoded = []
    monkeypatch.setattr("visenv.experts.remote.forms.decode_image", lambda *_, **__: decoded.append(1))
    with serving(Picky()) as server:
        refused = post(server, pack(call) + large.to_png())
    assert refused.status_code == 422 and "another size" in refused.text and not decoded


def test_enlargements_above_the_longest_answer_are_refused_before_they_are_made():
    twelve = pictures(12, (128, 128))
    hashes = {i.hash for i in twelve}
    with serving(LanczosUpscaler(), body_bytes=2**20) as server:
        refused = post(server, write_call([UpscaleRequest(image=i, scale=16) for i in twelve], send=hashes))
        assert refused.status_code == 413 and "longest answer" in refused.text
        small = post(server, write_call([UpscaleRequest(image=i, scale=1) for i in twelve], send=()))
        assert small.status_code == 200, "the pictures are there all the same"
        assert metric(server, "visenv_call_bytes") == 0


def test_the_client_cuts_its_calls_by_what_the_server_announces():
    twelve = pictures(12, (128, 128))
    requests = [UpscaleRequest(image=i, scale=4) for i in twelve]
    expected = ExpertSet({"upscale": LanczosUpscaler()}).execute(requests)
    with serving(LanczosUpscaler(), body_bytes=3 * 2**20) as server, connected(server.url) as there:
        found = there.execute(requests)
        assert all(equal(a, b) for a, b in zip(expected, found, strict=True))
        assert not metric(server, 'visenv_calls_total{status="413"}') and metric(server, "visenv_calls_total") >= 12
        (bad,) = there.execute([UpscaleRequest(image=twelve[0], scale=16)])
        assert "413" in str(bad) and "--max-body-mib" in str(bad) and not isinstance(bad, TemporaryExpertError)


def test_calls_together_hold_no_more_than_their_budget_and_come_back_later(monkeypatch):
    monkeypatch.setattr("visenv.experts.remote.service.CALLS_HELD", 1)
    images = pictures(6, (300, 300))  # 270 kB each: three at a time
    expert = Picky(sleep_s=0.2)
    with serving(expert, body_bytes=10**6) as server, connected(server.url, patience_s=60) as there:
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda i: there.execute([DetectRequest(image=i, phrase="a")])[0], images))
        assert all(f.labels == ("a",) for f in found)
        assert metric(server, 'visenv_calls_total{status="503"}') > 0 and metric(server, "visenv_call_bytes") == 0


def test_a_picture_longer_than_a_body_is_refused_in_words(open_server):
    large = Image(np.zeros((300, 300, 3), np.uint8))
    with connected(open_server.url) as there:
        good, bad = there.execute(
            [DetectRequest(image=pictures(1)[0], phrase="a"), DetectRequest(image=large, phrase="b")]
        )
    assert good.labels == ("a",) and "--max-body-mib" in str(bad) and not isinstance(bad, TemporaryExpertError)


# Servers that are none


@contextlib.contextmanager
def impostor(answer):
    """A server that says what ``answer(handler)`` writes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _do(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            with contextlib.suppress(OSError):
                answer(self)

        do_GET = do_POST = _do  # noqa: N815

        def log_message(self, *_) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


PICKY = {"name": "picky", "version": "3", "weights_hash": "", "identity": "picky@3"}
CATALOGUE = {
    "wire": 1, "experts": {"detect": PICKY}, "limits": {"body_bytes": 10**7, "answer_bytes": 10**7, "requests": 9},
}  # fmt: skip


def replying(status: int, kind: str, body: bytes, **headers: str):
    def answer(handler) -> None:
        mine = handler.path == "/v1/experts"
        content = json.dumps(CATALOGUE).encode() if mine else body
        handler.send_response(200 if mine else status)
        for name, value in {
            "Content-Type": "application/json" if mine else kind,
            "Content-Length": str(len(content)),
            **headers,
        }.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        replying(200, "text/html", b"<html>hello</html>"),
        replying(200, CONTENT_TYPE, b"<html>hello</html>"),
        replying(200, CONTENT_TYPE, pickle.dumps(print)),
        replying(200, CONTENT_TYPE, pack({"identity": PICKY, "outcomes": []})),
        replying(302, "text/html", b"", Location="http://127.0.0.1:1/"),
        replying(409, CONTENT_TYPE, pack({"unknown": ["0" * 64]})),
        replying(409, "text/html", b"conflict"),
        replying(500, "text/plain", b"\xff\xfe" * 100_000),
        replying(200, CONTENT_TYPE, b"\x1f\x8b" + bytes(50), **{"Content-Encoding": "gzip"}),
    ],
    ids=["html", "html under our name", "pickle", "too few", "redirect", "pictures nobody has", "another conflict", "garbage", "gzip"],
)  # fmt: skip
def test_answers_of_an_impostor_are_errors_at_once(answer):
    with impostor(answer) as url, connected(url, patience_s=30) as there:
        start = time.monotonic()
        (outcome,) = there.execute([DetectRequest(image=pictures(1)[0], phrase="a")])
        assert isinstance(outcome, ExpertError) and not isinstance(outcome, TemporaryExpertError)
        assert len(str(outcome)) < 1000 and time.monotonic() - start < 5


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"\xff", b"[" * 10_000, json.dumps({**CATALOGUE, "wire": 2}).encode(), json.dumps({**CATALOGUE, "experts": {}}).encode()])  # fmt: skip
def test_who_is_no_server_of_experts_is_told_apart(body):
    def answer(handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(body)

    with impostor(answer) as url, pytest.raises(ExpertError, match="visenv"):
        RemoteExperts(url)


def test_a_reply_that_drips_is_given_up():
    def answer(handler) -> None:
        if handler.path == "/v1/experts":
            replying(200, "", b"")(handler)
            return
        handler.send_response(200)
        handler.end_headers()
        for _ in range(40):
            handler.wfile.write(b"x")
            time.sleep(0.1)

    with impostor(answer) as url, connected(url, patience_s=0, timeout_s=0.5) as there:
        start = time.monotonic()
        (outcome,) = there.execute([DetectRequest(image=pictures(1)[0], phrase="a")])
        assert isinstance(outcome, TemporaryExpertError) and time.monotonic() - start < 3


def test_a_busy_gateway_in_front_is_asked_again():
    said = iter([502, 504, 503, 429, 408])
    real = {}

    def answer(handler) -> None:
        if handler.path == "/v1/experts":
            replying(200, "", b"")(handler)
        elif (status := next(said, None)) is not None:
            replying(status, "text/html", b"<h1>busy</h1>", **{"Retry-After": "0"})(handler)
        else:
            replying(200, CONTENT_TYPE, real["answer"])(handler)

    found = Detections(boxes_xyxy=np.zeros((0, 4)), scores=np.zeros(0), labels=())
    real["answer"] = b"".join(calls.write_answer(calls.Identity(**PICKY), [found]))
    with impostor(answer) as url, connected(url, patience_s=30) as there:
        assert equal(there.execute([DetectRequest(image=pictures(1)[0], phrase="a")])[0], found)


# Whole runs


@contextlib.contextmanager
def process(spec: str, *options: str, env=None, port: int = 0):
    """``visenv experts serve`` in a process of its own; gives its address, ``process.pid`` set beside it."""
    words = [sys.executable, "-m", "visenv.cli", "experts", "serve", spec, "--port", str(port), *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as served:
        try:
            line = served.stdout.readline()
            assert "http://" in line, served.stderr.read()
            process.pid = served.pid
            yield line.split()[-1]
        finally:
            served.terminate()
            served.communicate(timeout=60)


@pytest.fixture
def blobs(monkeypatch, outside):
    """The board's plugin package of fakes, here and in other processes."""
    from visenv import plugins

    monkeypatch.syspath_prepend(outside["PYTHONPATH"].split(os.pathsep)[0])
    monkeypatch.setenv("PYTHONPATH", outside["PYTHONPATH"])
    plugins.plugins.cache_clear()
    yield outside
    plugins.plugins.cache_clear()


@pytest.fixture
def fakes(blobs):
    return importlib.import_module("board_fakes")


def settings_of(experts: str, **changes) -> RunSettings:
    return RunSettings(**{"agents": ("blob-finder",), "tasks": ("Blobs",), "experts": experts, "limit": 12, **changes})


def plain(run) -> dict:
    """The records of a run, without what differs from run to run."""
    return latest(read_records(run))


def test_a_run_has_the_same_records_remote_and_here(blobs, tmp_path):
    run_bench(settings_of("blobs"), tmp_path / "here")
    with process("blobs", env=blobs) as url:
        run_bench(settings_of(url), tmp_path / "there")
    assert plain(tmp_path / "here") == plain(tmp_path / "there") and len(plain(tmp_path / "there")) == 12
    here, there = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("here", "there"))
    assert here["expert_identities"] == there["expert_identities"]


def wait_for_a_record(run) -> None:
    until = time.monotonic() + 30
    while not (run / "episodes.jsonl").exists() or not (run / "episodes.jsonl").stat().st_size:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_server_killed_in_the_middle_of_a_run_changes_no_record(blobs, tmp_path):
    run_bench(settings_of("blobs"), tmp_path / "here")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    spec, once = "blobs:sleep=0.1", Patience(retries=0)
    with ThreadPoolExecutor(1) as pool:
        with process(spec, env=blobs, port=port) as url:
            settings = settings_of(f"{url},patience_s=60")
            running = pool.submit(run_bench, settings, tmp_path / "there", lanes=3, patience=once)
            wait_for_a_record(tmp_path / "there")
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(1.0)
        assert not running.done(), "episodes wait for the server"
        done_before = len(plain(tmp_path / "there"))
        with process(spec, env=blobs, port=port):
            summary = running.result(60)
    assert 0 < done_before < 12 and summary.complete and summary.rows[0].failures == 0
    assert plain(tmp_path / "here") == plain(tmp_path / "there")


def test_a_server_that_stays_away_fails_episodes_and_scores_none(blobs, tmp_path):
    with process("blobs:sleep=0.1", env=blobs) as url, ThreadPoolExecutor(1) as pool:
        settings = settings_of(f"{url},patience_s=0.3")
        running = pool.submit(run_bench, settings, tmp_path / "run", lanes=3, patience=Patience(retries=0))
        wait_for_a_record(tmp_path / "run")
        os.kill(process.pid, signal.SIGKILL)
        summary = running.result(60)
    failed = [r for r in plain(tmp_path / "run").values() if r.failed]
    assert 0 < len(failed) < 12 and summary.rows[0].failures == len(failed)
    assert all(r.row is None and "gives no answer" in r.failure for r in failed)
    assert summary.rows[0].primary == pytest.approx(0.84), "the mean is of those that were answered"


SECONDS = [pytest.param(4.0, id="short"), pytest.param(300.0, id="five minutes", marks=pytest.mark.acceptance)]


@pytest.mark.parametrize("seconds", SECONDS)
def test_64_episodes_at_a_time_without_an_error_and_without_growing(blobs, fakes, seconds):
    """Each in a thread of its own with connections of its own, over pictures that are new every time."""
    task, settled = fakes.Blobs(), []

    def play(lane: int, url: str, until: float) -> int:
        played = 0
        with connected(url, patience_s=60.0) as experts:
            rules = make_rules(task, experts)
            while not played or time.monotonic() < until:
                sample = task.sample("train", 1, lane + 64 * played)
                episode = Episode(sample, profile=task.profile, rules=rules)
                for action in (
                    {"name": "detect", "arguments": {"images": ["img_0"], "phrase": sample.instruction.split()[1]}},
                    {"name": "segment", "arguments": {"objects": [0]}},
                    {"name": "submit", "arguments": {}},
                ):
                    drive(episode.play(action), experts)
                assert episode.reason is EndReason.SUBMITTED and episode.score == pytest.approx(0.84)
                played += 1
        return played

    with process("blobs", "--pictures-mib", "8", env=blobs) as url, ThreadPoolExecutor(64) as pool:
        until = time.monotonic() + seconds
        lanes = [pool.submit(play, lane, url, until) for lane in range(64)]
        time.sleep(max(0.0, until - time.monotonic() - 0.8 * seconds))  # a fifth of the time: the first minute of five
        settled.append(metric_at(url, "process_resident_memory_bytes"))
        played = [lane.result() for lane in lanes]
        settled.append(metric_at(url, "process_resident_memory_bytes"))
        answered = metric_at(url, 'visenv_requests_total{capability="detect",outcome="answered"}')
        failed = metric_at(url, 'visenv_requests_total{capability="detect",outcome="failed"}')
    print(
        f"{sum(played)} episodes in {seconds:g} s, resident memory {settled[0] / 2**20:.1f} -> {settled[1] / 2**20:.1f} MiB"
    )
    assert answered == sum(played) >= 64 and failed == 0
    assert settled[1] < (1.05 if seconds > 60 else 1.25) * settled[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "--token-env"),
        (["--token-env", "NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE"),
        (["--replicas", "2"], "--ray"),
        (["--port", "99999"], "--port"),
        (["no-such-expert"], "Unknown expert"),
    ],
)
def test_the_command_refuses_in_one_line(words, said, capsys):
    from visenv.cli import main

    with pytest.raises(SystemExit) as end:
        main(["experts", "serve", *words])
    captured = capsys.readouterr()
    assert end.value.code == 2 and said in captured.err and captured.out == "" and "Traceback" not in captured.err


def test_a_port_that_is_taken_is_said(capsys):
    from visenv.cli import main

    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(SystemExit) as end:
        main(["experts", "serve", "embedded", "--port", str(listener.getsockname()[1])])
    assert end.value.code == 1 and "in use" in capsys.readouterr().err


def test_secrets_of_the_server_stay_there(monkeypatch):
    monkeypatch.setenv("MODEL_API_KEY", "sk-0123456789abcdef")

    class Leaky(Picky):
        def run(self, requests):
            kind = TemporaryExpertError if "busy" in requests[0].phrase else ValueError
            raise kind("401 for sk-0123456789abcdef")

        def health(self):
            raise ExpertError("no use of sk-0123456789abcdef")

    image = pictures(1)[0]
    with serving(Leaky()) as server, connected(server.url, patience_s=0) as there:
        for phrase in ("a", "busy"):
            (outcome,) = there.execute([DetectRequest(image=image, phrase=phrase)])
            assert isinstance(outcome, ExpertError) and "401 for ***" in str(outcome)
        health = httpx.get(f"{server.url}/health", trust_env=False)
        assert health.status_code == 503 and health.json() == {"status": "unavailable"}
        assert isinstance(there.health()["detect"], TemporaryExpertError)


class Unwell(Picky):
    """Looks at itself for a while, and finds that it cannot answer."""

    looks = 0

    def health(self) -> str:
        self.looks += 1
        time.sleep(self.sleep_s)
        raise ExpertError("the device is gone")


def health_of(server: ExpertServer) -> int:
    return httpx.get(f"{server.url}/health", trust_env=False, timeout=30).status_code


def test_while_nobody_knows_it_is_not_said_to_be_well():
    expert = Unwell(sleep_s=0.5)
    with serving(expert) as server, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: health_of(server), range(8))) == [503] * 8 and expert.looks == 1
        assert health_of(server) == 503 and expert.looks == 1


def test_a_look_that_hangs_is_one_look_and_nothing_else_waits_for_it(monkeypatch):
    monkeypatch.setattr("visenv.experts.remote.app.HEALTH_WAIT_S", 0.3)
    expert = Unwell(sleep_s=4.0)
    with serving(expert) as server, ThreadPoolExecutor(8) as pool:
        start = time.monotonic()
        assert list(pool.map(lambda _: health_of(server), range(8))) == [503] * 8 and expert.looks == 1
        assert metric(server, "visenv_calls_in_flight") == 0 and time.monotonic() - start < 3


def test_a_server_that_is_unwell_is_asked_once():
    with serving(Unwell()) as server, connected(server.url, patience_s=30) as there:
        start = time.monotonic()
        said = there.health()["detect"]
        assert isinstance(said, TemporaryExpertError) and "log" in str(said) and time.monotonic() - start < 3
    with serving(Picky()) as server, connected(server.url) as there:
        assert there.health() == {"detect": f"{server.url} answers"}


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_copy_under_ray_is_guarded_alike_and_made_without_the_token(monkeypatch, token):
    """What Ray is given to make copies from, without Ray."""
    from types import SimpleNamespace

    from starlette.testclient import TestClient

    from visenv.experts.remote import ray_serve

    built = []
    fake = SimpleNamespace(
        ingress=lambda build: lambda: built.append(build),
        deployment=lambda *_, **__: SimpleNamespace(bind=lambda: None),
    )
    monkeypatch.setattr(ray_serve, "_import_serve", lambda: fake)
    ray_serve.make_deployment("embedded", ServerSettings(token=token))
    (build,) = built
    assert TOKEN.encode() not in pickle.dumps([cell.cell_contents for cell in build.__closure__])
    with TestClient(build(), base_url="http://127.0.0.1") as client:
        assert client.get("/v1/experts").status_code == (200 if token is None else 401)
        assert client.get("/v1/experts", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        stranger = client.get("/v1/experts", headers={"Host": "evil.example.org"})
        assert stranger.status_code == (400 if token is None else 401)


def test_it_listens_on_the_newer_loopback_too():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no ::1")
    with serving(Picky(), host="::1") as server, connected(server.url) as there:
        assert server.url.startswith("http://[::1]:")
        assert there.execute([DetectRequest(image=pictures(1)[0], phrase="a")])[0].labels == ("a",)


@pytest.fixture
def ctrl_c():
    """Let this process hear Ctrl-C, which a shell's background jobs ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_does_not_wait_for_a_server_that_is_away(known, ctrl_c):
    with serving(known) as server:
        (expert,) = [e for e in RemoteExperts(server.url, batch=1, patience_s=60) if "detect" in e.capabilities]
    requests = [DetectRequest(image=pictures(1)[0], phrase=p) for p in "abc"]
    threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        expert.run(requests)
    expert.close()
    assert time.monotonic() - start < 5


def test_the_page_names_every_option_metric_and_route():
    page = (Path(__file__).parents[2] / "docs/experts/remote.md").read_text(encoding="utf-8")
    for name, parameter in inspect.signature(RemoteExperts).parameters.items():
        shown = re.search(rf"^\| `{name}` \| (\S*) ?\|", page, re.MULTILINE)
        assert shown, name
        if parameter.default not in ("", inspect.Parameter.empty):
            assert json.loads(shown[1]) == parameter.default, name
    for route in ("/health", "/v1/experts", "/v1/run", "/metrics"):
        assert f" {route}` |" in page
