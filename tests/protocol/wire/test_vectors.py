"""Protocol version 1 is frozen: these frames must be written, read and refused like this for ever.

tests/vectors/wire/ holds one frame per .bin file; vectors.json says what each means, refused.json in which phase and
with which code each of the others is refused, and transcripts.json strings frames together to whole conversations. A
second implementation can check itself with them. A difference here means a new protocol version, never a new vector.

`python -m tests.protocol.wire.test_vectors` adds what is not kept yet; it never changes what is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from protocol.wire import Event, MessageType, Phase, RemoteProtocolError, Role, messages
from protocol.wire.codec import KINDS
from protocol.wire.pair import ConnectionPair

from . import samples

FOLDER = Path(__file__).resolve().parents[2] / "vectors" / "wire"
TIME = 1_700_000_000_000_000
ITEM = messages.SnapshotItem(
    id=samples.SNAPSHOT, machine_id=samples.MACHINE, machine_name="orion", sequence=7, state="verified",
    received_at=TIME, machine_time=TIME - 1_000_000, statement=b"statement", files=3, bytes=4_096, bytes_sent=1_024,
)  # fmt: skip
FULL_COMMIT = msgspec.structs.replace(
    samples.COMMIT, statistics=messages.Statistics(files_new=3, files=3, bytes=4_096, bytes_read=4_096, duration_s=1.5)
)

# name → who sends it, message, request id, payload
FRAMES: dict[str, tuple[Role, messages.Message, int, bytes]] = {
    "hello": (Role.AGENT, samples.HELLO, 1, b""),
    "welcome-stranger": (Role.GATEWAY, samples.STRANGER, 1, b""),
    "welcome": (Role.GATEWAY, samples.KNOWN, 1, b""),
    "enroll": (Role.AGENT, samples.ENROLL, 2, b""),
    "enrolled": (Role.GATEWAY, samples.ENROLLED, 2, b""),
    "publish": (Role.AGENT, messages.Publish(machine_record=b"record"), 3, b""),
    "published": (Role.GATEWAY, messages.Published(), 3, b""),
    "ping": (Role.AGENT, messages.Ping(time=TIME), 4, b""),
    "pong": (Role.GATEWAY, messages.Pong(time=TIME), 4, b""),
    "failure": (Role.GATEWAY, samples.REFUSED, 2, b""),
    "failure-closing": (Role.GATEWAY, messages.Failure(code=9, message="A newer connection took over."), 0, b""),
    "goodbye": (Role.AGENT, messages.Goodbye(reason="done"), 0, b""),
    "begin": (Role.AGENT, samples.BEGIN, 5, b""),
    "begun": (Role.GATEWAY, samples.BEGUN, 5, b""),
    "question": (Role.AGENT, messages.Question(ids=samples.ID + samples.DIGEST), 6, b""),
    "answer": (Role.GATEWAY, messages.Answer(missing=b"\x01"), 6, b""),
    "put": (Role.AGENT, samples.PUT, 0, b"sealed bytes"),
    "stored": (Role.GATEWAY, messages.Stored(through=1), 0, b""),
    "flush": (Role.AGENT, messages.Flush(), 7, b""),
    "flushed": (Role.GATEWAY, messages.Flushed(), 7, b""),
    "commit": (Role.AGENT, FULL_COMMIT, 8, samples.ROOT_FILE),
    "committed": (
        Role.GATEWAY,
        messages.Committed(snapshot=samples.SNAPSHOT, state="received", received_at=TIME),
        8,
        b"",
    ),
    "missing": (Role.GATEWAY, messages.Missing(ids=samples.ID), 8, b""),
    "list": (Role.AGENT, messages.List(before=TIME, limit=10), 9, b""),
    "snapshots": (Role.GATEWAY, messages.Snapshots(items=[ITEM], machine_records=[b"record"], more=True), 9, b""),
    "prove": (Role.AGENT, messages.Prove(scope_name="vega", signature=b"signature"), 10, b""),
    "proved": (Role.GATEWAY, messages.Proved(machine_id=samples.MACHINE), 10, b""),
    "root": (Role.AGENT, messages.Root(snapshot=samples.SNAPSHOT), 11, b""),
    "root-is": (
        Role.GATEWAY,
        messages.RootIs(statement=b"statement", recipients=[b"recipient"], machine_record=b"record", blocks=samples.ID),
        11,
        samples.ROOT_FILE,
    ),
    "fetch": (Role.AGENT, messages.Fetch(snapshot=samples.SNAPSHOT, block=samples.DIGEST, ids=samples.ID), 12, b""),
    "record": (Role.GATEWAY, samples.RECORD, 12, b"sealed bytes"),
    "fetched": (Role.GATEWAY, messages.Fetched(), 12, b""),
    "status": (Role.AGENT, messages.Status(snapshots=samples.SNAPSHOT), 13, b""),
    "status-is": (
        Role.GATEWAY,
        messages.StatusIs(worker_alive=True, worker_seen=TIME, states={samples.SNAPSHOT.hex(): "verified"}),
        13,
        b"",
    ),
    "hello-reader": (Role.AGENT, samples.READER_HELLO, 1, b""),
    "welcome-reader": (Role.GATEWAY, samples.READER_KNOWN, 1, b""),
    "explain": (Role.AGENT, samples.EXPLAIN, 17, b""),
    "explained": (Role.GATEWAY, samples.EXPLAINED, 17, b""),
    "drilled": (Role.AGENT, samples.DRILLED, 18, b""),
    "noted": (Role.GATEWAY, messages.Noted(proven=True), 18, b""),
    "hello-cold": (Role.AGENT, samples.COLD_HELLO, 1, b""),
    "welcome-cold": (Role.GATEWAY, samples.COLD_KNOWN, 1, b""),
    "failure-cold": (Role.GATEWAY, samples.COLD, 12, b""),
    "thaw": (Role.AGENT, samples.THAW, 19, b""),
    "thawing": (Role.GATEWAY, samples.THAWING, 19, b""),
    "thawed": (Role.GATEWAY, messages.Thawing(), 19, b""),
    "hello-control": (Role.AGENT, samples.CONTROL_HELLO, 1, b""),
    "welcome-control": (Role.GATEWAY, samples.CONTROL_KNOWN, 1, b""),
    "begin-job": (Role.AGENT, msgspec.structs.replace(samples.BEGIN, job=samples.JOB, policy="Documents"), 5, b""),
    "control": (Role.AGENT, samples.CONTROL, 14, b""),
    "controlled": (Role.GATEWAY, samples.CONTROLLED, 14, b""),
    "offer": (Role.GATEWAY, samples.OFFER, 1, b""),
    "accepted": (Role.AGENT, messages.Accepted(accepted=True), 1, b""),
    "accepted-not": (Role.AGENT, messages.Accepted(accepted=False, reason="Paused.", retry_after=60.0), 1, b""),
    "progress": (Role.AGENT, samples.PROGRESS, 0, b""),
    "report": (Role.AGENT, samples.REPORT, 15, b""),
    "reported": (Role.GATEWAY, messages.Reported(), 15, b""),
    "renew": (Role.AGENT, messages.Renew(csr=b"csr"), 16, b""),
    "renewed": (Role.GATEWAY, messages.Renewed(certificate=b"certificate", ca=b"ca"), 16, b""),
    "cancel": (Role.GATEWAY, messages.Cancel(job=samples.JOB), 2, b""),
    "cancelled": (Role.AGENT, messages.Cancelled(), 2, b""),
    "configure": (Role.GATEWAY, messages.Configure(configuration='{"version":1}'), 3, b""),
    "configured": (Role.AGENT, messages.Configured(), 3, b""),
}

# name → phase, who sends it, the bytes, the code by which they are refused
REFUSED: dict[str, tuple[str, Role, bytes, int]] = {
    "refused-magic": ("opening", Role.AGENT, b"GET / HTTP/1.1\r\n\r\n..", 1),
    "refused-frame-version": ("opening", Role.AGENT, b"SR\x02" + samples.frame(samples.HELLO, 1)[3:], 2),
    "refused-flags": ("ready", Role.AGENT, b"SR\x01\x10\x00\x01" + samples.frame(messages.Ping(), 3)[6:], 1),
    "refused-four-gigabytes": (
        "backing_up",
        Role.AGENT,
        b"SR\x01\x24" + bytes(8) + b"\x00\x00\x00\x64\xff\xff\xff\xff",
        11,
    ),
    "refused-no-common-version": (
        "opening",
        Role.AGENT,
        samples.frame(messages.Hello(versions=[200], agent_version="200"), 1),
        2,
    ),
    "refused-short-id": ("backing_up", Role.AGENT, samples.raw_frame(34, b"\x81\xa3ids\xc4\x02hi", 3), 13),
    "refused-no-map": ("ready", Role.AGENT, samples.raw_frame(64, b"\x90", 3), 13),
    "refused-put-outside-a-session": ("ready", Role.AGENT, samples.frame(samples.PUT, 0, b"sealed bytes"), 1),
    "refused-request-zero": ("ready", Role.AGENT, samples.frame(messages.List(), 0), 1),
    "refused-unknown-type-from-a-stranger": ("stranger", Role.AGENT, samples.raw_frame(99, b"\x80", 3), 16),
    "refused-put-while-controlling": ("controlling", Role.AGENT, samples.frame(samples.PUT, 0, b"sealed bytes"), 1),
    "refused-begin-while-controlling": ("controlling", Role.AGENT, samples.frame(samples.BEGIN, 3), 1),
    "refused-offer-before-control": ("welcomed_daemon", Role.GATEWAY, samples.frame(samples.OFFER, 1), 1),
    "refused-answer-to-nothing": ("ready", Role.GATEWAY, samples.frame(messages.Fetched(), 3), 1),
}

TRANSCRIPTS: dict[str, list[str]] = {
    "enrolment": ["hello", "welcome-stranger", "enroll", "enrolled", "goodbye"],
    "backup": [
        "hello", "welcome", "publish", "published", "begin", "begun", "question", "answer", "put", "flush", "stored",
        "flushed", "commit", "committed", "goodbye",
    ],
    "restore": ["hello", "welcome", "list", "snapshots", "root", "root-is", "fetch", "record", "fetched", "goodbye"],
    "cold": [
        "hello-cold", "welcome-cold", "fetch", "failure-cold", "thaw", "thawing", "thaw", "thawed", "fetch", "record",
        "fetched", "goodbye",
    ],
    "gone": [
        "hello-reader", "welcome-reader", "list", "snapshots", "explain", "explained", "drilled", "noted", "goodbye",
    ],
    "control": [
        "hello-control", "welcome-control", "control", "controlled", "offer", "accepted", "progress", "cancel",
        "cancelled", "report", "reported", "configure", "configured", "renew", "renewed", "goodbye",
    ],
}  # fmt: skip


def described(name: str) -> dict[str, Any]:
    """What vectors.json says about a frame: bytes as hex."""
    sender, message, request, payload = FRAMES[name]
    code = next(kind.code for kind in KINDS.values() if kind.cls is type(message))
    fields = json.loads(json.dumps(msgspec.to_builtins(message, builtin_types=(bytes,)), default=bytes.hex))
    return {
        "sender": sender.value,
        "type": code.name,
        "code": int(code),
        "request": request,
        "fields": fields,
        "payload": payload.hex(),
    }


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


@pytest.mark.parametrize("name", FRAMES)
def test_frame_is_written_as_it_always_was(name: str) -> None:
    _, message, request, payload = FRAMES[name]
    assert samples.frame(message, request, payload) == (FOLDER / f"{name}.bin").read_bytes()


@pytest.mark.parametrize("name", FRAMES)
def test_frame_means_what_it_always_meant(name: str) -> None:
    assert load("vectors.json")[name] == described(name)


@pytest.mark.parametrize("name", REFUSED)
def test_frame_is_refused_as_it_always_was(name: str) -> None:
    phase, sender, data, code = REFUSED[name]
    assert load("refused.json")[name] == {"phase": phase, "sender": sender.value, "code": code}
    assert (FOLDER / f"{name}.bin").read_bytes() == data
    pair = getattr(samples, phase)()
    with pytest.raises(RemoteProtocolError) as caught:
        samples.receive(pair, sender, data)
    assert caught.value.code == code


@pytest.mark.parametrize("name", TRANSCRIPTS)
@pytest.mark.parametrize("piece", [None, 1])
def test_transcript_is_a_valid_conversation(name: str, piece: int | None) -> None:
    assert load("transcripts.json") == TRANSCRIPTS
    pair = ConnectionPair(piece)
    for step in TRANSCRIPTS[name]:
        sender, message, request, payload = FRAMES[step]
        (event,) = pair.send(sender, message, request, payload)
        assert event == Event(message, request, payload)
    assert pair.gateway.phase in (Phase.ENROLLED, Phase.READY, Phase.CONTROLLING)


def test_every_message_type_has_a_vector() -> None:
    assert {entry["type"] for entry in load("vectors.json").values()} == {kind.name for kind in MessageType}


def test_no_vector_is_forgotten() -> None:
    kept = {path.stem for path in FOLDER.glob("*.bin")}
    assert kept == set(FRAMES) | set(REFUSED)


def write_missing() -> None:
    """Write vectors that are not kept yet. Existing frames and what is said of them are never changed."""
    frames = {name: samples.frame(message, request, payload) for name, (_, message, request, payload) in FRAMES.items()}
    for name, data in (frames | {name: row[2] for name, row in REFUSED.items()}).items():
        keep(FOLDER / f"{name}.bin", data)
    refused = {
        name: {"phase": phase, "sender": sender.value, "code": code}
        for name, (phase, sender, _, code) in REFUSED.items()
    }
    pages = {"vectors": {name: described(name) for name in FRAMES}, "refused": refused, "transcripts": TRANSCRIPTS}
    for page, content in pages.items():
        keep_entries(FOLDER / f"{page}.json", content)


def keep(path: Path, data: bytes) -> None:
    if path.exists():
        print(f"kept {path.name}")
    else:
        path.write_bytes(data)
        print(f"wrote {path.name}")


def keep_entries(path: Path, content: dict[str, Any]) -> None:
    """Add what the page lacks; an entry that it has stays, so that the tests find what has changed."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | kept, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write_missing()
