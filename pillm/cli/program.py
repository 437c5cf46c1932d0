"""The `pillm` program: a table of commands, imported only when they run, and the one place where errors end."""

from __future__ import annotations

import errno
import os
import signal
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from pillm import __version__
from pillm.cli.terminal import Terminal, global_options
from pillm.errors import Interrupted, PillmError, did_you_mean

COMMANDS = {
    "Distil": {
        "run": "Run a whole recipe: label, train, export, evaluate, bench, report.",
        "label": "Let a teacher answer prompts; stored answers are never asked again.",
        "train": "Train a student on labelled rows.",
        "export": "Pack a trained student into model files, one per quantisation.",
        "evaluate": "Score teachers, checkpoints and model files on the same rows.",
        "bench": "Time a model file, compare measurements, see their history.",
    },
    "Use": {
        "init": "Write a recipe and sample rows to start from.",
        "plan": "Say whether a model fits a device, and how fast it would be.",
        "deploy": "Put a model to work on boards, look after it, go back.",
        "embed": "Turn texts into vectors.",
        "chat": "Talk to a model file or a checkpoint.",
        "data": "Make, expand, split and convert rows.",
        "card": "Write the card of a run's files anew: scores, terms, lineage.",
        "fetch": "Bring a model of a hub here, pinned to a commit.",
        "push": "Publish a run's files, private unless told otherwise.",
        "verify": "Recompute the hashes of a run, a folder or a file.",
    },
    "Look": {
        "backends": "List what is installed, or every option of one backend.",
        "plugins": "List the plugins that were found, and what is wrong with them.",
        "schema": "Print a JSON Schema of a file that pillm reads or writes.",
        "doctor": "Check this machine, or whether a model can be exported.",
        "completion": "Print the completion script of a shell.",
    },
}
SUMMARIES = {name: summary for section in COMMANDS.values() for name, summary in section.items()}
_SENTENCES = {
    errno.ENOSPC: "no space is left on the disk. Free some space and run the same command again",
    errno.EFBIG: "the file is larger than this system allows. Raise the limit (ulimit -f), or choose another place",
    errno.EDQUOT: "the disk quota is used up. Free some space and run the same command again",
    errno.EACCES: "permission was refused. Choose another path, or change its permissions",
    errno.EPERM: "permission was refused. Choose another path, or change its permissions",
    errno.EROFS: "the file system is read-only. Choose another path",
    errno.EISDIR: "it is a folder, and a file is needed. Choose another path",
    errno.ENOTDIR: "a part of the path is a file, and a folder is needed. Choose another path",
    errno.EEXIST: "a file or a broken link stands there, and a folder is needed. Choose another path, or move it away",
    errno.ENOTEMPTY: "a folder that is not empty stands there. Choose another path, or move it away",
    errno.ENOENT: "it does not exist and cannot be made there. Choose another path, or make its folder",
    errno.ELOOP: "its links lead in a circle. Choose another path",
    errno.EIO: "the disk failed (input/output error). Look after it, then run the same command again",
    errno.ENAMETOOLONG: "the name is too long. Choose another path",
}


class Program(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the table."""
        return list(SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in SUMMARIES:
            return None
        command: click.Command = import_module(f"pillm.cli.{cmd_name}_command").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may have been meant."""
        if args[0] not in SUMMARIES and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}.{did_you_mean(args[0], SUMMARIES)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing one of them."""
        for section, commands in COMMANDS.items():
            with formatter.section(section):
                formatter.write_dl(list(commands.items()), col_max=12)


program = Program(
    "pillm",
    params=[
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, help="Show the version and exit.",
            callback=lambda ctx, _, asked: _show_version(ctx) if asked else None,
        ),
        *global_options(),
    ],
    help="Turn a big language model's skill into a file small enough for a Raspberry Pi, and prove what was kept.",
    epilog="Every command has --help and --json. Start with: pillm init my-project",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)  # fmt: skip


def _show_version(ctx: click.Context) -> None:
    click.echo(f"pillm {__version__}")
    ctx.exit()


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    words = sys.argv[1:] if args is None else args
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = _exit_code(words)
    except KeyboardInterrupt:  # it came before click was ready, or twice
        code = 130
    sys.exit(code)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _exit_code(words: list[str]) -> int:
    terminal = Terminal(json="--json" in words)
    try:
        _refuse_other_bytes(words)
        code = program.main(words, prog_name="pillm", standalone_mode=False, obj=terminal)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        terminal.refusal("UsageError", error.format_message(), error.exit_code)
        return error.exit_code
    except (PillmError, Interrupted, KeyboardInterrupt, click.Abort) as error:
        return _refused(terminal, error)
    except BrokenPipeError:  # `pillm ... | head`: the reader had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        if error.errno not in _SENTENCES:
            _log("a bug", exc_info=True)
            raise
        return _refused(terminal, PillmError(f"{error.filename or 'writing failed'}: {_SENTENCES[error.errno]}."))
    except Exception:  # a bug keeps its traceback, in the run's log too
        _log("a bug", exc_info=True)
        raise
    return code if isinstance(code, int) else 0


def _refuse_other_bytes(words: list[str]) -> None:
    """Refuse words that are not UTF-8: neither a tokenizer nor a JSON file could hold them."""
    for number, word in enumerate(words, 1):
        if any("\ud800" <= letter <= "\udfff" for letter in word):  # how Python keeps bytes that it cannot decode
            raise click.UsageError(f"word {number} of the command line is not UTF-8: {word!a}. Write it in UTF-8.")


def _log(message: str, *, exc_info: bool = False) -> None:
    """Write to the run's log what ended the command; stderr gets it anyhow."""
    if "pillm.cli.logs" in sys.modules:
        from pillm.cli.logs import log_end

        log_end(message, exc_info=exc_info)


def _refused(terminal: Terminal, error: BaseException) -> int:
    code: Any = getattr(error, "exit_code", 130)
    if code == 130:
        said = str(error) or "Interrupted. What was finished is kept; the same command resumes."
        click.echo(said, err=True)
    else:
        said = str(error)
        click.echo(f"Error: {said}", err=True)
    _log(f"exit {code}: {said}")
    terminal.refusal(type(error).__name__, said, code)
    return int(code)
