"""A second reader of Strongroom's store, written from docs/storage-format.md alone (§ is its section); nothing of ours.

    STRONGROOM_PASSPHRASE=… python -m tests.independent.reader STORE[:SPOOL] KEY OUT [SNAPSHOT]

STORE is a target's directory, KEY the kit's recovery-key.pem (kit.json beside it), SNAPSHOT the first digits of an id,
else the newest. Brings files, directories, links, modes and times into OUT, a new directory. Faults are `ValueError`s.
"""

import json
import os
import sys
from base64 import b64decode
from collections import defaultdict, namedtuple
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, groupby, pairwise
from mmap import ACCESS_READ, mmap
from pathlib import Path
from struct import Struct
from unicodedata import normalize

from blake3 import blake3
from Crypto.Cipher import AES, PKCS1_OAEP
from Crypto.Hash import SHA256
from Crypto.PublicKey import RSA
from Crypto.Signature import pss
from msgpack import unpackb  # type: ignore[import-untyped]
from zstandard import ZstdDecompressor

PACK, ROOT, STATEMENT, MACHINE, SEGMENT = 1, 3, 5, 7, 11
FILE, DIRECTORY, LINK, MAX_PLAIN, MAX_SEALED = 1, 2, 3, 4_194_304, 4_259_840
PACK_HEAD, TRAILER, INDEX = Struct(">8s16s16s"), Struct(">QII32s8s"), Struct(">B32sQI32s")
ROOT_HEAD, STATEMENT_HEAD = Struct(">8s16s16sI16sQ32s12s"), Struct(">8s16sI16sQQ32s32s32s")
Entry = namedtuple(
    "Entry", "path type mode uid gid user group size mtime extents digest link", defaults=("", "", 0, 0, (), b"", b"")
)


def check(truth: object, what: Path | str, fault: str) -> None:
    """Raise `ValueError` unless it is so."""
    if not truth:
        raise ValueError(f"{what.name if isinstance(what, Path) else what}: {fault}")


def checked(data: bytes, kind: int, what: Path | str) -> bytes:
    """The same bytes, if they begin with the prefix of an object of this type (§1)."""
    check(data[:8] == b"STRM" + bytes([kind, 1, 1, 0]), what, f"is not an object of type {kind}, version 1")
    return data


def field(data: bytes, at: int) -> tuple[bytes, int]:
    """Bytes that follow their u16 length, and where they end."""
    end = at + 2 + int.from_bytes(data[at : at + 2], "big")
    return data[at + 2 : end], end


def derive(use: str, secret: bytes) -> bytes:
    """The key for one use (§4)."""
    return blake3(secret, derive_key_context=f"strongroom/v1/{use}").digest()


def open_kit(path: Path, passphrase: str) -> tuple[RSA.RsaKey, dict[int, bytes]]:
    """The vault's opening key, and the dedup secret of every epoch that the kit knows (§15)."""
    key = RSA.import_key(path.read_bytes(), normalize("NFC", passphrase).encode())
    wrapped = [b64decode(text) for text in json.loads(path.with_name("kit.json").read_bytes())["wrapped_secrets"]]
    cipher = PKCS1_OAEP.new(key, SHA256, label=b"strongroom/v1/dedup-secret")
    return key, {int.from_bytes(record[24:28], "big"): cipher.decrypt(record[62:]) for record in wrapped}  # §12


def index_of(pack: Path, vault: bytes) -> Iterator[tuple]:
    """(kind, id, offset, length, digest) of a sealed pack's records (§3); a spool has packs of other vaults too."""
    check(pack.stat().st_size >= PACK_HEAD.size + TRAILER.size, pack, "is cut short")
    with pack.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        _, of, name = PACK_HEAD.unpack(checked(data[: PACK_HEAD.size], PACK, pack))
        start, count, zero, digest, magic = TRAILER.unpack(data[-TRAILER.size :])
        index = data[start : -TRAILER.size]
    fits = (name.hex(), magic, zero, len(index)) == (pack.stem.split(".healed-")[0], b"STRMPACK", 0, count * INDEX.size)
    check(fits, pack, "header or trailer is damaged")
    check(blake3(index).digest() == digest, pack, "index does not have the trailer's digest")
    yield from INDEX.iter_unpack(index if of == vault else b"")


