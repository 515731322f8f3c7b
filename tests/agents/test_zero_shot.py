"""A model behind an endpoint plays: every fault of it ends in an observation, in another try, or in an episode without a score."""

from __future__ import annotations

import base64
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage
from visenv.leaderboard import Patience, RunSettings, run_bench, verify_run
from visenv.leaderboard.records import EpisodeRecord
from visenv.leaderboard.rundir import read_records

from visenv import make_agent
from visenv.errors import BadValueError, UnknownNameError

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures._endpoint import Endpoint, Said, chat_body, message_body, serving, stream_events

DETECT = '<think>A look first.</think>\n<tool_call>{"name": "detect", "arguments": {"images": ["img_0"], "phrase": "dog"}}</tool_call>'
NONE = '<tool_call>{"name": "submit_none", "arguments": {}}</tool_call>'
NATIVE_NONE = {"type": "function", "id": "a", "function": {"name": "submit_none", "arguments": "{}"}}
PATIENCE = Patience(retries=0, wait_s=0.0)
Answer = Callable[[dict[str, Any], int], Said]


def turn_of(body: dict[str, Any]) -> int:
    """Return which turn a request asks for, from 0."""
    return sum(message["role"] == "assistant" for message in body["messages"])


def play(
    answer: Answer,
    out: Path,
    *,
    options: str = "",
    waits: str = ",timeout_s=5,patience_s=5",
    limit: int = 1,
    **settings: Any,
) -> tuple[list[EpisodeRecord], Endpoint]:
    """Play EmojiRef against an endpoint."""
    with serving(answer) as endpoint:
        agent = f"zero-shot:model=m,url={endpoint.url}{waits}{options}"
        given = {"tasks": ["EmojiRef"], "limit": limit, "keep_images": 0, **settings}
        run_bench(RunSettings(agents=[agent], **given), out, patience=PATIENCE)
    return list(read_records(out)), endpoint


def says(*texts: str | None) -> Answer:
    """Return what gives one text a turn, the last one from then on."""
    return lambda body, _: Said(body=chat_body(texts[min(turn_of(body), len(texts) - 1)]))


@pytest.mark.parametrize("options", ["", ",stream"], ids=["whole", "in pieces"])
def test_a_model_plays_an_episode(tmp_path: Path, options: str) -> None:
    def answer(body: dict[str, Any], number: int) -> Said:
        text = (DETECT, NONE)[turn_of(body)]
        if not body.get("stream"):
            return Said(body=chat_body(text))
        return Said(pieces=stream_events([{"content": text[:40]}, {"content": None}, {"content": text[40:]}]))

    (record,), endpoint = play(answer, tmp_path / "run", options=f"{options},vision=qwen2.5-vl,input_price=2")
    assert (record.reason, record.failure, [t.reply for t in record.transcript]) == ("submitted", None, [DETECT, NONE])
    assert [t.call["name"] for t in record.transcript if t.call] == ["detect", "submit_none"]
    assert record.measured["prompt_tokens"] == 200 and record.measured["completion_tokens"] == 20
    assert record.measured["cost_usd"] == pytest.approx(200 * 2 / 1e6)
    first, second = endpoint.asked
    assert first["stop"] == ["</tool_call>"] and first["temperature"] == 0 and first["model"] == "m"
    assert bool(first.get("stream")) == bool(options)
    system, question = first["messages"]
    assert system["role"] == "system" and "submit_none" in system["content"]
    kinds = [part["type"] for part in question["content"]]
    assert kinds == ["text", "image_url", "text"]
    url = question["content"][1]["image_url"]["url"]
    picture = PilImage.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    assert picture.size == (504, 504), "sent in the size in which the model sees it"
    assert record.transcript[0].visual_tokens == 18 * 18
    assert [m["role"] for m in second["messages"]] == ["system", "user", "assistant", "user"]
    assert second["messages"][2]["content"] == [{"type": "text", "text": DETECT}]


