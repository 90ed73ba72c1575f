"""Messages: every type survives the wire, and no field leaves its bounds in either direction."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from protocol.wire import LocalProtocolError, limits, messages
from protocol.wire.codec import KINDS, MessageKind, check_lengths, decode_body, encode_body, kind_of
from protocol.wire.errors import FailureCode, InvalidMessage, Violation
from protocol.wire.frames import FrameHeader
from protocol.wire.messages.fields import Fields, _plain_check
from protocol.wire.types import MessageType

from . import samples

HEADER = FrameHeader(0, 1, 0, 0)
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.code.name)


def decode(kind: MessageKind, fields: object) -> messages.Message:
    return decode_body(kind, HEADER, msgspec.msgpack.encode(fields))


def kind_named(cls: type[messages.Message]) -> MessageKind:
    return next(kind for kind in KINDS.values() if kind.cls is cls)


def test_every_type_code_has_one_message() -> None:
    assert set(KINDS) == set(MessageType)
    assert len({kind.cls for kind in KINDS.values()}) == len(KINDS)


@every_kind
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_message_survives_the_round_trip(kind: MessageKind, data: st.DataObject) -> None:
    message = data.draw(samples.any_message(kind))
    assert kind_of(message) is kind
    assert decode_body(kind, HEADER, encode_body(message)) == message


@every_kind
def test_unknown_fields_are_ignored(kind: MessageKind) -> None:
    message = largest(kind)
    grown = msgspec.to_builtins(message, builtin_types=(bytes,)) | {"added_in_version_9": [1, {"a": b"b"}]}
    assert decode(kind, grown) == message


@every_kind
def test_longest_valid_message_fits_its_body_limit(kind: MessageKind) -> None:
    check_lengths(kind, len(encode_body(largest(kind))), kind.min_payload)


@every_kind
def test_body_that_is_no_map_is_refused(kind: MessageKind) -> None:
    for body in (b"", b"\xc0", b"\x90", b"\x80\x80", b"\xc1", b"\x81"):
        with pytest.raises(Violation) as caught:
            decode_body(kind, HEADER, body)
        assert caught.value.code is FailureCode.INVALID


@every_kind
def test_missing_required_field_is_refused(kind: MessageKind) -> None:
    fields = msgspec.to_builtins(largest(kind), builtin_types=(bytes,))
    info = inspect.type_info(kind.cls)
    assert isinstance(info, inspect.StructType)
    for name in (field.name for field in info.fields if field.required):
        with pytest.raises(Violation, match=name):
            decode(kind, {key: value for key, value in fields.items() if key != name})


# class, field, the longest or largest that is allowed, what is too much
BOUNDS: list[tuple[type[messages.Message], str, Any, list[Any]]] = [
    (messages.Hello, "versions", [1] * limits.MAX_VERSIONS, [[], [1] * (limits.MAX_VERSIONS + 1), [0], [256]]),
    (messages.Hello, "features", ["f"] * limits.MAX_FEATURES, [["f"] * (limits.MAX_FEATURES + 1)]),
    (messages.Hello, "agent_version", "v" * limits.MAX_NAME, ["v" * (limits.MAX_NAME + 1)]),
    (messages.Welcome, "nonce", b"n" * 32, [b"n" * 31, b"n" * 33, b""]),
    (messages.Welcome, "ca", b"c" * limits.MAX_CERTIFICATE, [b"", b"c" * (limits.MAX_CERTIFICATE + 1)]),
    (messages.Welcome, "vault_record", b"r" * limits.MAX_VAULT_RECORD, [b"r" * (limits.MAX_VAULT_RECORD + 1)]),
    (messages.Welcome, "time", 2**63 - 1, [-1, 2**63]),
    (messages.Enroll, "token", b"t" * 32, [b"t" * 31, b"t" * 33]),
    (messages.Enroll, "csr", b"c" * limits.MAX_CSR, [b"", b"c" * (limits.MAX_CSR + 1)]),
    (messages.Enroll, "reading_key", b"k" * limits.MAX_KEY, [b"", b"k" * (limits.MAX_KEY + 1)]),
    (messages.Enroll, "facts", {str(n): "x" for n in range(limits.MAX_FACTS)},
     [{str(n): "x" for n in range(limits.MAX_FACTS + 1)}, {"k" * (limits.MAX_LABEL + 1): "x"}]),
    (messages.Enrolled, "blob", b"b" * limits.MAX_BLOB, [b"b" * (limits.MAX_BLOB + 1)]),
    (messages.Enrolled, "machine_id", b"m" * 16, [b"", b"m" * 15, b"m" * 17, b"m" * 32]),
    (messages.Publish, "machine_record", b"m" * limits.MAX_MACHINE_RECORD,
     [b"", b"m" * (limits.MAX_MACHINE_RECORD + 1)]),
    (messages.Failure, "code", 65_535, [0, 65_536, -1]),
    (messages.Failure, "message", "m" * limits.MAX_TEXT, ["m" * (limits.MAX_TEXT + 1)]),
    (messages.Failure, "retry_after", 1e9, [-0.5, 1e9 + 1, float("nan"), float("inf")]),
    (messages.Begun, "window", limits.WINDOW, [limits.WINDOW + 1, limits.MIN_WINDOW - 1]),
    (messages.Begun, "wanted", ids := b"i" * 32 * limits.MAX_LONG_LIST, [ids + b"i" * 32, b"i" * 31]),
    (messages.Begun, "base", b"b" * 16, [b"b" * 15, b"b" * 8, b"b" * 32]),
    (messages.Question, "ids", b"i" * 32 * limits.MAX_IDS, [b"", b"i" * 33, b"i" * 32 * (limits.MAX_IDS + 1)]),
    (messages.Answer, "missing", b"m" * 512, [b"", b"m" * 513]),
    (messages.Put, "kind", 2, [0, 3]),
    (messages.Put, "id", b"i" * 32, [b"i" * 16, b"i" * 33]),
    (messages.Stored, "through", limits.MAX_ORDINAL, [0, limits.MAX_ORDINAL + 1]),
    (messages.Commit, "statement", b"s" * limits.MAX_STATEMENT, [b"", b"s" * (limits.MAX_STATEMENT + 1)]),
    (messages.Commit, "recipients", [b"r" * limits.MAX_RECIPIENT] * limits.MAX_RECIPIENTS,
     [[b"r"] * (limits.MAX_RECIPIENTS + 1), [b""], [b"r" * (limits.MAX_RECIPIENT + 1)]]),
    (messages.Missing, "ids", b"i" * 32, [b"", b"i" * 48]),
    (messages.List, "limit", limits.MAX_SNAPSHOT_ITEMS, [0, limits.MAX_SNAPSHOT_ITEMS + 1]),
    (messages.Prove, "scope_name", "n" * limits.MAX_NAME, ["n" * (limits.MAX_NAME + 1), "n\0ame", "\0"]),
    (messages.Enroll, "facts", {"os": "x"}, [{"o\0s": "x"}, {"os": "x\0"}]),
    (messages.Prove, "signature", b"s" * limits.MAX_SIGNATURE, [b"", b"s" * (limits.MAX_SIGNATURE + 1)]),
    (messages.Fetch, "ids", b"i" * 32 * limits.MAX_FETCH_IDS, [b"i" * 32 * (limits.MAX_FETCH_IDS + 1), b"i"]),
    (messages.Status, "snapshots", b"i" * 16 * limits.MAX_STATUS_IDS, [b"i" * 16 * (limits.MAX_STATUS_IDS + 1), b"i"]),
    (messages.StatusIs, "worker_seen", None, [-1]),
    (messages.StatusIs, "states", {str(n): "x" for n in range(limits.MAX_STATUS_IDS)},
     [{str(n): "x" for n in range(limits.MAX_STATUS_IDS + 1)}]),
    (messages.Begin, "job", b"j" * 16, [b"j" * 15, b"j" * 32]),
    (messages.Begin, "policy", "p" * limits.MAX_POLICY_NAME, ["p" * (limits.MAX_POLICY_NAME + 1)]),
    (messages.Control, "zone", "z" * limits.MAX_LABEL, ["z" * (limits.MAX_LABEL + 1), "\0"]),
    (messages.Control, "retries", {str(n): 2**63 - 1 for n in range(limits.MAX_COUNTS)},
     [{str(n): 1 for n in range(limits.MAX_COUNTS + 1)}, {"transfer": -1}]),
    (messages.Control, "running", [messages.RunningJob(job=b"j" * 16, lease="l")] * limits.MAX_RUNNING,
     [[messages.RunningJob(job=b"j" * 16, lease="l")] * (limits.MAX_RUNNING + 1)]),
    (messages.Controlled, "stop", b"j" * 16 * limits.MAX_RUNNING, [b"j" * 15, b"j" * 16 * (limits.MAX_RUNNING + 1)]),
    (messages.Controlled, "configuration", "c" * limits.MAX_DOCUMENT, ["c" * (limits.MAX_DOCUMENT + 1)]),
    (messages.Progress, "state", "s" * limits.MAX_PROGRESS, ["s" * (limits.MAX_PROGRESS + 1)]),
    (messages.Progress, "lines", [messages.LogLine(level="info", text="t")] * limits.MAX_LINES,
     [[messages.LogLine(level="info", text="t")] * (limits.MAX_LINES + 1)]),
    (messages.Report, "counts", {str(n): 1 for n in range(limits.MAX_COUNTS)},
     [{str(n): 1 for n in range(limits.MAX_COUNTS + 1)}, {"files": -1}]),
    (messages.Report, "snapshot", b"s" * 16, [b"s" * 15]),
    (messages.Offer, "spec", "s" * limits.MAX_DOCUMENT, ["s" * (limits.MAX_DOCUMENT + 1)]),
    (messages.Renew, "csr", b"c" * limits.MAX_CSR, [b"", b"c" * (limits.MAX_CSR + 1)]),
    (messages.Configured, "fault", "f" * limits.MAX_TEXT, ["f" * (limits.MAX_TEXT + 1)]),
]  # fmt: skip
bounds = pytest.mark.parametrize(
    ("cls", "field", "most", "beyond"), BOUNDS, ids=[f"{row[0].__name__}.{row[1]}" for row in BOUNDS]
)


@bounds
def test_value_at_its_bound_crosses_the_wire(
    cls: type[messages.Message], field: str, most: object, beyond: list[object]
) -> None:
    message = changed(cls, **{field: most})
    decoded = decode_body(kind_named(cls), HEADER, encode_body(message))
    assert getattr(decoded, field) == most


@bounds
def test_value_beyond_its_bound_cannot_be_said(
    cls: type[messages.Message], field: str, most: object, beyond: list[object]
) -> None:
    for value in beyond:
        with pytest.raises(InvalidMessage, match=rf"{cls.__name__}\.{field} "):
            changed(cls, **{field: value})


@bounds
def test_value_beyond_its_bound_is_refused_when_received(
    cls: type[messages.Message], field: str, most: object, beyond: list[object]
) -> None:
    fields = msgspec.to_builtins(largest(kind_named(cls)), builtin_types=(bytes,))
    for value in beyond:
        with pytest.raises(Violation) as caught:
            decode(kind_named(cls), fields | {field: value})
        assert caught.value.code is FailureCode.INVALID


@pytest.mark.parametrize(
    ("cls", "field", "value"),
    [
        (messages.Put, "id", bytearray(32)),
        (messages.Put, "id", "i" * 32),
        (messages.Put, "kind", True),
        (messages.Put, "kind", 1.0),
        (messages.Stored, "through", "1"),
        (messages.Welcome, "authenticated", 1),
        (messages.Hello, "versions", (1,)),
        (messages.Hello, "agent_version", b"1"),
        (messages.Failure, "retry_after", "soon"),
        (messages.Enroll, "facts", [("a", "b")]),
        (messages.Enroll, "facts", {"a": 1}),
        (messages.Commit, "statistics", {}),
        (messages.StatusIs, "worker_seen", "now"),
    ],
)
def test_field_of_the_wrong_type_cannot_be_said(cls: type[messages.Message], field: str, value: object) -> None:
    with pytest.raises(InvalidMessage, match=field):
        changed(cls, **{field: value})


def test_invalid_message_is_a_local_error_and_a_value_error() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        messages.Goodbye(reason="x" * (limits.MAX_TEXT + 1))
    assert isinstance(caught.value, ValueError)
    assert caught.value.code is FailureCode.INVALID


@pytest.mark.parametrize("name", ["machine_id", "tenant_id", "vault_id"])
def test_welcome_names_ids_exactly_when_authenticated(name: str) -> None:
    with pytest.raises(InvalidMessage, match="authenticated"):
        msgspec.structs.replace(samples.KNOWN, **{name: b""})
    with pytest.raises(InvalidMessage, match="authenticated"):
        msgspec.structs.replace(samples.STRANGER, **{name: b"i" * 16})
    stolen = msgspec.to_builtins(samples.STRANGER, builtin_types=(bytes,)) | {name: b"i" * 16}
    with pytest.raises(Violation, match="authenticated"):
        decode(kind_named(messages.Welcome), stolen)


def test_messages_cannot_be_changed_after_their_check() -> None:
    with pytest.raises(AttributeError):
        samples.PUT.id = b""  # type: ignore[misc]


def test_field_type_without_a_check_is_noticed_at_once() -> None:
    with pytest.raises(TypeError, match=r"teach fields\.py"):
        _plain_check(inspect.type_info(complex))


def test_object_that_is_no_message_is_refused() -> None:
    with pytest.raises(Violation, match="Statistics"):
        kind_of(messages.Statistics())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body",
    [
        b"\x81\xa1z" + b"\x91" * 200_000 + b"\xc0",  # arrays in arrays
        b"\x81\xa1z" + b"\x81\xa1a" * 100_000 + b"\xc0",  # maps in maps
        b"\x81\xa1z\xdd\xff\xff\xff\xff",  # four thousand million items announced
        b"\x81\xa1z\xc6\xff\xff\xff\xff",  # four gigabytes announced
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa6reason\xa2\xff\xff",  # not UTF-8
        b"\x81\x90\x00",  # a key that is no string
    ],
)
def test_hostile_body_is_refused_as_invalid(body: bytes) -> None:
    with pytest.raises(Violation) as caught:
        decode_body(KINDS[MessageType.GOODBYE], HEADER, body)
    assert caught.value.code is FailureCode.INVALID


def changed(cls: type[messages.Message], **fields: object) -> messages.Message:
    return msgspec.structs.replace(largest(kind_named(cls)), **fields)


def largest(kind: MessageKind) -> messages.Message:
    """The message with every field at its upper bound."""
    return _largest(kind.cls)


def _largest(cls: Any) -> Any:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    assert issubclass(cls, Fields)
    return cls(**{field.name: _most(field.type, field.name) for field in info.fields})


def _most(info: Any, name: str) -> Any:
    match info:
        case inspect.Metadata(type=inner):
            return _most(inner, name)
        case inspect.BytesType(max_length=most):
            return b"\xff" * most
        case inspect.UnionType(types=types):
            return next(_most(one, name) for one in types if not isinstance(one, inspect.NoneType))
        case inspect.ListType(item_type=item, max_length=most):
            return [_most(item, name)] * most
        case inspect.DictType(key_type=key, value_type=value, max_length=most):
            return {chr(0x1F300 + n) * key.max_length: _most(value, name) for n in range(most)}
        case _:
            return _most_plain(info)


def _most_plain(info: Any) -> Any:
    match info:
        case inspect.StrType(max_length=most):
            return "\U0001f5dd" * most
        case inspect.IntType(le=most) | inspect.FloatType(le=most):
            return most
        case inspect.StructType(cls=cls):
            return _largest(cls)
    assert isinstance(info, inspect.BoolType)
    return True


def test_lone_surrogate_cannot_be_said() -> None:
    with pytest.raises(InvalidMessage, match="surrogate"):
        messages.List(machine_name="name\udc80")
