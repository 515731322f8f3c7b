"""The same server as a Ray Serve deployment, started on this machine."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from visenv import ExpertSet, Image
from visenv.errors import ExpertError
from visenv.experts import DetectRequest, SegmentRequest
from visenv.experts.remote import RemoteExperts

for package in ("msgpack", "fastapi", "httpx"):
    pytest.importorskip(package, reason=f"needs the extra `ray`: {package} is not installed")
if importlib.util.find_spec("ray") is None:  # imported by the server alone: it warns of much
    pytest.skip("needs the extra `ray`: ray is not installed", allow_module_level=True)

import httpx  # noqa: E402

PLUGIN = Path(__file__).parents[1] / "leaderboard" / "plugin"
TOKEN = "a-token-of-the-tests-0123456789"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    path = os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, "EXPERTS_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
    env.pop("RAY_ADDRESS", None)
    words = [sys.executable, "-m", "visenv.cli", "experts", "serve", "blobs", "--port", "0", "--ray", "--token-env", "EXPERTS_TOKEN", "--max-body-mib", "1"]  # fmt: skip
    log = tmp_path_factory.mktemp("ray") / "log"
    with log.open("w") as errors, subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True, env=env, start_new_session=True) as served:  # fmt: skip
        try:
            line = next((line for line in served.stdout if line.startswith("Serving ")), "")
            assert "http://" in line, log.read_text()[-3000:]
            yield line.split()[-1]
        finally:
            served.send_signal(signal.SIGTERM)
            assert served.wait(60) == 0, log.read_text()[-3000:]


@pytest.fixture(scope="module")
def blobs():
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(PLUGIN))
    import board_fakes

    yield board_fakes
    patch.undo()


def test_the_same_answers_and_identities_as_in_one_process(url, blobs, monkeypatch):
    monkeypatch.setenv("EXPERTS_TOKEN", TOKEN)
    here = ExpertSet({"detect": blobs.BlobExpert(), "segment": blobs.BlobExpert()})
    there = ExpertSet(
        {c: e for e in RemoteExperts(url, token_env="EXPERTS_TOKEN", patience_s=20) for c in e.capabilities}
    )
    assert there.identities() == here.identities()
    image = Image(blobs.Blobs().sample("val", 1, 0).images[0].pixels.copy())
    requests = [
        DetectRequest(image=image, phrase="red"),
        *(SegmentRequest(image=image, box_xyxy=(1, 2, 30, 40 + i)) for i in range(20)),
    ]
    for first, second in zip(here.execute(requests), there.execute(requests), strict=True):
        assert type(first) is type(second)
        if hasattr(first, "mask"):
            assert first == second
        else:
            assert np.array_equal(first.boxes_xyxy, second.boxes_xyxy) and first.labels == second.labels
    large = Image(np.zeros((1000, 1000, 3), np.uint8))
    (refused,) = there.execute([DetectRequest(image=large, phrase="red")])
    assert isinstance(refused, ExpertError) and "--max-body-mib" in str(refused)
    there.close()


def test_strangers_are_refused(url):
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/v1/experts").status_code == 401
        assert client.post("/v1/run", content=b"x").status_code == 401
        assert client.get("/nothing").status_code == 404
