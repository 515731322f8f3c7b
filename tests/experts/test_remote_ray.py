"""The same server as a Ray Serve deployment, in two copies: on a Ray of its own, and on a cluster that others share."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
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


def environment(**changes: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")]))
    plain = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    return {
        **plain,
        "PYTHONPATH": path,
        "EXPERTS_TOKEN": TOKEN,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        **changes,
    }


@contextlib.contextmanager
def serving(folder: Path, *options: str, **changes: str):
    """``visenv experts serve --ray`` in a process of its own; gives its address."""
    words = [
        sys.executable,
        "-m",
        "visenv.cli",
        "experts",
        "serve",
        "blobs",
        "--ray",
        "--token-env",
        "EXPERTS_TOKEN",
        *options,
    ]
    log = folder / "log"
    with log.open("w") as errors, subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment(**changes), start_new_session=True) as served:  # fmt: skip
        try:
            line = next((line for line in served.stdout if line.startswith("Serving ")), "")
            assert "http://" in line, log.read_text()[-3000:]
            yield line.split()[-1]
        finally:
            served.send_signal(signal.SIGTERM)
            assert served.wait(60) == 0, log.read_text()[-3000:]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("ray"), "--port", "0", "--replicas", "2", "--max-body-mib", "1") as found:
        yield found


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


def test_copies_that_know_different_pictures_answer_alike(url, blobs, monkeypatch):
    monkeypatch.setenv("EXPERTS_TOKEN", TOKEN)
    images = [Image(np.random.default_rng(n).integers(0, 256, (40, 50, 3), np.uint8)) for n in range(6)]
    here = ExpertSet({"segment": blobs.BlobExpert()})

    def ask(turn: int) -> None:
        there = ExpertSet({"segment": RemoteExperts(url, token_env="EXPERTS_TOKEN", patience_s=20)[1]})
        chosen = [images[(turn + i) % 6] for i in range(3)]
        requests = [SegmentRequest(image=i, box_xyxy=(1, 2, 20, 21 + turn)) for i in chosen]
        assert there.execute(requests) == here.execute(requests)
        there.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(24)))
    assert len(counted(url)) == 2, "both copies were asked"


def counted(url: str) -> set[str]:
    """What the copies say that they have counted, asked by so many at once that one copy does not answer them all."""
    client = httpx.Client(base_url=url, trust_env=False, timeout=30, headers={"Authorization": f"Bearer {TOKEN}"})
    with client, ThreadPoolExecutor(16) as pool:
        texts = list(pool.map(lambda _: client.get("/metrics").text, range(64)))
    return {"".join(re.findall(r"^visenv_(?:calls|requests|pictures)\S* .*$", text, re.MULTILINE)) for text in texts}


OTHER = """
from ray import serve
import ray, sys
@serve.deployment
class Other:
    async def __call__(self, request): return "here"
ray.init()
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
serve.run(Other.bind(), name="other", route_prefix="/")
"""


@pytest.mark.acceptance
def test_on_a_shared_cluster_only_the_experts_come_and_go(tmp_path, blobs, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        port, serve_port = one.getsockname()[1], str(other.getsockname()[1])
    shared = {"RAY_ADDRESS": f"127.0.0.1:{port}"}
    tool = str(Path(sys.executable).with_name("ray"))
    head = [
        tool,
        "start",
        "--head",
        "--block",
        "--node-ip-address",
        "127.0.0.1",
        "--port",
        str(port),
        "--num-cpus",
        "4",
        "--include-dashboard",
        "false",
    ]
    with (tmp_path / "head").open("w") as log, subprocess.Popen(head, env=environment(), stdout=log, stderr=log, start_new_session=True) as cluster:  # fmt: skip
        try:
            until = time.monotonic() + 60
            while "Ray runtime started" not in (tmp_path / "head").read_text():
                assert time.monotonic() < until and cluster.poll() is None, (tmp_path / "head").read_text()
                time.sleep(0.2)
            subprocess.run([sys.executable, "-c", OTHER, serve_port], env=environment(**shared), check=True, timeout=120, capture_output=True)  # fmt: skip
            assert httpx.get(f"http://127.0.0.1:{serve_port}/", trust_env=False, timeout=30).text == "here"
            with serving(tmp_path, "--port", serve_port, **shared) as url:
                assert url.endswith(f":{serve_port}/visenv-experts")
                monkeypatch.setenv("EXPERTS_TOKEN", TOKEN)
                there = ExpertSet({"detect": RemoteExperts(url, token_env="EXPERTS_TOKEN", patience_s=20)[0]})
                image = Image(np.zeros((40, 50, 3), np.uint8))
                assert not isinstance(there.execute([DetectRequest(image=image, phrase="red")])[0], ExpertError)
                there.close()
            assert httpx.get(f"http://127.0.0.1:{serve_port}/", trust_env=False, timeout=30).text == "here"
        finally:
            os.killpg(cluster.pid, signal.SIGTERM)
            cluster.wait(60)


def test_a_shared_cluster_needs_a_token(monkeypatch, capsys):
    from visenv.cli import main

    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(SystemExit) as end:
        main(["experts", "serve", "blobs", "--ray"])
    assert end.value.code == 2 and "--token-env" in capsys.readouterr().err
