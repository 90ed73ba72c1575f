"""Whether compressing a chunk is worth the time, and what it brought for each group of files."""

from __future__ import annotations

import os
import threading

import zstandard

from agents.engine.link import GroupCompression

#: Chunks below this are compressed without asking; a sample would cost as much.
ALWAYS_BELOW = 32 * 1024
PIECES = 8
PIECE = 2048
#: A sample that keeps more than this share of its size says that the chunk would, too.
WORTH_IT = 0.95

BUNDLES = "bundles"
MANIFEST = "manifest"
OTHER = "other"

_GROUPS = {
    "text": "txt md rst log csv tsv json xml html htm css yaml yml ini conf cfg tex po eml mbox",
    "code": "py c h cc cpp hpp rs go js ts java kt rb php pl sh sql cs swift scala lua r m asm",
    "images": "jpg jpeg png gif webp avif heic tif tiff bmp svg raw cr2 nef arw dng psd",
    "audio": "mp3 flac ogg opus m4a aac wav wma aiff",
    "video": "mp4 mkv avi mov webm mpg mpeg m4v wmv ts flv",
    "archives": "zip gz bz2 xz zst 7z rar tar tgz tbz txz lz4 br jar whl deb rpm iso cab",
    "documents": "pdf doc docx xls xlsx ppt pptx odt ods odp epub djvu ps",
    "databases": "sqlite sqlite3 db mdb ibd myd frm dbf mdf ldf",
    "disk images": "img vmdk vdi qcow qcow2 vhd vhdx raw ova",
    "programs": "so a o exe dll bin elf ko pyc class dylib",
}
_BY_EXTENSION = {extension: group for group, names in _GROUPS.items() for extension in names.split()}


def group_of(path: bytes) -> str:
    """The extension group of a file, "other" if its extension says nothing."""
    extension = os.path.splitext(path)[1][1:].lower()
    return _BY_EXTENSION.get(extension.decode("ascii", "replace"), OTHER)


class CompressionJudge:
    """Decides by samples and counts the effect. May be used from any thread."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}

    def is_worth_it(self, data: bytes) -> bool:
        """Whether compression would shrink `data` by more than a twentieth, going by 8 pieces of 2 KiB."""
        if len(data) < ALWAYS_BELOW:
            return True
        step = (len(data) - PIECE) // (PIECES - 1)
        sample = b"".join([data[i * step : i * step + PIECE] for i in range(PIECES)])
        return len(self._compressor().compress(sample)) < WORTH_IT * len(sample)

    def _compressor(self) -> zstandard.ZstdCompressor:
        compressor: zstandard.ZstdCompressor | None = getattr(self._local, "compressor", None)
        if compressor is None:
            compressor = self._local.compressor = zstandard.ZstdCompressor(level=1)
        return compressor

    def record(self, group: str, plain: int, sealed: int, *, skipped: bool) -> None:
        """Count one sealed chunk: bytes before and after, and whether compression was left out."""
        with self._lock:
            counts = self._counts.setdefault(group, [0, 0, 0])
            counts[0] += plain
            counts[1] += sealed
            counts[2] += plain if skipped else 0

    def effect(self) -> dict[str, GroupCompression]:
        """For each group: plain and sealed bytes, and how many of the plain ones were not compressed."""
        with self._lock:
            return {group: GroupCompression(*counts) for group, counts in sorted(self._counts.items())}