class Snapshot:
    """A statement and what it names, checked before anything is believed (§16)."""

    def __init__(self, path: Path, key: RSA.RsaKey, secrets: dict[int, bytes], spools: Iterable[Path] = ()) -> None:
        vault, data = path.parents[2], checked(path.read_bytes(), STATEMENT, path)
        parts = STATEMENT_HEAD.unpack_from(data.ljust(STATEMENT_HEAD.size))
        _, self.vault, _, self.machine, sequence, _, _, self.root_hash, blocks_hash = parts
        check(path.stem == f"{sequence:020}-{blake3(data).hexdigest()[:32]}", path, "is not what its name says")
        self.map = self._open_root(vault / "roots" / f"{path.stem[21:]}.root", key)
        identity = self._identity(vault / "machines" / f"{self.machine.hex()}.record", secrets)
        pss.new(identity, salt_bytes=32).verify(SHA256.new(b"strongroom/v1/statement\0" + data[:156]), data[158:])
        blocks = b"".join(reference[4] for reference in self.map["segments"])
        check(blake3(blocks).digest() == blocks_hash, path, "names other reference blocks than the root")
        for old, new in pairwise(p for p in sorted(path.parent.glob("*.statement")) if p.name <= path.name):
            gap = int(new.name[:20]) > int(old.name[:20]) + 1  # what lay between was deleted
            check(gap or new.read_bytes()[60:92] == blake3(old.read_bytes()).digest(), new, "breaks the chain")
        self.places: dict[bytes, list[tuple]] = defaultdict(list)
        for pack in chain.from_iterable(top.rglob("*.pack") for top in (vault / "packs", *spools)):
            for _, name, *place in index_of(pack, self.vault):
                self.places[name].append((pack, *place))
        self.chunk = lru_cache(maxsize=16)(self._chunk)  # small files share chunks

    def _open_root(self, path: Path, key: RSA.RsaKey) -> dict:
        """The root's map; hash, header and commitment are checked before decryption (§6, §7)."""
        data, recipients = checked(path.read_bytes(), ROOT, path), path.with_suffix(".recipients")
        check(blake3(data).digest() == self.root_hash, path, "is not the root that the statement names")
        *_, commitment, nonce = ROOT_HEAD.unpack_from(data)
        joined, record, at = recipients.read_bytes(), b"", 1
        ours = b"STRM\4\1\1\0" + SHA256.new(key.public_key().export_key("DER")).digest() + self.root_hash
        while record[:8] + record[9:73] != ours and at < len(joined):
            record, at = field(joined, at)
        check(record[:8] + record[9:73] == ours, recipients, "has no record for this key and root")
        try:
            root_key = PKCS1_OAEP.new(key, SHA256, label=b"strongroom/v1/root").decrypt(field(record, 73)[0])
        except ValueError as error:
            raise ValueError(f"{recipients.name}: the root key does not open") from error
        check(derive("root-commitment", root_key) == commitment, path, "commits to another key")
        cipher = AES.new(root_key, AES.MODE_GCM, nonce).update(data[:100])
        return unpackb(cipher.decrypt_and_verify(data[112:-16], data[-16:]), strict_map_key=False)

    def _identity(self, path: Path, secrets: dict[int, bytes]) -> RSA.RsaKey:
        """The machine's identity key, from a record that only a holder of the dedup secret can have made (§11)."""
        record = checked(path.read_bytes(), MACHINE, path)
        identity, at = field(record, 45)
        end, secret = field(record, at)[1], secrets.get(int.from_bytes(record[40:44], "big"), b"")
        made = self.vault + self.machine + blake3(record[:end], key=derive("machine-record", secret)).digest()
        check(secret and made == record[8:40] + record[end : end + 32], path, "MAC is not by the kit's secret")
        return RSA.import_key(identity)

    def _sealed(self, name: bytes) -> bytes:
        """The sealed bytes of a chunk, from the first copy that is whole."""
        for pack, offset, length, digest in self.places[name]:
            with pack.open("rb") as file:
                sealed = os.pread(file.fileno(), min(length, MAX_SEALED), offset)
            if blake3(sealed).digest() == digest:
                return sealed
        raise ValueError(f"chunk {name.hex()}: no whole copy in {[pack.name for pack, *_ in self.places[name]]}")

    def _chunk(self, name: bytes, h: bytes) -> bytes:
        """The plaintext of a chunk; its epoch is the one whose dedup secret makes the id from h (§4)."""
        epochs = {blake3(h, key=derive("chunk-id", s)).digest(): (e, s) for e, s in self.map["secrets"].items()}
        check(name in epochs, f"chunk {name.hex()}", "id is not made from its h")
        sealed, (epoch, secret) = self._sealed(name), epochs[name]
        check(sealed[:2] in (b"\1\0", b"\1\1"), f"chunk {name.hex()}", "version or codec is unknown")
        cipher = AES.new(blake3(h, key=derive("chunk-key", secret)).digest(), AES.MODE_GCM, sealed[2:14])
        cipher.update(sealed[:2] + self.vault + epoch.to_bytes(4, "big") + name)
        data = cipher.decrypt_and_verify(sealed[14:-16], sealed[-16:])
        data = ZstdDecompressor().stream_reader(data).read(MAX_PLAIN + 1) if sealed[1] else data  # may claim any size
        check(len(data) <= MAX_PLAIN and blake3(data).digest() == h, f"chunk {name.hex()}", "is not what h says")
        return data

    def entries(self) -> Iterator[Entry]:
        """What was backed up, in path order; extents are (chunk id, h, offset, length) (§8)."""
        for _, _, name, h, *_ in self.map["segments"]:
            chunks, entries = unpackb(checked(self.chunk(name, h), SEGMENT, f"segment {name.hex()}")[8:])
            for entry in (Entry(*fields[: len(Entry._fields)]) for fields in entries):
                yield entry._replace(extents=[(*chunks[n], offset, length) for n, offset, length in entry.extents])


