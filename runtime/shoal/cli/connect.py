"""How commands find a running head: address and token, from options or the environment.

Invariant: the token comes from a file that only its owner can read, never from an argument or an
environment variable.
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

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


def others_can_read(path: str) -> bool:
    """Whether the file's mode lets other users of the machine read it (mounted Secrets may:

    the pod is the border).
    """
    return bool(os.stat(path).st_mode & stat.S_IROTH)


def head_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--address`` and ``--token-file``;

    it is called with ``client``, a ``JobClient`` that is closed after it.
    """

    @click.option(
        "--address", envvar="SHOAL_ADDRESS", required=True, help="HOST:PORT of the head.  [env: SHOAL_ADDRESS]"
    )
    @click.option(
        "--token-file",
        envvar="SHOAL_TOKEN_FILE",
        required=True,
        type=click.Path(dir_okay=False),
        help="File that holds the cluster's token.  [env: SHOAL_TOKEN_FILE]",
    )
    @functools.wraps(command)
    def with_client(address: str, token_file: str, **options: Any) -> Any:
        from shoal.jobs.client import JobClient, JobClientError

        try:
            with JobClient(address, read_token(token_file)) as client:
                return command(client=client, **options)
        except (TokenError, JobClientError) as error:
            raise click.ClickException(str(error)) from error

    return with_client
