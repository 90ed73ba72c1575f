"""One connection's conversation: its events in order, each to its handler, each failure to one sentence.

Most requests are answered one after the other. Questions and flushes are answered beside the stream of PUTs, so that
they do not hold it up; how many at once is bounded, and beyond that the stream waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar
from uuid import UUID

import structlog

from backup_platform.catalog.errors import RecordCold
from backup_platform.gateway import control_work, explaining, handlers, job_ties, restoring, thawing
from backup_platform.gateway.admission import COMMIT_BYTES, MOST_WAIT, Meter
from backup_platform.gateway.backup import Backup
from backup_platform.gateway.caller import Caller, Scope
from backup_platform.gateway.context import Context
from backup_platform.gateway.control import PROGRESS_SECONDS, ControlLine, days_left
from backup_platform.gateway.errors import Refusal
from backup_platform.gateway.faults import refusal_for
from backup_platform.gateway.fetching import give_records
from backup_platform.gateway.limits import held_bytes
from backup_platform.gateway.pack_writer import Record
from backup_platform.gateway.peer import Peer, event_cost
from protocol.wire import Event, Unsupported, messages
from protocol.wire import limits as wire_limits
from protocol.wire.errors import FailureCode
from protocol.wire.features import CONTROL, DRILLS, LIFECYCLE, THAWING
from protocol.wire.versions import choose_version

log = structlog.get_logger(__name__)
T = TypeVar("T")

FEATURES = (CONTROL, LIFECYCLE, DRILLS, THAWING)
"""What a welcomed machine may use, if it asks for it."""


class PeerSession:
    """What is known about a connection's peer, and what it is doing."""

    def __init__(self, context: Context, peer: Peer, identity_hash: bytes | None) -> None:
        self.context = context
        self.peer = peer
        self.caller: Caller | None = None
        self.scope: Scope | None = None
        self.backup: Backup | None = None
        self.control: ControlLine | None = None
        self.nonce = context.new_nonce()
        self.certificate_hash = context.certificate_hash  # of the leaf that this connection was shown
        self.questions = 0
        self.ending = False
        self._identity_hash = identity_hash
        self._beside: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(context.limits.open_questions)
        self._in_hand = asyncio.Lock()
        self._ordinal = 0

    async def run(self) -> None:
        """Handle events until the connection ends; then let go of everything."""
        try:
            while not self.ending and (event := await self.peer.next_event()) is not None:
                async with self._in_hand:
                    await self._take(event)
        except Exception:
            log.exception("a session ended by an unexpected fault", **self.labels())
        finally:
            await self._end()

    async def stop(self, reason: str) -> None:
        """The gateway goes away: wait a little for the request in hand, store what was appended, say goodbye."""
        self.ending = True
        try:
            async with asyncio.timeout(self.context.limits.drain_seconds / 3), self._in_hand:
                pass
        except TimeoutError:
            log.info("a request was cut off", **self.labels())
        if self.backup is not None:
            await self.backup.close()
        self.peer.say_goodbye(reason)

    def end(self, refusal: Refusal) -> None:
        """Tell the peer why nothing more happens here, and end its connection; what it does is cut off."""
        if not self.ending:
            log.info("connection ended", code=refusal.code.name, **self.labels())
            self.ending = True
            self.peer.fail(refusal)

    def labels(self) -> dict[str, str]:
        """Who this is, for log lines: ids shortened."""
        machine = str(self.caller.machine_id)[:8] if self.caller else "unknown"
        return {"peer": self.peer.address, "machine": machine}

    # --- events ------------------------------------------------------------------------------------------------------

    async def _take(self, event: Event | Unsupported) -> None:
        if isinstance(event, Event) and isinstance(event.message, messages.Put):
            self._take_put(event.message, event)
            return
        try:
            if isinstance(event, Unsupported):
                self._refuse_unsupported(event)
            else:
                await self._handle(event)
        finally:
            self.peer.freed(event_cost(event))

    async def _handle(self, event: Event) -> None:
        message, request = event.message, event.request
        match message:
            case messages.Ping():
                self.peer.send(messages.Pong(time=message.time), request)
            case messages.Pong():
                pass
            case messages.Control() | messages.Report() | messages.Renew():
                await self._guard(request, lambda: self._answer_daemon(message, request))
            case messages.Progress() | messages.Accepted() | messages.Cancelled() | messages.Configured():
                await self._hear_daemon(message, request)
            case messages.Failure() if self.control is not None and request:
                await self._hear_daemon(message, request)
            case messages.Goodbye() | messages.Failure():
                await self._stop_backup()
                self.ending = True
                self.peer.say_goodbye("")
            case messages.Question():
                await self._answer_beside(request, lambda: self._question(message))
            case messages.Flush():
                await self._answer_beside(request, self._flush_now())
            case messages.Fetch():
                await self._guard(request, lambda: self._fetch(message, request))
            case _:
                await self._guard(request, lambda: self._answer(event))
        await self.peer.drained()

    async def _answer(self, event: Event) -> None:
        message, request = event.message, event.request
        match message:
            case messages.Hello():
                await self._greet(message, request)
            case messages.Enroll():
                await self._enroll(message, request)
            case messages.Begin():
                await self._begin(message, request)
            case messages.Commit():
                await self._commit(message, request, event)
            case messages.Prove():
                await self._prove(message, request)
            case messages.Root() | messages.List() | messages.Explain() | messages.Drilled():
                await self._answer_reader(self._reader(), message, request)
            case messages.Thaw():
                await self._thaw(message, request)
            case messages.Publish():
                caller = self._known()
                self.peer.send(await self._database(lambda: handlers.publish(caller, message)), request)
            case messages.Status():
                caller = self._known()
                self.peer.send(await self._database(lambda: handlers.status(caller, message)), request)
            case _:
                raise Refusal(FailureCode.UNSUPPORTED, "The gateway does not answer this message.")

    # --- opening -----------------------------------------------------------------------------------------------------

    async def _greet(self, message: messages.Hello, request: int) -> None:
        version = choose_version(message.versions)
        vault_record, caller = b"", None
        identity_hash = self._identity_hash
        if identity_hash is not None:
            caller, vault_record = await self.context.pools.database(lambda: handlers.recognise(identity_hash))
            self.caller, self.scope = caller, Scope(caller)
            self.context.recognised(self.peer)
            self.context.desk.enter(self, caller.machine_id)
        self.peer.send(
            messages.Welcome(
                version=version,
                server_version=self.context.server_version,
                nonce=self.nonce,
                ca=self.context.ca,
                time=time.time_ns() // 1000,
                authenticated=caller is not None,
                machine_id=caller.machine_id.bytes if caller else b"",
                tenant_id=caller.tenant_id.bytes if caller else b"",
                vault_id=caller.vault_id.bytes if caller else b"",
                vault_record=vault_record,
                write_only=caller.write_only if caller else False,
                features=[one for one in FEATURES if caller and one in message.features],
            ),
            request,
        )
        log.info("connection opened", agent=message.agent_version[:40], **self.labels())

    async def _enroll(self, message: messages.Enroll, request: int) -> None:
        answer, machine_id = await self.context.pools.database(lambda: handlers.enroll(message))
        log.info("machine enrolled", peer=self.peer.address, machine=str(machine_id)[:8])
        self.peer.send(answer, request)

    # --- a daemon's control connection -------------------------------------------------------------------------------

    async def _answer_daemon(self, message: messages.Message, request: int) -> None:
        caller = self._known()
        match message:
            case messages.Control():
                await self._begin_control(message, request)
            case messages.Renew(csr=csr) if self.control is not None:
                self.control.check_renewal(self.peer.loop.time())
                self.peer.send(await self.context.pools.database(lambda: control_work.renew(caller, csr)), request)
                log.info("certificate renewed", **self.labels())
            case messages.Report() if self.control is not None:
                self.peer.send(await self.context.desk.report(self.control, message), request)

    async def _hear_daemon(self, message: messages.Message, request: int) -> None:
        if self.control is None:
            return
        if isinstance(message, messages.Progress):
            self.control.note(message)
        else:
            await self.context.desk.guarded(self.control.answer, message, request)

    async def _begin_control(self, message: messages.Control, request: int) -> None:
        offset = (message.time - time.time_ns() // 1000) / 1_000_000
        self.control, joined = await self.context.desk.join(self, self._known(), message, offset)
        self.peer.send(
            messages.Controlled(
                stop=b"".join(job.bytes for job in joined.stop),
                configuration=joined.configuration.text,
                progress_seconds=PROGRESS_SECONDS,
                certificate_days_left=days_left(self.peer.transport.get_extra_info("ssl_object")),
            ),
            request,
        )
        log.info("control connection opened", running=len(message.running), **self.labels())

    # --- backing up --------------------------------------------------------------------------------------------------

    async def _begin(self, message: messages.Begin, request: int) -> None:
        caller = self._known()
        await self._leave_backup()
        self.context.check_room_for_backup()
        spool = self.context.spool_name
        answer, session_id, tied = await self._database(lambda: handlers.begin(caller, message, spool))
        self.backup = await Backup.attach(self.context, self.peer, caller, session_id, answer.fence, tied)
        self.peer.send(answer, request)
        log.info("backup begun", session=str(session_id)[:8], fence=answer.fence, **self.labels())

    def _take_put(self, message: messages.Put, event: Event) -> None:
        self._ordinal += 1
        if self.backup is None or self.ending:
            self.peer.freed(held_bytes(event.payload))
            return
        self.backup.arriving.put(Record(message.kind, message.id, message.digest, event.payload), self._ordinal)

    async def _question(self, message: messages.Question) -> messages.Answer:
        caller = self._known()
        count = len(message.ids) // wire_limits.LONG_ID
        self.questions += count
        await self._in_turn(self.context.questions, count, "Too many questions about what is stored; ask more slowly.")
        return await self._database(lambda: handlers.question(caller, message))

    def _flush_now(self) -> Callable[[], Awaitable[messages.Flushed]]:
        flushed = self._writing().arriving.flush()  # what it covers is fixed now, before later PUTs

        async def answer() -> messages.Flushed:
            await flushed
            return messages.Flushed()

        return answer

    async def _commit(self, message: messages.Commit, request: int, event: Event) -> None:
        caller, backup = self._known(), self._writing()
        if (message.session, message.fence) != (backup.holder.session.bytes, backup.holder.fence):
            raise Refusal(FailureCode.FENCED, "This commit belongs to another session.", final=True)
        size = COMMIT_BYTES + len(message.blocks) + len(event.payload)
        await self._in_turn(self.context.committed, size, "Too many large commits; try again more slowly.")
        await self._beside_done()
        await backup.arriving.settle()
        root = bytes(event.payload)
        with backup.being_committed():
            async with self.context.commits:
                answer = await self._database(lambda: handlers.commit(caller, message, root, backup.tied))
            self.peer.send(answer, request)
            if isinstance(answer, messages.Committed):
                log.info("snapshot committed", snapshot=answer.snapshot.hex()[:12], **self.labels())
                await self._leave_backup()

    async def _in_turn(self, meter: Meter, amount: int, refusal: str) -> None:
        """Hold back a machine that asks too much, whichever connection it uses; refuse what would wait for too long."""
        wait = meter.ask(self._known().machine_id, amount, self.peer.loop.time())
        if wait > MOST_WAIT:
            log.warning("too much was asked", ids=self.questions, refusal=refusal, **self.labels())
            raise Refusal(FailureCode.RATE, refusal, retry_after=wait)
        if wait:
            await asyncio.sleep(wait)

    async def _stop_backup(self) -> None:
        if self.backup is not None:
            await self.context.desk.guarded(self._database, partial(job_ties.stopped, self.backup.tied))

    async def _leave_backup(self) -> None:
        if self.backup is not None:
            backup, self.backup = self.backup, None
            await backup.close()

    # --- restoring ---------------------------------------------------------------------------------------------------

    async def _answer_reader(self, scope: Scope, message: messages.Message, request: int) -> None:
        pool = self._reading if isinstance(message, messages.Root | messages.Explain) else self._database
        answer, payload = await pool(lambda: explaining.answer(scope, message))
        self.peer.send(answer, request, payload)

    async def _prove(self, message: messages.Prove, request: int) -> None:
        caller, scope, certificate_hash = self._known(), self._reader(), self.certificate_hash
        answer = await self._database(lambda: restoring.prove(caller, message, self.nonce, certificate_hash))
        scope.proved[message.scope_name] = UUID(bytes=answer.machine_id)
        self.peer.send(answer, request)

    async def _fetch(self, message: messages.Fetch, request: int) -> None:
        scope, ended = self._reader(), lambda: self.peer.gone or self.ending
        missing = await give_records(self.context, self.peer, scope, self._reading, message, request, ended)
        if missing:
            log.error("records of a restore cannot be read", missing=len(missing), **self.labels())

    async def _thaw(self, message: messages.Thaw, request: int) -> None:
        scope, blocks = self._reader(), self.context.blocks
        async with self.context.thawing:
            answer = await self._reading(lambda: thawing.thaw(scope, message, blocks))
        self.peer.send(answer, request)
        log.info("thawing", asked=answer.asked, waiting=answer.waiting, more=answer.more, **self.labels())

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _guard(self, request: int, call: Callable[[], Awaitable[None]]) -> None:
        try:
            await call()
        except RecordCold:
            self._fail(request, thawing.cold_refusal(self.peer.connection.features))
        except Exception as fault:  # noqa: BLE001 - every fault becomes an answer, and the log has what is unexpected
            self._fail(request, refusal_for(fault, **self.labels()))

    async def _answer_beside(self, request: int, call: Callable[[], Awaitable[messages.Message]]) -> None:
        await self._slots.acquire()

        async def answer() -> None:
            try:
                self.peer.send(await call(), request)
                await self.peer.drained()
            finally:
                self._slots.release()

        task = asyncio.create_task(self._guard(request, answer))
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _beside_done(self) -> None:
        if self._beside:
            await asyncio.wait(self._beside)

    def _fail(self, request: int, refusal: Refusal) -> None:
        log.info("request refused", code=refusal.code.name, final=refusal.final, **self.labels())
        if refusal.final or self.caller is None:  # a stranger gets one try
            self.ending = True
            self.peer.fail(refusal)
        else:
            self.peer.send(
                messages.Failure(code=refusal.code, message=refusal.sentence, retry_after=refusal.retry_after), request
            )

    def _refuse_unsupported(self, event: Unsupported) -> None:
        if event.request:
            sentence = f"The gateway does not know message type {event.type}."
            self.peer.send(messages.Failure(code=FailureCode.UNSUPPORTED, message=sentence), event.request)

    def _known(self) -> Caller:
        if self.caller is None:
            raise Refusal(FailureCode.AUTHENTICATION, "Enrol this machine first.", final=True)
        return self.caller

    def _reader(self) -> Scope:
        if self.scope is None:
            raise Refusal(FailureCode.AUTHENTICATION, "Enrol this machine first.", final=True)
        return self.scope

    def _writing(self) -> Backup:
        if self.backup is None:
            raise Refusal(FailureCode.PROTOCOL, "No backup session is open on this connection.", final=True)
        return self.backup

    async def _database(self, call: Callable[[], T]) -> T:
        return await self.context.pools.database(call, self._known().tenant_id)

    async def _reading(self, call: Callable[[], T]) -> T:
        return await self.context.pools.reading(call, self._known().tenant_id)

    async def _end(self) -> None:
        self.ending = True
        if self.caller is not None:
            self.context.desk.leave(self, self.caller.machine_id)
        for task in list(self._beside):
            task.cancel()
        await self._beside_done()
        try:
            await self._leave_backup()
        finally:
            self.peer.drop_events()
            self.peer.close_soon()
            log.info("connection closed", received=self.peer.bytes_received, questions=self.questions, **self.labels())
