"""What docs/wire-protocol.md says about states and fields, made from the tables and classes that say it first.

`python -m protocol.wire.reference` prints the generated parts; a test compares them with the page.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import NODEFAULT, inspect

from protocol.wire.codec import KINDS, Manner, MessageKind
from protocol.wire.messages.fields import Fields
from protocol.wire.states import MAY_OPEN, TURNS, Phase
from protocol.wire.types import Role

_ARROW: Final = {Role.AGENT: "A", Role.GATEWAY: "G"}


def state_diagram() -> str:
    """The turns of the state tables as a mermaid state diagram. `A:` is an act of the agent, `G:` of the gateway."""
    lines = ["stateDiagram-v2", "    direction TB"]
    lines += [f'    state "{phase.value}" as {phase.name}' for phase in Phase]
    lines.append(f"    [*] --> {Phase.OPENING.name}")
    for phase, turns in TURNS.items():
        lines += [
            f"    {phase.name} --> {following.name}: {_ARROW[sender]}: {act.value}"
            for (sender, act), following in turns.items()
        ]
    lines += [
        '    state "any phase" as ANY',
        "    ANY --> CLOSED: both voices, or the stream, ended",
        "    ANY --> FAILED: a rule was broken",
    ]
    return "\n".join(lines)


def opening_table() -> str:
    """Which requests and notices each party may send in each phase, as a markdown table."""
    rows = ["| phase | agent may send | gateway may send |", "|---|---|---|"]
    for phase, allowed in MAY_OPEN.items():
        cells = [", ".join(kind.name for kind in sorted(allowed[role])) or "–" for role in Role]
        rows.append(f"| {phase.value} | {cells[0]} | {cells[1]} |")
    return "\n".join(rows)


def message_table() -> str:
    """The registry as a markdown table."""
    rows = ["| code | message | from | manner | answers | body up to | payload |", "|---|---|---|---|---|---|---|"]
    return "\n".join([*rows, *map(_message_row, KINDS.values())])


def _message_row(kind: MessageKind) -> str:
    senders = "both" if len(kind.senders) > 1 else next(iter(kind.senders)).value
    answers = kind.answers.name if kind.answers else ("any request" if kind.manner is Manner.FAILURE else "–")
    payload = f"{kind.min_payload:,} to {kind.max_payload:,}" if kind.max_payload else "none"
    name = kind.code.name
    return f"| {kind.code:d} | {name} | {senders} | {kind.manner.value} | {answers} | {kind.max_body:,} | {payload} |"


def field_rows(cls: type[Fields]) -> Iterator[tuple[str, str, str]]:
    """Name, type with bounds, and default ("required" if there is none) of each field of a message."""
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        yield field.encode_name, type_text(field.type), _default_text(field)


def type_text(info: inspect.Type, multiple: int = 1) -> str:
    """A field's type and bounds in the words of the page."""
    match info:
        case inspect.Metadata(type=inner, extra=extra):
            return type_text(inner, (extra or {}).get("multiple", 1))
        case inspect.BytesType(min_length=least, max_length=most):
            return _bytes_text(least or 0, most or 0, multiple)
        case inspect.ListType(item_type=item, min_length=least, max_length=most):
            return f"array of {least or 0:,} to {most or 0:,}: {type_text(item)}"
        case inspect.DictType(key_type=key, value_type=value, max_length=most):
            return f"map of up to {most or 0:,}: {type_text(key)} → {type_text(value)}"
        case inspect.UnionType(types=types):
            return " or ".join(map(type_text, types))
        case _:
            return _plain_text(info)


def _plain_text(info: inspect.Type) -> str:
    match info:
        case inspect.StrType(max_length=most):
            return f"str, up to {most or 0:,} characters"
        case inspect.IntType(ge=least, le=most):
            return f"int, {_number(least)} to {_number(most)}"
        case inspect.FloatType():
            return "float or int, 0 to 10⁹"
        case inspect.NoneType():
            return "nil"
        case inspect.StructType(cls=cls):
            return f"map, see {cls.__name__}"
        case _:
            return type(info).__name__.removesuffix("Type").lower()


def _bytes_text(least: int, most: int, multiple: int) -> str:
    if least == most:
        return f"bin, {most:,} bytes"
    if multiple > 1:
        least_count, most_count = (least + multiple - 1) // multiple, most // multiple
        return f"bin, {least_count:,} to {most_count:,} × {multiple} bytes"
    return f"bin, {least:,} to {most:,} bytes"


def _number(bound: object) -> str:
    return "2⁶³−1" if bound == 2**63 - 1 else f"{bound:,}"


def _default_text(field: inspect.Field) -> str:
    if field.required:
        return "required"
    default = field.default if field.default is not NODEFAULT else field.default_factory()
    match default:
        case bytes() | str() | list() | dict():
            return "empty"
        case None:
            return "nil"
        case bool():
            return str(default).lower()
        case int() | float():
            return f"{default:,}"
        case _:
            return "all 0"


if __name__ == "__main__":
    import sys

    sys.stdout.write("\n\n".join([state_diagram(), opening_table(), message_table()]) + "\n")
