"""The `edge-har` command: every command lies in its own file and is loaded when it is called."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, requires
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from edge_har.cli.command import Group
from edge_har.cli.logs import write_error
from edge_har.cli.usage import usage_line
from edge_har.errors import EdgeHarError, RuntimeMissingError, printable
from edge_har.options.addresses import mask_text, mask_uri
from edge_har.system.work import CAPTURE_THREAD, WORK_THREAD

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from edge_har.pipeline.observer import PipelineObserver

PROGRAM = "edge-har"
ENTRY_POINT_GROUP = "edge_har.commands"
WORKSTATION_INSTALL = "pip install -e '.[workstation]' in a checkout of edge_har"
WORKSTATION_REQUIREMENT = re.compile(r"""([\w.-]+)[^;]*;.*\bextra\s*==\s*['"]workstation['"]""")
HELP_INSTEAD = getattr(click.exceptions, "NoArgsIsHelpError", ())  # click 8.1 prints help without an error
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # of a disk, not of what was typed
WORKSTATION_HELP = {
    "data": "Index, check and split sets of clips (workstation).",
    "train": "Train a model on clips (workstation).",
    "convert": "Prune, quantise, check and pack a trained model (workstation).",
    "benchmark": "Compare trained models: accuracy and latency (workstation).",
}
# Standing here so that `--help` needs no command's module, and so neither OpenCV nor TensorFlow.
RUNTIME_HELP = {
    "run": "Turn live sources into events.",
    "classify": "Name the activity in recorded files.",
    "config": "Write, check or show a configuration file of run; its schema.",
    "sources": "List this machine's cameras and what they can do.",
    "doctor": "Find what is wrong with this machine, and what to do about it.",
    "service": "Set this machine up as a service, which flash puts bundles on.",
    "bench": "Measure latency and memory on this device.",
    "model": "Inspect bundles, verify them, export their graphs.",
    "flash": "Put a bundle on devices over ssh.",
    "rollback": "Return devices to their previous bundle.",
    "status": "Show which bundle is on this device, or on others.",
    "completion": "Complete commands at the Tab key in bash, zsh or fish.",
    "receive": "Device side of flash: take a bundle from standard input.",
}
# What people call commands elsewhere.
ALSO_CALLED = {
    "help": "-h",
    "version": "--version",
    **dict.fromkeys(("start", "live", "stream", "watch", "detect", "camera", "webcam"), "run"),
    "demo": "run --demo",
    **dict.fromkeys(("predict", "infer", "inference", "recognize", "recognise", "video"), "classify"),
    **dict.fromkeys(("cameras", "devices", "source", "list-cameras"), "sources"),
    **dict.fromkeys(("deploy", "install", "push", "upload", "update"), "flash"),
    **dict.fromkeys(("undo", "revert", "restore"), "rollback"),
    **dict.fromkeys(("quantise", "quantize", "compress", "prune", "package"), "convert"),
    **dict.fromkeys(("fit", "learn", "retrain"), "train"),
    **dict.fromkeys(("latency", "speed", "profile"), "bench"),
    **{name: f"model {name}" for name in ("inspect", "verify", "export")},
    **{name: f"data {name}" for name in ("index", "split")},
    **{name: f"config {name}" for name in ("check", "show", "schema")},
    **dict.fromkeys(("models", "bundle", "info", "show-model"), "model inspect"),
    **dict.fromkeys(("dataset", "datasets", "clips"), "data index"),
    **dict.fromkeys(("settings", "configure"), "config"),
}


def workstation_part(group: str, name: str) -> Any:
    """What an installed entry point names; raises RuntimeMissingError where the workstation's parts are
    absent.
    """
    found = _entries(group).get(name)
    if found is None or not _is_present(found):
        raise RuntimeMissingError(f"'{name}' is of the workstation: {WORKSTATION_INSTALL}")
    with missing_library_in_a_line():
        return found.load()


