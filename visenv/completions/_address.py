"""Where an OpenAI-compatible endpoint is, and the key for it, which comes from the environment alone."""

from __future__ import annotations

import os

from ..errors import bad_value
from ..redaction import redact

__all__ = ["find_endpoint"]


def find_endpoint(url: str = "", key_env: str = "") -> tuple[str, str]:
    """Return an address and a key, empty for none.

    Args:
        url: Address that ends where ``/chat/completions`` begins, such as ``http://localhost:8000/v1``. By default what the
            variable ``OPENAI_BASE_URL`` holds; then the key is in ``OPENAI_API_KEY``, unless ``key_env`` says otherwise.
        key_env: Name of the environment variable that holds the key. With a ``url`` and no name none is sent.

    Raises:
        BadValueError: No address, one with a login, or the variable is not set.
    """
    address = url or os.environ.get("OPENAI_BASE_URL", "")
    if not address.startswith(("http://", "https://")) or not address.split("/")[2]:
        raise bad_value(
            "url", address, expected="an address such as http://localhost:8000/v1",
            remedy="Pass url=… or set OPENAI_BASE_URL.",
        )  # fmt: skip
    if "@" in address.split("/")[2]:
        raise bad_value(
            "url", redact(address, ()), expected="an address without a login",
            remedy="Put the key into an environment variable and name that with key_env=…",
        )  # fmt: skip
    if key_env and key_env not in os.environ:
        raise bad_value("key_env", key_env, expected="the name of an environment variable that is set")
    name = key_env or ("" if url else "OPENAI_API_KEY")
    return address.rstrip("/"), os.environ.get(name, "") if name else ""
