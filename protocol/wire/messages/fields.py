"""The field types of messages and the one check that every message runs when it is constructed.

msgspec checks `Meta` bounds when it decodes; the check here runs the same bounds when *we* construct a message, so that
both sides refuse the same things. Two rules msgspec has no word for: `extra={"multiple": n}` (the length of a bytes
field is a multiple of n), and the types of fields, which a struct's constructor does not look at.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, inspect

from protocol.wire import limits
from protocol.wire.errors import InvalidMessage

Check = Callable[[Any], str | None]  # the fault of a value, or None


def _ids(length: int, most: int) -> Meta:
    return Meta(max_length=length * most, extra={"multiple": length})


ShortId = Annotated[bytes, Meta(min_length=limits.SHORT_ID, max_length=limits.SHORT_ID)]
LongId = Annotated[bytes, Meta(min_length=limits.LONG_ID, max_length=limits.LONG_ID)]
MaybeShortId = Annotated[bytes, _ids(limits.SHORT_ID, 1)]  # sixteen bytes or none
QuestionIds = Annotated[bytes, _ids(limits.LONG_ID, limits.MAX_IDS), Meta(min_length=limits.LONG_ID)]
FetchIds = Annotated[bytes, _ids(limits.LONG_ID, limits.MAX_FETCH_IDS)]
LongIds = Annotated[bytes, _ids(limits.LONG_ID, limits.MAX_LONG_LIST)]
ThawBlocks = Annotated[bytes, _ids(limits.LONG_ID, limits.MAX_THAW_BLOCKS)]
MissingIds = Annotated[bytes, _ids(limits.LONG_ID, limits.MAX_LONG_LIST), Meta(min_length=limits.LONG_ID)]
ShortIds = Annotated[bytes, _ids(limits.SHORT_ID, limits.MAX_RUNNING)]
StatusIds = Annotated[bytes, _ids(limits.SHORT_ID, limits.MAX_STATUS_IDS)]
Bitmap = Annotated[bytes, Meta(min_length=1, max_length=(limits.MAX_IDS + 7) // 8)]

Statement = Annotated[bytes, Meta(min_length=1, max_length=limits.MAX_STATEMENT)]
Recipient = Annotated[bytes, Meta(min_length=1, max_length=limits.MAX_RECIPIENT)]
Recipients = Annotated[list[Recipient], Meta(max_length=limits.MAX_RECIPIENTS)]
MachineRecord = Annotated[bytes, Meta(min_length=1, max_length=limits.MAX_MACHINE_RECORD)]
MaybeMachineRecord = Annotated[bytes, Meta(max_length=limits.MAX_MACHINE_RECORD)]
VaultRecord = Annotated[bytes, Meta(max_length=limits.MAX_VAULT_RECORD)]
LifecycleRecord = Annotated[bytes, Meta(min_length=1, max_length=limits.MAX_LIFECYCLE_RECORD)]
Certificate = Annotated[bytes, Meta(min_length=1, max_length=limits.MAX_CERTIFICATE)]
PublicKey = Annotated[bytes, Meta(min_length=1, max_length=limits.MAX_KEY)]
SigningRequest = Annotated[bytes, Meta(min_length=1, max_length=limits.MAX_CSR)]
Blob = Annotated[bytes, Meta(max_length=limits.MAX_BLOB)]
Signature = Annotated[bytes, Meta(min_length=1, max_length=limits.MAX_SIGNATURE)]

Label = Annotated[str, Meta(max_length=limits.MAX_LABEL)]
Name = Annotated[str, Meta(max_length=limits.MAX_NAME)]
PolicyName = Annotated[str, Meta(max_length=limits.MAX_POLICY_NAME)]
Text = Annotated[str, Meta(max_length=limits.MAX_TEXT)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Time = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # microseconds since 1970-01-01 UTC
RecordKind = Annotated[int, Meta(ge=1, le=2)]  # 1 chunk, 2 reference block
Sequence = Annotated[int, Meta(ge=1, le=2**63 - 1)]  # a statement's number in its machine's chain
Counts = Annotated[dict[Label, Count], Meta(max_length=limits.MAX_COUNTS)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]

_UNFIT: Final = re.compile("[\x00\ud800-\udfff]")
KIND_CHUNK: Final = 1
KIND_BLOCK: Final = 2


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything in a body: a map of fields, unknown ones ignored, checked on construction and on decoding."""

    def __post_init__(self) -> None:
        """Raise InvalidMessage naming the first field that is out of bounds."""
        for name, check in _checks_of(type(self)):
            fault = check(getattr(self, name))
            if fault is not None:
                raise InvalidMessage(f"{type(self).__name__}.{name} {fault}.")


