"""Enrolment: from a string that an administrator gave to a machine with keys, certificate and secret.

The order matters. Keys are made before anything is connected. Nothing but HELLO is sent before the gateway has shown a
certificate of the CA that the string pins. What comes back is believed only as far as the string's one-time key and the
signing key behind it vouch for it.
"""

from __future__ import annotations

import shutil
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agents import __version__
from agents.errors import Disconnected, Refused, StateFault, UntrustedServer
from agents.state import MACHINE, AgentHome, MachineState, fsync_directory
from agents.transport.connecting import Address, connect, leaf_certificate, stranger_context
from agents.transport.greeting import answer, greet, say_hello
from agents.transport.io_loop import Channel
from agents.transport.line import Line, Tell
from agents.transport.retrying import Patience
from protocol.wire import limits, messages

if TYPE_CHECKING:
    from agents.keys.enrollment import EnrollmentString
    from agents.keys.enrollment_key import EnrollmentKey
    from agents.keys.rsa import PrivateKey
    from protocol.stored.enrollment_blobs import EnrollmentSecret

ENROLL = 30.0
"""Seconds for the gateway to issue a certificate."""
PUBLISH_FOR = 60.0
"""Seconds to keep trying to publish the machine record: the string is used up by then."""


@dataclass(frozen=True)
class Applicant:
    """A machine that asks to be enrolled: its two keys and what it says of itself."""

    identity: PrivateKey
    reading: PrivateKey
    hostname: str
    system: str


@dataclass(frozen=True)
class KeyFile:
    """The kit's enrolment key file, given on the machine itself, and whether the machine is to be write-only."""

    key: EnrollmentKey
    write_only: bool = False


def enroll(
    home: AgentHome, enrollment: EnrollmentString, applicant: Applicant, tell: Tell, key_file: KeyFile | None = None
) -> MachineState:
    """Enrol and fill `home`, which stays untouched unless everything succeeded. Raises AgentError.

    `key_file` stands for the string's key: what the server has sealed for this enrolment, if anything, is not used.
    """
    refuse_enrolled(home)
    with _temporary_home(home.path) as directory:
        temporary = AgentHome(directory)
        machine = _become_member(temporary, enrollment, applicant, key_file)
        _publish(temporary, tell)
        refuse_enrolled(home)
        _move_in(directory, home.path)
    return machine


def refuse_enrolled(home: AgentHome) -> None:
    """Raise Refused when the home belongs to a machine already."""
    if home.is_enrolled:
        raise Refused(
            f"{home.path} is enrolled already, as the machine '{home.machine().machine_name}'.",
            "To enrol anew, name a fresh home in STRONGROOM_AGENT_HOME, or move this one away.",
        )


def _become_member(
    home: AgentHome, enrollment: EnrollmentString, applicant: Applicant, key_file: KeyFile | None
) -> MachineState:
    from agents.keys.certificates import check_gateway_certificate, make_csr

    address = Address(enrollment.host, enrollment.port)
    secured = connect(address, stranger_context())
    leaf = leaf_certificate(secured)
    channel = Channel(secured, str(address))
    try:
        welcome = say_hello(channel)
        check_gateway_certificate(leaf, welcome.ca, enrollment.ca_hash)
        request = messages.Enroll(
            token=enrollment.token,
            csr=make_csr(applicant.identity, applicant.hostname),
            reading_key=applicant.reading.public.spki,
            facts={"hostname": applicant.hostname, "os": applicant.system, "agent_version": __version__},
        )
        enrolled = answer(channel.request(request), messages.Enrolled, ENROLL)
        return _accept(home, enrollment, applicant, enrolled, key_file)
    finally:
        channel.break_off(Disconnected("The enrolment is over."))


