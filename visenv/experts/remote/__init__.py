"""Experts in another process or on another machine: the client, the server, and the wire between them."""

from __future__ import annotations

from .._protocol import Expert

__all__ = ["RemoteExperts"]


def RemoteExperts(  # noqa: N802 - the entry point ``remote``
    url: str,
    token_env: str = "",
    start_s: float = 30.0,
    patience_s: float = 300.0,
    timeout_s: float = 120.0,
    batch: int = 32,
    parallel: int = 4,
    png: bool = False,
) -> list[Expert]:
    """Connect to a server that ``visenv experts serve`` runs, and stand for every expert that it has.

    Args:
        url: ``http://HOST:PORT``.
        token_env: Name of the environment variable that holds the server's token.
        start_s: How long the server is waited for at the beginning.
        patience_s: How long a server that is away or busy is asked again, before the request fails.
        timeout_s: Longest wait for one reply.
        batch: Most requests of one call.
        parallel: Calls at a time for a batch that takes several.
        png: Send pictures as PNG: slower to make, shorter on the way.

    Raises:
        MissingExtraError: The packages of the extra ``serve`` are not installed.
        TemporaryExpertError: Nobody answers within ``start_s``.
        ExpertError: Who answers is no such server, or wants another token.
    """
    from .client import connect

    return connect(
        url,
        token_env=token_env,
        start_s=start_s,
        patience_s=patience_s,
        timeout_s=timeout_s,
        batch=batch,
        parallel=parallel,
        png=png,
    )