def test_a_stop_string_that_the_server_leaves_out_is_restored(tmp_path: Path) -> None:
    (record,), _ = play(says(NONE.removesuffix("</tool_call>")), tmp_path / "run")
    assert (record.reason, record.transcript[0].reply) == ("submitted", NONE)


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ("", {"temperature", "max_tokens", "stop"}),
        (",temperature=0.7,top_p=0.9", {"temperature", "max_tokens", "stop", "seed", "top_p"}),
        (",max_tokens=0,grammar=json,temperature=1", {"temperature", "seed"}),
        (",send_stop=false", {"temperature", "max_tokens"}),
    ],
)
def test_fields_that_change_nothing_are_not_sent(tmp_path: Path, options: str, sent: set[str]) -> None:
    """Hosted models refuse requests for a field that they do not know."""
    reply = '{"name": "submit_none", "arguments": {}}' if "json" in options else NONE
    (record,), endpoint = play(says(reply), tmp_path / "run", options=options)
    assert (record.reason, set(endpoint.asked[0])) == ("submitted", sent | {"model", "messages"})


def test_what_was_cut_off_is_not_completed(tmp_path: Path) -> None:
    cut = chat_body(NONE.removesuffix("</tool_call>"), finish="length")
    (record,), _ = play(lambda body, _: Said(body=cut if turn_of(body) == 0 else chat_body(NONE)), tmp_path / "run")
    assert [t.error for t in record.transcript] == ["unclosed", None]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "in pieces"])
def test_native_calls(tmp_path: Path, stream: bool) -> None:
    def answer(body: dict[str, Any], number: int) -> Said:
        assert {t["function"]["name"] for t in body["tools"]} >= {"detect", "submit_none"}
        if not stream:
            return Said(body=message_body({"content": None, "tool_calls": [NATIVE_NONE]}, "tool_calls"))
        head = {"index": 0, "id": "a", "type": "function", "function": {"name": "submit_none", "arguments": ""}}
        pieces = [{"tool_calls": [head]}, {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}]
        return Said(pieces=stream_events(pieces, "tool_calls"))

    (record,), endpoint = play(answer, tmp_path / "run", options=",grammar=openai" + ",stream" * stream)
    assert (record.reason, len(endpoint.asked)) == ("submitted", 1)
    assert "stop" not in endpoint.asked[0]


FAULTS_OF_THE_MODEL = {
    "empty content": (chat_body(""), "no_call"),
    "no content": (chat_body(None), "no_call"),
    "words only": (chat_body("I cannot see a dog."), "no_call"),
    "endless repetition, cut by the server": (chat_body("dog " * 2000, finish="length"), "no_call"),
    "endless repetition, sent whole": (chat_body("dog " * 60_000), "too_long"),
    "a call that is no JSON": (chat_body('<tool_call>{"name": "submit_none", "arguments": {</tool_call>'), "bad_json"),
    "a tool that is none": (chat_body('<tool_call>{"name": "win", "arguments": {}}</tool_call>'), "unknown_tool"),
    "half surrogates": (chat_body("\ud800"), "no_call"),
}


@pytest.mark.parametrize("body", FAULTS_OF_THE_MODEL.values(), ids=FAULTS_OF_THE_MODEL.keys())
def test_faults_of_the_model_are_observations(tmp_path: Path, body: tuple[bytes, str]) -> None:
    fault, code = body
    (record,), endpoint = play(
        lambda asked, _: Said(body=chat_body(NONE) if turn_of(asked) else fault), tmp_path / "run"
    )
    assert [t.error for t in record.transcript] == [code, None]
    assert record.transcript[0].feedback.startswith(f"Error ({code})")
    assert (record.reason, record.failed) == ("submitted", False)
    assert endpoint.asked[1]["messages"][-1]["content"][0]["text"].find(code) > 0, "and the model is told"


