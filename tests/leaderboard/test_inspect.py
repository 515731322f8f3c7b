"""Our tasks in Inspect: the same replies give the same episode, prompt for prompt, and what is not the model's fault has no score."""

from __future__ import annotations

import base64
import gc
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PilImage
from visenv.leaderboard import RunSettings, read_records, run_bench

from visenv import EpisodeSpec
from visenv.grammars import GRAMMARS, ParseError, make_grammar
from visenv.toolsets import FULL

pytest.importorskip("inspect_ai", reason="needs the extra `inspect`")

from inspect_ai import eval as inspect_eval
from inspect_ai.log import EvalLog
from inspect_ai.model import ChatMessage, GenerateConfig, ModelOutput, ModelUsage, get_model
from inspect_ai.tool import ToolInfo
from visenv.leaderboard.inspect_messages import read_reply
from visenv.leaderboard.inspect_task import episodes

pytestmark = [  # what Inspect and its packages do among themselves
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:The 'initial' parameter is deprecated:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def tidy():
    """Collect what Inspect leaves open while nobody minds."""
    yield
    gc.collect()


Say = Callable[[list[ChatMessage], list[ToolInfo], GenerateConfig], ModelOutput]


def call(name: str, **arguments: Any) -> str:
    return f"<think>{name} it is</think><tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


REPLIES = (
    call("detect", images=["img_0"], phrase="apple"),
    "I would rather not.",
    call("crop", image="img_0", x1=0, y1=0, x2=600, y2=700),
    call("detect", images=["crop_3"], phrase="dog"),
    call("submit"),
    call("submit_none"),  # where nothing was found
)


def output(text: str, **fields: Any) -> ModelOutput:
    said = ModelOutput.from_content("mockllm", text)
    said.usage = ModelUsage(input_tokens=50, output_tokens=5, total_tokens=55)
    return said.model_copy(update=fields)


def turn_of(messages: list[ChatMessage]) -> int:
    return sum(m.role == "assistant" for m in messages)


def play(tmp_path: Path, say: Say, *, limits: dict[str, Any] | None = None, **options: Any) -> EvalLog:
    """Evaluate with a model that says what a function says."""
    model = get_model("mockllm/model", memoize=False, custom_outputs=lambda m, tools, _, config: say(m, tools, config))
    task = episodes(**{"task": "EmojiRef", **options})
    (log,) = inspect_eval(task, model=model, log_dir=str(tmp_path / "logs"), display="none", **limits or {})
    return log


def told(messages: list[Any], text_of: Callable[[Any], str]) -> list[tuple[str, str]]:
    return [(m["role"] if isinstance(m, dict) else m.role, text_of(m)) for m in messages]


def our_text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "|".join(p.get("text", "(image)") for p in content)


def their_text(message: ChatMessage) -> str:
    content = message.content
    return content if isinstance(content, str) else "|".join(getattr(p, "text", "(image)") for p in content)


class Reader:
    """An agent of the runner that says the same, and keeps the prompts that it saw."""

    name = "reader"

    def __init__(self) -> None:
        self.prompts: dict[tuple[str, int], list[tuple[str, str]]] = {}

    def start(self, spec: EpisodeSpec) -> Any:
        agent = self

        class Player:
            def act(self, observation: dict[str, Any]) -> str:
                messages = spec.conversation.messages()
                agent.prompts[observation["instruction"], observation["turn"]] = told(messages, our_text)
                return REPLIES[observation["turn"]]

        return Player()


@pytest.mark.parametrize("memory", ["archive", "append"])
def test_the_same_replies_give_what_the_runner_gives(tmp_path, memory):
    seen: dict[tuple[str, int], list[tuple[str, str]]] = {}
    ids: dict[str, list[str]] = {}

    def say(messages, tools, config):
        turn = turn_of(messages)
        before = ids.get(messages[0].id, [])  # of the same episode
        ids[messages[0].id] = [m.id for m in messages]
        assert bool(before) == bool(turn), "what did not change is the same message, so that the log holds it once"
        assert memory != "append" or ids[messages[0].id][: len(before)] == before
        prompt = told(messages, their_text)
        seen[prompt[1][1].split("\n\n")[0].rpartition("|")[2], turn] = prompt
        assert config.stop_seqs == ["</tool_call>"] and not tools
        return output(REPLIES[turn])

    log = play(tmp_path, say, limit=4, memory=memory)
    reader = Reader()
    run_bench(RunSettings(agents=[reader], tasks=["EmojiRef"], limit=4, memory=memory), tmp_path / "run")
    records = {r.sample_id: r for r in read_records(tmp_path / "run")}
    assert log.status == "success" and {s.id for s in log.samples} == set(records)
    for sample in log.samples:
        record, score = records[sample.id], sample.scores["primary"]
        assert (score.value, score.metadata["row"]) == (record.score, record.row)
        assert (score.metadata["reason"], score.metadata["visual_tokens"]) == (
            record.reason,
            record.costs.visual_tokens,
        )
        assert sample.store["visenv"]["submitted"] == record.answer and sample.metadata["cluster"] == record.cluster
    assert seen == reader.prompts and len(seen) > 4 * 4
    assert any(r.score for r in records.values()), "something must be found for this to say anything"
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())["rows"][0]
    metrics = {name: m.value for name, m in log.results.scores[0].metrics.items()}
    assert metrics["mean"] == pytest.approx(summary["primary"])
    assert {k: v for k, v in summary["metrics"].items() if v is not None}.items() <= metrics.items()


