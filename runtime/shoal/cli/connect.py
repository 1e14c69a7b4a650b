"""How commands find a running head: address, token and certificates, from options or the environment.

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
    """Give a command ``--address``, ``--token-file`` and ``--tls-dir``;

    it is called with ``client``, a ``JobClient`` that is closed after it.
    """

    @click.option("--address", envvar="SHOAL_ADDRESS", show_envvar=True, required=True, help="HOST:PORT of the head.")
    @click.option(
        "--token-file",
        envvar="SHOAL_TOKEN_FILE",
        show_envvar=True,
        required=True,
        type=click.Path(dir_okay=False),
        help="File that holds the cluster's token.",
    )
    @click.option(
        "--tls-dir",
        envvar="SHOAL_TLS_DIR",
        show_envvar=True,
        default="",
        type=click.Path(file_okay=False),
        help="Directory with ca.crt, tls.crt and tls.key, for a cluster with TLS.",
    )
    @functools.wraps(command)
    def with_client(address: str, token_file: str, tls_dir: str, **options: Any) -> Any:
        from shoal.jobs.client import JobClient, JobClientError
        from shoal.protocol.tls import Certificates, TlsFilesError

        try:
            certificates = Certificates.read(tls_dir) if tls_dir else None
            with JobClient(address, read_token(token_file), certificates) as client:
                return command(client=client, **options)
        except (TokenError, TlsFilesError, JobClientError) as error:
            raise click.ClickException(str(error)) from error

    return with_client