@pytest.mark.parametrize("more", [" {call}", "\nDone."], ids=["two calls at once", "a call after the end"])
def test_more_than_a_call_where_nothing_ends_a_reply(tmp_path: Path, more: str) -> None:
    """The grammar `json` has no stop strings, so nothing is cut off: the reply is a mistake."""
    call = '{"name": "submit_none", "arguments": {}}'
    (record,), _ = play(says(call + more.replace("{call}", call), call), tmp_path / "run", options=",grammar=json")
    assert record.transcript[0].error in ("text_around", "bad_json") and record.transcript[1].error is None


def test_two_native_calls_at_once(tmp_path: Path) -> None:
    both = message_body({"content": None, "tool_calls": [NATIVE_NONE, NATIVE_NONE]}, "tool_calls")
    one = message_body({"content": "", "tool_calls": [NATIVE_NONE]}, "tool_calls")
    (record,), _ = play(
        lambda body, _: Said(body=one if turn_of(body) else both), tmp_path / "run", options=",grammar=openai"
    )
    assert [t.error for t in record.transcript] == ["two_calls", None]


def test_a_model_that_never_calls_ends_as_its_own_error(tmp_path: Path) -> None:
    (record,), endpoint = play(says("No."), tmp_path / "run")
    assert (record.reason, record.failed, record.score, len(endpoint.asked)) == ("agent_error", False, 0.0, 5)


