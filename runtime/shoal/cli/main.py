"""The ``shoal`` command: groups are imported only when they are used, so that it starts quickly.

Invariant: an error that a person can put right is two short lines without a traceback
(``SHOAL_TRACEBACK=1`` shows it); exit codes: 0 done, 1 failed, 2 used wrongly, 124 out of time, 130 interrupted.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Final

import click

COMMANDS: Final = {
    "autoscaler": ("shoal.cli.autoscaler", "autoscaler"),
    "explain": ("shoal.cli.explain", "explain"),
    "lint": ("shoal.cli.lint", "lint"),
    "local": ("shoal.cli.local", "local"),
    "start": ("shoal.cli.start", "start"),
    "job": ("shoal.cli.job", "job"),
    "status": ("shoal.cli.status", "status"),
}
"""Command name to module and attribute."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command whose module is installed."""
        return sorted(name for name, (module, _) in COMMANDS.items() if _is_there(module))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS or not _is_there(COMMANDS[cmd_name][0]):
            return None
        module, attribute = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="shoal", prog_name="shoal")
def cli() -> None:
    """Run Python programs on clusters of pods."""


def show_error(message: str, hint: str = "") -> None:
    """Print an error as every command does: what was wrong, then what to do."""
    click.echo(f"error: {message}", err=True)
    if hint:
        click.echo(f"\nhint: {hint}", err=True)


def main() -> None:
    """The entry point of the ``shoal`` command."""
    try:
        sys.exit(cli.main(standalone_mode=False))
    except click.exceptions.Abort:
        sys.exit(130)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.UsageError as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # the message is the help itself
            click.echo(error.format_message(), err=True)
            sys.exit(2)
        command = error.ctx.command_path if error.ctx else "shoal"
        show_error(error.format_message(), f"see `{command} --help`")
        sys.exit(2)
    except click.ClickException as error:
        show_error(error.format_message())
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read the output has gone; Python must not complain about it again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
