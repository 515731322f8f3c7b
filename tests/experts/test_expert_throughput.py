"""The script that measures experts, small, on a CPU."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    for package, extra in (("sam2", "sam2"), ("ultralytics", "ultralytics")):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs the extra visenv[{extra}]")
    spec = importlib.util.spec_from_file_location("expert_throughput", ROOT / "scripts" / "expert_throughput.py")
    script = sys.modules["expert_throughput"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    threads = script.torch.get_num_threads()
    script.torch.set_num_threads(1)  # on cores in use elsewhere, threads of so small a model mostly wait for each other
    yield script
    script.torch.set_num_threads(threads)


def test_it_fills_the_table_of_the_page(script, tmp_path, monkeypatch):
    from visenv.experts.sam2 import Sam2Segmenter
    from visenv.experts.ultralytics._network import Network

    passes: list[tuple[str, int]] = []

    def watch(owner: type, name: str) -> None:
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda self, images: passes.append((name, len(images))) or real(self, images))

    watch(Sam2Segmenter, "embed")
    watch(Network, "_pass")
    page = tmp_path / "performance.md"
    shutil.copy(ROOT / "docs" / "performance.md", page)
    script.main(["--quick", "--device", "cpu", "--out", str(page)])
    for name in ("embed", "_pass"):  # by batch, one pass to get ready and two that are measured, none of them a look-up
        assert [size for what, size in passes if what == name][:6] == [1, 1, 1, 2, 2, 2]
    before, after = ((ROOT / "docs" / "performance.md").read_text(), page.read_text())
    assert before.partition(script.BEGIN)[0] == after.partition(script.BEGIN)[0]
    assert before.partition(script.END)[2] == after.partition(script.END)[2]
    rows = [
        line.split(" | ") for line in after.partition(script.BEGIN)[2].splitlines() if re.match(r"\| (SAM|YOLO)", line)
    ]
    assert len(rows) == 8 and all(float(row[2]) > 0 for row in rows)
    assert [row[3] for row in rows[::2]] == ["1.00"] * 4  # each kind's first row is what the others are held against


def test_wrong_usage(script, tmp_path, capsys):
    with pytest.raises(SystemExit):
        script.main(["--quick", "--batches", "8", "16"])
    assert "1 among them" in capsys.readouterr().err
    page = tmp_path / "page.md"
    page.write_text("# no place for a table\n")
    with pytest.raises(SystemExit, match="no place"):
        script.put("table", page)
