"""How commands find a running head: address and token, from options or the environment.

Invariant: the token comes from a file that only its owner can read, never from an argument or an
environment variable.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from shoal.cli.token_file import TokenError, read_token


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