class Message(Fields, frozen=True, kw_only=True):
    """Base of the messages: one per type code."""


_compiled: dict[type, tuple[tuple[str, Check], ...]] = {}


def _checks_of(cls: type[Fields]) -> tuple[tuple[str, Check], ...]:
    """The checks of a message's fields, compiled at its first use."""
    checks = _compiled.get(cls)
    if checks is None:
        info = inspect.type_info(cls)
        assert isinstance(info, inspect.StructType)
        checks = _compiled[cls] = tuple((field.name, _check_of(field.type)) for field in info.fields)
    return checks


def _check_of(info: inspect.Type, multiple: int = 1) -> Check:
    """The check of one field type; `multiple` is what the length of bytes must be a multiple of."""
    match info:
        case inspect.Metadata(type=inner, extra=extra):
            return _check_of(inner, (extra or {}).get("multiple", 1))
        case inspect.BytesType(min_length=least, max_length=most):
            return _bytes_check(least or 0, most or 0, multiple)
        case inspect.UnionType(types=types):
            return _union_check([_check_of(one) for one in types])
        case inspect.ListType(item_type=item, min_length=least, max_length=most):
            return _list_check(_check_of(item), least or 0, most or 0)
        case inspect.DictType(key_type=key, value_type=value, max_length=most):
            return _dict_check(_check_of(key), _check_of(value), most or 0)
        case _:
            return _plain_check(info)


def _plain_check(info: inspect.Type) -> Check:
    match info:
        case inspect.StrType(max_length=most):
            return partial(_text_fault, most=most or 0)
        case inspect.IntType(ge=least, le=most):
            return partial(_number_fault, kinds=(int,), least=least, most=most)
        case inspect.FloatType(ge=low, le=high):
            return partial(_number_fault, kinds=(int, float), least=low, most=high)
        case inspect.BoolType():
            return partial(_kind_fault, kind=bool)
        case inspect.NoneType():
            return partial(_kind_fault, kind=type(None))
        case inspect.StructType(cls=cls):
            return partial(_kind_fault, kind=cls)
        case _:  # a new kind of field: its author sees this at the first construction
            raise TypeError(f"No check for a field of type {info!r}: teach fields.py.")


def _bytes_check(least: int, most: int, multiple: int) -> Check:
    def check(value: Any) -> str | None:
        if type(value) is not bytes:
            return "is not bytes"
        if least <= len(value) <= most and len(value) % multiple == 0:
            return None
        return f"has {len(value)} bytes; allowed are {least} to {most}, in steps of {multiple}"

    return check


def _kind_fault(value: Any, kind: type) -> str | None:
    return None if type(value) is kind else f"is not {kind.__name__}"


def _text_fault(value: Any, most: int) -> str | None:
    if type(value) is not str:
        return "is not text"
    if len(value) > most:
        return f"has {len(value)} characters; allowed are {most}"
    # Databases hold no NUL, UTF-8 no lone surrogate: whoever keeps a message's text must not trip over it.
    return "has a NUL or a lone surrogate" if _UNFIT.search(value) else None


def _number_fault(value: Any, kinds: tuple[type, ...], least: Any, most: Any) -> str | None:
    if not isinstance(value, kinds) or type(value) is bool:  # an IntEnum is a number here, a bool is not
        return "is not a number of the right kind"
    if least <= value <= most:
        return None
    return f"is {value}; allowed are {least} to {most}"


def _union_check(checks: list[Check]) -> Check:
    def check(value: Any) -> str | None:
        faults = [one(value) for one in checks]
        return None if None in faults else " and ".join(str(fault) for fault in faults)

    return check


def _list_check(item: Check, least: int, most: int) -> Check:
    def check(value: Any) -> str | None:
        if type(value) is not list:
            return "is not a list"
        if not least <= len(value) <= most:
            return f"has {len(value)} items; allowed are {least} to {most}"
        return next((f"has an item that {fault}" for fault in map(item, value) if fault is not None), None)

    return check


def _dict_check(key: Check, item: Check, most: int) -> Check:
    def check(value: Any) -> str | None:
        if type(value) is not dict:
            return "is not a map"
        if len(value) > most:
            return f"has {len(value)} items; allowed are {most}"
        faults = (key(name) or item(one) for name, one in value.items())
        return next((f"has an item that {fault}" for fault in faults if fault is not None), None)

    return check
