"""Running a server of experts under uvicorn: on this machine alone unless told otherwise, and then with a token."""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import socket
from dataclasses import dataclass, field

from ...errors import bad_value, missing_extra
from .._set import ExpertSet
from .app import CONCURRENCY, digest_of, make_app
from .service import BODY_BYTES, PICTURE_BYTES, Service

__all__ = ["ExpertServer", "ServerSettings", "address_of", "is_loopback", "listen", "read_token"]

SHORTEST_TOKEN = 16
"""Characters; what is shorter can be guessed."""
GRACE_S = 30
"""How long running calls may take to end once the server is asked to stop."""
KEEP_ALIVE_S = 60
"""Longer than a client keeps an idle connection, so that it is the client who closes it."""
BACKLOG = 512
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""As in glibc's ``malloc.h``."""
CONNECTIONS_PER_CALL = 4
"""How many connections may be open for each call that may be in flight."""


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

    @property
    def token_digest(self) -> bytes | None:
        """What the application must know of the token."""
        return None if self.token is None else digest_of(self.token)

    @property
    def names(self) -> list[str] | None:
        """Names under which the server may be addressed; any where there is a token.

        Without one a web page could reach the server on its reader's own machine under a name of its own.
        """
        return None if self.token is not None else ["localhost", "127.0.0.1", "::1", "[::1]", self.host]

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

            from .connections import Connection
        except ImportError as error:
            raise missing_extra("A server of experts", "serve") from error
        self._listener = listen(settings.host, settings.port)
        self.service = Service(experts, body_bytes=settings.body_bytes, picture_bytes=settings.picture_bytes)
        app = make_app(
            self.service, token_digest=settings.token_digest, concurrency=settings.concurrency, hosts=settings.names
        )
        config = uvicorn.Config(  # of the two HTTP parsers h11 bounds headers
            app, http=Connection, log_level="warning", access_log=False, server_header=False, proxy_headers=False, lifespan="on", ws="none",
            limit_concurrency=CONNECTIONS_PER_CALL * settings.concurrency, timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=GRACE_S,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self.url = address_of(*self._listener.getsockname()[:2])

    def run(self) -> None:
        """Answer until :meth:`stop`, SIGINT or SIGTERM: running calls end, then the experts are closed."""
        _settle_memory()
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


def address_of(host: str, port: int) -> str:
    """Return the address of a server."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address. A name other than ``localhost`` may mean anything, so it is not."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
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


def _settle_memory() -> None:
    """Let glibc use the memory of pictures again from the beginning, as it learns to do by itself once large blocks were freed.

    Until then it gives them back and asks for fresh ones, whose first use takes longer than all that is done with them.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 2**25)
        libc.mallopt(M_TRIM_THRESHOLD, 2**26)
