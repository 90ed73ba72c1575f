"""Conversations brought to a phase, raw frames that no Connection would send, and messages made at random."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from msgspec import inspect, msgpack
from msgspec.structs import replace

from protocol.wire import Role, messages
from protocol.wire.codec import KINDS, MessageKind
from protocol.wire.frames import encode_header
from protocol.wire.pair import ConnectionPair

NONCE = bytes(range(32))
ZEROS = bytes(32)
MACHINE = bytes(range(0x10, 0x20))
TENANT = bytes(range(0x20, 0x30))
VAULT = bytes(range(0x30, 0x40))
SESSION = bytes(range(0x40, 0x50))
SNAPSHOT = bytes(range(0x50, 0x60))
ID = bytes(range(0x60, 0x80))
DIGEST = bytes(range(0x80, 0xA0))
ROOT_FILE = b"r" * 128

HELLO = messages.Hello(versions=[1], agent_version="0.1.0")
STRANGER = messages.Welcome(version=1, server_version="0.1.0", nonce=NONCE, ca=b"ca", time=1, authenticated=False)
KNOWN = messages.Welcome(
    version=1, server_version="0.1.0", nonce=NONCE, ca=b"ca", time=1, authenticated=True,
    machine_id=MACHINE, tenant_id=TENANT, vault_id=VAULT, vault_record=b"record",
)  # fmt: skip
ENROLL = messages.Enroll(token=NONCE, csr=b"csr", reading_key=b"key", facts={"hostname": "orion"})
ENROLLED = messages.Enrolled(
    certificate=b"certificate", ca=b"ca", machine_id=MACHINE, tenant_id=TENANT, vault_id=VAULT,
    vault_record=b"record", blob=b"blob", write_only=False, machine_name="orion",
)  # fmt: skip
BEGIN = messages.Begin(generation=0, head=ZEROS, head_sequence=0)
BEGUN = messages.Begun(session=SESSION, fence=1, generation=1, head=ZEROS, head_sequence=0)
PUT = messages.Put(kind=messages.KIND_CHUNK, id=ID, digest=DIGEST)
COMMIT = messages.Commit(session=SESSION, fence=1, statement=b"statement", blocks=ID, recipients=[b"recipient"])
COMMITTED = messages.Committed(snapshot=SNAPSHOT, state="received", received_at=1)
FETCH = messages.Fetch(snapshot=SNAPSHOT, block=ID, ids=ID + DIGEST)
RECORD = messages.Record(kind=messages.KIND_CHUNK, id=ID, digest=DIGEST)
CONTROL_HELLO = messages.Hello(versions=[1], agent_version="0.1.0", features=["control"])
CONTROL_KNOWN = replace(KNOWN, features=["control"])
JOB = bytes(range(0xA0, 0xB0))
CONTROL = messages.Control(
    facts={"hostname": "orion"}, zone="Europe/Berlin", time=1, retries={"transfer": 2},
    running=[messages.RunningJob(job=JOB, lease="lease")],
)  # fmt: skip
CONTROLLED = messages.Controlled(stop=JOB, configuration="{}", progress_seconds=2.0, certificate_days_left=60)
PROGRESS = messages.Progress(
    job=JOB, lease="lease", state='{"phase":"saving"}', lines=[messages.LogLine(level="info", text="It goes on.")]
)
REPORT = messages.Report(job=JOB, lease="lease", outcome="done", snapshot=SNAPSHOT, counts={"files": 3})
READER_HELLO = messages.Hello(versions=[1], agent_version="0.1.0", features=["lifecycle", "drills"])
READER_KNOWN = replace(KNOWN, features=["lifecycle", "drills"])
EXPLAIN = messages.Explain(first=3, last=5)
FATE = messages.Fate(statement=b"statement", records=[b"received", b"expired"])
EXPLAINED = messages.Explained(fates=[FATE], rest=4)
DRILLED = messages.Drilled(drill=JOB, snapshot=SNAPSHOT, outcome="done", counts={"files": 3, "faults": 0})
COLD_HELLO = messages.Hello(versions=[1], agent_version="0.1.0", features=["thawing"])
COLD_KNOWN = replace(KNOWN, features=["thawing"])
COLD = messages.Failure(code=18, message="What is needed lies in cold storage.")
THAW = messages.Thaw(snapshot=SNAPSHOT, blocks=ID)
THAWING = messages.Thawing(asked=2, waiting=3, bytes=4_096, more=True, retry_after=0.0)
OFFER = messages.Offer(job=JOB, lease="lease", kind="backup", spec="{}")
REFUSED = messages.Failure(code=10, message="The disk is full.", retry_after=5.0)


def opening(piece: int | None = None) -> ConnectionPair:
    """Nothing was said."""
    return ConnectionPair(piece)


def greeting(piece: int | None = None) -> ConnectionPair:
    """HELLO (request 1) waits."""
    pair = opening(piece)
    pair.from_agent(HELLO, 1)
    return pair


def stranger(piece: int | None = None) -> ConnectionPair:
    """Welcomed without a certificate."""
    pair = greeting(piece)
    pair.from_gateway(STRANGER, 1)
    return pair


def enrolling(piece: int | None = None) -> ConnectionPair:
    """ENROLL (request 2) waits."""
    pair = stranger(piece)
    pair.from_agent(ENROLL, 2)
    return pair


def ready(piece: int | None = None) -> ConnectionPair:
    """Welcomed as a machine."""
    pair = greeting(piece)
    pair.from_gateway(KNOWN, 1)
    return pair


def beginning(piece: int | None = None) -> ConnectionPair:
    """BEGIN (request 2) waits."""
    pair = ready(piece)
    pair.from_agent(BEGIN, 2)
    return pair


def backing_up(piece: int | None = None, begun: messages.Begun = BEGUN) -> ConnectionPair:
    """A session is open."""
    pair = beginning(piece)
    pair.from_gateway(begun, 2)
    return pair


def committing(piece: int | None = None) -> ConnectionPair:
    """One PUT was sent; COMMIT (request 3) waits."""
    pair = backing_up(piece)
    pair.from_agent(PUT, 0, b"sealed")
    pair.from_agent(COMMIT, 3, ROOT_FILE)
    return pair


def fetching(piece: int | None = None) -> ConnectionPair:
    """FETCH of two ids (request 2) waits."""
    pair = ready(piece)
    pair.from_agent(FETCH, 2)
    return pair


def welcomed_daemon(piece: int | None = None) -> ConnectionPair:
    """Welcomed as a machine, and both know the control connection's messages."""
    pair = opening(piece)
    pair.from_agent(CONTROL_HELLO, 1)
    pair.from_gateway(CONTROL_KNOWN, 1)
    return pair


