"""The same server as a Ray Serve deployment: copies of the experts on several GPUs or machines, each with its own batchers.

A call goes to any copy. One that lacks a picture says so like any other server, so every copy gets it once.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

from ...errors import missing_extra
from .._set import make_experts
from .app import make_app
from .server import ServerSettings
from .service import Service

__all__ = ["make_deployment", "serve_with_ray"]

NAME = "visenv-experts"


def make_deployment(spec: str, settings: ServerSettings, *, replicas: int = 1, gpus: float = 0.0) -> Any:
    """Return an application for ``ray.serve.run``.

    Args:
        spec: What the experts are made from, in every copy.
        settings: What is taken; where to listen is Ray's own setting.
        replicas: Copies.
        gpus: GPUs of each; a fraction shares one.

    Raises:
        MissingExtraError: Ray Serve is not installed.
    """
    serve = _import_serve()

    def build() -> Any:  # in each copy's own process
        made = Service(make_experts(spec), body_bytes=settings.body_bytes, picture_bytes=settings.picture_bytes)
        return make_app(made, token=settings.token, concurrency=settings.concurrency)

    deployment = serve.deployment(
        serve.ingress(build)(), name=NAME, num_replicas=replicas, max_ongoing_requests=settings.concurrency,
        ray_actor_options={"num_gpus": gpus},
    )  # fmt: skip
    return deployment.bind()


def serve_with_ray(
    spec: str, settings: ServerSettings, *, replicas: int, gpus: float, announce: Callable[[str], None]
) -> None:
    """Serve until the process is told to end, on the cluster that ``RAY_ADDRESS`` names or on this machine.

    Args:
        spec: What the experts are made from.
        settings: Where, and for whom.
        replicas: Copies.
        gpus: GPUs of each.
        announce: Called with the address once every copy answers.

    Raises:
        MissingExtraError: Ray Serve is not installed.
    """
    serve = _import_serve()
    import ray

    options: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
    ray.init(**options)
    try:
        port = settings.port or _free_port(settings.host)
        serve.start(http_options={"host": settings.host, "port": port})
        serve.run(make_deployment(spec, settings, replicas=replicas, gpus=gpus), name=NAME, route_prefix="/")
        announce(f"http://{settings.host}:{port}")
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        ended.wait()
    finally:
        serve.shutdown()
        ray.shutdown()


def _import_serve() -> Any:
    try:
        from ray import serve
    except ImportError as error:
        raise missing_extra("Serving experts with Ray", "ray") from error
    return serve


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
