"""What servers do to replies with calls in them, and how the same reply comes out of each of their forms."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from visenv.leaderboard import RunSettings, read_records, run_bench

from visenv.completions import Completion
from visenv.completions._replies import StreamedReply, cut_at_stop, read_reply

sys.path.insert(0, str(Path(__file__).parents[1]))
from fixtures._endpoint import Said, chat_body, message_body, serving

CALL = '<tool_call>\n{"name": "submit", "arguments": {}}\n</tool_call>'


@pytest.mark.parametrize(
    ("content", "stop", "finish", "left", "ended"),
    [
        (f"{CALL}\nand on{CALL}", ["</tool_call>"], "length", CALL, "stop"),
        ("no call", ["</tool_call>"], "length", "no call", "length"),
        ("a] b}", ["}", "]"], "stop", "a]", "stop"),
        (f"{CALL}!", [], "stop", f"{CALL}!", "stop"),
    ],
)
def test_a_reply_is_cut_where_a_server_that_knows_the_strings_would_have_ended_it(content, stop, finish, left, ended):
    cut = cut_at_stop(Completion(content=content, finish=finish, completion_tokens=9), stop)
    assert (cut.content, cut.finish, cut.completion_tokens) == (left, ended, 9)


def test_native_calls_are_the_same_from_any_server_and_in_pieces():
    function = {"arguments": "{}", "name": "submit"}
    whole = {"choices": [{"message": {"tool_calls": [{"id": "x1", "function": function, "type": "function"}]}}]}
    pieces = StreamedReply("here")
    pieces.add(
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "y2", "type": "function", "function": function}]}}]}
    )
    pieces.add({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    found = [read_reply(whole, where="here").tool_calls, pieces.whole().tool_calls]
    assert json.dumps(found[0]) == json.dumps(found[1])
    assert found[0] == ({"type": "function", "function": {"name": "submit", "arguments": "{}"}},)


def play(out, said, options=""):
    """Give the record of an episode in which the endpoint always says the same, and what it was asked first."""
    with serving(lambda body, number: said) as endpoint:
        agent = f"zero-shot:model=m,url={endpoint.url},patience_s=1{options}"
        run_bench(RunSettings(agents=[agent], tasks=["EmojiRef"], limit=1, keep_images=0), out)
    (record,) = read_records(out)
    return record, endpoint.asked[0]


def native(name, arguments):
    return {"id": "x", "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("calls", "error"),
    [
        ([native("submit_none", "{}")], None),
        ([native("submit_none", "{}"), native("submit", "{}")], None),  # a reply ends at its first call
        ([native("submit_none", "{")], "no_call"),
        ([{"function": 3}], "no_call"),
        ([], "no_call"),
    ],
)
def test_calls_taken_out_unasked_are_put_back_as_the_model_wrote_them(tmp_path, calls, error):
    record, asked = play(tmp_path / "run", Said(body=message_body({"content": "Hm.", "tool_calls": calls})))
    assert "tools" not in asked and not record.failed
    assert record.transcript[0].error == error and record.transcript[0].reply.startswith("Hm.")


def test_a_server_that_takes_no_stop_strings_gives_the_same_episode(tmp_path):
    call = '<tool_call>\n{"name": "submit_none", "arguments": {}}\n</tool_call>'
    cut, asked = play(tmp_path / "a", Said(body=chat_body(call)))
    assert asked["stop"] == ["</tool_call>"]
    uncut, asked = play(tmp_path / "b", Said(body=chat_body(f"{call}\n{call}", "length")), ",send_stop=false")
    assert "stop" not in asked and uncut == cut and cut.reason == "submitted"