DONE = Said(body=chat_body(NONE))
FAULTS_THAT_PASS = {
    "429 with a wish": Said(status=429, headers={"retry-after": "0.2"}, body=b'{"error": {"message": "slow down"}}'),
    "429 with an odd wish": Said(status=429, headers={"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}),
    "500": Said(status=500, body=b"<html>oops</html>"),
    "503": Said(status=503),
    "408": Said(status=408),
    "a body that breaks off": Said(body=chat_body(NONE)[:50], headers={"content-length": "500"}, hang_up=True),
    "truncated JSON": Said(body=chat_body(NONE)[:50]),
    "a reply that the server gave up": Said(body=chat_body(NONE, finish="abort")),
    "no answer at all": Said(hang_up=True, headers={"content-length": "10"}),
}


@pytest.mark.parametrize("fault", FAULTS_THAT_PASS.values(), ids=FAULTS_THAT_PASS.keys())
def test_faults_that_pass_are_waited_out(tmp_path: Path, fault: Said) -> None:
    begin = time.monotonic()
    (record,), endpoint = play(lambda _, number: DONE if number >= 2 else fault, tmp_path / "run")
    assert (record.reason, record.failed, len(endpoint.asked), record.attempts) == ("submitted", False, 3, 1)
    if "retry-after" in fault.headers and fault.headers["retry-after"] == "0.2":
        assert time.monotonic() - begin >= 0.4


STREAMED_FAULTS = {
    "breaks off": Said(pieces=stream_events([{"content": "<tool_call>"}], finish=None)[:1]),
    "a piece that is no JSON": Said(pieces=(b"data: {\n\n",)),
    "an error in the middle": Said(pieces=(b'data: {"error": {"message": "out of memory"}}\n\n',)),
}


@pytest.mark.parametrize("fault", STREAMED_FAULTS.values(), ids=STREAMED_FAULTS.keys())
def test_streams_that_break_are_asked_again(tmp_path: Path, fault: Said) -> None:
    whole = Said(pieces=stream_events([{"content": NONE}]))
    (record,), endpoint = play(lambda _, n: whole if n else fault, tmp_path / "run", options=",stream")
    assert (record.reason, len(endpoint.asked)) == ("submitted", 2)


@pytest.mark.parametrize("options", ["", ",stream"], ids=["whole", "in pieces"])
def test_a_server_that_hangs_is_given_up(tmp_path: Path, options: str) -> None:
    slow = Said(body=chat_body(NONE), wait_s=60)
    begin = time.monotonic()
    (record,), endpoint = play(
        lambda _, n: slow, tmp_path / "run", options=options, waits=",timeout_s=0.3,patience_s=0.5"
    )
    assert (record.reason, record.failed, record.score) == ("infrastructure_error", True, None)
    assert "0.3 s" in (record.failure or "") and time.monotonic() - begin < 15 and len(endpoint.asked) >= 2


def test_a_stream_without_end_is_cut(tmp_path: Path) -> None:
    piece = stream_events([{"content": "dog " * 1000}])[0]
    endless = Said(pieces=(), endless=piece)
    (record,), _ = play(
        lambda body, _: Said(pieces=stream_events([{"content": NONE}])) if turn_of(body) else endless,
        tmp_path / "run", options=",stream",
    )  # fmt: skip
    assert [t.error for t in record.transcript] == ["too_long", None]
    assert record.reason == "submitted"


FAULTS_THAT_STAY = {
    "a wrong key": Said(status=401, body=b'{"error": {"message": "bad key"}}'),
    "no such model": Said(status=404),
    "a bad request": Said(status=400, body=b'{"error": {"message": "images are not supported"}}'),
    "a redirect": Said(status=302, headers={"location": "http://127.0.0.1:1/"}),
    "no choices": Said(body=b'{"choices": []}'),
    "content that is no text": Said(body=message_body({"content": 3})),
    "calls that are no list": Said(body=message_body({"content": "", "tool_calls": {"a": 1}})),
    "withheld": Said(body=chat_body("", finish="content_filter")),
    "a list": Said(body=b"[1, 2]"),
    "too many bytes": Said(body=chat_body("x" * 2**23)),
    "packed": Said(body=b"123", headers={"content-encoding": "gzip"}),
}


@pytest.mark.parametrize("fault", FAULTS_THAT_STAY.values(), ids=FAULTS_THAT_STAY.keys())
def test_faults_that_stay_fail_the_episode_at_once(tmp_path: Path, fault: Said) -> None:
    (record,), endpoint = play(lambda _, number: fault, tmp_path / "run")
    assert (record.reason, record.failed, record.score, record.row) == ("infrastructure_error", True, None, None)
    assert record.failure and len(endpoint.asked) == 1
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["rows"][0]["failures"] == 1 and summary["rows"][0]["primary"] is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"code": "context_length_exceeded", "message": "too many tokens"}}',
        b'{"message": "This model\'s maximum context length is 4096 tokens. However, you requested 5000 tokens"}',
        b'{"error": {"message": "The input (9000 tokens) is longer than the model\'s context length (8192 tokens)."}}',
    ],
)
def test_a_full_context_ends_the_episode_as_token_limit(tmp_path: Path, body: bytes) -> None:
    full = Said(status=400, body=body)
    (record,), endpoint = play(
        lambda asked, _: full if turn_of(asked) else Said(body=chat_body(DETECT)), tmp_path / "run"
    )
    assert (record.reason, record.failed, len(record.transcript)) == ("token_limit", False, 1)
    assert record.score is not None and len(endpoint.asked) == 2


@pytest.mark.parametrize(
    "message",
    [
        "'max_tokens' or 'max_completion_tokens' is too large: 40960. This model's maximum context length is 40960 tokens",
        "The input exceeds the limit of 1 image per prompt.",
    ],
)
def test_a_setting_of_ours_that_is_refused_is_no_score(tmp_path: Path, message: str) -> None:
    full = Said(status=400, body=json.dumps({"error": {"message": message}}).encode())
    (record,), _ = play(lambda body, number: full, tmp_path / "run")
    assert (record.reason, record.failed, record.score) == ("infrastructure_error", True, None)


def test_a_full_context_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    full = Said(pieces=(b'data: {"error": {"message": "maximum context length is 4096 tokens", "code": 400}}\n\n',))
    detect = Said(pieces=stream_events([{"content": DETECT}]))
    (record,), _ = play(lambda body, _: full if turn_of(body) else detect, tmp_path / "run", options=",stream")
    assert (record.reason, record.failed) == ("token_limit", False)


