"""What is attacked: every decoder that meets bytes of a peer, a disk or a person, with good samples to spoil.

An attack returns whether its input was refused with a documented error; any other error passes through it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.engine.cache import Binding, Cache, CacheFault
from agents.engine.codecs import CodecFault, Compressor, decompress
from agents.engine.sealing import ChunkSealer, OpeningFault, VaultSecrets, open_root
from agents.errors import AgentError
from agents.keys.enrollment import EnrollmentString
from agents.keys.faults import EnrollmentFault, KeyFault, KitDamaged, KitFault, VaultRecordFault
from agents.keys.kit import create_kit, open_kit
from agents.keys.kit_manifest import _canonical
from agents.keys.rsa import load_private, load_public
from agents.keys.vault_record import open_vault_record
from agents.state import AgentHome, MachineState
from protocol.stored import packs
from protocol.stored.errors import FormatError
from protocol.wire import LocalProtocolError, RemoteProtocolError, Role
from protocol.wire.pair import drain
from tests.engine.test_cache import BINDING, commit
from tests.keys.material import private_key
from tests.protocol.stored.test_refusals import DECODERS
from tests.protocol.wire.test_fuzz import CORPUS, PHASES
from tests.sealing.test_codecs import MAGIC, rle_frame
from tests.sealing.test_roots import READING, ROOT
from tests.soak.mutations import Kind

SECRETS = VaultSecrets(b"v" * 16, 1, b"s" * 32)
TEXT = b"Strongroom keeps what you give it. " * 60
PASSPHRASE = "acorn-badger-canoe"
BOMBS = [
    MAGIC + bytes([0xE0]) + (1 << 40).to_bytes(8, "little"),  # 13 bytes that claim a terabyte
    rle_frame(256 << 20, 2048),  # 8 KiB that say and become 256 MiB
    rle_frame(4 << 20, 2048),  # 8 KiB that say 4 MiB and become 256 MiB
    rle_frame(0, 2048),
]
Attack = Callable[[bytes, random.Random], bool]


@contextmanager
def all_kinds() -> Iterator[list[Kind]]:
    """Every kind, over a directory in memory where there is one."""
    fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="sr-mutations-", dir=fast))
    try:
        yield [frames(), *stored(), pack(), codec(), chunk(), root(), *keys(), enrollment(), vault_record(),
               *kit(directory), machine_file(directory), cache(directory)]  # fmt: skip
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def refused(call: Callable[[], object], *documented: type[BaseException]) -> bool:
    """Whether it ended with one of these."""
    try:
        call()
    except documented:
        return True
    return False


def frames() -> Kind:
    """A conversation brought to a phase, and then bytes for one of its ends."""

    def attack(data: bytes, dice: random.Random) -> bool:
        end = dice.choice(PHASES)().of(dice.choice(list(Role)))
        piece = dice.choice((1, 13, 4_096))
        try:
            for offset in range(0, len(data), piece):
                end.receive_data(data[offset : offset + piece])
                drain(end)
            end.receive_eof()
            drain(end)
        except RemoteProtocolError:
            return refused(end.next_event, LocalProtocolError)
        return False

    return Kind("frames", 25, [*CORPUS, *(first + second for first in CORPUS[:8] for second in CORPUS[4:12])], attack)


def samples(strategy: st.SearchStrategy[bytes]) -> list[bytes]:
    """Two dozen good objects, always the same."""
    found: list[bytes] = []

    @settings(max_examples=24, database=None, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(data: bytes) -> None:
        found.append(data)

    collect()
    return found


def stored() -> list[Kind]:
    """The decoders of everything that lies in a store."""

    def kind(name: str, decode: Callable[[bytes], object], whole: st.SearchStrategy[bytes]) -> Kind:
        weight = 6 if name in ("segment", "root body", "block") else 3
        return Kind(name, weight, samples(whole), lambda data, dice: refused(lambda: decode(data), FormatError))

    return [kind(name, *parts) for name, parts in DECODERS.items()]


def pack() -> Kind:
    """Whole packs: the index of a sealed one and the walk over an open one. Half of them get a fitting index digest."""
    body, entries = packs.encode_pack_header(b"v" * 16, b"p" * 16), []
    for number in range(12):
        content = bytes([number]) * (50 * number + 1)
        header = packs.encode_record_header(1 + number % 2, blake3(content).digest(), len(content),
                                            blake3(content).digest())  # fmt: skip
        entries.append(packs.IndexEntry(1 + number % 2, blake3(content).digest(), len(body) + len(header), len(content),
                                        blake3(content).digest()))  # fmt: skip
        body += header + content
    index = packs.encode_index(entries)
    whole = body + index + packs.encode_trailer(len(body), len(entries), index)

    def attack(data: bytes, dice: random.Random) -> bool:
        if dice.random() < 0.5 and len(data) > 56:
            start = int.from_bytes(data[-56:-48], "big")
            data = data[:-40] + blake3(data[start:-56]).digest() + data[-8:]

        def read_at(offset: int, length: int) -> bytes:
            return data[offset : offset + length]

        one = refused(lambda: packs.read_index(read_at, len(data)), FormatError)
        return refused(lambda: list(packs.scan_records(read_at, len(data))), FormatError) or one

    return Kind("pack", 6, [whole, body, whole[:-1]], attack)


def codec() -> Kind:
    """Compressed bodies, bombs among them."""
    compress = Compressor().compress
    good = [compress(b""), compress(TEXT), compress(bytes(1 << 20)), compress(random.Random(1).randbytes(3000))]
    return Kind("zstd frame", 6, [*good, *BOMBS], lambda data, dice: refused(lambda: decompress(data), CodecFault))


def chunk() -> Kind:
    sealer = ChunkSealer(SECRETS)
    h, chunk_id = sealer.identify(TEXT)
    good = [sealer.seal(TEXT, h, chunk_id, compress) for compress in (True, False)]

    def attack(data: bytes, dice: random.Random) -> bool:
        if data in good:
            return False
        assert refused(lambda: sealer.open(data, chunk_id, h), OpeningFault), "a spoilt chunk was opened"
        return True

    return Kind("chunk", 8, good, attack)


def root() -> Kind:
    """A root or one of its recipient records."""
    key = private_key(READING)

    def attack(data: bytes, dice: random.Random) -> bool:
        if dice.random() < 0.5:
            return refused(lambda: open_root(data, ROOT.records, key), OpeningFault)
        return refused(lambda: open_root(ROOT.file, [*ROOT.records[:-1], data], key), OpeningFault)

    return Kind("sealed root", 1, [ROOT.file, *ROOT.records], attack)


def keys() -> list[Kind]:
    key = private_key("one")
    private = [key.to_der(), key.to_pem(None), key.to_pem("secret", rounds=50)]
    public = [key.public.spki, key.public.to_pem() if isinstance(key.public.to_pem(), bytes) else b""]

    def attack_private(data: bytes, dice: random.Random) -> bool:
        return refused(lambda: load_private(data, "secret"), KeyFault)

    return [
        Kind("private key", 1, private, attack_private),
        Kind("public key", 3, public, lambda data, dice: refused(lambda: load_public(data), KeyFault)),
    ]


def enrollment() -> Kind:
    text = EnrollmentString("backup.example.com", 8443, b"t" * 32, b"c" * 32, b"k" * 32).format().encode()

    def attack(data: bytes, dice: random.Random) -> bool:
        return refused(lambda: EnrollmentString.parse(data.decode("utf-8", "surrogateescape")), EnrollmentFault)

    return Kind("enrolment string", 2, [text], attack)


def vault_record() -> Kind:
    """The record that says to whom an agent seals: no changed one may pass."""
    with tempfile.TemporaryDirectory() as directory:
        kit = create_kit(Path(directory, "kit"), PASSPHRASE, "Office", rounds=50, **kit_keys())

    def attack(data: bytes, dice: random.Random) -> bool:
        if data == kit.record:
            return False
        call = lambda: open_vault_record(data, kit.signing.public.key_hash, 1)  # noqa: E731
        assert refused(call, VaultRecordFault), "a spoilt vault record verifies"
        return True

    return Kind("signed vault record", 2, [kit.record], attack)


def kit_keys() -> dict[str, object]:
    return {"opening": private_key("opening"), "signing": private_key("signing")}


def kit(directory: Path) -> list[Kind]:
    """Each file of a kit; and kit.json with a checksum that fits, as somebody would make it on purpose."""
    where = directory / "kit"
    create_kit(where, PASSPHRASE, "Büro", rounds=50, **kit_keys())
    good = {path.name: path.read_bytes() for path in where.iterdir()}
    names = ["kit.json", "recovery-key.pem", "signing-key.pem", "enrolment-key.json", "vault-registration.json"]

    def open_with(name: str, data: bytes) -> bool:
        (where / name).write_bytes(data)
        try:
            return refused(lambda: open_kit(where, PASSPHRASE), KitFault, KitDamaged, KeyFault, VaultRecordFault)
        finally:
            (where / name).write_bytes(good[name])

    def attack(data: bytes, dice: random.Random) -> bool:
        return open_with(dice.choice(names), data)

    def attack_manifest(data: bytes, dice: random.Random) -> bool:
        try:
            body = json.loads(data)
            body.pop("checksum")
            body["checksum"] = hashlib.sha256(_canonical(body)).hexdigest()
            data = json.dumps(body).encode()
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            pass
        return open_with("kit.json", data)

    return [
        Kind("kit file", 1, [good[name] for name in names], attack),
        Kind("kit manifest", 1, [good["kit.json"]], attack_manifest, wild=False),
    ]


def machine_file(directory: Path) -> Kind:
    """machine.json of an agent's home."""
    home = AgentHome(directory / "agent")
    home.prepare()
    values = {
        name: {"str": "x", "int": 1, "bool": False, "bytes": b"i" * 16}[str(field.type)]
        for name, field in MachineState.__dataclass_fields__.items()
    }
    home.save_machine(MachineState(**values))
    (path,) = [one for one in home.path.iterdir() if one.suffix == ".json"]
    good = path.read_bytes()

    def attack(data: bytes, dice: random.Random) -> bool:
        path.write_bytes(data)
        return refused(home.machine, AgentError)

    return Kind("agent's machine file", 1, [good], attack)


def cache(directory: Path) -> Kind:
    """The agent's cache: it may be thrown away, and may raise nothing but CacheFault."""
    path = directory / "cache.sqlite"
    made = Cache(path, BINDING)
    commit(made, b"1" * 32, b"a", b"b", b"c")
    made.close()
    good = path.read_bytes()

    def attack(data: bytes, dice: random.Random) -> bool:
        path.write_bytes(data)
        opened = Cache(path, Binding(b"v" * 16, 1, b"m" * 16))
        try:
            return refused(lambda: read_whole(opened), CacheFault) or bool(opened.notes)
        finally:
            opened.close()

    return Kind("cache file", 1, [good], attack)


def read_whole(opened: Cache) -> None:
    layout = opened.layout()
    if layout is not None:
        for segment in opened.segments(layout):
            opened.keys(segment)
            opened.content(segment)
            opened.chunk_ids(segment)
