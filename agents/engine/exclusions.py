"""What is left out of a backup.

Patterns are those of a `.gitignore` file, read from the root of the file system: `*.tmp` and `cache/` match at any
depth, `/home/*/.cache` and `var/tmp` only there. The last pattern that matches decides, `!pattern` takes something back
in. What lies in a directory that is left out is not looked at. A source that was named is never left out.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agents.engine.paths import plain
from agents.errors import UsageFault

#: Directories of pseudo file systems; they are saved as empty directories.
PSEUDO_DIRECTORIES = frozenset({b"/proc", b"/sys", b"/dev", b"/run"})
#: File systems without files of their own, wherever they are mounted (proc(5), filesystems(5)).
PSEUDO_TYPES = frozenset(
    b"autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs mqueue nsfs "
    b"proc pstore rpc_pipefs securityfs selinuxfs sysfs tracefs".split()
)
#: Swap space in files: large, always changing, worthless after a restart.
SWAP_FILES = frozenset({b"/swapfile", b"/swap.img", b"/swap/swapfile", b"/pagefile.sys", b"/hiberfil.sys"})
TAG_NAME = b"CACHEDIR.TAG"
#: First bytes of a valid tag (https://bford.info/cachedir/).
TAG_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
PSEUDO_NAME, SWAP_NAME = "default: pseudo file systems", "default: swap files"
TAG_LABEL = "default: directories with a CACHEDIR.TAG"
MAX_EXCLUDE_FILE = 16 << 20
DAY_NS = 86_400 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Regular files that are larger (bytes), or were last changed before a time (nanoseconds), are left out."""

    largest: int | None = None
    oldest_ns: int | None = None
    days: int | None = None

    def excludes(self, info: os.stat_result) -> bool:
        """Whether this file is left out."""
        if not stat.S_ISREG(info.st_mode):
            return False
        return (self.largest is not None and info.st_size > self.largest) or (
            self.oldest_ns is not None and info.st_mtime_ns < self.oldest_ns
        )

    def described(self) -> list[str]:
        """For the root, in words."""
        size = [f"files larger than {self.largest} bytes"] if self.largest is not None else []
        return [*size, *([f"files not changed for {self.days} days"] if self.days is not None else [])]


def file_limits(largest: int | None, days: int | None, now_ns: int) -> FileLimits | None:
    """The limits of one backup, None without any. Raises UsageFault for limits below zero."""
    if largest is None and days is None:
        return None
    if min(largest or 0, days or 0) < 0:
        raise UsageFault("A limit of size or age cannot be below zero.")
    return FileLimits(largest, None if days is None else now_ns - days * DAY_NS, days)


class Exclusions:
    """The patterns of one backup, compiled."""

    def __init__(
        self,
        patterns: Sequence[str] = (),
        *,
        defaults: bool = True,
        cache_tags: bool | None = None,
        limits: FileLimits | None = None,
    ) -> None:
        self.defaults = defaults
        self.cache_tags = defaults if cache_tags is None else cache_tags
        self.limits = limits
        self._rules = [rule for rule in map(_compile, patterns) if rule is not None]
        self._names = [pattern for pattern in patterns if pattern.strip()]
        self._only_out = all(include for _, include in self._rules)
        self._any = re.compile("|".join(f"(?:{regex})" for regex, _ in self._rules)) if self._rules else None
        self._each = [(re.compile(regex), include) for regex, include in reversed(self._rules)]

    @property
    def has_patterns(self) -> bool:
        """Whether `excludes` can ever say yes; asked once, so that a backup without patterns pays nothing a file."""
        return self._any is not None

    def excludes(self, path: bytes, *, directory: bool) -> bool:
        """Whether a pattern leaves `path` out."""
        # Only the whole path: what lies in a directory is left out by not entering it, and a source there is entered.
        text = os.fsdecode(path[1:]) + ("/" if directory else "")
        if self._any is None or not self._any.fullmatch(text):
            return False
        if self._only_out:
            return True
        return next((include for regex, include in self._each if regex.fullmatch(text)), False)

    def described(self) -> list[str]:
        """For the root: what was left out, in the user's words."""
        defaults = [PSEUDO_NAME, SWAP_NAME] if self.defaults else []
        tags = [TAG_LABEL] if self.cache_tags else []
        return [*map(plain, self._names), *defaults, *tags, *(self.limits.described() if self.limits else ())]


def _compile(pattern: str) -> tuple[str, bool] | None:
    """A pattern's regular expression, and whether it leaves out (True) or takes back in. None for comments."""
    # Imported here: most backups have no patterns, and the agent should start quickly.
    from pathspec.patterns.gitignore.base import GitIgnorePatternError
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    try:
        compiled = GitIgnoreSpecPattern(pattern)
    except (GitIgnorePatternError, re.error) as fault:
        raise UsageFault(
            f"The exclusion {pattern!r} is not a valid pattern.", "Patterns are those of .gitignore."
        ) from fault
    if compiled.include is None or compiled.regex is None:
        return None
    # Groups are named, and a name may stand only once in the joined expression.
    return compiled.regex.pattern.replace("(?P<ps_d>", "(?:"), bool(compiled.include)


def read_exclude_file(path: str) -> list[str]:
    """The patterns of a file, one a line, blank lines and `#` comments skipped. UsageFault if it cannot be read."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_EXCLUDE_FILE)
    except OSError as fault:
        raise UsageFault(f"The exclusion file {path} cannot be read: {fault.strerror}.") from fault
    lines = os.fsdecode(data).splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def pseudo_mounts(mountinfo: Iterable[bytes] | None = None) -> frozenset[bytes]:
    """Where pseudo file systems are mounted now, from /proc/self/mountinfo; empty where there is none."""
    if mountinfo is None:
        try:
            with open("/proc/self/mountinfo", "rb") as file:
                mountinfo = file.read(MAX_EXCLUDE_FILE).splitlines()
        except OSError:
            return frozenset()
    return frozenset(filter(None, map(_pseudo_mount, mountinfo)))


def _pseudo_mount(line: bytes) -> bytes | None:
    before, _, after = line.partition(b" - ")
    fields, kind = before.split(), after.split()[:1]
    if len(fields) < 5 or not kind or kind[0] not in PSEUDO_TYPES:
        return None
    return re.sub(rb"\\(\d{3})", lambda octal: bytes([int(octal[1], 8)]), fields[4])
