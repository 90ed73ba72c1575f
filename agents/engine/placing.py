"""The safe restorer: puts entries of an untrusted manifest under one directory and nowhere else.

The rules, all from accidents of other programs (`docs/decisions/0041`): only calls relative to descriptors that were
opened component by component without following links; content goes to a temporary name in the same directory and gets
its real name only after its whole hash is right (small files of a fresh target are checked before they are made, and
may be read by nobody until they are whole); links are made after all files, so nothing can be written through one;
modes and times of directories are set last, the deepest first.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO

import msgspec
from blake3 import blake3

from agents.engine.open_directories import HostileEntry, OpenDirectories, PlacingFault, ends_everything, split_path
from agents.engine.ownership import LotDresser, Owners, set_attributes, set_link_attributes
from agents.engine.small_files import SmallFiles, contents
from agents.engine.spill import Spill
from protocol.stored.manifests import Entry

HOLE = 64 * 1024
"""Aligned runs of this many zeros become holes; smaller ones would cost more calls than they save blocks."""
_ZEROS = bytes(HOLE)
HASHED = 1024 * 1024
_HIDDEN = 0
"""Mode of a small file on its way. A restore that was killed leaves one such file at most, which nobody may read."""
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_LINK = 4095
_PRIVATE = 0o700

Warn = Callable[[bytes, str], None]
Refused = Callable[[bytes, "PlacingFault"], None]


@dataclass(frozen=True)
class PlacingOptions:
    """`overwrite`: replace files that are there already; `resume`: but leave those that are whole. `keep_setuid`: also
    setuid, setgid and privileged attributes, for root only. `numeric_owner`: ignore user and group names."""

    overwrite: bool = False
    keep_setuid: bool = False
    numeric_owner: bool = False
    resume: bool = False


class Placer:
    """Places entries under the directory that the descriptor `root` names. One thread uses it.

    A fault of one entry is a PlacingFault; what could not be set on a placed entry goes to `warn`. OSError leaves it
    only for what ends everything (disk full, read-only).
    """

    def __init__(self, root: int, options: PlacingOptions, warn: Warn) -> None:
        self._directories = OpenDirectories(root, fresh=not options.overwrite)
        self._options = options
        self._warn = warn
        self._owners = Owners(numeric=options.numeric_owner)
        self._links = Spill()
        self._described = Spill()
        self.links_made = 0

    def directory(self, entry: Entry) -> None:
        """Make a directory, for now only for ourselves; its own mode, owner and time come at the end."""
        components = split_path(entry.path)
        if not components:
            return
        parent = self._directories.reach(components[:-1])
        try:
            os.mkdir(components[-1], _PRIVATE, dir_fd=parent)
        except FileExistsError:
            self._adopt(components)
        except OSError as fault:
            raise entry_fault(fault) from fault
        self._described.append(msgspec.msgpack.encode(entry))

    def _adopt(self, components: tuple[bytes, ...]) -> None:
        descriptor = self._directories.reach(components, make=False)
        if not self._options.overwrite:
            os.fchmod(descriptor, _PRIVATE)

    def symlink(self, entry: Entry) -> None:
        """Remember a link; `finish` makes it."""
        if not split_path(entry.path):
            raise HostileEntry("the root directory cannot be a link")
        if not 0 < len(entry.link) <= MAX_LINK or b"\0" in entry.link:
            raise HostileEntry("its link target is empty, too long or contains a NUL byte")
        self._links.append(msgspec.msgpack.encode(entry))

    def file(self, entry: Entry) -> FilePlacing:
        """Begin a file. Close the answer in any case: what is not finished then leaves nothing behind."""
        components = split_path(entry.path)
        if not components:
            raise HostileEntry("the root directory cannot be a file")
        parent = self._directories.reach(components[:-1])
        self._refuse_existing(parent, components[-1])
        # Of a file in parts only the last entry tells the hash.
        return FilePlacing(parent, components[-1], self, hashed=bool(entry.digest) or not entry.last)

    def keeps(self, entry: Entry) -> bool:
        """Whether an earlier restore left this file, whole; it then looks as it should. Its content is hashed.

        A file that has further names may be somebody's outside of the target: it is never touched.
        """
        try:
            components = split_path(entry.path)
            parent = self._directories.reach(components[:-1], make=False)
            descriptor = os.open(components[-1], _OLD_FILE, dir_fd=parent)
        except (OSError, PlacingFault, IndexError):
            return False
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_size != entry.size:
                return False
            if _digest(file) != entry.digest:
                return False
            self.dress(descriptor, entry)
            return True

    @property
    def is_fresh(self) -> bool:
        """Whether everything under the target was made by this restore."""
        return not self._options.overwrite

    def small_files(self, lot: SmallFiles, plaintext: bytes, refused: Refused) -> tuple[int, int]:
        """Place a lot of small files in a fresh target; `refused` hears of those that cannot be.

        Returns how many were placed, and their bytes. `docs/decisions/0086` says why they need no temporary name.
        """
        try:
            parent = self._directories.reach(lot.directory)
        except PlacingFault as fault:
            for entry in lot.entries:
                refused(entry.path, fault)
            return 0, 0
        files = size = 0
        dresser = LotDresser(self._owners)
        for entry, name, data in contents(lot, plaintext):
            try:
                self._small_file(parent, name, entry, data, dresser)
            except PlacingFault as fault:
                refused(entry.path, fault)
            else:
                files += 1
                size += len(data)
        return files, size

    def _small_file(self, parent: int, name: bytes, entry: Entry, data: bytes, dresser: LotDresser) -> None:
        """Check the content, and only then make the file, which nobody may read before all of it is there."""
        if len(data) != entry.size:
            raise HostileEntry("its content points outside of a chunk")
        if blake3(data).digest() != entry.digest:
            raise HostileEntry("its content does not have the hash that its entry says")
        try:
            file = os.open(name, _NEW_FILE, _HIDDEN, dir_fd=parent)
        except OSError as fault:
            self._refuse_existing(parent, name)
            raise entry_fault(fault) from fault
        try:
            written = os.write(file, data)
            while written < len(data):
                written += os.write(file, data[written:])
            if not dresser.dress(file, entry):
                self.dress(file, entry)
        except BaseException as fault:
            discard(name, parent)
            if isinstance(fault, (OSError, OverflowError)):
                raise entry_fault(fault) from fault
            raise
        finally:
            os.close(file)

    def hard_link(self, entry: Entry, original: bytes) -> None:
        """Give a file that this restore placed a second name. Raises PlacingFault when it is not there as a file."""
        components, source = split_path(entry.path), split_path(original)
        # Two directories are needed at once; the first is kept by a descriptor of its own.
        held = os.dup(self._directories.reach(source[:-1], make=False))
        try:
            parent = self._directories.reach(components[:-1])
            self._refuse_existing(parent, components[-1])
            self._link(held, source[-1], parent, components[-1])
        except OSError as fault:
            raise entry_fault(fault) from fault
        finally:
            os.close(held)

    def _link(self, source: int, old: bytes, parent: int, name: bytes) -> None:
        if not stat.S_ISREG(os.stat(old, dir_fd=source, follow_symlinks=False).st_mode):
            raise HostileEntry("the file that it is another name of is not a file")
        temporary = temporary_name()
        os.link(old, temporary, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)

    def _refuse_existing(self, parent: int, name: bytes) -> None:
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as fault:
            raise entry_fault(fault) from fault
        if stat.S_ISDIR(found.st_mode):
            raise PlacingFault("there is a directory of this name already")
        if not self._options.overwrite:
            raise PlacingFault("there is something of this name already")

    def finish(self, refused: Refused) -> None:
        """Make the links, then set what directories look like, the deepest first. `refused` hears of what cannot be."""
        for record in self._links.forwards():
            self._each(msgspec.msgpack.decode(record, type=Entry), self._make_link, refused)
        for record in self._described.backwards():
            self._each(msgspec.msgpack.decode(record, type=Entry), self._dress_directory, refused)

    @staticmethod
    def _each(entry: Entry, act: Callable[[Entry], None], refused: Refused) -> None:
        try:
            act(entry)
        except PlacingFault as fault:
            refused(entry.path, fault)

    def _make_link(self, entry: Entry) -> None:
        components = split_path(entry.path)
        parent = self._directories.reach(components[:-1])
        self._refuse_existing(parent, components[-1])
        temporary = temporary_name()
        try:
            os.symlink(entry.link, temporary, dir_fd=parent)
            for sentence in set_link_attributes(temporary, parent, entry, self._owners):
                self._warn(entry.path, sentence)
            os.rename(temporary, components[-1], src_dir_fd=parent, dst_dir_fd=parent)
        except OSError as fault:
            discard(temporary, parent)
            raise entry_fault(fault) from fault
        self.links_made += 1

    def _dress_directory(self, entry: Entry) -> None:
        self.dress(self._directories.reach(split_path(entry.path), make=False), entry)

    def dress(self, descriptor: int, entry: Entry) -> None:
        """Set owner, mode, attributes and time of an open file or directory; what cannot be set is warned of."""
        for fault in set_attributes(descriptor, entry, self._owners, keep_setuid=self._options.keep_setuid):
            self._warn(entry.path, fault)

    def close(self) -> None:
        """Give descriptors and memory back."""
        self._directories.forget_all()
        self._links.close()
        self._described.close()


class FilePlacing:
    """One file on its way: written from front to back under a temporary name."""

    def __init__(self, parent: int, name: bytes, placer: Placer, *, hashed: bool = True) -> None:
        self._name = name
        self._placer = placer
        self._temporary = temporary_name()
        self._hash = blake3() if hashed else None
        self._placed = False
        self.position = 0
        # The parent's own descriptor may be closed while a large file is under way.
        self._parent = os.dup(parent)
        try:
            self._file = os.open(self._temporary, _NEW_FILE, 0o600, dir_fd=self._parent)
        except OSError as fault:
            os.close(self._parent)
            raise entry_fault(fault) from fault

    def write(self, data: bytes | memoryview) -> None:
        """Append content. Aligned runs of zeros are left as holes."""
        if self._hash is not None:
            self._hash.update(data)
        view = memoryview(data)
        while view:
            piece = view[: HOLE - self.position % HOLE]
            if not _is_zeros(piece):
                piece = view[: _filled(view, self.position)]
                self._write_all(piece)
            self.position += len(piece)
            view = view[len(piece) :]

    def _write_all(self, data: memoryview) -> None:
        position = self.position
        while len(data):
            try:
                written = os.pwrite(self._file, data, position)
            except OSError as fault:
                raise entry_fault(fault) from fault
            position += written
            data = data[written:]

    def finish(self, entry: Entry) -> None:
        """Check size and hash of the whole, set what the file looks like, and give it its real name."""
        if self.position != entry.size:
            raise HostileEntry(f"its content is {self.position} bytes, not the {entry.size} that its entry says")
        # Files with very large holes have no hash of the whole; each of their chunks was checked by its own.
        if self._hash is not None and entry.digest and self._hash.digest() != entry.digest:
            raise HostileEntry("its content does not have the hash that its entry says")
        try:
            os.ftruncate(self._file, self.position)
            self._placer.dress(self._file, entry)
            os.rename(self._temporary, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent)
        except (OSError, OverflowError) as fault:
            raise entry_fault(fault) from fault
        self._placed = True

    def close(self) -> None:
        """Give the descriptors back; what was not finished leaves nothing behind."""
        os.close(self._file)
        if not self._placed:
            discard(self._temporary, self._parent)
        os.close(self._parent)


def _is_zeros(piece: memoryview) -> bool:
    # Memory views are compared item by item, bytes at once; most data shows itself by its first byte.
    return piece[0] == 0 and piece.tobytes() == _ZEROS[: len(piece)]


def _filled(view: memoryview, position: int) -> int:
    """Return how many bytes from here on belong together before the next hole begins."""
    end = HOLE - position % HOLE
    while end < len(view) and not _is_zeros(view[end : end + HOLE]):
        end += HOLE
    return min(end, len(view))


def _digest(file: FileIO) -> bytes:
    """The BLAKE3 of a whole file; of one that cannot be read, that of no file."""
    found, room = blake3(), memoryview(bytearray(HASHED))
    try:
        while size := file.readinto(room):
            found.update(room[:size])
    except OSError:
        return b""
    return found.digest()


def temporary_name() -> bytes:
    """A name of its own length, so that names of 255 bytes can be restored too."""
    return b".strongroom-" + secrets.token_hex(8).encode() + b".part"


def discard(name: bytes, parent: int) -> None:
    """Remove a temporary file if it is there."""
    try:
        os.unlink(name, dir_fd=parent)
    except OSError:
        return


def entry_fault(fault: OSError | OverflowError) -> PlacingFault:
    """Turn an error of the system into one entry's fault; what ends everything goes through."""
    if isinstance(fault, OverflowError):
        return PlacingFault("a number in its entry is out of bounds")
    ends_everything(fault)
    return PlacingFault(os.strerror(fault.errno or 0).lower())