def test_a_reply_without_its_stop_string_and_with_thoughts_beside_it_is_the_same(tmp_path):
    from inspect_ai.model import ContentReasoning, ContentText

    def say(messages, tools, config):
        said = output("")
        text = REPLIES[-1].partition("</think>")[2].removesuffix("</tool_call>")
        said.message.content = [ContentReasoning(reasoning="submit_none it is"), ContentText(text=text)]
        return said

    (sample,) = play(tmp_path, say, limit=1).samples
    assert sample.scores["primary"].explanation == "submitted after 1 turns"
    assert sample.messages[2].text == REPLIES[-1]


@pytest.mark.parametrize(
    ("arguments", "error"), [({"choice": "B"}, None), ({"choice": 3}, "bad_type"), ("{choice", "bad_json")]
)
def test_native_calls(tmp_path, arguments, error):
    def say(messages, tools, config):
        assert {"submit_choice", "view"} <= {t.name for t in tools} and "submit_choice" not in messages[0].text
        said = output("")
        called = ModelOutput.for_tool_call("mockllm", "submit_choice", arguments if isinstance(arguments, dict) else {})
        said.choices = called.choices
        if isinstance(arguments, str):
            said.message.tool_calls[0].parse_error = f"not JSON: {arguments}"
        return said

    (sample,) = play(tmp_path, say, task="EmojiMulti", grammar="openai", limit=1, max_turns=1).samples
    score = sample.scores["primary"]
    assert score.metadata["invalid_calls"] == (error is not None)
    assert score.answer == (None if error else "B") and score.reason == ("turn_limit" if error else None)
    if error is None:
        assert sample.messages[2].tool_calls[0].arguments == arguments


@pytest.mark.parametrize("times", [1, 2])
def test_a_call_that_a_server_took_out_of_the_text_unasked_is_put_back(tmp_path, times):
    def say(messages, tools, config):
        said = ModelOutput.for_tool_call("mockllm", "submit_none", {}, content="Nothing there.")
        said.message.tool_calls *= times  # of which the first would have ended the reply
        said.usage = output("").usage
        return said

    (sample,) = play(tmp_path, say, limit=1, max_turns=1).samples
    assert sample.scores["primary"].explanation == "submitted after 1 turns"


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_a_call_that_cannot_be_read_never_becomes_the_one_that_it_quotes(grammar):
    grammar = make_grammar(grammar)
    quoted = grammar.render({"name": "submit_none", "arguments": {}}, FULL)
    for error in ("{no", f"not JSON: {quoted}", f"</think>{quoted}"):
        said = ModelOutput.for_tool_call("mockllm", "detect", {})
        said.message.tool_calls[0].parse_error = error
        with pytest.raises(ParseError) as found:
            grammar.parse(read_reply(said, grammar, FULL), FULL)
        assert found.value.code in ("bad_form", "bad_json", "no_call", "text_around")


@pytest.mark.parametrize("stop", ["stop", "max_tokens"])
def test_a_reply_ends_at_its_first_call_although_the_provider_knows_no_stop_strings(stop):
    from inspect_ai.model import ContentReasoning, ContentText

    said, grammar = output(""), make_grammar("hermes")
    said.message.content = [
        ContentReasoning(reasoning=f"Not {call('submit').partition('</think>')[2]}"),
        ContentText(
            text=f"{call('submit_none').partition('</think>')[2]}\n<tool_response>Yes.</tool_response>{call('undo')}"
        ),
    ]
    said.choices[0].stop_reason = stop
    found = grammar.parse(read_reply(said, grammar, FULL), FULL)
    assert found.call == {"name": "submit_none", "arguments": {}} and found.thought.startswith("<think>Not <tool_call>")


def test_pictures_are_sent_in_the_size_in_which_the_model_sees_them(tmp_path):
    sizes = []

    def say(messages, tools, config):
        for part in messages[1].content:
            if part.type == "image":
                data = base64.b64decode(part.image.removeprefix("data:image/png;base64,"))
                sizes.append(PilImage.open(io.BytesIO(data)).size)
        return output(
            call("draw_box", image="img_0", x1=0, y1=0, x2=503, y2=503) if len(sizes) == 1 else call("submit")
        )

    options = {"grammar": "hermes:coordinates=pixels", "vision": "qwen2.5-vl", "memory": "append", "limit": 1}
    (sample,) = play(tmp_path, say, task="EmojiDense", **options).samples
    assert set(sizes) == {(1036, 1036)} and sample.scores["primary"].metadata["invalid_calls"] == 0


