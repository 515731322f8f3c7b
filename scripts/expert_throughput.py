"""Measure experts on this machine's GPU, or CPU: pictures per second by batch size, what batching callers gains, peak memory.

    python scripts/expert_throughput.py                     # SAM 2.1-large's architecture and YOLO11n; writes docs/performance.md
    python scripts/expert_throughput.py --quick --out -     # small ones, a few seconds on a CPU, to standard output

Weights are random: they cost what trained ones do. Needs the extras ``sam2`` and ``ultralytics`` (AGPL-3.0).
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from visenv import Image, plugins
from visenv.experts import DetectRequest, Expert, SegmentRequest
from visenv.experts._torch import pick_device
from visenv.experts.batcher import MicroBatcher

OUT = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- expert_throughput.py writes from here -->", "<!-- to here -->"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    batch: int
    per_second: float
    peak_mb: float | None
    """On a GPU: most memory that tensors held."""


def pictures(size_wh: tuple[int, int], seed: int = 0) -> Iterator[Image]:
    """Make pictures that differ, without end."""
    rng = np.random.default_rng(seed)
    width, height = size_wh
    while True:
        yield Image(rng.integers(0, 256, (height, width, 3), np.uint8))


def measure(
    call: Callable[[], Any], amount: int, *, seconds: float, device: torch.device
) -> tuple[float, float | None]:
    """Return how many pictures per second calls of ``amount`` answer, and the peak of memory in MiB."""
    on_gpu = device.type == "cuda"
    call()  # the first one allocates and chooses kernels
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - start < seconds:
        call()
        if on_gpu:
            torch.cuda.synchronize()
        calls += 1
    rate = calls * amount / (time.perf_counter() - start)
    return rate, torch.cuda.max_memory_allocated() / 2**20 if on_gpu else None


def embeddings(options: argparse.Namespace, device: torch.device, folder: Path) -> Iterator[Row]:
    """Measure SAM 2's encoder."""
    expert = make_sam2(options, folder)
    fresh = pictures(options.size)
    for batch in options.batches:
        images = [next(fresh) for _ in range(batch)]

        def embed(images: list[Image] = images) -> None:
            with (
                torch.inference_mode(),
                torch.autocast(device.type, torch.bfloat16, enabled=options.dtype == "bfloat16"),
            ):
                expert.embed(images)  # type: ignore[attr-defined]

        rate, peak = measure(embed, batch, seconds=options.seconds, device=device)
        yield Row(what=f"SAM 2.1 {options.sam2}, embeddings", batch=batch, per_second=rate, peak_mb=peak)


def detections(options: argparse.Namespace, device: torch.device, folder: Path) -> Iterator[Row]:
    """Measure YOLO11n."""
    fresh = pictures(options.size)
    for batch in options.batches:
        expert = make_yolo(options, folder, batch)
        requests = [DetectRequest(image=next(fresh), phrase="objects") for _ in range(batch)]

        def detect(expert: Expert = expert, requests: list[DetectRequest] = requests) -> None:
            expert.trim()  # it keeps what it found in a picture
            expert.run(requests)

        rate, peak = measure(detect, batch, seconds=options.seconds, device=device)
        yield Row(what="YOLO11n, detections", batch=batch, per_second=rate, peak_mb=peak)
        expert.close()


def callers(options: argparse.Namespace, device: torch.device, folder: Path) -> Iterator[Row]:
    """Measure callers in many threads, each with one request at a time, one by one and through the batcher."""
    makers: list[tuple[str, Callable[[], Expert], Callable[[Image], Any]]] = [
        (f"SAM 2.1 {options.sam2}, a click on a new picture", lambda: make_sam2(options, folder),
         lambda image: SegmentRequest(image=image, points_xy=((9.0, 9.0),), points_positive=(True,))),
        ("YOLO11n, a phrase on a new picture", lambda: make_yolo(options, folder, options.callers),
         lambda image: DetectRequest(image=image, phrase="objects")),
    ]  # fmt: skip
    for what, make, ask in makers:
        expert, fresh = make(), pictures(options.size, seed=1)
        requests = [ask(next(fresh)) for _ in range(options.callers * 4)]
        expert.run(requests[:1])
        expert.trim()
        start = time.perf_counter()
        for request in requests:
            expert.run([request])
        yield Row(
            what=f"{what}, one by one", batch=1, per_second=len(requests) / (time.perf_counter() - start), peak_mb=None
        )
        expert.trim()
        with MicroBatcher(expert) as batcher, ThreadPoolExecutor(options.callers) as pool:
            start = time.perf_counter()
            answers = list(pool.map(lambda request, b=batcher: b.submit([request], timeout_s=600), requests))
            rate = len(answers) / (time.perf_counter() - start)
            counts = batcher.counts()
            mean = round(counts.requests / counts.batches)
        yield Row(
            what=f"{what}, {options.callers} callers through the batcher", batch=mean, per_second=rate, peak_mb=None
        )
        expert.close()


