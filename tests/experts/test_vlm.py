"""Asking a vision-language model: a small server on a real socket that speaks the API, well and badly."""

from __future__ import annotations

import base64
import contextlib
import http.server
import io
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage

pytest.importorskip("openai", reason='needs `pip install "visenv[openai]"`')

from visenv import VisenvEnv
from visenv.errors import BadValueError, ExpertError, TemporaryExpertError, UnknownNameError
from visenv.experts import (
    DescribeRequest,
    Description,
    Detections,
    DetectRequest,
    Expert,
    ExpertSet,
    PointRequest,
    ReadRequest,
    make_experts,
)
from visenv.experts.vlm import VLM, _replies
from visenv.experts.vlm._dialects import DIALECTS
from visenv.experts.vlm._replies import (
    ReplyError,
    read_items,
    read_lines,
    read_numbers,
    read_point_tags,
    read_point_triples,
    says_none,
    thought_through,
)
from visenv.images import Image, decode_image
from visenv.testing import check_expert

Reaction = Callable[["Handler"], None]


def scene(seed: int = 0, size_wh: tuple[int, int] = (200, 100)) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 255, (size_wh[1], size_wh[0], 3)).astype(np.uint8))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    body: dict[str, Any]

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.serve(self)  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        self.body = {}
        self.server.serve(self)  # type: ignore[attr-defined]

    def reply(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"content-type": "application/json", "content-length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def pour(self, status: int, pause_s: float) -> None:
        """Write without end, until nobody listens."""
        self.send_response(status)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            while not self.server.stopping.wait(pause_s):  # type: ignore[attr-defined]
                chunk = b" " if pause_s else b" " * 65536
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        except OSError:
            pass
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.stopping = threading.Event()
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.reactions: list[Reaction] = []
        """What happens to the next requests; the last one stays."""
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def serve(self, handler: Handler) -> None:
        with self.lock:
            self.asked.append(handler.body)
            self.headers.append({k.lower(): v for k, v in handler.headers.items()})
            reaction = self.reactions.pop(0) if len(self.reactions) > 1 else self.reactions[0]
        reaction(handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away


def says(text: str | None, finish: str = "stop") -> Reaction:
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}]}
    return lambda handler: handler.reply(json.dumps(body).encode())


def answers(body: bytes, status: int = 200, **headers: str) -> Reaction:
    return lambda handler: handler.reply(body, status, **headers)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.stopping.set()
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def make(server: Server) -> Iterator[Callable[..., VLM]]:
    experts = []

    def make(**options: Any) -> VLM:
        options = {"url": server.url, "timeout_s": 5.0, "patience_s": 0.0} | options
        experts.append(VLM("some/model", **options))
        return experts[-1]

    yield make
    for expert in experts:
        expert.close()


BOXES = '```json\n[{"bbox_2d": [100, 200, 500, 1000], "label": "cat"}, {"bbox_2d": [0, 0, 0, 5]}]\n```'


