"""Draw one episode as a strip of pictures, for the README.

python scripts/episode_picture.py --task EmojiRef --level 2 --index 4 --out docs/images/episode.jpg
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from visenv import Episode, EpisodeSpec, make_agent, make_experts, make_task
from visenv.drivers import drive
from visenv.env import make_rules

PANEL_PX, GAP_PX, TEXT_PX = 300, 14, 92
INK, PAPER, FAINT = (20, 33, 61), (248, 250, 252), (90, 100, 120)


def play(
    task_name: str, agent_name: str, split: str, level: int, index: int
) -> tuple[Episode, list[tuple[str, str, np.ndarray]]]:
    """Return the finished episode and its panels: heading, text, picture."""
    task, experts, agent = make_task(task_name), make_experts("embedded"), make_agent(agent_name)
    episode = Episode(task.sample(split, level, index), profile=task.profile, rules=make_rules(task, experts))
    player = agent.start(
        EpisodeSpec(
            task=task.name, split=split, level=level, kind=task.kind, toolset=episode.toolset,
            max_turns=episode.rules.max_turns, seed=0,
        )
    )  # fmt: skip
    panels = [("instruction", episode.sample.instruction, episode.sample.images[0].pixels)]
    while not episode.ended:
        outcome = drive(episode.play(player.act(episode.observe())), experts)
        turn = episode.turns[-1]
        assert turn.call is not None
        arguments = ", ".join(f"{k}={v!r}" for k, v in turn.call["arguments"].items())
        if turn.shown:
            panels.append((f"{turn.number}. {turn.call['name']}", arguments, outcome.observation["images"][-1]))
        else:
            panels.append((f"{turn.number}. {turn.call['name']}", arguments, np.empty(0)))
    return episode, panels


def _answer_picture(episode: Episode) -> np.ndarray:
    pixels = episode.sample.images[0].pixels
    assert episode.answer is not None
    shown = pixels // 3
    for mask in episode.answer.masks:
        dense = mask.to_dense()
        shown[dense] = pixels[dense]
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="EmojiRef")
    parser.add_argument("--agent", default="scripted")
    parser.add_argument("--split", default="val")
    parser.add_argument("--level", type=int, default=2)
    parser.add_argument("--index", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/images/episode.jpg"))
    given = parser.parse_args()
    episode, panels = play(given.task, given.agent, given.split, given.level, given.index)
    merged: list[tuple[str, str, np.ndarray]] = []
    for head, text, picture in panels:
        if picture.size:
            merged.append((head, text, picture))
        else:  # a call without a picture shares the panel before it
            last = merged[-1]
            merged[-1] = (f"{last[0]}   {head}", f"{last[1]}   {text}".rstrip(), last[2])
    heading, text, _ = merged.pop() if "submit" in merged[-1][0] else ("", "", np.empty(0))
    if heading:
        before = heading.rpartition("   ")[0]
        merged.append((before, text, panels[[i for i, p in enumerate(panels) if p[2].size][-1]][2]))
    merged.append(("submit", f"score {episode.score:.2f} ({episode.profile.name})", _answer_picture(episode)))
    width = len(merged) * (PANEL_PX + GAP_PX) + GAP_PX
    sheet = Image.new("RGB", (width, PANEL_PX + TEXT_PX + 2 * GAP_PX), PAPER)
    draw = ImageDraw.Draw(sheet)
    bold, plain = ImageFont.load_default(17), ImageFont.load_default(15)
    for i, (head, text, picture) in enumerate(merged):
        x = GAP_PX + i * (PANEL_PX + GAP_PX)
        panel = Image.fromarray(picture)
        panel.thumbnail((PANEL_PX, PANEL_PX), Image.Resampling.LANCZOS)
        sheet.paste(panel, (x, GAP_PX))
        draw.text((x, GAP_PX + PANEL_PX + 8), head, font=bold, fill=INK)
        for k, line in enumerate(textwrap.wrap(text, 42)[:3]):
            draw.text((x, GAP_PX + PANEL_PX + 32 + 19 * k), line, font=plain, fill=FAINT)
    sheet.save(given.out, quality=88, optimize=True)
    print(f"{given.out}: {episode.score:.3f}")


if __name__ == "__main__":
    main()