def make_sam2(options: argparse.Namespace, folder: Path) -> Expert:
    """Make SAM 2 of an architecture, from a checkpoint with random weights."""
    from sam2.build_sam import build_sam2

    from visenv.experts.sam2._loading import CONFIGS

    name = f"sam2.1_hiera_{options.sam2.replace('-', '_')}"
    path = folder / f"{name}.pt"
    if not path.exists():
        torch.manual_seed(0)
        torch.save({"model": build_sam2(CONFIGS[name], device="cpu").state_dict()}, path)
    made: Expert = plugins.build(
        "experts", "sam2", model=str(path), side=options.side, device=options.device, dtype=options.dtype,
        pictures=max(options.batches), embeddings_mb=8192,
    )  # fmt: skip
    return made


def make_yolo(options: argparse.Namespace, folder: Path, batch: int) -> Expert:
    """Make YOLO11n with random weights, for passes of ``batch`` pictures."""
    path = folder / "yolo11n.pt"
    if not path.exists():
        from visenv.experts.ultralytics._loading import import_ultralytics

        import_ultralytics().YOLO("yolo11n.yaml").save(str(path))
    made: Expert = plugins.build("experts", "ultralytics", model=str(path), device=options.device, batch=batch)
    return made


def write(rows: list[Row], options: argparse.Namespace, device: torch.device) -> str:
    """Return the table."""
    on_gpu = device.type == "cuda"
    machine = (
        torch.cuda.get_device_name(device) if on_gpu else f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    )
    width, height = options.size
    lines = [
        f"Measured on: {machine}; torch {torch.__version__}; pictures of {width} x {height} px, SAM 2 at {options.side} px in {options.dtype}; "
        "random weights.", "", "| what | batch | per second | against batch 1 | peak memory |", "|---|---|---|---|---|",
    ]  # fmt: skip
    alone: dict[str, float] = {}
    for row in rows:
        kind = row.what.rsplit(",", 1)[0] if "one by one" in row.what or "batcher" in row.what else row.what
        alone.setdefault(kind, row.per_second)
        peak = f"{row.peak_mb:,.0f} MiB" if row.peak_mb is not None else "-"
        lines.append(
            f"| {row.what} | {row.batch} | {row.per_second:.2f} | {row.per_second / alone[kind]:.2f} | {peak} |"
        )
    return "\n".join(lines)


def put(table: str, out: Path) -> None:
    """Write the table between its marks in a page."""
    page = out.read_text(encoding="utf-8")
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise SystemExit(f"{out} has no place for the table: expected the lines {BEGIN!r} and {END!r} once each.")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    out.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16"), help="of SAM 2")
    parser.add_argument("--sam2", default="large", choices=("tiny", "small", "base-plus", "large"))
    parser.add_argument("--side", type=int, default=1024, help="pixels that SAM 2 brings pictures to")
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 768), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--batches", type=int, nargs="+", default=(1, 2, 4, 8, 16, 32))
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement, at least")
    parser.add_argument("--quick", action="store_true", help="small models and batches")
    parser.add_argument("--out", default=str(OUT), help="page with the marks of the table, or - for standard output")
    options = parser.parse_args(arguments)
    if 1 not in options.batches or min(options.batches) < 1:
        parser.error(
            f"--batches {options.batches}: expected sizes of at least 1, and 1 among them, which the others are held against"
        )
    options.batches = sorted(set(options.batches))
    if options.quick:
        options.sam2, options.side, options.size, options.batches = "tiny", 128, (96, 64), (1, 2)
        options.callers, options.seconds, options.dtype = 3, 0.0, "float32"
    device = pick_device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for part in (embeddings, detections, callers) for row in part(options, device, Path(folder))]
    table = write(rows, options, device)
    if options.out == "-":
        print(table)
    else:
        put(table, Path(options.out))


if __name__ == "__main__":
    main()