def test_boxes_points_and_lines_of_a_json_model(server: Server, make: Callable[..., VLM]) -> None:
    expert = make()
    server.reactions = [says(BOXES), says('[{"point_2d": [500, 250]}, {"point_2d": [1200, 3]}]'),
                        says('[{"bbox_2d": [0, 0, 1000, 500], "text_content": "GATE  7"}]')]  # fmt: skip
    (found,) = expert.run([DetectRequest(image=scene(), phrase="cats")])
    assert found.boxes_xyxy.tolist() == [[20.0, 20.0, 100.0, 100.0]] and found.labels == ("cat",)  # type: ignore[union-attr]
    (points,) = expert.run([PointRequest(image=scene(), phrase="cats")])
    assert points.points_xy.tolist() == [[100.0, 25.0]] and points.scores.tolist() == [1.0]  # type: ignore[union-attr]
    (read,) = expert.run([ReadRequest(image=scene())])
    assert read.lines == ("GATE 7",) and read.boxes_xyxy.tolist() == [[0.0, 0.0, 200.0, 50.0]]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("style", "reply", "expected"),
    [
        ("molmo", '<points x1="50.0" y1="25" x2="10" y2="99.5" alt="cats">cats</points>', [[100.0, 25.0], [20.0, 99.5]]),
        ("molmo2", '<points coords="1 1 500 250 2 050 1000">cats</points>', [[100.0, 25.0], [10.0, 100.0]]),
        ("qwen2.5", '[{"point_2d": [98, 28]}]', [[100.0, 25.0]]),
        ("qwen3", '<think>one [3, 4]</think>[{"point_2d": [500, 250]}]', [[100.0, 25.0]]),
        ("molmo", "There are none in the image.", []),
        ("qwen3", "There is no cat.", []),
    ],
)  # fmt: skip
def test_points_of_every_style(
    server: Server, make: Callable[..., VLM], style: str, reply: str, expected: list[list[float]]
) -> None:
    server.reactions = [says(reply)]
    (points,) = make(style=style).run([PointRequest(image=scene(), phrase="cats")])
    assert points.points_xy == pytest.approx(np.array(expected).reshape(-1, 2))  # type: ignore[union-attr]


def test_a_model_without_boxes_reads_but_does_not_detect(server: Server, make: Callable[..., VLM]) -> None:
    expert = make(style="molmo")
    assert expert.capabilities == {"point", "read", "describe"}
    server.reactions = [says("EXIT\nGATE 7\n")]
    (read,) = expert.run([ReadRequest(image=scene())])
    assert read.lines == ("EXIT", "GATE 7") and read.boxes_xyxy.tolist() == [[0.0, 0.0, 200.0, 100.0]] * 2  # type: ignore[union-attr]


@pytest.mark.parametrize("style", sorted(DIALECTS))
def test_a_question_is_answered_in_words(server: Server, make: Callable[..., VLM], style: str) -> None:
    server.reactions = [says("<think>Hm.</think>A cat\n  sleeps\x1b[31m on a sofa. There is no dog.")]
    (found,) = make(style=style).run([DescribeRequest(image=scene(), question="What does {phrase} mean?")])
    assert found == Description(text="A cat sleeps [31m on a sofa. There is no dog.")
    texts = [part["text"] for part in server.asked[0]["messages"][-1]["content"] if part["type"] == "text"]
    assert "".join(texts).endswith(": What does {phrase} mean?")


@pytest.mark.parametrize(
    ("reply", "finish"),
    [("", "stop"), (" \n", "stop"), ("A cat and", "length"), ("x" * 4001, "stop"), ("<think>A cat", "stop"),
     ("<think>A</think><think>A cat", "stop")],
    ids=["empty", "blank", "cut", "long", "thought", "second thought"],
)  # fmt: skip
def test_no_words_of_use_are_no_description(server: Server, make: Callable[..., VLM], reply: str, finish: str) -> None:
    server.reactions = [says(reply, finish)]
    (found,) = make().run([DescribeRequest(image=scene(), question="What is it?")])
    assert isinstance(found, ExpertError) and "reply" in str(found)


def test_an_agent_asks_about_a_picture_and_reads_the_answer(server: Server) -> None:
    server.reactions = [says("A red car.")]
    env = VisenvEnv("EmojiRef", experts=f"describer=vlm:model=some/model,url={server.url}")
    assert "describe" not in VisenvEnv("EmojiRef").rules.toolset
    env.reset(seed=0)
    call = {"name": "describe", "arguments": {"image": "img_0", "question": "What is it?"}}
    assert env.step(call)[0]["feedback"] == "A red car."
    env.experts.close()


