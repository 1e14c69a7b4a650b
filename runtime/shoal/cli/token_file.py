"""The file that holds a cluster's token.

Invariant: a token comes from a file, never from an argument or an environment variable, and is never part of
an error text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

MIN_TOKEN_BYTES: Final = 16


class TokenError(ValueError):
    """The token file cannot be used; the text says why and what to do."""


def read_token(path: str) -> bytes:
    """The token in a file, without the line end.

    Raises:
        TokenError: the file is missing, unreadable, or the token too short.
    """
    try:
        token = Path(path).read_bytes().strip()
    except OSError as error:
        raise TokenError(f"cannot read the token file {path}: {error.strerror}") from error
    if len(token) < MIN_TOKEN_BYTES:
        raise TokenError(
            f"the token in {path} has {len(token)} bytes, at least {MIN_TOKEN_BYTES} are needed: "
            "make one with `openssl rand -hex 32`"
        )
    return token
