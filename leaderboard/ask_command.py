"""The verb ``ask``, found by :mod:`visenv.cli` through its entry point."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import visenv
from visenv.answers import AnswerKind
from visenv.asked import Asked
from visenv.episode import Turn
from visenv.errors import bad_value
from visenv.redaction import find_secrets, redact

from .asked_files import claim_folder, save_answer
from .recording import hidden
from .safe_files import printable

__all__ = ["ask"]

TOLD = 100
"""Characters of what came back in a turn."""
EMBEDDED = (
    "The embedded detector knows the drawn objects of EmojiWorld only. For photographs name another with --experts; "
    "docs/ask.md has commands."
)


def ask(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE", help="Pictures; masks and boxes are of the first.", show_default=False)
    ],
    instruction: Annotated[str, typer.Argument(help="What is wanted, in quotes: \"the cup\".", show_default=False)],
    answer: Annotated[
        str | None, typer.Option(help="The form of answer: mask, boxes, count or choice; mask by default.", show_default=False)
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="A text to choose from; once for each. Makes it a choice.", show_default=False)
    ] = None,
    agent: Annotated[str, typer.Option(help="Who is asked: NAME or NAME:key=value,….")] = "scripted",
    toolset: Annotated[str, typer.Option(help="The tools to play with.")] = "full",
    experts: Annotated[
        str, typer.Option(help="Who stands behind the tools: NAME, ROLE=NAME,…, cache=FOLDER or replay=FOLDER.")
    ] = "embedded",
    memory: Annotated[str, typer.Option(help="Which images stay visible, such as archive or window:k=2.")] = "archive",
    max_turns: Annotated[int | None, typer.Option(min=1, help="Turn limit; 12 by default.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the agent's own choices.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="A new folder for what comes of it; visenv-ask by default, or visenv-ask-2, ….", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as one JSON object on standard output.")] = False,
) -> None:  # fmt: skip
    """Ask an agent about your own pictures. Nobody knows the truth there, so nothing is scored.

    Prints the answer, and leaves the picture with it drawn in (overlay.png), the masks (mask.png, mask_1.png, …; COCO's form in
    answer.json) and a page that replays what the agent did (index.html). Exit status 1 and the page alone where there is no answer,
    and 1 for a choice that is none of the options.

    The embedded experts know the drawn objects of EmojiWorld and no photographs: name others for those.

    Examples:
      visenv ask photo.jpg "the cup" --experts detector=hf:model=IDEA-Research/grounding-dino-tiny,segmenter=sam2
      visenv ask coins.png "How many coins are there?" --answer count --out coins
      visenv ask before.jpg after.jpg "What is gone?" --option "the cup" --option "the spoon" --json
    """
    _check_order(images, instruction)
    options = option or []
    secrets = find_secrets([agent, experts])
    form = answer or (AnswerKind.CHOICE.value if options else AnswerKind.MASK.value)
    with _claimed(out) as folder:
        print(f"Asking {redact(agent)}, tools {toolset}, experts {redact(experts)}.", file=sys.stderr)
        try:
            asked = visenv.ask(
                images, instruction, answer=form, options=options, agent=agent, toolset=toolset, experts=experts,
                memory=memory, max_turns=max_turns, seed=seed, on_turn=lambda turn: _tell(turn, secrets),
            )  # fmt: skip
            paths = save_answer(asked, folder)
        except KeyboardInterrupt:
            left = f" What was saved is in {folder}." if any(folder.iterdir()) else " Nothing was saved."
            print(f"Interrupted.{left}", file=sys.stderr)
            raise typer.Exit(130) from None
    _print(asked, paths, as_json=as_json)
    if _asked_embedded(asked):
        print(EMBEDDED, file=sys.stderr)
    if asked.answer is None or (asked.kind is AnswerKind.CHOICE and asked.notes):
        raise typer.Exit(1)


@contextlib.contextmanager
def _claimed(out: Path | None) -> Iterator[Path]:
    """Make the folder before anything is asked; one that was made here goes again where nothing came of it."""
    made = out is None or not out.exists()
    folder = claim_folder(out)
    try:
        yield folder
    finally:
        if made:
            with contextlib.suppress(OSError):  # it holds what was asked for
                folder.rmdir()


def _check_order(images: Sequence[Path], instruction: str) -> None:
    """Say of words in the wrong place that they are.

    Raises:
        BadValueError: The last word is a file, or one before it is none.
    """
    remedy = 'Pictures come first, then the instruction in quotes: visenv ask photo.jpg "the cup".'
    last = Path(instruction)
    if last.suffix and _is_there(last) and last.is_file():
        raise bad_value("instruction", instruction, expected="what is wanted, in words; this is a file", remedy=remedy)
    for image in images:
        if not _is_there(image):
            raise bad_value("image", str(image), expected="a file, and there is none", remedy=remedy)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long a name, or none at all
        return False


def _tell(turn: Turn, secrets: Sequence[str]) -> None:
    """Say what was called and what came back, in one line."""
    if turn.call is None:
        called = f"no valid call ({turn.error})"
    else:
        called = " ".join([turn.call["name"], *(f"{k}={v}" for k, v in turn.call["arguments"].items())])
    back = turn.feedback.split("\n", 1)[0]
    print(f"  {turn.number:2}  {_line(called, secrets)}: {_line(back, secrets)}", file=sys.stderr)


def _line(text: str, secrets: Sequence[str]) -> str:
    line = redact(text, secrets)
    return printable(line if len(line) <= TOLD else f"{line[:TOLD]}…", 2 * TOLD)


def _asked_embedded(asked: Asked) -> bool:
    """Whether a call needed the embedded detector."""
    tools = asked.episode.toolset
    needed = set().union(*(tools[turn.call["name"]].requires for turn in asked.episode.turns if turn.call))
    return any(asked.experts.get(what, "").startswith("embedded") for what in needed & {"detect", "point"})


def _print(asked: Asked, paths: dict[str, Path], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(hidden(_to_json(asked, paths), asked.secrets), allow_nan=False))
        for note in asked.notes:
            print(note, file=sys.stderr)
        return
    if asked.answer is not None:
        typer.echo(str(asked))
        typer.echo("Saved: " + ", ".join(str(path) for name, path in paths.items() if name != "index.html"))
    else:
        print(f"visenv: {asked}", file=sys.stderr)
    typer.echo(f"Page: {paths['index.html']}")


def _to_json(asked: Asked, paths: dict[str, Path]) -> dict[str, Any]:
    coco = asked.to_coco()
    objects = [
        {
            "label": o.label, "box_xyxy": [float(v) for v in o.box_xyxy], "area_px": o.area_px,
            "mask": str(paths[f"mask_{o.id}.png"]) if f"mask_{o.id}.png" in paths else None,
        }
        for o in asked.objects
    ]  # fmt: skip
    answer = coco["answer"]
    return {
        "instruction": asked.episode.sample.instruction, "agent": asked.agent, "reason": str(asked.episode.reason),
        "why_not": asked.why_not, "answer": None if answer is None else {**answer, "objects": objects},
        "turns": len(asked.episode.turns), "seconds": round(asked.seconds, 3), "costs": dict(asked.costs),
        "files": {name: str(path) for name, path in paths.items()},
    }  # fmt: skip
