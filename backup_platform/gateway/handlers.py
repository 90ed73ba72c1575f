"""What the gateway answers, except restores: each function parses, authorises, calls one service, makes the answer.

They run on a thread of the gateway's database pool, inside the caller's tenant scope where there is a caller, and raise
what services raise; faults.py makes the FAILURE of it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.utils import timezone

from backup_platform.catalog import commit as committing
from backup_platform.catalog import sessions
from backup_platform.catalog.models import Snapshot
from backup_platform.catalog.present import missing_ids
from backup_platform.fleet import access, services
from backup_platform.fleet.models import Machine
from backup_platform.gateway import job_ties
from backup_platform.gateway.caller import Caller
from backup_platform.gateway.job_ties import JobTie
from backup_platform.gateway.open_packs import Holder
from backup_platform.jobs.models import WorkerBeat
from backup_platform.tenants.room import check_begin
from backup_platform.tenants.scope import tenant_scope
from backup_platform.vaults.models import Vault
from protocol.wire import limits, messages

WORKER_SILENCE = timedelta(seconds=60)
"""A worker beats every ten seconds; after six missed ones none is said to be at work."""


def recognise(identity_hash: bytes) -> tuple[Caller, bytes]:
    """The machine with this key, and its vault's record. Raises MachineUnknown, MachineRevoked."""
    machine = access.admit(identity_hash)
    with tenant_scope(machine.tenant_id):
        vault = Vault.objects.get(pk=machine.vault_id)
    caller = Caller(
        machine_id=machine.pk,
        tenant_id=machine.tenant_id,
        vault_id=vault.pk,
        vault_number=vault.number,
        name=machine.name,
        identity_hash=identity_hash,
        write_only=machine.write_only,
    )
    return caller, bytes(vault.record)


def enroll(message: messages.Enroll) -> tuple[messages.Enrolled, UUID]:
    """Trade a token and a certificate request for a certificate. Also returns the machine's id, for the log."""
    enrolled = services.enroll_machine(message.token, message.csr, message.reading_key, dict(message.facts))
    machine = enrolled.machine
    with tenant_scope(machine.tenant_id):
        vault = Vault.objects.get(pk=machine.vault_id)
    answer = messages.Enrolled(
        certificate=enrolled.certificate,
        ca=enrolled.ca,
        machine_id=machine.pk.bytes,
        tenant_id=machine.tenant_id.bytes,
        vault_id=machine.vault_id.bytes,
        vault_record=bytes(vault.record),
        blob=enrolled.blob,
        write_only=machine.write_only,
        machine_name=machine.name,
    )
    return answer, machine.pk


def publish(caller: Caller, message: messages.Publish) -> messages.Published:
    """Keep the machine's record."""
    services.publish_record(access.admit(caller.identity_hash), message.machine_record)
    return messages.Published()


def begin(caller: Caller, message: messages.Begin, spool: str) -> tuple[messages.Begun, UUID, JobTie]:
    """Open or take over the machine's session, and say which job it is.

    Raises Busy, MachineRevoked, QuotaUsedUp, Refusal.
    """
    machine = _machine(caller)
    job_ties.check(machine, message)
    check_begin(caller.tenant_id, caller.machine_id)
    begun = sessions.begin_session(machine, spool, message.generation)
    answer = messages.Begun(
        session=begun.session.bytes,
        fence=begun.fence,
        generation=begun.generation,
        wanted=b"".join(begun.wanted),
        head=begun.head,
        head_sequence=begun.head_sequence,
        base=begun.base.bytes if begun.base else b"",
    )
    return answer, begun.session, job_ties.tie(machine, message)


def renew(caller: Caller, holder: Holder, tied: JobTie, received: int) -> None:
    """Keep a session's lease, and its job's. Raises Fenced; MachineRevoked: a backup ends with its machine's access."""
    _machine(caller)
    services.touch_presence(caller.machine_id)
    sessions.renew_session(holder.session, holder.fence)
    job_ties.keep(tied, received)


def question(caller: Caller, message: messages.Question) -> messages.Answer:
    """Which of these ids the vault lacks, as a bitmap in the order asked."""
    ids = split(message.ids)
    missing = missing_ids(caller.vault_number, ids)
    bitmap = bytearray((len(ids) + 7) // 8)
    for index, record_id in enumerate(ids):
        if record_id in missing:
            bitmap[index >> 3] |= 1 << (index & 7)
    return messages.Answer(missing=bytes(bitmap))


def commit(
    caller: Caller, message: messages.Commit, root: bytes, tied: JobTie
) -> messages.Committed | messages.Missing:
    """Publish a snapshot. Raises Fenced, InvalidCommit, MachineRevoked, StoreError."""
    result = committing.commit_snapshot(
        _machine(caller),
        UUID(bytes=message.session),
        message.fence,
        message.statement,
        root,
        list(message.recipients),
        message.blocks,
        _statistics(message.statistics),
    )
    if isinstance(result, committing.MissingIds):
        return messages.Missing(ids=b"".join(result.ids[: limits.MAX_LONG_LIST]))
    job_ties.committed(tied, result.snapshot, message.statistics)
    return messages.Committed(
        snapshot=result.snapshot.bytes, state=str(result.state), received_at=microseconds(result.received_at)
    )


def status(caller: Caller, message: messages.Status) -> messages.StatusIs:
    """Whether a worker is at work, and the states of these snapshots of the caller's machine."""
    asked = [UUID(bytes=one) for one in split(message.snapshots, limits.SHORT_ID)]
    mine = Snapshot.objects.filter(pk__in=asked, machine_id=caller.machine_id)
    seen = WorkerBeat.objects.order_by("-seen_at").values_list("seen_at", flat=True).first()
    return messages.StatusIs(
        worker_alive=seen is not None and seen > timezone.now() - WORKER_SILENCE,
        worker_seen=microseconds(seen) if seen else None,
        states={pk.hex: state for pk, state in mine.values_list("pk", "state")},
    )


def split(joined: bytes, size: int = limits.LONG_ID) -> list[bytes]:
    """The ids of a field that holds them joined."""
    return [joined[start : start + size] for start in range(0, len(joined), size)]


def microseconds(moment: datetime) -> int:
    """A time as the wire has it."""
    return int((moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))


def _machine(caller: Caller) -> Machine:
    """The caller's row, recognised afresh: whoever was revoked since HELLO gets no further than here."""
    return access.authenticate(caller.identity_hash)


def _statistics(counted: messages.Statistics) -> dict[str, object]:
    return {name: getattr(counted, name) for name in counted.__struct_fields__}
