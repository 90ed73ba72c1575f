"""A whole backup: begin, save, drain, commit; and again what the server turns out to lack."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence, Set
from pathlib import Path

from agents.engine.base import Base, choose_repacked, find_lost, load_base, mark_tainted, next_base
from agents.engine.cache import Binding, Cache, CacheFault, Layout
from agents.engine.chunking import PROFILES, Chunker
from agents.engine.collecting import few_collections
from agents.engine.compression import CompressionJudge
from agents.engine.exclusions import Exclusions, file_limits
from agents.engine.head import head_of, settle_head
from agents.engine.link import (
    Author,
    BackupHome,
    BackupLink,
    BackupOptions,
    BackupResult,
    Begun,
    CommitAnswer,
    Progress,
    Statistics,
)
from agents.engine.paths import plain, unique_sources
from agents.engine.pipeline import Pipeline
from agents.engine.previous import Previous
from agents.engine.saving import Outcome, Parts, Saver
from agents.engine.scanning import Scanner
from agents.engine.sealing import ChunkSealer, RootTooLarge, SealedRoot, VaultSecrets, seal_root
from agents.engine.streaming import Stream, save_stream
from agents.engine.tally import Tally
from agents.errors import Refused, Temporary, UsageFault
from agents.keys.derive import Use, derive
from agents.keys.statement import sign_statement
from protocol.stored.roots import RootBody
from protocol.stored.statements import Statement, blocks_hash

SIDE_FILES = ("", "-wal", "-shm", "-journal")
#: After the first commit: so often files are read again for chunks that the server lacks.
ROUNDS = 3


def back_up(
    paths: Sequence[bytes],
    link: BackupLink,
    home: BackupHome,
    author: Author,
    options: BackupOptions,
    progress: Progress,
    cancel: threading.Event | None = None,
    stream: Stream | None = None,
) -> BackupResult:
    """Back up `paths`, or else a `stream`, and return when the commit is acknowledged.

    The caller holds the home's lock and has checked the vault record that `author` names recipients from. Raises
    `agents.errors` exceptions of the link; Refused when the server's statements do not continue this machine's chain;
    UsageFault for bad options; `Cancelled` after `cancel` was set. Sources that cannot be read are in the result.
    """
    return _Backup(list(paths), link, home, author, options, progress, cancel or threading.Event(), stream).run()


def _sources_of(paths: list[bytes], options: BackupOptions, stream: Stream | None) -> list[bytes]:
    """What is to be saved, in path order. Raises UsageFault when there is nothing, or no such chunker."""
    if not paths and stream is None:
        raise UsageFault("There is nothing to back up.", "Name at least one file or directory.")
    if options.chunker not in PROFILES:
        raise UsageFault(f"There is no chunker {options.chunker!r}.", f"Choose one of {', '.join(PROFILES)}.")
    if stream is not None:
        return [stream.path]
    sources = unique_sources(paths)
    if not any(map(os.path.lexists, sources)):
        raise UsageFault("None of the sources exists.", "Check the paths: nothing was backed up.")
    return sources


def _exclusions_of(options: BackupOptions, started_ns: int, *, piped: bool) -> Exclusions:
    """What is left out. What comes through a pipe was chosen by name, so no default leaves it out."""
    return Exclusions(
        [*options.exclude, *(f"!{line}" for line in options.include)],
        defaults=options.default_exclusions and not piped,
        cache_tags=False if piped else options.cache_dir_tags,
        limits=file_limits(options.max_file_size, options.max_file_age_days, started_ns),
    )


class _Backup:
    """One run. Everything runs in the caller's thread but the pipeline's workers."""

    def __init__(
        self,
        paths: list[bytes],
        link: BackupLink,
        home: BackupHome,
        author: Author,
        options: BackupOptions,
        progress: Progress,
        cancel: threading.Event,
        stream: Stream | None,
    ) -> None:
        self._begun_at = time.monotonic()
        self._started_ns = time.time_ns()
        self._stream = stream
        self._stream_read = False
        self._sources = _sources_of(paths, options, stream)
        self._exclusions = _exclusions_of(options, self._started_ns, piped=stream is not None)
        self._link = link
        self._home = home
        self._author = author
        self._options = options
        self._progress = progress
        self._cancel = cancel
        secret = author.secrets[author.epoch]
        self._secret = secret
        self._sealer = ChunkSealer(VaultSecrets(author.vault_id, author.epoch, secret), level=options.zstd_level)
        self._chunker = Chunker(derive(secret, Use.CHUNKER_SEED), PROFILES[options.chunker])
        self._judge = CompressionJudge()
        self._tally = Tally(progress)
        self._bytes_sent = 0
        self._chunks_sent = 0
        self._cache_path = cache_path(home, options.cache, stream)
        self._cache = Cache(self._cache_path, Binding(author.vault_id, author.epoch, author.machine_id))

    def run(self) -> BackupResult:
        try:
            with few_collections():
                return self._run()
        finally:
            self._cache.close()
            if self._stream is not None:
                self._cache_path.unlink(missing_ok=True)

    def _run(self) -> BackupResult:
        begun = self._begin()
        base = self._base()
        generation = begun.generation
        lost: Set[bytes] = begun.wanted | (
            self._lost(base) if base.segments and base.generation != generation else set()
        )
        repack: Set[bytes] = choose_repacked(base)
        for _ in range(1 + ROUNDS):
            outcome = self._save(base, lost, lost | repack)
            self._link.drain()
            base = self._next_base(outcome, base, begun)
            if self._link.generation != generation:
                generation = self._link.generation
                lost = self._lost(base)
                if lost:
                    continue
            base.generation = generation
            answer, statement = self._commit(begun, base, outcome)
            if answer.snapshot:
                self._home.promote_pending_statement()
                self._cache.switch(statement.digest)
                return self._result(answer, statement, outcome)
            lost, repack = answer.missing, frozenset()
            self._tally.repeating = True
        raise Refused(
            f"The server still lacks {len(lost)} chunks of this backup after they were sent {ROUNDS} times.",
            "Ask the operator to look at the gateway's log; nothing of the backup is lost on this machine.",
        )

    # --- beginning -------------------------------------------------------------------------------

    def _begin(self) -> Begun:
        known = self._cached_generation()
        last = self._home.last_statement()
        begun = self._link.begin(known, *head_of(last))
        settle_head(begun, self._home, self._cache)
        self._cache.forget_staged()
        return begun

    def _cached_generation(self) -> int:
        try:
            layout = self._cache.layout()
        except CacheFault as fault:
            self._cache.discard(str(fault))
            return 0
        return layout.generation if layout else 0

    def _base(self) -> Base:
        """What the cache knows; nothing when it is damaged or not to be trusted."""
        if self._options.force_read:
            return Base()
        try:
            return load_base(self._cache)
        except CacheFault as fault:
            self._cache.discard(str(fault))
            return Base()

    def _lost(self, base: Base) -> set[bytes]:
        try:
            return find_lost(base, self._cache, self._link)
        except CacheFault as fault:
            self._cache.discard(str(fault))
            base.clear()
            return set()

    # --- saving ----------------------------------------------------------------------------------

    def _save(self, base: Base, lost: Set[bytes], avoid: Set[bytes]) -> Outcome:
        """One pass; a second one without the cache if it turns out to be damaged on the way."""
        try:
            mark_tainted(base, self._cache, lost, avoid)
            previous = Previous(self._cache, base.segments, base.bundles) if base.segments else None
            return self._pass(previous, lost, avoid, base.half_read)
        except CacheFault as fault:
            self._cache.discard(str(fault))
            self._tally.restart()
            base.clear()
            return self._pass(None, lost, avoid)

    def _pass(
        self, previous: Previous | None, lost: Set[bytes], avoid: Set[bytes], half_read: Set[bytes] = frozenset()
    ) -> Outcome:
        if self._stream is not None:
            return self._stream_pass(self._stream)
        scanner = Scanner(
            self._sources,
            self._exclusions,
            self._tally.error,
            one_file_system=self._options.one_file_system,
            leave_out=self._own_files(),
        )
        pipeline = Pipeline(self._link, self._sealer, self._judge, self._progress, workers=self._options.workers)
        try:
            with pipeline:
                return Saver(self._parts(pipeline, lost, avoid, half_read), previous).run(scanner)
        finally:
            scanner.close()
            self._bytes_sent += pipeline.bytes_sent
            self._chunks_sent += pipeline.chunks_sent

    def _stream_pass(self, stream: Stream) -> Outcome:
        if self._stream_read:
            raise Temporary("The server lost a part of the stream before it was committed.", "Make the backup again.")
        self._stream_read = True
        pipeline = Pipeline(self._link, self._sealer, self._judge, self._progress, workers=self._options.workers)
        with pipeline:
            outcome = save_stream(self._parts(pipeline, frozenset(), frozenset(), frozenset()), stream)
        self._bytes_sent, self._chunks_sent = pipeline.bytes_sent, pipeline.chunks_sent
        return outcome

    def _parts(self, pipeline: Pipeline, lost: Set[bytes], avoid: Set[bytes], half_read: Set[bytes]) -> Parts:
        return Parts(
            pipeline=pipeline,
            cache=self._cache,
            chunker=self._chunker,
            tally=self._tally,
            bundle_key=derive(self._secret, Use.BUNDLE_ENDS),
            segment_key=derive(self._secret, Use.SEGMENT_ENDS),
            started_ns=self._started_ns,
            first_source=self._sources[0],
            cancel=self._cancel,
            avoid=avoid,
            lost=lost,
            half_read=half_read,
        )

    def _own_files(self) -> frozenset[bytes]:
        """The caches change while they are used, and are worth nothing elsewhere."""
        own = self._home.cache_path.resolve()
        paths = {own, self._cache_path.resolve(), *own.parent.glob(f"{own.stem}-*{own.suffix}")}
        return frozenset(os.fsencode(f"{path}{suffix}") for path in paths for suffix in SIDE_FILES)

    def _next_base(self, outcome: Outcome, base: Base, begun: Begun) -> Base:
        if not self._cache.is_usable:
            return Base()
        return next_base(outcome, base, begun.head_sequence + 1, self._link.generation)

    # --- committing ------------------------------------------------------------------------------

    def _commit(self, begun: Begun, base: Base, outcome: Outcome) -> tuple[CommitAnswer, Statement]:
        author, sequence = self._author, begun.head_sequence + 1
        root = self._sealed_root(outcome, sequence)
        blocks = [segment.head.ref.block_id for segment in outcome.segments]
        statement = sign_statement(
            author.identity,
            vault_id=author.vault_id,
            epoch=author.epoch,
            machine_id=author.machine_id,
            sequence=sequence,
            time=time.time_ns() // 1000,
            previous=begun.head,
            root_hash=root.digest,
            blocks_hash=blocks_hash(b"".join(blocks)),
        )
        if base.segments:
            rows = [(segment.row, segment.digest) for segment in base.segments]
            self._cache.stage_layout(
                Layout(rows, base.bundles, base.generation, statement.digest, list(base.half_read))
            )
        self._home.save_pending_statement(statement.encode())
        answer = self._link.commit(statement.encode(), root.file, root.records, blocks, self._statistics(outcome))
        if answer.snapshot not in (b"", statement.snapshot_id):
            raise Refused(
                "The server says that it published another snapshot than the one that was sent.",
                "Ask the operator; the next backup finds out what became of this one.",
            )
        return answer, statement

    def _sealed_root(self, outcome: Outcome, sequence: int) -> SealedRoot:
        author = self._author
        try:
            return seal_root(
                self._root_body(outcome),
                tenant_id=author.tenant_id,
                vault_id=author.vault_id,
                epoch=author.epoch,
                machine_id=author.machine_id,
                sequence=sequence,
                recipients=author.recipients,
            )
        except RootTooLarge:
            raise Refused(
                f"The list of {len(outcome.segments):,} parts of the manifest is too long for one snapshot.",
                "Back up fewer directories at a time: nothing was published.",
            ) from None

    def _root_body(self, outcome: Outcome) -> RootBody:
        counts, author = outcome.counts, self._author
        return RootBody(
            machine_name=author.machine_name,
            sources=self._sources,
            started_at=self._started_ns // 1000,
            finished_at=time.time_ns() // 1000,
            secrets=dict(author.secrets),
            segments=[segment.head.ref for segment in outcome.segments],
            files=counts.files,
            directories=counts.directories,
            others=counts.others,
            content_bytes=counts.bytes,
            errors=self._tally.errors,
            exclusions=self._exclusions.described(),
            chunker=self._options.chunker,
            tags=[plain(tag) for tag in self._options.tags],
        )

    def _statistics(self, outcome: Outcome) -> Statistics:
        states, counts = self._tally.states, outcome.counts
        return Statistics(
            files_new=states["new"],
            files_changed=states["changed"],
            files_unmodified=states["unmodified"],
            files=counts.files,
            directories=counts.directories,
            bytes=counts.bytes,
            bytes_read=self._tally.bytes_read,
            bytes_sent=self._bytes_sent,
            chunks_sent=self._chunks_sent,
            errors=self._tally.errors,
            duration_s=self._duration(),
        )

    def _duration(self) -> float:
        return round(time.monotonic() - self._begun_at, 6)

    def _result(self, answer: CommitAnswer, statement: Statement, outcome: Outcome) -> BackupResult:
        states, counts = self._tally.states, outcome.counts
        return BackupResult(
            snapshot_id=answer.snapshot,
            state=answer.state,
            sequence=statement.sequence,
            files_new=states["new"],
            files_changed=states["changed"],
            files_unmodified=states["unmodified"],
            files=counts.files,
            directories=counts.directories,
            others=counts.others,
            bytes=counts.bytes,
            bytes_read=self._tally.bytes_read,
            bytes_sent=self._bytes_sent,
            chunks_sent=self._chunks_sent,
            duration_s=self._duration(),
            errors=self._tally.errors,
            faults=self._tally.faults,
            notes=tuple(self._cache.notes),
            compression=self._judge.effect(),
        )


def cache_path(home: BackupHome, name: str, stream: Stream | None = None) -> Path:
    """The cache of one kind of backups of a home. A stream's is thrown away: nothing in it can be used again."""
    path = home.cache_path
    if stream is not None:
        name = "stream"
    return path.with_name(f"{path.stem}-{name}{path.suffix}") if name else path
