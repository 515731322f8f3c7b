"""The command line, ``visenv VERB``: verbs are plugins of the group ``visenv.commands``, assembled here."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NoReturn

import typer

from . import __version__, plugins
from .errors import BadValueError, PluginError, UnknownNameError, VisenvError, say
from .redaction import find_secrets, redact

__all__ = ["add_verb", "main", "make_app"]

FIRST = "visenv demo"
"""The first command to paste."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 something failed and is reported, 2 wrong usage, 130 interrupted.

    Args:
        arguments: Without the program's name; those of the process by default.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    secrets = find_secrets(given)
    try:
        make_app()([a for a in given if a != "--debug"], prog_name="visenv")
    except (BadValueError, UnknownNameError) as error:
        _report(error, secrets, debug=debug)
        sys.exit(2)
    except (VisenvError, OSError) as error:
        _report(error, secrets, debug=debug)
        sys.exit(1)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except Exception:  # a bug, ours or a plugin's: the traceback is what a report needs, without secrets
        print(redact(traceback.format_exc(), secrets), file=sys.stderr)
        print("visenv: this is a bug. Please report it with the output of `visenv doctor`.", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


def make_app() -> typer.Typer:
    """Return the application with every installed verb; one that cannot be imported says so when it is called."""
    app = typer.Typer(
        name="visenv", rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False,
        invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    verbs: dict[str, str] = {}

    @app.callback(help="Visual benchmarks as environments, in which agents call visual experts as tools.")
    def root(
        context: typer.Context,
        version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
        debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    ) -> None:
        if version:
            typer.echo(f"visenv {__version__}")
        elif context.invoked_subcommand is None:
            typer.echo(_map(verbs))

    for name, plugin in plugins.plugins("commands").items():
        try:
            function = plugin.load()
            trial = typer.Typer()
            add_verb(trial, name, function)
            typer.main.get_group(trial)  # typer reads annotations only here
        except Exception as error:  # somebody else's function: whatever is wrong with it, the other verbs work
            function = _broken(error)
        verbs[name] = add_verb(app, name, function)
    return app


def add_verb(app: typer.Typer, name: str, function: Any) -> str:
    """Add a verb, a function or an application of its own, and return the line that says what it does.

    A function's docstring is its help; what follows a line ``Examples:`` is printed at the end as it stands.
    """
    if isinstance(function, typer.Typer):
        app.add_typer(function, name=name)
        return str(function.info.help or "")
    text, _, examples = (inspect.getdoc(function) or "").partition("\nExamples:\n")
    line = text.split("\n", 1)[0]
    epilog = "\b\nExamples:\n" + examples if examples else None
    app.command(name=name, help=text, short_help=line, epilog=epilog)(function)
    return line


def _map(verbs: dict[str, str]) -> str:
    width = max(map(len, verbs), default=0)
    lines = [f"  visenv {name.ljust(width)}  {what}" for name, what in verbs.items()]
    return "\n".join(
        [
            "visenv: visual benchmarks as environments, in which agents call visual experts as tools.", "",
            *lines, "", f"Start with `{FIRST}`. `visenv VERB --help` says more about each.",
        ]
    )  # fmt: skip


def _broken(error: Exception) -> Callable[[], Any]:
    told = error if isinstance(error, PluginError) else PluginError(f"This command is broken: {say(error)}.")

    def command() -> None:
        raise told

    command.__doc__ = f"(broken: {told})"
    return command


def _report(error: Exception, secrets: Sequence[str], *, debug: bool) -> None:
    """Print an error as a person wants it; a bug, which is not of our classes, keeps its traceback elsewhere."""
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader is gone: say nothing at exit
        return
    if debug:
        print(redact("".join(traceback.format_exception(error)), secrets), file=sys.stderr)
    text = (
        redact(str(error), secrets)
        .encode(sys.stderr.encoding or "utf-8", "replace")
        .decode(sys.stderr.encoding or "utf-8")
    )
    print(f"visenv: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
