"""The verb ``experts`` (``eval``, ``serve``), found by :mod:`visenv.cli` through its entry point."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from visenv.cli import add_verb
from visenv.errors import bad_value
from visenv.experts import make_experts
from visenv.redaction import redact

from .experts_eval import EvalPlan, Measured, evaluate_experts
from .experts_table import print_measured
from .progress import counting

__all__ = ["experts"]

MIB = 2**20

Spec = Annotated[
    str, typer.Argument(metavar="SPEC", help="What `--experts` takes, such as embedded or sam2:size=tiny.")
]


def serve(
    spec: Spec = "embedded",
    host: Annotated[str, typer.Option(help="Address to listen at. Others than this machine's own need a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8750,
    token_env: Annotated[str | None, typer.Option(metavar="NAME", help="Environment variable that holds the token clients show.", show_default=False)] = None,
    max_body_mib: Annotated[int, typer.Option(min=1, max=4096, help="Longest call that is read, its pictures included.")] = 256,
    pictures_mib: Annotated[int, typer.Option(min=1, help="Memory for pictures, so that each is sent once.")] = 512,
    concurrency: Annotated[int, typer.Option(min=1, help="Calls at a time; further ones are asked to come back.")] = 128,
    ray: Annotated[bool, typer.Option("--ray", help="Serve through Ray Serve, for several GPUs or machines.")] = False,
    replicas: Annotated[int, typer.Option(min=1, help="With --ray: copies of the experts.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="With --ray: GPUs of each copy; a fraction shares one.")] = 0.0,
) -> None:  # fmt: skip
    """Serve experts to other processes and machines; there, `--experts http://HOST:PORT` asks them.

    Who answers keeps its name, version and weights, so records and caches are those of the same experts in one process. Runs until
    it is interrupted; calls that are being answered end first.

    Examples:
      visenv experts serve
      visenv experts serve detector=hf:model=IDEA-Research/grounding-dino-tiny,segmenter=sam2 --port 8751
      EXPERTS_TOKEN=… visenv experts serve sam2 --host 0.0.0.0 --token-env EXPERTS_TOKEN
      visenv experts serve sam2 --ray --replicas 4 --gpus 0.5
    """
    from visenv.experts.remote.server import ExpertServer, ServerSettings, read_token

    if not ray and (replicas != 1 or gpus):
        raise bad_value("--replicas or --gpus", (replicas, gpus), expected="neither, without --ray")
    settings = ServerSettings(
        host=host, port=port, token=read_token(token_env), body_bytes=max_body_mib * MIB, picture_bytes=pictures_mib * MIB,
        concurrency=concurrency,
    )  # fmt: skip
    if ray:
        from visenv.experts.remote.ray_serve import serve_with_ray

        serve_with_ray(spec, settings, replicas=replicas, gpus=gpus, announce=lambda url: _announce(spec, url))
        return
    made = make_experts(spec)
    for capability, identity in made.identities().items():
        print(f"{capability}: {identity}", file=sys.stderr)
    server = ExpertServer(made, settings)
    _announce(spec, server.url)
    server.run()


def _announce(spec: str, url: str) -> None:
    typer.echo(f"Serving {redact(spec)} at {url}")
    sys.stdout.flush()


def evaluate(
    experts: Annotated[str, typer.Option(help="Which experts, as for visenv bench; roles not named are the embedded ones.")] = "embedded",
    level: Annotated[int | None, typer.Option(min=1, max=3, help="Only this level; all by default.", show_default=False)] = None,
    scenes: Annotated[int, typer.Option(min=1, help="Pictures of each family and level; an eighth of them of EmojiDense, a third for masks.")] = 24,
    absent: Annotated[int | None, typer.Option(min=0, help="Categories that a picture does not show it is asked for, too; all by default.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:  # fmt: skip
    """Measure experts on EmojiWorld's split val: naming and finding, large pictures, masks from boxes and clicks.

    The detector is asked for every category by name: mAP50 as pycocotools computes it, objects that any box covers, and precision,
    recall and F1 with the detector's own threshold, all at IoU 0.5. The times are medians of the first question about a picture; core ms
    is what this process' cores spent. Heavy detectors: --absent 5 asks for fewer categories, which leaves fewer chances to be wrong.

    Examples:
      visenv experts eval
      visenv experts eval --experts detector=hf:model=IDEA-Research/grounding-dino-tiny --scenes 8 --absent 5
      visenv experts eval --experts embedded:weights=runs/detector/detector.onnx --json
    """
    plan = EvalPlan(levels=(1, 2, 3) if level is None else (level,), scenes=scenes, absent=absent)
    made = make_experts(experts)
    identities = made.identities()
    for capability in ("detect", "segment"):
        print(f"{capability}: {identities.get(capability, 'nobody')}", file=sys.stderr)
    total, rows, interrupted = plan.num_steps(made), list[Measured](), False
    print(f"{total} pictures, some of them several times", file=sys.stderr)
    try:
        with counting("pictures") as counter:
            done = iter(range(1, total + 1))
            for row in evaluate_experts(made, plan, tick=lambda: counter(next(done), total)):
                rows.append(row)
    except KeyboardInterrupt:
        interrupted = True
    if as_json:
        typer.echo(
            json.dumps({"experts": identities, "plan": asdict(plan), "rows": [r.to_dict() for r in rows]}, indent=2)
        )
    else:
        print_measured(rows, absent=absent)
    made.close()
    if interrupted:
        typer.echo("Interrupted: only what is shown was measured.", err=True)
        raise typer.Exit(130)


experts = typer.Typer(
    help="Measure visual experts, or serve them to other processes and machines.",
    epilog="\b\nExamples:\n  visenv experts eval\n  visenv experts serve sam2 --port 8751",
    no_args_is_help=True,
)
add_verb(experts, "eval", evaluate)
add_verb(experts, "serve", serve)
