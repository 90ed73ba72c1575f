"""`strongroom enroll`: make this machine a member of a vault."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agents.commands.output import Output
from agents.errors import UsageFault

if TYPE_CHECKING:
    from agents.transport.enrolling import Applicant, KeyFile

MAX_LINE = 4096


@click.command()
@click.argument("string", required=False)
@click.option("--name", default="", help="What the machine shall be called (default: its host name).")
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The kit's enrolment-key.json, for a string that ends before its # sign.",
)
@click.option("--write-only", is_flag=True, help="With --key: the machine may add snapshots, and never read one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="Say errors only.")
def command(string: str | None, name: str, key_file: Path | None, write_only: bool, as_json: bool, quiet: bool) -> None:
    """Make this machine a member of a vault.

    STRING is an enrolment string; `-` reads it from standard input, and without it you are asked. As an argument it can
    be seen by every user of this machine while the command runs. With --key the string is the platform's part alone,
    and the vault's secret comes from FILE, which is read here and sent nowhere.
    """
    from agents.keys.certificates import fingerprint
    from agents.keys.enrollment import EnrollmentString
    from agents.state import AgentHome
    from agents.transport.enrolling import enroll, refuse_enrolled

    output = Output(as_json=as_json, quiet=quiet)
    home = AgentHome()
    refuse_enrolled(home)
    if string and string != "-":
        output.warn(
            "Other users of this machine can see the string in the process list; `strongroom enroll -` hides it."
        )
    joined = _key_file(key_file, write_only=write_only)
    enrollment = EnrollmentString.parse(_read(string), key_file=joined is not None)
    output.note("Making this machine's keys…")
    machine = enroll(home, enrollment, _applicant(name), output.note, joined)
    kind = ", write-only: its snapshots are readable with the recovery kit alone" if machine.write_only else ""
    output.text(f"This machine is enrolled as '{machine.machine_name}'{kind}.")
    key = fingerprint(home.certificate_pem())
    output.text("Its key's fingerprint, should somebody ask you to compare it:")
    output.text(f"  {key}")
    output.text(f"Its keys are in {home.path}. Try `strongroom backup PATH`.")
    output.record(
        "summary",
        machine_id=machine.machine_id.hex(),
        machine_name=machine.machine_name,
        vault_id=machine.vault_id.hex(),
        write_only=machine.write_only,
        fingerprint=key,
        home=str(home.path),
    )


def _key_file(path: Path | None, *, write_only: bool) -> KeyFile | None:
    if path is None:
        if write_only:
            raise UsageFault(
                "--write-only goes with --key: a whole enrolment string says itself what the machine may do.",
                "Leave it out.",
            )
        return None
    from agents.keys.enrollment_key import EnrollmentKey
    from agents.transport.enrolling import KeyFile

    return KeyFile(EnrollmentKey.read(path), write_only)


def _read(string: str | None) -> str:
    if string == "-":
        return sys.stdin.readline(MAX_LINE)
    if string:
        return string
    if not sys.stdin.isatty():
        raise UsageFault("There is no enrolment string and no terminal to ask on.", "Use `strongroom enroll -`.")
    return str(click.prompt("Enrolment string", hide_input=True, err=True))


def _applicant(name: str) -> Applicant:
    from agents.keys.rsa import generate
    from agents.transport.enrolling import Applicant

    hostname = (name or platform.node() or "unnamed").strip()
    if not hostname.isprintable() or len(hostname) > 200:
        raise UsageFault("A machine's name has 1 to 200 printable characters.")
    return Applicant(generate(), generate(), hostname, f"{platform.system()} {platform.release()}"[:200])