def _entries(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


def _is_present(entry: EntryPoint) -> bool:
    """Whether the module of an entry point can be found.

    Nothing is imported for that: a folder or file of the user's may have the name of its top-level package.
    """
    top, *below = entry.module.split(".")
    spec = importlib.util.find_spec(top)
    for name in below:
        if spec is None or spec.submodule_search_locations is None:
            return False
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    return spec is not None


@contextmanager
def missing_library_in_a_line() -> Iterator[None]:
    """A library of the workstation that cannot be found becomes RuntimeMissingError.

    Any other import error is a fault of the installation or of ours, and is shown whole.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        # A module below an installed library has a dot: that is another version of it, not its absence.
        if error.name not in _workstation_modules():
            raise
        raise RuntimeMissingError(f"{error.name} is not installed: {WORKSTATION_INSTALL}") from error


def _workstation_modules() -> set[str]:
    """The modules of what the workstation's extra installs: here all are named like their distributions."""
    with suppress(PackageNotFoundError):
        found = map(WORKSTATION_REQUIREMENT.match, requires("edge-har") or ())
        return {match[1].replace("-", "_") for match in found if match}
    return set()


class ReaderGone(Exception):
    """Whoever read our output went away.

    Not an OSError: click makes exit 1 of a broken pipe before we see it.
    """


class LazyGroup(Group):
    """Commands by name: the runtime's from edge_har.cli, the workstation's from installed entry points."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line, which may print help or versions; a broken pipe gets past click."""
        try:
            return super().parse_args(ctx, args)
        except BrokenPipeError as error:
            raise ReaderGone from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a broken pipe gets past click.

        Commands import what they need when they run, so a library that is missing shows here.
        """
        try:
            with missing_library_in_a_line():
                return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGone from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, runtime first."""
        return [*RUNTIME_HELP, *(name for name in WORKSTATION_HELP)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command; the error for a workstation command that is absent names what to install."""
        if cmd_name in RUNTIME_HELP:
            command = importlib.import_module(f"edge_har.cli.{cmd_name}").command
            assert isinstance(command, click.Command)
            return command
        if cmd_name not in WORKSTATION_HELP | _entries(ENTRY_POINT_GROUP):
            return None
        try:
            loaded = workstation_part(ENTRY_POINT_GROUP, cmd_name)
        except RuntimeMissingError:
            if ctx.resilient_parsing:  # a shell completes its name: nobody reads an error
                return None
            raise
        assert isinstance(loaded, click.Command)
        return loaded

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands that begin so, none of them loaded, or the options."""
        from click.shell_completion import CompletionItem

        known = (RUNTIME_HELP | WORKSTATION_HELP).items()
        names = [CompletionItem(name, help=text) for name, text in known if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def unknown_command(self, ctx: click.Context, name: str) -> str:
        """What to answer to a command that there is not: it may be a file, or an address."""
        if "://" in name or name.startswith("/dev/") or name.isdecimal():
            return f"no command ({mask_uri(name)}); did you mean {ctx.command_path} run --source URI?"
        if os.path.exists(name) or os.path.splitext(name)[1]:
            return f"no command ({mask_uri(name)}); did you mean {ctx.command_path} classify PATH?"
        return super().unknown_command(ctx, name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list((RUNTIME_HELP | WORKSTATION_HELP).items()))


@click.group(
    cls=LazyGroup,
    also_called=ALSO_CALLED,
    examples={
        "Watch the first camera": "edge-har run --camera 0",
        "Look at recordings": "edge-har classify recordings",
        "All options of a command, and examples": "edge-har run -h",
    },
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, requested: _show_version(context, requested),
    help="Show the versions of edge-har, its libraries and the shipped model.",
)
def cli() -> None:
    """Recognise human activity on the edge."""


def _show_version(context: click.Context, requested: bool) -> None:
    if requested:
        from edge_har.cli._version import version_lines

        click.echo("\n".join(version_lines()))
        context.exit()


def main(observer: PipelineObserver | None = None) -> None:
    """Entry point: what `call` does, to the end of the process."""
    _open_closed_streams()
    _leave(call(None, observer))


def call(arguments: list[str] | None, observer: PipelineObserver | None = None) -> int:
    """Do what a command line says; the exit code, as the shell knows it. One line on standard error for every
    error raised on purpose.

    arguments: behind the program's name; None: those of this process.
    """
    try:
        code = cli.main(
            arguments, PROGRAM if arguments is not None else None, standalone_mode=False, obj=observer
        )
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        code = 128 + signal.SIGINT
    except click.ClickException as error:
        if isinstance(error, HELP_INSTEAD):
            error.show()
        else:
            # It quotes what was typed, perhaps an address that is in the wrong place.
            write_error(printable(mask_text(usage_line(error))))
        code = error.exit_code
    except EdgeHarError as error:
        write_error(str(error))
        code = error.exit_code
    except (ReaderGone, BrokenPipeError):
        _write_nowhere(sys.stdout, sys.stderr)
        code = 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno in UNWRITABLE:
            _write_nowhere(sys.stdout)
            write_error(f"the output cannot be written: {error.strerror}")
        elif error.filename is not None:
            write_error(printable(f"{error.filename}: {error.strerror}"))
        else:
            raise
        code = 1
    return code if isinstance(code, int) else 0


def _open_closed_streams() -> None:
    """Open /dev/null where standard input, output or error is closed.

    Otherwise a file or socket of ours would get its descriptor.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that is not UTF-8 is still a line


def _write_nowhere(*streams: TextIO) -> None:
    """Keep the interpreter from flushing what cannot be written as it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())


def _leave(code: int) -> NoReturn:
    """End the process; where a thread hangs in a library, without taking the interpreter down around it."""
    if any(thread.name in (CAPTURE_THREAD, WORK_THREAD) for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)