def restore(snapshot: Snapshot, out: bytes) -> None:
    """Make the tree under `out`; links come last, so that nothing is written through one."""
    made: list[tuple[bytes, Entry]] = []
    os.mkdir(out)
    for path, parts in groupby((entry for entry in snapshot.entries() if entry.type <= LINK), lambda entry: entry.path):
        plain = path[:1] == b"/" and b"\0" not in path and not {b"", b".", b".."} & {*path[1:].split(b"/")}
        check(plain or path == b"/", repr(path), "is not a path to restore")
        told = list(parts)
        target, whole, entry = out + path, blake3(), told[-1]  # the last part knows size and digest
        os.makedirs(target if entry.type == DIRECTORY else os.path.dirname(target), exist_ok=True)
        made.append((target, entry))
        if entry.type == FILE:
            with open(target, "xb") as file:
                for name, h, offset, length in chain.from_iterable(part.extents for part in told):
                    file.write(data := snapshot.chunk(name, h)[offset : offset + length])
                    whole.update(data)
            check(entry.digest in (b"", whole.digest()), repr(path), "content does not have its digest")
    for target, entry in reversed(made):  # a directory after what is in it
        if entry.type == LINK:
            os.symlink(entry.link, target)
        else:
            os.chmod(target, entry.mode)
        os.utime(target, ns=(entry.mtime, entry.mtime), follow_symlinks=False)


def main(store: str, key_file: str, out: str, wanted: str = "") -> None:
    """List the snapshots, restore one."""
    target, *spools = map(Path, store.split(os.pathsep))
    statements = sorted(target.glob("*/*/statements/*/*.statement"), key=lambda path: path.read_bytes()[52:60])
    print(*(f"{path.stem[21:]} number {path.stem[:20]} of machine {path.parent.name}" for path in statements), sep="\n")
    chosen = [path for path in statements if path.stem[21:].startswith(wanted)]
    check(chosen, wanted, "there is no such snapshot")
    key, secrets = open_kit(Path(key_file), os.environ["STRONGROOM_PASSPHRASE"])
    restore(Snapshot(chosen[-1], key, secrets, spools), os.fsencode(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
