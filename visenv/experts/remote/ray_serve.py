"""The same server as a Ray Serve deployment: copies of the experts on several GPUs or machines, each with its own batchers.

A call goes to any copy. One that lacks a picture says so like any other server, so every copy gets it once.
"""

from __future__ import annotations

import dataclasses
import http.client
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from ...errors import bad_value, missing_extra, say
from .._set import make_experts
from .app import make_app
from .server import ServerSettings, address_of, listen
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

    digest, names = settings.token_digest, settings.names
    public = dataclasses.replace(
        settings, token=None, host="127.0.0.1"
    )  # Ray keeps what a copy is made from: no token in it

    def build() -> Any:  # in each copy's own process
        made = Service(make_experts(spec), body_bytes=public.body_bytes, picture_bytes=public.picture_bytes)
        return make_app(made, token_digest=digest, concurrency=public.concurrency, hosts=names)

    deployment = serve.deployment(
        serve.ingress(build)(), name=NAME, num_replicas=replicas, max_ongoing_requests=settings.concurrency,
        ray_actor_options={"num_gpus": gpus},
    )  # fmt: skip
    return deployment.bind()


def serve_with_ray(
    spec: str, settings: ServerSettings, *, replicas: int, gpus: float, announce: Callable[[str], None]
) -> None:
    """Serve until the process is told to end, on the cluster that ``RAY_ADDRESS`` names or on this machine.

    A cluster is shared: who listens there and where is not decided here, so a token is needed; the experts get a path of their own; and
    at the end only they are removed.

    Args:
        spec: What the experts are made from.
        settings: Where, and for whom.
        replicas: Copies.
        gpus: GPUs of each.
        announce: Called with the address once every copy answers.

    Raises:
        MissingExtraError: Ray Serve is not installed.
        BadValueError: A shared cluster, and no token, or experts are served there already, or it does not answer at that address.
    """
    is_shared = bool(os.environ.get("RAY_ADDRESS"))
    if is_shared and settings.token is None:
        raise bad_value(
            "--token-env", None, expected="a token on a cluster that others share (RAY_ADDRESS is set)",
            remedy="Put one into an environment variable and name that with --token-env.",
        )  # fmt: skip
    serve = _import_serve()
    import ray

    ray.init(**({} if is_shared else {"address": "local", "include_dashboard": False}))
    path = f"/{NAME}" if is_shared else "/"
    is_ours = False
    try:
        if is_shared and NAME in serve.status().applications:
            raise bad_value("--ray", NAME, expected="no application of this name on the cluster yet", remedy="Share its address, or remove it.")  # fmt: skip
        port = settings.port or _free_port(settings.host)
        serve.start(http_options={"host": settings.host, "port": port})  # ignored where Serve runs already
        is_ours = True
        serve.run(make_deployment(spec, settings, replicas=replicas, gpus=gpus), name=NAME, route_prefix=path)
        if is_shared:
            _check_answers(settings.host, port, path)
        announce(address_of(settings.host, port) + path.rstrip("/"))
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        ended.wait()
    finally:
        if not is_shared:
            serve.shutdown()
        elif is_ours:
            serve.delete(NAME)
        ray.shutdown()


def _check_answers(host: str, port: int, path: str) -> None:
    """Refuse an address at which the cluster does not answer for these experts: Serve was started there with another one."""
    line = http.client.HTTPConnection(host, port, timeout=10)
    try:
        line.request("GET", f"{path}/health")
        reply = line.getresponse()
        why = f"status {reply.status}" if reply.status not in (200, 503) else None
    except (OSError, http.client.HTTPException) as error:
        why = say(error)
    finally:
        line.close()
    if why is not None:
        raise bad_value(
            "--host and --port", (host, port), expected=f"where Ray Serve of the cluster listens ({why})",
            remedy="`serve config` or the cluster's dashboard says where.",
        )  # fmt: skip


def _import_serve() -> Any:
    try:
        from ray import serve
    except ImportError as error:
        raise missing_extra("Serving experts with Ray", "ray") from error
    return serve


def _free_port(host: str) -> int:
    with listen(host, 0) as listener:
        port: int = listener.getsockname()[1]
        return port