def test_a_long_reply_in_small_pieces(tmp_path: Path) -> None:
    long = stream_events([{"content": "ab", "padding": "x" * 250}] * 34_000 + [{"content": NONE}])
    (record,), _ = play(lambda *_: Said(pieces=long), tmp_path / "run", options=",stream", waits=",timeout_s=60")
    assert (record.reason, record.failed) == ("submitted", False)


def test_what_fails_on_our_side_of_the_request_is_no_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(image: Any) -> str:
        raise MemoryError("no room for a picture")

    monkeypatch.setattr("visenv.completions._openai.to_data_url", broken)
    (record,), _ = play(says(NONE), tmp_path / "run")
    assert (record.failed, record.score) == (True, None) and "no room" in (record.failure or "")


def test_a_call_that_the_model_left_open_stays_open(tmp_path: Path) -> None:
    """Where the server was not told what ends a reply, or says that none of it did, nothing was left out."""
    opened = NONE.removesuffix("</tool_call>")
    (record,), _ = play(says(opened, NONE), tmp_path / "a", options=",send_stop=false")
    assert [t.error for t in record.transcript] == ["unclosed", None]
    told = json.loads(chat_body(opened))
    told["choices"][0]["stop_reason"] = None
    (record,), _ = play(
        lambda body, _: Said(body=chat_body(NONE) if turn_of(body) else json.dumps(told).encode()), tmp_path / "b"
    )
    assert [t.error for t in record.transcript] == ["unclosed", None]


def test_what_is_written_behind_a_call_by_a_server_that_knows_no_stop_strings(tmp_path: Path) -> None:
    (record,), _ = play(says(f"{DETECT}\n{NONE}", NONE), tmp_path / "run")
    assert [t.reply for t in record.transcript] == [DETECT, NONE] and record.reason == "submitted"


def test_a_call_that_was_drafted_in_thoughts_is_not_made(tmp_path: Path) -> None:
    apart = message_body({"reasoning_content": f"Perhaps {DETECT.partition(chr(10))[2]}? No.", "content": NONE})
    (record,), _ = play(lambda *_: Said(body=apart), tmp_path / "run")
    assert record.reason == "submitted" and len(record.transcript) == 1


def test_endless_repetition_does_not_fill_the_next_prompts(tmp_path: Path) -> None:
    _, endpoint = play(says("dog " * 60_000, NONE), tmp_path / "run")
    (said,) = (m for m in endpoint.asked[1]["messages"] if m["role"] == "assistant")
    assert len(json.dumps(said)) < 10_000 and "more characters" in json.dumps(said)


def test_native_calls_are_read_as_they_are_recorded(tmp_path: Path) -> None:
    message = {"content": "Intervals: " + "[0, 5) " * 20, "tool_calls": [NATIVE_NONE]}
    (record,), _ = play(
        lambda *_: Said(body=message_body(message, "tool_calls")), tmp_path / "run", options=",grammar=openai"
    )
    assert record.reason == "submitted" and verify_run(tmp_path / "run").problems == ()


def test_a_model_is_not_shown_its_words_as_json(tmp_path: Path) -> None:
    words = message_body({"content": "I see a dog.", "tool_calls": []})
    native = message_body({"content": None, "tool_calls": [NATIVE_NONE]}, "tool_calls")
    _, endpoint = play(
        lambda body, _: Said(body=native if turn_of(body) else words), tmp_path / "run", options=",grammar=openai"
    )
    assert endpoint.asked[1]["messages"][2] == {"role": "assistant", "content": "I see a dog."}


