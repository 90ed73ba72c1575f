"""The `strongroom` command: finds the verb, runs it, and turns every end into an exit code and one clear sentence.

A verb's module is imported only when that verb runs, so `strongroom --help` loads neither keys nor sockets.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from agents import __version__
from agents.errors import AgentError, ExitCode

if TYPE_CHECKING:
    from types import FrameType

TRACEBACK_VARIABLE = "STRONGROOM_TRACEBACK"

# verb: (module, what it does). The sentence stands here so that --help imports no verb.
VERBS = {
    "backup": ("agents.commands.backup", "Back up files and directories."),
    "config": ("agents.commands.config", "Look at this machine's configuration, check it, take it back."),
    "daemon": ("agents.commands.daemon", "Wait for jobs of the platform and do them."),
    "discover": ("agents.commands.discover", "List the gateways of the local network."),
    "doctor": ("agents.commands.doctor", "Check this machine's setup and say what to do."),
    "drill": ("agents.commands.drill", "Restore a sample of a snapshot for trial, and throw it away."),
    "enroll": ("agents.commands.enroll", "Make this machine a member of a vault."),
    "ls": ("agents.commands.ls", "List what a snapshot holds."),
    "restore": ("agents.commands.restore", "Restore a snapshot, or a part of it."),
    "service": ("agents.commands.service", "Have systemd run the daemon."),
    "snapshots": ("agents.commands.snapshots", "List the snapshots of this machine."),
    "status": ("agents.commands.status", "Show who this machine is and how its backups stand."),
    "vault": ("agents.commands.vault", "Make a vault and its recovery kit."),
}


class Verbs(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command = importlib.import_module(VERBS[name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, VERBS[name][1]) for name in sorted(VERBS)])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="strongroom")
def cli() -> None:
    """Encrypted, deduplicated backups to a platform that cannot read them.

    \b
    Exit codes: 0 done, 1 failed, 2 usage, 3 done but some files could not be read or placed,
    4 authentication, 5 temporary (server away, busy), 10 no such snapshot, 20 damage, 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    given = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminated)
    code = run(given)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code; every error has been said on standard error."""
    try:
        outcome: Any = cli.main(args=arguments, prog_name="strongroom", standalone_mode=False)
        return int(outcome) if isinstance(outcome, int) else ExitCode.DONE
    except AgentError as fault:
        return _say(arguments, fault.exit_code, fault.what, fault.advice)
    except click.exceptions.NoArgsIsHelpError as fault:
        print(fault.format_message(), file=sys.stderr)
        return ExitCode.USAGE
    except click.UsageError as fault:
        hint = f"See `{fault.ctx.command_path} --help`." if fault.ctx else "See `strongroom --help`."
        return _say(arguments, ExitCode.USAGE, fault.format_message(), hint)
    except (KeyboardInterrupt, click.Abort):
        return _say(arguments, ExitCode.INTERRUPTED, "Interrupted.", "")
    except BrokenPipeError:
        return ExitCode.FAILED
    except OSError as fault:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        what, advice = _refused_by_system(fault)
        why = (fault.strerror or type(fault).__name__).lower()
        return _say(arguments, ExitCode.FAILED, what, advice, f"The operating system refused something: {why}.")
    except Exception as fault:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        what = f"Something unexpected happened ({type(fault).__name__})."
        return _say(arguments, ExitCode.FAILED, what, f"Report this; {TRACEBACK_VARIABLE}=1 shows where it happened.")


def _refused_by_system(fault: OSError) -> tuple[str, str]:
    where = f" at {fault.filename}" if isinstance(fault.filename, str) else ""
    why = (fault.strerror or type(fault).__name__).lower()
    return f"The operating system refused something{where}: {why}.", f"{TRACEBACK_VARIABLE}=1 shows where it happened."


def _say(arguments: list[str], code: int, what: str, advice: str, public: str = "") -> int:
    """`public` is said instead of `what` to a platform that must not learn the names of files."""
    if "--json" in arguments:
        said = {"message_type": "exit_error", "code": int(code), "message": what, "advice": advice}
        if public:
            said["public"] = public
        print(json.dumps(said), file=sys.stderr)
        return code
    from agents.engine.paths import plain

    print(f"error: {plain(what)}", file=sys.stderr)
    if advice:
        print(f"  try: {plain(advice)}", file=sys.stderr)
    return code