def test_what_is_not_the_models_fault_has_no_score_and_the_others_go_on(tmp_path):
    dead = "embedded,pointer=vlm:model=m,url=http://127.0.0.1:1/v1,patience_s=0"
    point = call("point", image="img_0", phrase="apple")
    first: list[str] = []

    def say(messages, tools, config):
        first[:] = first or [messages[1].text]
        return output(point if messages[1].text == first[0] else call("submit_none"))

    log = play(tmp_path, say, limit=3, experts=dead.split(","))  # as Inspect's command line splits it
    failed = [s for s in log.samples if s.error]
    assert log.status == "error" and len(failed) == 1 and "not scored" in failed[0].error.message
    assert not failed[0].scores and "visenv" not in failed[0].store
    assert all(s.scores["primary"].explanation == "submitted after 1 turns" for s in log.samples if not s.error)


def test_a_withheld_reply_is_no_answer_of_the_model(tmp_path):
    def say(messages, tools, config):
        said = output("")
        said.choices[0].stop_reason = "content_filter"
        return said

    (sample,) = play(tmp_path, say, limit=1).samples
    assert "content filter" in sample.error.message and not sample.scores


@pytest.mark.parametrize(
    ("limits", "stop", "reason"),
    [
        ({}, "model_length", "token_limit"),
        ({"token_limit": 100}, "stop", "token_limit"),
        ({"message_limit": 4}, "stop", "token_limit"),
        ({}, "max_tokens", "agent_error"),
    ],
)
def test_a_budget_that_is_used_up_ends_the_episode_without_an_answer(tmp_path, limits, stop, reason):
    def say(messages, tools, config):
        said = output("<tool_call>{")
        said.choices[0].stop_reason = stop
        return said

    (sample,) = play(tmp_path, say, limit=1, limits=limits).samples
    score = sample.scores["primary"]
    assert (score.reason, score.answer, sample.error) == (reason, None, None)


def test_time_that_runs_out_gives_no_score(tmp_path):
    def say(messages, tools, config):
        threading.Event().wait(0.3)
        return output(call("undo"))

    log = play(tmp_path, say, limit=1, limits={"time_limit": 1}, max_turns=100)
    score = log.samples[0].scores["primary"]
    assert score.reason == "not_ended" and score.value != score.value
    assert log.results.scores[0].unscored_samples == 1


def test_samples_are_those_of_bench_and_settings_are_checked(tmp_path):
    chosen = episodes(task="emojiref", samples=[7, "EmojiRef/val/1/3"])
    assert [s.id for s in chosen.dataset] == ["EmojiRef/val/1/7", "EmojiRef/val/1/3"]
    assert chosen.dataset[0].input.endswith(".") and chosen.dataset[0].target
    assert [s.id for s in episodes(task="EmojiRef", samples=7).dataset] == ["EmojiRef/val/1/7"]
    for wrong in (
        {"task": "EmojiRaf"},
        {"toolset": "fool"},
        {"grammar": "latin"},
        {"memory": "elephant"},
        {"vision": "x"},
    ):
        with pytest.raises(KeyError, match="Unknown"):
            episodes(**{"limit": 1, **wrong})
    with pytest.raises(ValueError, match="limit"):
        episodes(samples=7, limit=2)
    with pytest.raises(ValueError, match="no end"):
        episodes(split="train")
    with pytest.raises(ValueError, match="no secret") as told:
        episodes(experts="embedded,pointer=vlm:model=m,url=http://me:hunter22@localhost/v1", limit=1)
    assert "hunter22" not in str(told.value)


class Endpoint(BaseHTTPRequestHandler):
    """Says every time that there is nothing."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert any(part["type"] == "image_url" for part in asked["messages"][1]["content"])
        message = {"role": "assistant", "content": call("Answer", final_answer="Nothing.")}
        body = {
            "id": "1", "object": "chat.completion", "created": 0, "model": asked["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
        }  # fmt: skip
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def test_the_command_of_the_docs(tmp_path):
    """Through Inspect's own command line, its entry points and one of its providers."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        words = [
            "visenv/episodes",
            "-T",
            "task=EmojiRef",
            "-T",
            "toolset=visharness",
            "-T",
            "limit=3",
            "-T",
            "memory=window:k=2",
        ]
        words += [
            "--model",
            "openai-api/mine/tiny",
            "--log-dir",
            str(tmp_path / "logs"),
            "--log-format",
            "json",
            "--display",
            "none",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "inspect_ai", "eval", *words], capture_output=True, text=True, check=False, cwd=tmp_path,
            env={**os.environ, "MINE_API_KEY": "k", "MINE_BASE_URL": f"http://127.0.0.1:{server.server_port}/v1"},
        )  # fmt: skip
        server.shutdown()
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "logs").glob("*.json")
    log = json.loads(path.read_text())
    assert (
        log["status"] == "success"
        and log["eval"]["task"] == "visenv/episodes"
        and log["results"]["completed_samples"] == 3
    )
    assert {s["scores"]["primary"]["explanation"] for s in log["samples"]} == {"submitted after 1 turns"}