def _accept(
    home: AgentHome,
    enrollment: EnrollmentString,
    applicant: Applicant,
    enrolled: messages.Enrolled,
    key_file: KeyFile | None,
) -> MachineState:
    """Check everything that the gateway gave and write the home."""
    from agents.keys.certificates import check_machine_certificate

    check_machine_certificate(enrolled.certificate, enrolled.ca, enrollment.ca_hash, applicant.identity.public)
    secret, number = _vouched_for(enrollment, enrolled, key_file)
    machine = MachineState(
        host=enrollment.host,
        port=enrollment.port,
        machine_id=enrolled.machine_id,
        tenant_id=enrolled.tenant_id,
        vault_id=enrolled.vault_id,
        ca_pin=enrollment.ca_hash,
        signing_key_hash=secret.signing_key_hash,
        record_number=number,
        epoch=secret.epoch,
        machine_name=enrolled.machine_name,
        write_only=enrolled.write_only,
    )
    home.save_keys(applicant.identity.to_pem(None), applicant.reading.to_pem(None))
    home.save_certificates(_pem(enrolled.certificate), _pem(enrolled.ca))
    home.save_dedup_secret(secret.dedup_secret)
    home.save_machine_record(_machine_record(machine, applicant, secret.dedup_secret))
    home.save_machine(machine)
    return machine


def _vouched_for(
    enrollment: EnrollmentString, enrolled: messages.Enrolled, key_file: KeyFile | None
) -> tuple[EnrollmentSecret, int]:
    """The vault's secret, and the number of its record: both vouched for by the string or the key file, or refused."""
    from agents.keys.enrollment import open_blob, secret_of
    from agents.keys.vault_record import open_vault_record

    if key_file is not None:
        secret = secret_of(key_file.key, enrolled.vault_id, write_only=key_file.write_only)
    else:
        secret = open_blob(enrollment, enrolled.blob, enrolled.vault_id)
    record = open_vault_record(
        enrolled.vault_record, secret.signing_key_hash, secret.vault_record_number, vault_id=enrolled.vault_id
    )
    if record.epoch != secret.epoch:
        raise UntrustedServer(
            "The vault record is of another epoch than the enrolment string.", "Ask for a new string."
        )
    record.check_secret(secret.dedup_secret)
    if enrolled.write_only != secret.write_only:
        raise UntrustedServer(
            f"The server says that this machine is{'' if enrolled.write_only else ' not'} write-only, "
            + ("and --write-only does not fit that." if key_file else "and the enrolment string says otherwise."),
            "Ask for a new string, and which kind of machine it is for.",
        )
    return secret, record.number


def _machine_record(machine: MachineState, applicant: Applicant, dedup_secret: bytes) -> bytes:
    from agents.keys import machine_record

    return machine_record.make(
        vault_id=machine.vault_id,
        machine_id=machine.machine_id,
        epoch=machine.epoch,
        write_only=machine.write_only,
        identity_key=applicant.identity.public,
        reading_key=applicant.reading.public,
        dedup_secret=dedup_secret,
    )


def _pem(der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).encode("ascii")


def _publish(home: AgentHome, tell: Tell) -> None:
    """Come back with the certificate, which proves that it works, and hand in the machine record."""
    record = messages.Publish(machine_record=home.machine_record())
    line = Line(lambda notice, broken: greet(home, notice, broken), Patience(PUBLISH_FOR), tell=tell)
    try:
        line.open()
        answer(line.request(lambda: record), messages.Published, PUBLISH_FOR + limits.HANDSHAKE)
    finally:
        line.close()


def _temporary_home(path: Path) -> tempfile.TemporaryDirectory[str]:
    """A 0700 directory beside the home, so that moving it in is a rename."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(
            prefix=f".{path.name}.enrolling-", dir=path.parent, ignore_cleanup_errors=True
        )
    except OSError as fault:
        raise StateFault(
            f"The agent home {path} cannot be made: {(fault.strerror or '').lower()}.",
            "Name another one in STRONGROOM_AGENT_HOME.",
        ) from fault


def _move_in(directory: str, home: Path) -> None:
    """Give the finished home its name. `machine.json` comes last: without it a home counts as not enrolled."""
    files = sorted(Path(directory).iterdir(), key=lambda file: file.name == MACHINE)
    AgentHome(home).prepare()
    try:
        for file in files:
            shutil.move(file, home / file.name)
        fsync_directory(home)
        fsync_directory(home.parent)
    except OSError as fault:
        raise StateFault(f"The agent home {home} cannot be written: {(fault.strerror or '').lower()}.") from fault