def reading(piece: int | None = None) -> ConnectionPair:
    """Welcomed as a machine, and both know what a reader may ask besides reading."""
    pair = opening(piece)
    pair.from_agent(READER_HELLO, 1)
    pair.from_gateway(READER_KNOWN, 1)
    return pair


def joining(piece: int | None = None) -> ConnectionPair:
    """CONTROL (request 2) waits."""
    pair = welcomed_daemon(piece)
    pair.from_agent(CONTROL, 2)
    return pair


def controlling(piece: int | None = None) -> ConnectionPair:
    """A daemon's control connection."""
    pair = joining(piece)
    pair.from_gateway(CONTROLLED, 2)
    return pair


def frame(message: messages.Message, request: int = 0, payload: bytes = b"") -> bytes:
    """The frame of a message, whether or not it is allowed."""
    code = next(kind.code for kind in KINDS.values() if kind.cls is type(message))
    return raw_frame(code, msgpack.encode(message), request, payload)


def raw_frame(code: int, body: bytes = b"\x80", request: int = 0, payload: bytes = b"") -> bytes:
    """A frame of any type and body."""
    return encode_header(code, request, len(body), len(payload)) + body + payload


def receive(pair: ConnectionPair, sender: Role, data: bytes) -> list[Any]:
    """Give raw bytes to the end that is not `sender`."""
    return list(pair.deliver(sender.peer, data))


def any_message(kind: MessageKind) -> st.SearchStrategy[messages.Message]:
    """Valid messages of one type, made from the bounds of its fields."""
    if kind.cls is messages.Welcome:
        return st.builds(_welcome, _fields(kind.cls), st.booleans())
    return _fields(kind.cls).map(lambda fields: kind.cls(**fields))


def _welcome(fields: dict[str, Any], authenticated: bool) -> messages.Welcome:
    ids = dict.fromkeys(("machine_id", "tenant_id", "vault_id"), b"i" * 16 if authenticated else b"")
    return messages.Welcome(**(fields | ids | {"authenticated": authenticated}))


def _fields(cls: type) -> st.SearchStrategy[dict[str, Any]]:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    return st.fixed_dictionaries({field.name: _values(field.type) for field in info.fields})


def _values(info: Any, multiple: int = 1) -> st.SearchStrategy[Any]:
    """Values of a field's type, long lists kept short: bounds have tests of their own."""
    match info:
        case inspect.Metadata(type=inner, extra=extra):
            return _values(inner, (extra or {}).get("multiple", 1))
        case inspect.BytesType(min_length=least, max_length=most):
            counts = st.integers((least or 0) // multiple, min(most // multiple, max(least or 0, 64)))
            return counts.flatmap(lambda count: st.binary(min_size=count * multiple, max_size=count * multiple))
        case inspect.UnionType(types=types):
            return st.one_of([_values(one) for one in types])
        case inspect.ListType(item_type=item, min_length=least, max_length=most):
            return st.lists(_values(item), min_size=least or 0, max_size=min(most, 3))
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_values(key), _values(value), max_size=3)
        case inspect.StructType(cls=cls):
            return _fields(cls).map(lambda fields: cls(**fields))
        case _:
            return _plain_values(info)


def _plain_values(info: Any) -> st.SearchStrategy[Any]:
    match info:
        case inspect.StrType(max_length=most):
            fit = st.characters(codec="utf-8", exclude_characters="\0")
            return st.text(fit, max_size=min(most, 20))
        case inspect.IntType(ge=least, le=most):
            return st.integers(least, most)
        case inspect.FloatType(ge=least, le=most):
            return st.floats(least, most)
        case inspect.BoolType():
            return st.booleans()
    assert isinstance(info, inspect.NoneType)
    return st.none()