def test_tokens_of_tries_that_failed_are_counted(tmp_path: Path) -> None:
    down = Said(status=400, body=b'{"error": {"message": "out of memory"}}')

    def answer(body: dict[str, Any], number: int) -> Said:
        return down if number == 1 else Said(body=chat_body(NONE if turn_of(body) else DETECT))

    with serving(answer) as endpoint:
        settings = RunSettings(
            agents=[f"zero-shot:model=m,url={endpoint.url}"], tasks=["EmojiRef"], limit=1, keep_images=0
        )
        run_bench(settings, tmp_path / "run", patience=Patience(retries=1, wait_s=0.0))
    (record,) = read_records(tmp_path / "run")
    assert (record.attempts, record.failed, record.measured["prompt_tokens"]) == (2, False, 300)


def test_a_context_of_known_length(tmp_path: Path) -> None:
    (record,), endpoint = play(says(DETECT), tmp_path / "run", options=",context_tokens=105")
    assert (record.reason, len(endpoint.asked)) == ("token_limit", 1)


@pytest.mark.parametrize("status", [200, 400])
def test_the_key_is_sent_and_nowhere_written(tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYLLM", "sk-123456789")  # a name that says nothing

    def leak(body: dict[str, Any], number: int) -> Said:
        return Said(status=status, body=b'{"error": {"message": "bad key sk-123456789"}}')

    (record,), endpoint = play(leak, tmp_path / "run", options=",key_env=MYLLM")
    assert b"bearer sk-123456789" in endpoint.headers[0].lower()
    assert record.failed
    for path in (tmp_path / "run").rglob("*.json*"):
        assert "sk-123456789" not in path.read_text()


def test_a_prompt_tells_nothing_of_the_machine_that_it_comes_from(tmp_path: Path) -> None:
    """The official client adds its own headers, for its makers: system, processor, Python and so on."""
    _, endpoint = play(says(NONE), tmp_path / "run")
    sent = {line.split(b":")[0].lower() for line in endpoint.headers[0].splitlines()[1:]} - {b""}
    assert {name for name in sent if b"stainless" in name} <= {b"x-stainless-retry-count", b"x-stainless-read-timeout"}
    assert {b"host", b"accept", b"content-type", b"content-length"} <= sent
    assert b"accept-encoding: identity" in endpoint.headers[0].lower().splitlines()


def test_many_wait_at_the_same_time_and_none_for_the_slowest(tmp_path: Path) -> None:
    ended = []

    def answer(body: dict[str, Any], number: int) -> Said:
        if turn_of(body) < 3:
            # The first reply comes when all other episodes are over.
            return Said(body=chat_body("Well."), wait_for=lambda: number > 0 or len(ended) == 39, wait_s=0.05)
        ended.append(number)
        return Said(body=chat_body(NONE))

    records, endpoint = play(answer, tmp_path / "run", options=",in_flight=40", waits=",timeout_s=60", limit=40)
    assert [r.reason for r in records] == ["submitted"] * 40
    assert endpoint.most_running > 4


def equal_but_for_measures(a: list[EpisodeRecord], b: list[EpisodeRecord]) -> bool:
    def key(r: EpisodeRecord) -> Any:
        return r.key

    return sorted(a, key=key) == sorted(b, key=key)


def test_a_run_is_repeated_without_its_model(tmp_path: Path) -> None:
    texts = np.random.default_rng(0)

    def answer(body: dict[str, Any], number: int) -> Said:
        return Said(body=chat_body(f"Try {texts.integers(10**9)}. " + (NONE if turn_of(body) else DETECT)))

    first, endpoint = play(answer, tmp_path / "a", options=f",temperature=0.7,cache={tmp_path / 'kept'}", limit=3)
    assert len(endpoint.asked) == 6
    again, quiet = play(answer, tmp_path / "b", options=f",temperature=0.7,cache={tmp_path / 'kept'}", limit=3)
    assert not quiet.asked and equal_but_for_measures(first, again)
    agent = f"zero-shot:model=m,temperature=0.7,replay={tmp_path / 'kept'}"
    run_bench(
        RunSettings(agents=[agent], tasks=["EmojiRef"], limit=3, keep_images=0), tmp_path / "c", patience=PATIENCE
    )
    replayed = list(read_records(tmp_path / "c"))
    assert equal_but_for_measures(first, replayed), "byte for byte, under the same name"
    lines = [sorted(replace(r, measured={}, attempts=1).to_json() for r in records) for records in (first, replayed)]
    assert lines[0] == lines[1]
    others = f"zero-shot:model=m,temperature=0.8,replay={tmp_path / 'kept'}"
    run_bench(
        RunSettings(agents=[others], tasks=["EmojiRef"], limit=1, keep_images=0), tmp_path / "d", patience=PATIENCE
    )
    (missing,) = read_records(tmp_path / "d")
    assert missing.failed and "No reply to this prompt is kept" in (missing.failure or "")


def test_a_damaged_reply_is_asked_again_and_never_replayed(tmp_path: Path) -> None:
    play(says(NONE), tmp_path / "a", options=f",cache={tmp_path / 'kept'}")
    (file,) = (path for path in (tmp_path / "kept").rglob("*.json") if path.parent.name != "models")
    whole = file.read_bytes()
    for content in (b"", b"[" * 5000, b'{"format": "visenv completion 1"}', whole[:-9], b"\xff"):
        file.write_bytes(content)
        agent = f"zero-shot:model=m,replay={tmp_path / 'kept'}"
        out = tmp_path / f"b{len(content)}"
        run_bench(RunSettings(agents=[agent], tasks=["EmojiRef"], limit=1, keep_images=0), out, patience=PATIENCE)
        (record,) = read_records(out)
        assert record.failed and "damaged" in (record.failure or "") and str(tmp_path) not in (record.failure or "")
        with pytest.warns(RuntimeWarning, match="damaged"):
            (record,), endpoint = play(says(NONE), tmp_path / f"c{len(content)}", options=f",cache={tmp_path / 'kept'}")
        assert record.reason == "submitted" and len(endpoint.asked) == 1 and file.read_bytes() == whole


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("url=http://x,grammar=latin", UnknownNameError),
        ("url=http://x,coordinates=miles", UnknownNameError),
        ("url=http://x,vision=eagle", UnknownNameError),
        ("url=http://x,backend=none", UnknownNameError),
        ("url=ftp://x", BadValueError),
        ("url=http://bob:pass@x/v1", BadValueError),
        ("url=http://", BadValueError),
        ("backend=transformers,max_tokens=0", BadValueError),
        ("url=http://x,temperature=hot", BadValueError),
        ("url=http://x,key_env=NOT_SET_ANYWHERE", BadValueError),
        ("url=http://x,device=cuda", BadValueError),
        ("url=http://x,cache=a,replay=b", BadValueError),
        ("replay=.,temprature=0.9", BadValueError),
        ("replay=/nowhere/at/all", BadValueError),
    ],
)
def test_wrong_options_are_refused_before_anything_is_played(options: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        make_agent(f"zero-shot:model=m,{options}")


@pytest.fixture
def anywhere() -> Iterator[Endpoint]:
    with serving(says(NONE)) as endpoint:
        yield endpoint


def test_two_runs_of_one_model_at_two_addresses_are_one_run(tmp_path: Path, anywhere: Endpoint) -> None:
    first, _ = play(says(NONE), tmp_path / "run", limit=2)
    agent = f"zero-shot:model=m,url={anywhere.url}"
    summary = run_bench(RunSettings(agents=[agent], tasks=["EmojiRef"], limit=2, keep_images=0), tmp_path / "run")
    assert summary.complete and not anywhere.asked and first[0].agent == "zero-shot:model=m"


def test_without_tools_the_same_model_answers_alone(tmp_path: Path) -> None:
    (record,), endpoint = play(says(NONE), tmp_path / "run", toolset="none")
    assert record.reason == "submitted"
    assert "detect" not in endpoint.asked[0]["messages"][0]["content"]