def test_the_picture_travels_lossless_and_is_encoded_once(
    server: Server, make: Callable[..., VLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []
    to_png = Image.to_png
    monkeypatch.setattr(Image, "to_png", lambda self: encoded.append(self.hash) or to_png(self))
    server.reactions = [says("[]")]
    image, expert = scene(3), make()
    expert.run([DetectRequest(image=image, phrase=p) for p in ("cat", "dog")])
    expert.run([PointRequest(image=image, phrase="cat")])
    assert encoded == [image.hash]
    assert len(server.asked) == 3
    for body in server.asked:
        picture, text = body["messages"][0]["content"]
        data = base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,"))
        assert decode_image(data, where="the request") == image
        assert '"cat"' in text["text"] or '"dog"' in text["text"]
        assert (body["temperature"], body["seed"], body["max_tokens"]) == (0, 0, 4096)
        assert body["model"] == "some/model" and not body.get("stream")


def test_a_reply_that_could_not_be_read_is_not_kept_and_one_that_could_is(
    server: Server, make: Callable[..., VLM]
) -> None:
    experts, requests = ExpertSet({"detect": make()}), [DetectRequest(image=scene(), phrase="cat")]
    server.reactions = [says("[[1]]"), says(BOXES)]
    (bad,), (good,), (again,) = (experts.execute(requests) for _ in range(3))
    assert isinstance(bad, ExpertError) and isinstance(good, Detections) and len(good.labels)
    assert again is good and len(server.asked) == 2


def test_check_expert(server: Server) -> None:
    def react(handler: Handler) -> None:
        if not handler.body:
            handler.reply(b'{"data": [{"id": "m"}]}')
            return
        text = handler.body["messages"][0]["content"][1]["text"]
        found = {
            "Loc": BOXES,
            "Poi": '[{"point_2d": [7, 9]}]',
            "Spo": '[{"bbox_2d": [1, 2, 30, 40], "text_content": "A"}]',
            "Ans": "A thing.",
        }
        says(found[text[:3]])(handler)

    server.reactions = [react]
    check_expert(VLM("m", url=server.url))


def test_replies_that_are_cut_off_keep_what_is_complete(server: Server, make: Callable[..., VLM]) -> None:
    server.reactions = [says('[{"bbox_2d": [100, 200, 500, 1000], "label": "cat"}, {"bbox_2d": [100, 2', "length")]
    (found,) = make().run([DetectRequest(image=scene(), phrase="cats")])
    assert len(found.labels) == 1  # type: ignore[union-attr]
    server.reactions = [says('[{"bbox_2d": [100, 200, 5', "length")]
    (nothing,) = make().run([DetectRequest(image=scene(), phrase="cats")])
    assert isinstance(nothing, ExpertError) and "max_tokens" in str(nothing)


@pytest.mark.parametrize(
    ("reaction", "error", "words"),
    [
        (answers(b'{"error": {"message": "slow down"}}', 429), TemporaryExpertError, "429"),
        (answers(b"oops", 500), TemporaryExpertError, "500"),
        (answers(b"bad gateway", 502), TemporaryExpertError, "502"),
        (answers(b'{"error": {"message": "no such model"}}', 404), ExpertError, "no such model"),
        (answers(b'{"error": {"message": "bad key secret-key-1"}}', 401), ExpertError, "bad key"),
        (answers(b"", 302, location="http://127.0.0.1:9/v1/chat/completions"), ExpertError, "302"),
        (answers(b"{", 200), ExpertError, "expected JSON"),
        (answers(b"[" * 100_000, 200), ExpertError, "expected JSON"),
        (answers(b"<html><h1>Welcome</h1></html>", 200, content_type="text/html"), ExpertError, "expected JSON"),
        (answers(b"\xff\xfe\x00", 200), ExpertError, "expected JSON"),
        (answers(b'{"choices": []}', 200), ExpertError, "holds no reply"),
        (answers(b'["choices"]', 200), ExpertError, "holds no reply"),
        (answers(b'{"choices": [{"message": {"content": [1]}}]}', 200), ExpertError, "expected text"),
        (answers(b"\x1f\x8b\x08", 200, content_encoding="gzip"), ExpertError, "encoding"),
        (says(None), ExpertError, "expected text"),
        (says("I see 3 cats at (10, 20)."), ExpertError, "no known form"),
        (says("I'm sorry, I can't help with that."), ExpertError, "no known form"),
        (says("<think>Is it"), ExpertError, "max_tokens"),
        (says("", "length"), ExpertError, "max_tokens"),
        (says("", "content_filter"), ExpertError, "withheld"),
        (says('[{"bbox_2d": [1, 2, 3]}]'), ExpertError, "bbox_2d"),
        (lambda handler: handler.pour(200, 0.0), ExpertError, "more than"),
        (lambda handler: handler.pour(500, 0.0), ExpertError, "more than"),
        (lambda handler: handler.pour(200, 0.1), TemporaryExpertError, "within 0.6 s"),
        (lambda handler: time.sleep(1.2), TemporaryExpertError, "within 0.6 s"),
        (lambda handler: handler.connection.shutdown(socket.SHUT_RDWR), TemporaryExpertError, "cannot be reached"),
    ],
    ids=lambda value: None if callable(value) else str(getattr(value, "__name__", value)).replace(" ", "-"),
)
def test_a_bad_server_is_an_error_and_never_a_finding(
    server: Server, make: Callable[..., VLM], monkeypatch: pytest.MonkeyPatch, reaction: Reaction,
    error: type[ExpertError], words: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("MY_KEY", "secret-key-1")
    server.reactions = [reaction]
    started = time.monotonic()
    (given,) = make(timeout_s=0.6, key_env="MY_KEY").run([DetectRequest(image=scene(), phrase="cat")])
    assert isinstance(given, error) and isinstance(given, TemporaryExpertError) == (error is TemporaryExpertError)
    assert words in str(given) and "secret-key-1" not in str(given)
    assert time.monotonic() - started < 5


def test_a_busy_server_is_asked_again_when_it_says(server: Server, make: Callable[..., VLM]) -> None:
    server.reactions = [answers(b"{}", 429, retry_after="0.3"), answers(b"", 503), says(BOXES)]
    started = time.monotonic()
    (found,) = make(patience_s=20.0).run([DetectRequest(image=scene(), phrase="cat")])
    assert len(found.labels) == 1 and len(server.asked) == 3  # type: ignore[union-attr]
    assert time.monotonic() - started >= 0.3


def test_one_bad_reply_fails_alone_and_the_others_are_not_asked_again(server: Server, make: Callable[..., VLM]) -> None:
    def react(handler: Handler) -> None:
        size = decode(handler.body).size_wh
        (says("[[1]]") if size == (31, 20) else says(BOXES))(handler)

    server.reactions = [react]
    expert = make(threads=1)
    sizes = [(30, 20), (31, 20), (32, 20), (33, 20)]
    requests = [DetectRequest(image=scene(size_wh=size), phrase="cat") for size in sizes]
    answered = ExpertSet({"detect": expert}).execute(requests)
    assert [isinstance(one, ExpertError) for one in answered] == [False, True, False, False]
    asked = [decode(body).size_wh for body in server.asked]
    assert sorted(asked) == sizes


def test_a_key_that_is_refused_is_not_tried_for_every_question(server: Server, make: Callable[..., VLM]) -> None:
    server.reactions = [answers(b'{"error": {"message": "bad key"}}', 401)]
    requests = [DetectRequest(image=scene(k, (30, 20)), phrase="cat") for k in range(16)]
    answered = ExpertSet({"detect": make(threads=2)}).execute(requests)
    assert all(isinstance(one, ExpertError) and "bad key" in str(one) for one in answered)
    assert len(server.asked) <= 4


def test_a_server_that_is_away_costs_patience_once_and_what_was_answered_stays(
    server: Server, make: Callable[..., VLM]
) -> None:
    server.reactions = [says(BOXES), answers(b"", 503)]
    requests = [DetectRequest(image=scene(k, (30, 20)), phrase="cat") for k in range(8)]
    started = time.monotonic()
    answered = make(threads=1, patience_s=0.5).run(requests)
    assert time.monotonic() - started < 2.0
    assert isinstance(answered[0], Detections)
    assert all(isinstance(one, TemporaryExpertError) for one in answered[1:])


INTERRUPTED = """
import os, signal, sys, threading
import numpy as np
from visenv import Image
from visenv.experts import DetectRequest
from visenv.experts.vlm import VLM

expert = VLM("m", url=sys.argv[1], timeout_s=60)
request = DetectRequest(image=Image(np.zeros((20, 30, 3), np.uint8)), phrase="cat")
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    expert.run([request] * 4)
except KeyboardInterrupt:
    expert.close()
    print("interrupted")
"""


def test_an_interrupt_does_not_wait_for_answers(server: Server) -> None:
    server.reactions = [lambda handler: handler.server.stopping.wait(30)]  # type: ignore[attr-defined]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, server.url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "interrupted\n" and done.returncode == 0, done.stderr
    assert time.monotonic() - started < 20


def decode(body: dict[str, Any]) -> Image:
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    with PilImage.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as file:
        return Image(np.array(file.convert("RGB")))


def test_keys_go_only_where_they_belong(
    server: Server, make: Callable[..., VLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reactions = [says("[]")]
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-openai")
    monkeypatch.setenv("MY_KEY", "key-of-mine")
    request = [DetectRequest(image=scene(), phrase="cat")]
    make().run(request)
    make(key_env="MY_KEY").run(request)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    make(url="").run(request)
    sent = [h["authorization"] for h in server.headers]
    assert sent == ["Bearer none", "Bearer key-of-mine", "Bearer key-of-openai"]
    assert "key" not in make(key_env="MY_KEY").identity


def test_health_names_the_models_that_there_are(server: Server, make: Callable[..., VLM]) -> None:
    server.reactions = [
        answers(b'{"data": [{"id": "some/model"}]}'),
        answers(b'{"data": [{"id": "other"}]}'),
        answers(b"{}"),
    ]
    assert "some/model" in make().health()
    for words in ("only other", "lists no models"):
        with pytest.raises(ExpertError, match=words):
            make().health()


def test_made_by_name(server: Server) -> None:
    server.reactions = [says(BOXES)]
    experts = make_experts(f"pointer=vlm:model=m,url={server.url},style=molmo,timeout_s=5")
    assert experts.identities()["point"].startswith("vlm@1-molmo-m+")
    with pytest.raises(BadValueError, match="can detect"):
        make_experts(f"detector=vlm:model=m,url={server.url},style=molmo")
    experts.close()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"url": "ftp://host"}, BadValueError),
        ({"style": "gpt"}, UnknownNameError),
        ({"timeout_s": float("nan")}, BadValueError),
        ({"threads": 0}, BadValueError),
        ({"max_tokens": True}, BadValueError),
        ({"max_tokens": 1.5}, BadValueError),
        ({"patience_s": "long"}, BadValueError),
    ],
)
def test_options_are_checked(options: dict[str, Any], error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(error):
        VLM("m", **{"url": "http://127.0.0.1:9", **options})


def test_identity_changes_with_what_answers_depend_on() -> None:
    def identity(model: str = "m", **options: Any) -> str:
        return VLM(model, url="http://127.0.0.1:9", **options).identity

    assert identity() == identity(timeout_s=3, threads=1) != identity(max_tokens=9)
    assert len({identity(), identity("n"), identity(style="molmo"), identity(style="qwen2.5")}) == 4
    assert identity(style="qwen2.5") != identity(style="qwen2.5", view_pixels=100_000)
    assert isinstance(VLM("a b", url="http://127.0.0.1:9"), Expert) and " " not in identity("a b")


# --- what models write ---


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (read_point_tags, '<point x="61.5" y="40.5" alt="a">b</point>', [(61.5, 40.5)]),
        (read_point_tags, 'Two: <point x="1" y="2">a</point>, <point x="3" y="4">b</point>.', [(1, 2), (3, 4)]),
        (read_point_triples, '<points coords="1 1 0 1000"/>', [(0, 1000)]),
        (read_point_triples, '<points coords="1">none</points>', []),
        (read_items, '{"bbox_2d": [1, 2, 3, 4]}', [{"bbox_2d": [1, 2, 3, 4]}]),
        (read_items, "```json\n[]\n```", []),
        (read_lines, "none", []),
    ],
)
def test_forms_that_are_read(read: Callable[[str], Any], text: str, expected: Any) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read_point_tags, '<point x="61.5" y="40.5">b'),
        (read_point_tags, '<point x="61.5">b</point>'),
        (read_point_tags, '<point x="1" x="1" y="2">b</point>'),
        (read_point_tags, '<point x="1" y="2" onclick="alert">b</point>'),
        (read_point_tags, '<points x1="1" y1="2" x3="3" y3="4">b</points>'),
        (read_point_tags, '<point x="__import__(1)" y="2">b</point>'),
        (read_point_tags, '<point x="-1" y="2">b</point>'),
        (read_point_tags, '<point x="1e3" y="2">b</point>'),
        (read_point_tags, '<point x="nan" y="2">b</point>'),
        (read_point_tags, '<point x="١" y="2">b</point>'),
        (read_point_triples, '<points coords="1 1 534">b</points>'),
        (read_point_triples, '<points coords="1 1 534 262 2">b</points>'),
        (read_point_triples, '<point x="1" y="2">b</point>'),
        (read_point_triples, '<points coords="1 1 53444 262">b</points>'),
        (thought_through, "<think>Is it [1, 2]? Let me see"),
        (thought_through, "Well. <think>Is it"),
        (read_items, "[1, 2, 3, 4]"),
        (read_items, '[{"bbox_2d": [1, 2, 3, NaN]}]'),
        (read_items, "[{'bbox_2d': [1, 2, 3, 4]}]"),
        (read_items, '[{"a": 1}] and [{"a": 2}]'),
        (read_items, "```json\n[]\n```\n```json\n[]\n```"),
        (read_items, '[{"a": 1, "a": 2}]'),
        (read_items, "[" * 50 + "]" * 50),
        (read_items, "The box is (1, 2, 3, 4)."),
    ],
)
def test_forms_that_are_refused(read: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ReplyError):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        "", " \n", "None.", "none", "0", "There are none.", "There are no cats in the image.", "There is no \"red cat\" in this picture.",
        "There are 0 cats.", "No cats found.", "No cats are visible in the image.", "This isn't in the image.", "**None**",
        "I don\u2019t see any cats in this image.", "The image does not contain any cats.", "The picture shows no cat.",
        "The cat is not visible.", "There isn't a cat on the sofa.", "Nothing found.",
    ],
)  # fmt: skip
def test_sentences_that_say_that_there_is_none(text: str) -> None:
    assert says_none(text)
    assert read_items(text) == read_point_tags(text) == read_point_triples(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, I can't help with that.", "The cat is on the left sofa.", "There are two cats, top left and centre.",
        "There is a cat.", "I can't see an image.", "There is no image.", "No image provided.", "The image is not visible.",
        "There is no doubt that the cat is on the sofa.", "There is no dog but a cat in the centre.", "No.", "No problem.", "Sure!",
        "There are no cats on the sofa. One is on the floor.", "There are no cats, only a dog.", "Yes", "I cannot determine that.",
        "There is no way to tell.", "Here: []", "no cats " * 100, "I cannot detect any objects because of my policy",
        "I don't see an attached file", "There is no question that the cat is on the sofa", "There is no cat in the upper half only in the lower half",
    ],
)  # fmt: skip
def test_words_that_say_anything_else_are_refused(text: str) -> None:
    assert not says_none(text)
    for read in (read_items, read_point_tags, read_point_triples):
        with pytest.raises(ReplyError):
            read(text)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("There is no text in the image.", []), ("The image does not contain any text.", []), ("NOTHING\nFOUND", ["NOTHING", "FOUND"]),
        ("No dogs found", ["No dogs found"]), ("SORRY, WE ARE CLOSED", ["SORRY, WE ARE CLOSED"]), ("NO EXIT", ["NO EXIT"]),
        ("I'm sorry, I can't read this.", None), ("I cannot read the text in this picture.", None), ("As an AI, I do not", None),
        ("I\u2019m unable to view images.\nTry again.", None), ("Unable to read the text.", None), ("UNABLE TO PARK", ["UNABLE TO PARK"]),
        ("The text in the image is too blurry to read.", None),
    ],
)  # fmt: skip
def test_excuses_are_no_text_of_the_picture(text: str, lines: list[str] | None) -> None:
    if lines is not None:
        assert read_lines(text) == lines
        return
    with pytest.raises(ReplyError, match="excuse"):
        read_lines(text)


