"""`strongroom doctor`: look at everything that a backup needs, and say what to do about what is wrong."""

from __future__ import annotations

import datetime
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agents.commands.output import Output
from agents.errors import AgentError, AuthenticationFault, ExitCode
from agents.state import PRIVATE_FILES, AgentHome

if TYPE_CHECKING:
    from agents.transport.greeting import Greeted

SKEW = 300.0
"""Seconds of difference between the clocks that are worth a word: certificates and snapshot times depend on them."""
RENEW_WITHIN = datetime.timedelta(days=14)


@dataclass(frozen=True)
class Finding:
    """The outcome of one check. `code`: what the command shall end with because of it, DONE for good or a warning."""

    check: str
    good: bool
    what: str
    advice: str = ""
    code: ExitCode = ExitCode.DONE

    @property
    def word(self) -> str:
        return "ok" if self.good else "FAIL" if self.code else "warn"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--kit", type=click.Path(path_type=Path, file_okay=False), help="Also look at this recovery kit's files.")
def command(as_json: bool, kit: Path | None) -> int:
    """Check this machine's setup and say what to do."""
    output = Output(as_json=as_json)
    home = AgentHome()
    code, count, wrong = ExitCode.DONE, 0, 0
    for finding in findings(home, kit):
        count, wrong = count + 1, wrong + (not finding.good)
        code = code or finding.code
        output.text(f"{finding.word:5} {finding.check:12} {finding.what}")
        if finding.advice and not finding.good:
            output.text(f"{'':18} try: {finding.advice}")
        output.record("check", check=finding.check, state=finding.word, message=finding.what, advice=finding.advice)
    output.text("Everything is in order." if not wrong else f"{wrong} of {count} checks need attention.")
    output.record("summary", checks=count, attention=wrong)
    return code


def findings(home: AgentHome, kit: Path | None) -> Iterator[Finding]:
    """Run the checks one after the other; those that need what has failed are left out."""
    state = attempt("home", lambda: _home(home))
    yield state
    if state.good:
        yield attempt("files", lambda: _permissions(home.path, PRIVATE_FILES))
        yield attempt("certificate", lambda: _certificate(home))
        yield attempt("keys", lambda: _keys(home))
        yield attempt("cache", lambda: _cache(home))
        yield from _connection(home)
    if kit is not None:
        yield attempt("kit", lambda: _kit(kit))


def attempt(check: str, look: Callable[[], Finding]) -> Finding:
    """Run one check; an error of the agent is a finding too."""
    try:
        return look()
    except AgentError as fault:
        return Finding(check, False, fault.what, fault.advice, fault.exit_code)
    except OSError as fault:
        return Finding(
            check, False, f"{fault.filename}: {fault.strerror}.", "Look at its permissions.", ExitCode.FAILED
        )


def _home(home: AgentHome) -> Finding:
    machine = home.machine()
    return Finding("home", True, f"{home.path} is enrolled as '{machine.machine_name}'")


def _permissions(directory: Path, names: tuple[str, ...]) -> Finding:
    loose = [directory] if stat.S_IMODE(directory.stat().st_mode) & 0o077 else []
    files = [directory / name for name in names if (directory / name).exists()]
    loose += [file for file in files if stat.S_IMODE(file.stat().st_mode) & 0o077]
    if not loose:
        return Finding("files", True, f"{len(files)} private files, readable for their owner only")
    named = ", ".join(str(path) for path in loose)
    return Finding("files", False, f"others may read {named}", f"chmod go= {named}", ExitCode.FAILED)


def _certificate(home: AgentHome) -> Finding:
    from cryptography import x509

    try:
        until = x509.load_pem_x509_certificate(home.certificate_pem()).not_valid_after_utc
    except ValueError:
        raise AuthenticationFault("The machine's certificate cannot be read.", "Enrol the machine again.") from None
    left = until - datetime.datetime.now(datetime.UTC)
    when = f"{until:%Y-%m-%d}"
    if left < datetime.timedelta():
        return Finding("certificate", False, f"expired on {when}", "Enrol again.", ExitCode.AUTHENTICATION)
    if left < RENEW_WITHIN:
        return Finding("certificate", False, f"ends on {when}, in {left.days} days", "Enrol again before that day.")
    return Finding("certificate", True, f"good until {when} ({left.days} days)")


def _keys(home: AgentHome) -> Finding:
    from agents.keys import machine_record
    from agents.keys.rsa import load_private

    machine = home.machine()
    identity, reading = load_private(home.identity_pem()), load_private(home.reading_pem())
    record = machine_record.check(
        home.machine_record(), home.dedup_secret(), vault_id=machine.vault_id, machine_id=machine.machine_id
    )
    if (record.identity_key, record.reading_key) != (identity.public, reading.public):
        advice = "Restore the agent home from a copy, or enrol anew."
        return Finding("keys", False, "the machine record names other keys", advice, ExitCode.FAILED)
    return Finding("keys", True, f"identity and reading key (RSA {identity.public.bits}) fit the machine record")


def _cache(home: AgentHome) -> Finding:
    if not home.cache_path.exists():
        return Finding("cache", True, "none yet: the next backup reads every file")
    try:
        with sqlite3.connect(f"file:{home.cache_path}?mode=ro", uri=True, timeout=2) as database:
            fault = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        database.close()
    except sqlite3.Error as problem:
        fault = str(problem)
    if fault == "ok":
        return Finding("cache", True, f"{home.cache_path.stat().st_size:,} bytes, sound")
    return Finding("cache", False, f"damaged ({fault})", f"rm {home.cache_path}; the next backup reads every file.")


def _connection(home: AgentHome) -> Iterator[Finding]:
    from agents.errors import Disconnected
    from agents.transport.greeting import greet

    machine = home.machine()
    where = f"{machine.host}:{machine.port}"
    began = time.monotonic()
    try:
        greeted = greet(home)
    except AgentError as fault:
        yield Finding("gateway", False, fault.what, fault.advice, fault.exit_code)
        return
    took = (time.monotonic() - began) * 1000
    yield Finding("gateway", True, f"{where} answers in {took:.0f} ms, version {greeted.welcome.server_version}")
    yield _clock(greeted)
    yield Finding("vault", True, f"vault record {greeted.vault_record.number} verifies, {_recipients(greeted)}")
    greeted.channel.break_off(Disconnected("done"))


def _recipients(greeted: Greeted) -> str:
    further = len(greeted.vault_record.further)
    return (
        f"snapshots are sealed to the kit and {further} further keys" if further else "snapshots are sealed to the kit"
    )


def _clock(greeted: Greeted) -> Finding:
    skew = time.time() - greeted.welcome.time / 1e6
    if abs(skew) < SKEW:
        return Finding("clock", True, f"within {abs(skew):.1f} s of the gateway's")
    direction = "ahead of" if skew > 0 else "behind"
    return Finding("clock", False, f"{abs(skew):.0f} s {direction} the gateway's", "Set this machine's clock (NTP).")


def _kit(kit: Path) -> Finding:
    names = ("recovery-key.pem", "signing-key.pem", "kit.json", "enrolment-key.json")
    missing = [name for name in names if not (kit / name).exists()]
    if missing:
        return Finding("kit", False, f"{kit} lacks {', '.join(missing)}", "Take a complete copy.", ExitCode.FAILED)
    found = _permissions(kit, names)
    return Finding("kit", found.good, found.what, found.advice, found.code)
