"""The ``velatura`` command: every file of this folder is a verb.

``train.py`` holds one function named ``train``: its docstring is the help, its annotated
parameters are the options, and everything heavy is imported inside its body. A name that
begins with an underscore is not a verb; one inside a name is typed as a hyphen. A folder is a verb
whose files are its verbs: its ``__init__.py`` holds the function that explains it.

Exit codes: 0 done; 2 something to mend in the command or its files (``BadInput``); 1 it
broke while running; 130 interrupted. Errors are one sentence on stderr; ``--debug``,
anywhere in the command, adds the traceback. A verb that wants to say what an interrupt
left behind raises ``KeyboardInterrupt("... run the same command to resume.")``.
"""

from __future__ import annotations

import errno
import inspect
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from pkgutil import iter_modules
from types import FrameType
from typing import Annotated, Any

import typer
import typer.core

from velatura import __version__
from velatura.errors import VelaturaError

__all__ = ["load", "main", "verbs"]


def verbs(folder: str = "") -> list[str]:
    """The files of this folder; or of one in it, where ``folder`` is one."""
    places = [f"{place}/{folder}" for place in __path__]
    names = (m.name for m in iter_modules(places) if not m.name.startswith("_"))
    return sorted(name.replace("_", "-") for name in names)


def load(verb: str) -> Callable[..., None]:
    """The function behind a verb such as ``"train"`` or ``"impact anonymize"``: the one in its file
    that has the file's name."""
    *_, name = words = verb.replace("-", "_").split()
    function: Callable[..., None] = getattr(import_module(".".join(["velatura.cli", *words])), name)
    return function


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        words: the command without the program's name; by default, what the shell gave.
    """
    given = list(sys.argv[1:] if words is None else words)
    rest = [word for word in given if word != "--debug"]
    debug = rest != given
    app = _guarded(_app, debug)(rest, debug)
    with _sigterm_interrupts():
        app(args=rest, prog_name="velatura")


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """A polite kill ends as Ctrl-C does: saved, said in a sentence, exit code 130."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # A terminal that is closed sends SIGHUP; one that `nohup` has already turned off stays off.
    polite = [signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        polite.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in polite}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _app(words: list[str], debug: bool) -> typer.Typer:
    """The command line with the verb that ``words`` names, or with all of them."""
    app = typer.Typer(**PLAIN)
    app.callback(invoke_without_command=True)(_velatura)
    first = next((word for word in words if not word.startswith("-")), "")
    for verb in [first] if first in verbs() else verbs():
        if inner := verbs(verb):
            group = typer.Typer(**PLAIN, no_args_is_help=True)
            for name in inner:
                _add(group, name, load(f"{verb} {name}"), debug)
            app.add_typer(group, name=verb, **_said(load(verb)))
        else:
            _add(app, verb, load(verb), debug)
    return app


class _Alphabetical(typer.core.TyperGroup):
    """Verbs that are folders among those that are files."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands)


PLAIN: dict[str, Any] = {
    "cls": _Alphabetical,
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,  # plain text: it can be copied, piped, and is there at once
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 100},
}


def _add(app: typer.Typer, verb: str, function: Callable[..., None], debug: bool) -> None:
    app.command(verb, **_said(function))(_guarded(function, debug))


def _said(function: Callable[..., None]) -> dict[str, Any]:
    """What the help says of a verb: all, and in one sentence."""
    doc = inspect.getdoc(function) or ""
    return {"help": _help(doc), "short_help": doc.split("\n\n")[0].replace("\n", " ")}


def _velatura(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; goes anywhere.")
    ] = False,
) -> None:
    """Hide who is in a video, keep what they do, and measure what still leaks.

    `velatura VERB --help` has the options of a verb and an example.
    """
    if version:
        typer.echo(f"velatura {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _help(doc: str) -> str:
    """A docstring as help text: indented paragraphs keep their lines."""
    paragraphs = doc.split("\n\n")
    return "\n\n".join(f"\b\n{p}" if p.startswith(" ") else p for p in paragraphs)


def _guarded(function: Callable[..., Any], debug: bool) -> Callable[..., Any]:
    """The function, ending in one sentence and the right exit code when something is wrong."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
            sys.stdout.flush()  # a closed pipe shows here rather than at exit
            return result
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, BrokenPipeError) and _reader_is_gone():
                sys.exit(1)
            if debug:
                traceback.print_exc()
            sentence, code = _explain(error)
            typer.echo(sentence, err=True)
            sys.exit(code)

    return run


def _explain(error: BaseException) -> tuple[str, int]:
    """One sentence a person can act on, and the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "Interrupted.", 130
    if isinstance(error, VelaturaError):
        return f"Error: {error}", error.exit_code
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("velatura"):
        return (
            f"Error: This needs the Python module {error.name!r}, which is not installed; "
            "`pip install 'velatura[train]'` brings what training and reports need, "
            "and `velatura doctor` lists what is missing."
        ), 1
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error):
        where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
        return f"Error: The disk is full{where}; free some space and run this again.", 1
    what = f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ").rstrip(".")
    return f"Error: Unexpected {what}. Add --debug to see the traceback.", 1


def _reader_is_gone() -> bool:
    """Whether the other end of stdout was closed, as by ``| head``; silences it if so."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        if not any(event & select.POLLERR for _, event in poll.poll(0)):
            return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True