def test_the_last_line_of_a_reply_that_was_cut_off_is_left_out() -> None:
    assert read_lines("EXIT\nGATE 7\nTERMI", cut=True) == ["EXIT", "GATE 7"]


@pytest.mark.parametrize("value", [True, "3", None, [1], 1e999, 10**400, float("nan")])
def test_coordinates_are_numbers(value: Any) -> None:
    with pytest.raises(ReplyError):
        read_numbers({"point_2d": [1, value]}, "point_2d", 2)


PIECES = st.sampled_from(
    ['<point x="', '<points x1="', '<points coords="', '"', '" y="', '" y1="', "1 1 10 20", "55.5", ">", "</point>", "</points>",
     "/>", "[", "]", "{", "}", '"bbox_2d":', '"point_2d":', ",", "1e999", "-3", "NaN", "```json\n", "```", " ", "\n", "none", "\x00"]
)  # fmt: skip
HOSTILE = st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=25).map("".join))


@given(text=HOSTILE, cut=st.booleans())
@settings(max_examples=300, deadline=None)
def test_whatever_a_model_writes_is_read_or_refused(text: str, cut: bool) -> None:
    for read in (read_point_tags, read_point_triples):
        try:
            pairs = read(text, cut=cut)
        except ReplyError:
            continue
        assert all(0 <= value < 10_000 for pair in pairs for value in pair)
    try:
        for item in read_items(thought_through(text), cut=cut):
            assert np.isfinite(read_numbers(item, "bbox_2d", 4)).all()
    except ReplyError:
        pass
    with contextlib.suppress(ReplyError):
        assert all(line == " ".join(line.split()) != "" for line in read_lines(text, cut=cut))


