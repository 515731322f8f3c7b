"""Running a server of experts under uvicorn: on this machine alone unless told otherwise, and then with a token."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass, field

from ...errors import bad_value, missing_extra
from .._set import ExpertSet
from .app import CONCURRENCY, make_app
from .service import BODY_BYTES, PICTURE_BYTES, Service

__all__ = ["ExpertServer", "ServerSettings", "is_loopback", "read_token"]

SHORTEST_TOKEN = 16
"""Characters; what is shorter can be guessed."""
GRACE_S = 30
"""How long running calls may take to end once the server is asked to stop."""
KEEP_ALIVE_S = 60
"""Longer than a client keeps an idle connection, so that it is the client who closes it."""
BACKLOG = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """Where a server listens and what it takes."""

    host: str = "127.0.0.1"
    port: int = 8750
    """0 takes a free one."""
    token: str | None = field(default=None, repr=False)
    body_bytes: int = BODY_BYTES
    picture_bytes: int = PICTURE_BYTES
    concurrency: int = CONCURRENCY

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise bad_value(
                "--host", self.host, expected="an address of this machine alone, such as 127.0.0.1, as long as there is no token",
                remedy="Put a token into an environment variable and name that with --token-env.",
            )  # fmt: skip


class ExpertServer:
    """A server that listens as soon as it is made, and answers while :meth:`run` runs."""

    def __init__(self, experts: ExpertSet, settings: ServerSettings) -> None:
        """Listen.

        Args:
            experts: Who answers; closed at the end of :meth:`run`.
            settings: Where, and for whom.

        Raises:
            MissingExtraError: FastAPI or uvicorn is not installed.
            OSError: The address is taken or does not exist.
        """
        try:
            import fastapi  # noqa: F401 - before anything is opened
            import uvicorn
        except ImportError as error:
            raise missing_extra("A server of experts", "serve") from error
        self._listener = _listen(settings.host, settings.port)
        self.service = Service(experts, body_bytes=settings.body_bytes, picture_bytes=settings.picture_bytes)
        local = ["localhost", "127.0.0.1", "::1", "[::1]", settings.host] if settings.token is None else None
        app = make_app(self.service, token=settings.token, concurrency=settings.concurrency, hosts=local)
        config = uvicorn.Config(  # of the two HTTP parsers h11 bounds headers
            app, http="h11", log_level="warning", access_log=False, server_header=False, proxy_headers=False, lifespan="on", ws="none",
            timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=GRACE_S,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        host, port = self._listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(self) -> None:
        """Answer until :meth:`stop`, SIGINT or SIGTERM: running calls end, then the experts are closed."""
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._listener.close()

    def stop(self) -> None:
        """Let :meth:`run` end, from another thread."""
        self._server.should_exit = True


def read_token(variable: str | None) -> str | None:
    """Return the token that an environment variable holds; ``None`` without one.

    Raises:
        BadValueError: The variable is not set, or what it holds is too short or cannot stand in a header.
    """
    if variable is None:
        return None
    token = os.environ.get(variable, "")
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise bad_value(
            "--token-env", variable,
            expected=f"the name of an environment variable that holds a token of at least {SHORTEST_TOKEN} letters and digits",
            remedy="Make one with `python -c 'import secrets; print(secrets.token_urlsafe())'`.",
        )  # fmt: skip
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address. A name other than ``localhost`` may mean anything, so it is not."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; connections made before the server runs wait in its queue."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart finds its port free
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
