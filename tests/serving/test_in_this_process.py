"""The model that was taught, run by Transformers in this process: it plays its lessons, many episodes at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from visenv.agents.one_shot_mllm import OneShotMLLM
from visenv.agents.zero_shot import ZeroShot
from visenv.leaderboard import EpisodeRecord, Patience, RunSettings, latest, read_records, run_bench

NUM_SAMPLES = 6


def bench(agent: Any, out: Path) -> list[EpisodeRecord]:
    samples = tuple(str(index) for index in range(NUM_SAMPLES))
    settings = RunSettings(agents=[agent], tasks=["EmojiRef"], split="train", samples=samples, keep_images=0)
    run_bench(settings, out, patience=Patience(retries=0, wait_s=0.0))
    agent.close()
    return sorted(latest(read_records(out)).values(), key=lambda record: record.index)


@pytest.mark.parametrize(("grammar", "taught"), [("hermes", "episodes"), ("openai", "native_episodes")])
def test_it_plays_what_it_was_taught(
    school: Any, grammar: str, taught: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from visenv.completions._transformers import TransformersCompleter

    sizes: list[int] = []
    answer = TransformersCompleter._answer

    def noting(self: Any, requests: Any) -> Any:
        sizes.append(len(requests))
        return answer(self, requests)

    monkeypatch.setattr(TransformersCompleter, "_answer", noting)
    agent = ZeroShot(
        str(school.folder / "taught"), backend="transformers", grammar=grammar, max_tokens=64, device="cpu", in_flight=NUM_SAMPLES
    )  # fmt: skip
    records = bench(agent, tmp_path / "run")
    assert len(records) == NUM_SAMPLES and max(sizes) == NUM_SAMPLES and not any(record.failed for record in records)
    right = total = 0
    for record, lessons in zip(records, getattr(school, taught), strict=False):
        total += len(lessons)
        right += sum(turn.error is None for turn in record.transcript)
        if grammar == "hermes":
            assert [turn.reply for turn in record.transcript][:1] == [lessons[0].reply]
    print(f"{right} of {total} turns are calls")
    assert right >= 0.9 * total


def test_a_model_that_was_asked_for_boxes_and_calls_tools_instead_has_no_score_by_chance(
    school: Any, tmp_path: Path
) -> None:
    agent = OneShotMLLM(
        str(school.folder / "taught"), backend="transformers", max_tokens=64, device="cpu", in_flight=NUM_SAMPLES
    )
    records = bench(agent, tmp_path / "run")
    assert all(record.reason == "agent_error" and record.answer is None for record in records)