@given(
    points=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), max_size=12),
    kept=st.integers(0, 400),
)
def test_cutting_a_reply_off_never_invents_points(points: list[tuple[int, int]], kept: int) -> None:
    triples = " ".join(f"{k} {x:03} {y:03}" for k, (x, y) in enumerate(points, 1))
    text = f'<points coords="{" ".join(filter(None, ("1", triples)))}">cats</points>'
    found = read_point_triples(text[:kept], cut=True) if text[:kept].startswith("<points ") else []
    assert found == points[: len(found)]
    tenths = [(x / 10, y / 10) for x, y in points]
    named = " ".join(f'x{k}="{x}" y{k}="{y}"' for k, (x, y) in enumerate(tenths, 1))
    text = f'<points {named} alt="cats">cats</points>'
    found = read_point_tags(text[:kept], cut=True) if text[:kept].startswith("<points ") else []
    assert found == tenths[: len(found)]
    listed = json.dumps([{"point_2d": point, "label": "a"} for point in points])
    items = read_items(listed[: kept + 1], cut=True)
    assert [tuple(item["point_2d"]) for item in items] == points[: len(items)]


def test_long_replies_are_read_in_linear_time() -> None:
    started = time.monotonic()
    for text in (
        "<points " * 12_000,
        '<points x1="1" ' * 6_000,
        "<point" + " " * 90_000,
        "```json\n" * 12_000,
        "[{" * 40_000,
    ):
        for read in (read_point_tags, read_point_triples, read_items):
            for cut in (False, True):
                with pytest.raises(ReplyError):
                    read(text, cut=cut)
                    raise ReplyError
    assert time.monotonic() - started < 20
    with pytest.raises(ReplyError, match="longer"):
        thought_through("a" * (_replies.MAX_CHARS + 1))
