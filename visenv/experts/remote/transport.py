"""HTTP to a server of experts: kept-alive connections, bounded waits, and patience with one that is away or busy."""

from __future__ import annotations

import logging
import os
import re
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...errors import ExpertError, TemporaryExpertError, bad_value, missing_extra, say, short
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
REPLY_BYTES = 2**30
"""Longest reply that is read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A reply that is about the call."""

    status: int
    content_type: str
    body: bytes

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
        self._token = _read_token(token_env)
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._client: Any = None
        self._away_since = 0.0

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.url, self._token_env, self._patience_s, self._timeout_s)

    def call(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """Send a call until it is answered.

        Raises:
            TemporaryExpertError: The server was away or busy for longer than the patience.
            ExpertError: The transport was closed, or the reply is too long.
        """
        return ask_patiently(
            lambda: self._told(method, path, body), patience_s=self._patience_s, first_wait_s=FIRST_WAIT_S,
            longest_wait_s=LONGEST_WAIT_S, sleep=self._closed.wait,
        )  # fmt: skip

    def close(self) -> None:
        """Close the connections; callers that wait get an error."""
        self._closed.set()
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _told(self, method: str, path: str, body: bytes | None) -> Reply:
        """Send a call once, and say once for each time that the server is away that it is."""
        try:
            reply = self._once(method, path, body)
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

    def _once(self, method: str, path: str, body: bytes | None) -> Reply:
        client = self._connected()
        import httpx

        headers = {"Content-Type": CONTENT_TYPE} if body is not None else {}
        try:
            with client.stream(method, self.url + path, content=body, headers=headers) as response:
                reply = self._read(response)
                asked = _seconds(response.headers.get("retry-after"))
        except httpx.TransportError as error:
            raise self._away(say(error), None) from error
        except (httpx.InvalidURL, UnicodeError) as error:  # a name that no lookup takes
            raise bad_value("url", self.url, expected=f"{ADDRESS} ({say(error)})") from None
        if reply.status in BUSY:
            raise self._away(f"status {reply.status}, {reply.words}", asked)
        return reply

    def _read(self, response: Any) -> Reply:
        import httpx

        until = time.monotonic() + self._timeout_s
        held = bytearray()
        for chunk in response.iter_raw():
            held += chunk
            if len(held) > REPLY_BYTES:
                raise ExpertError(f"The expert server {self.url} gave more than {REPLY_BYTES} bytes.")
            if time.monotonic() > until:  # one that drips would never run into the timeout of a single read
                raise httpx.ReadTimeout("the reply takes too long")
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return Reply(status=response.status_code, content_type=kind, body=bytes(held))

    def _away(self, why: str, retry_after_s: float | None) -> TemporaryExpertError:
        return TemporaryExpertError(
            f"The expert server {self.url} gives no answer: {why}. Expected one that runs, for at least every {self._patience_s:g} s. "
            "Start it again with `visenv experts serve`, and run the same command.",
            retry_after_s=retry_after_s,
        )

    def _connected(self) -> Any:
        try:
            import httpx
        except ImportError as error:
            raise missing_extra("Expert 'remote'", "serve") from error

        with self._lock:
            if self._closed.is_set():
                raise ExpertError(f"The connection to {self.url} was closed.")
            if self._client is None:
                headers = {"Accept-Encoding": "identity", "User-Agent": "visenv"}
                if self._token is not None:
                    headers["Authorization"] = f"Bearer {self._token}"
                self._client = httpx.Client(
                    headers=headers, follow_redirects=False, trust_env=False,  # no proxy, no redirect gets to see the token
                    verify=ssl.create_default_context() if self.url.startswith("https:") else False,
                    timeout=httpx.Timeout(self._timeout_s, connect=min(CONNECT_S, self._timeout_s)),
                    limits=httpx.Limits(max_connections=64, max_keepalive_connections=64, keepalive_expiry=IDLE_S),
                )  # fmt: skip
            return self._client


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
