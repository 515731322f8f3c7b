"""HTTP to a server of experts: kept-alive connections, bounded waits, and patience with one that is away or busy."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...errors import ExpertError, TemporaryExpertError, bad_value, say, short
from ..retrying import ask_patiently
from .frames import CONTENT_TYPE

__all__ = ["Reply", "Transport", "read_url"]

BUSY = frozenset({408, 429, 502, 503, 504})
"""Statuses that say nothing about the call: it is sent again."""
CONNECT_S = 5.0
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
ADDRESS = "http://HOST:PORT or https://HOST:PORT"
HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(%\w+)?")
LOG = logging.getLogger("visenv.experts.remote")
IDLE_S = 20.0
"""How long an idle connection is kept."""
READ_BYTES = 2**18
REPLY_BYTES = 2**30
"""Longest reply that is read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A reply that is about the call."""

    status: int
    content_type: str
    body: bytes | bytearray

    @property
    def words(self) -> str:
        """What the server says about a refusal, on one line."""
        text = self.body[:2000].decode("utf-8", "replace")
        return short(text, 400)


class Transport:
    """Sends bodies to one server. Thread-safe; picklable, connections are made anew."""

    def __init__(self, url: str, *, token_env: str, patience_s: float, timeout_s: float) -> None:
        """Connect on first use.

        Args:
            url: ``http://host:port``, with a path where the server is behind one.
            token_env: Name of the environment variable whose token is shown with every call; empty for none.
            patience_s: How long a server that is away or busy is asked again.
            timeout_s: Longest wait for one reply.
        """
        self.url = read_url(url)
        self._token_env = token_env
        self._path = urlsplit(self.url).path
        self._headers = {"User-Agent": "visenv"}
        token = _read_token(token_env)
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []  # with the time of last use, the latest last
        self._busy: set[http.client.HTTPConnection] = set()
        self._away_since = 0.0

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.url, self._token_env, self._patience_s, self._timeout_s)

    def call(self, method: str, path: str, body: Sequence[bytes | memoryview] = ()) -> Reply:
        """Send a call until it is answered.

        Args:
            method: Of HTTP.
            path: Below the server's address.
            body: What is sent, one piece after the other and not copied.

        Raises:
            TemporaryExpertError: The server was away or busy for longer than the patience.
            ExpertError: The transport was closed, or the reply is too long.
        """
        return ask_patiently(
            lambda: self._told(method, path, body), patience_s=self._patience_s, first_wait_s=FIRST_WAIT_S,
            longest_wait_s=LONGEST_WAIT_S, sleep=self._closed.wait,
        )  # fmt: skip

    def look(self, path: str, *, timeout_s: float) -> Reply:
        """Get what a path says just now, whatever the status.

        Raises:
            TemporaryExpertError: The server is away.
            ExpertError: The transport was closed, or the reply is too long.
        """
        reply, _ = self._once("GET", path, (), min(timeout_s, self._timeout_s))
        return reply

    def close(self) -> None:
        """Close the connections; callers that wait, for a reply or to ask again, get an error at once."""
        with self._lock:
            self._closed.set()
            for (
                line
            ) in self._busy:  # only ended: whoever reads from it closes it, or its number might be another's by then
                sock = line.sock  # its thread may let go of it meanwhile
                if sock is not None:
                    with contextlib.suppress(OSError):
                        sock.shutdown(socket.SHUT_RDWR)
            for _, line in self._idle:
                line.close()
            self._idle.clear()

    def _told(self, method: str, path: str, body: Sequence[bytes | memoryview]) -> Reply:
        """Send a call once, and say once for each time that the server is away that it is."""
        try:
            reply, asked = self._once(method, path, body, self._timeout_s)
            if reply.status in BUSY:
                raise self._away(f"status {reply.status}, {reply.words}", asked)
        except TemporaryExpertError as error:
            if not self._away_since and self._patience_s:
                LOG.warning("%s Asking again for up to %g s.", error, self._patience_s)
            self._away_since = self._away_since or time.monotonic()
            raise
        if self._away_since:
            LOG.warning(
                "The expert server %s answers again after %.0f s.", self.url, time.monotonic() - self._away_since
            )
        self._away_since = 0.0
        return reply

    def _once(
        self, method: str, path: str, body: Sequence[bytes | memoryview], timeout_s: float
    ) -> tuple[Reply, float | None]:
        """Send a call once; return the reply, and after how many seconds the server wants to be asked again."""
        while True:
            line, is_new = self._take()
            is_good = False
            try:
                reply = self._exchange(line, method, path, body, timeout_s)
                is_good = True
                return reply
            except (OSError, http.client.HTTPException, UnicodeError) as error:
                if self._closed.is_set():
                    raise self._closed_error() from None
                if isinstance(error, (UnicodeError, http.client.InvalidURL)):  # a name that no lookup takes
                    raise bad_value("url", self.url, expected=f"{ADDRESS} ({say(error)})") from None
                if is_new or not isinstance(error, ConnectionError):
                    raise self._away(say(error), None) from error
            finally:
                self._give_back(line, is_good=is_good)

    def _exchange(
        self, line: http.client.HTTPConnection, method: str, path: str, body: Sequence[bytes | memoryview], timeout_s: float
    ) -> tuple[Reply, float | None]:  # fmt: skip
        until = time.monotonic() + timeout_s
        if line.sock is None:
            line.timeout = min(CONNECT_S, timeout_s)
            line.connect()
        with self._lock:  # `close` ends this socket, or is seen here
            if self._closed.is_set():
                raise self._closed_error()
            line.sock.settimeout(timeout_s)
        line.putrequest(method, self._path + path)
        for name, value in self._headers.items():
            line.putheader(name, value)
        if body:
            line.putheader("Content-Type", CONTENT_TYPE)
            line.putheader("Content-Length", str(sum(map(len, body))))
        line.endheaders()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a refusal may be there already
            for piece in body:
                line.send(piece)
        with line.getresponse() as response:  # closes the reply, not the connection
            held = bytearray()
            while chunk := response.read1(READ_BYTES):
                held += chunk
                if len(held) > REPLY_BYTES:
                    raise ExpertError(f"The expert server {self.url} gave more than {REPLY_BYTES} bytes.")
                if time.monotonic() > until:  # one that drips would never run into the timeout of a single read
                    raise TimeoutError("the reply takes too long")
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            asked = _seconds(response.headers.get("retry-after"))
            return Reply(status=response.status, content_type=kind, body=held), asked

    def _away(self, why: str, retry_after_s: float | None) -> TemporaryExpertError:
        return TemporaryExpertError(
            f"The expert server {self.url} gives no answer: {why}. Expected one that runs, for at least every {self._patience_s:g} s. "
            "Start it again with `visenv experts serve`, and run the same command.",
            retry_after_s=retry_after_s,
        )

    def _closed_error(self) -> ExpertError:
        return ExpertError(f"The connection to {self.url} was closed.")

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        """Return a connection to use, and whether it is a new one; one that was kept may have ended meanwhile."""
        with self._lock:
            if self._closed.is_set():
                raise self._closed_error()
            while self._idle and time.monotonic() - self._idle[0][0] > IDLE_S:
                self._idle.pop(0)[1].close()
            line, is_new = (self._idle.pop()[1], False) if self._idle else (self._connection(), True)
            self._busy.add(line)
            return line, is_new

    def _give_back(self, line: http.client.HTTPConnection, *, is_good: bool) -> None:
        """Keep a connection whose reply was read to its end, close any other."""
        with self._lock:
            self._busy.discard(line)
            if is_good and line.sock is not None and not self._closed.is_set():
                self._idle.append((time.monotonic(), line))
            else:
                line.close()

    def _connection(self) -> http.client.HTTPConnection:
        """Return a connection that is made when it is used. No proxy and no redirect gets to see the token."""
        parts = urlsplit(self.url)
        if parts.scheme == "https":
            return http.client.HTTPSConnection(parts.hostname or "", parts.port, context=ssl.create_default_context())
        return http.client.HTTPConnection(parts.hostname or "", parts.port)


def read_url(url: str) -> str:
    """Return a server's address without a slash at the end.

    Raises:
        BadValueError: It is none, or holds a login.
    """
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        raise bad_value("url", url, expected=ADDRESS) from None
    if parts.username is not None or parts.password is not None:
        raise bad_value("url", "(holds a login)", expected=ADDRESS, remedy="Name the token's variable with token_env=…")
    if (
        parts.scheme not in ("http", "https")
        or not HOST.fullmatch(parts.hostname or "")
        or not has_port
        or parts.query
        or parts.fragment
    ):
        raise bad_value("url", url, expected=ADDRESS)
    if not url.isprintable() or any(c.isspace() for c in url):
        raise bad_value("url", url, expected=ADDRESS)
    return url.rstrip("/")


def _again(url: str, token_env: str, patience_s: float, timeout_s: float) -> Transport:
    return Transport(url, token_env=token_env, patience_s=patience_s, timeout_s=timeout_s)


def _read_token(variable: str) -> str | None:
    if not variable:
        return None
    token = os.environ.get(variable)
    if not token or not token.isascii() or not token.isprintable():
        raise bad_value(
            "token_env", variable, expected="the name of an environment variable that holds the server's token",
            remedy="Set it; the token itself is never an option.",
        )  # fmt: skip
    return token


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 7 else None
