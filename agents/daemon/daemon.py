"""The daemon: one loop that looks after jobs, one connection that comes and goes, one file that may change.

Everything is decided in one thread, which takes events from a queue; the connection's thread and the one that connects
only put events there. Jobs are processes of their own: they go on whatever happens to the connection or to the daemon.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agents.daemon import facts, platform_configuration
from agents.daemon.caches import remove_others
from agents.daemon.children import progress_text
from agents.daemon.configuration_file import ConfigurationFile
from agents.daemon.job_records import MOST_LINES
from agents.daemon.work import Work
from agents.errors import AgentError, Disconnected, Fenced, Refused, Temporary
from agents.transport.control import ControlLink
from agents.transport.ladders import AnswerTimes, Kind, Ladders, kind_of_fault
from protocol.wire import limits, messages
from protocol.wire.errors import FailureCode

if TYPE_CHECKING:
    from types import FrameType

    from agents.state import AgentHome

log = logging.getLogger("strongroom.daemon")

TICK = 0.5
"""Seconds between two looks at jobs and configuration while nothing happens."""
LOOK_AT_FILE = 2.0
MOST_SILENT = 20.0
"""A running job is spoken of at least this often, whatever the gateway's wish: its lease hangs on it."""
LOOK_AT_CERTIFICATE = 3600.0
REPORT_AGAIN = 15.0
LAST_WORDS = 45.0
"""Seconds that the daemon waits for its jobs when it is told to end; then they are killed, and go on another time."""


class Daemon:
    """`run` returns when the daemon was told to end."""

    def __init__(self, home: AgentHome) -> None:
        self._home = home
        self._machine = home.machine()
        self._file = ConfigurationFile(home.path)
        self._file.refresh()
        self._work = Work(home)
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._ladders = Ladders()
        self._times = AnswerTimes()
        self._link: ControlLink | None = None
        self._connecting = False
        self._stopping = False
        self._progress_seconds = 5.0
        now = time.monotonic()
        self._connect_at = self._file_at = self._certificate_at = self._report_at = now
        self._told_at: dict[bytes, float] = {}
        self._zone = facts.zone()

    def run(self) -> None:
        """Serve until `stop`."""
        self._adapt_log()
        self._tell_fault()
        while not self._stopping:
            self._turn(TICK)
        self._end()

    def stop(self) -> None:
        """End soon. May be called from a signal handler."""
        self._stopping = True
        self._events.put(lambda: None)

    def look_again(self) -> None:
        """Look at the configuration now. May be called from a signal handler."""
        self._file_at = 0.0
        self._events.put(lambda: None)

    def _turn(self, patience: float) -> None:
        with contextlib.suppress(queue.Empty):
            event = self._events.get(timeout=patience)
            while True:
                event()
                event = self._events.get_nowait()
        now = time.monotonic()
        if now >= self._file_at:
            self._file_at = now + LOOK_AT_FILE
            self._look_at_file()
        if self._work.look():
            self._report_at = now
        if not self._stopping:
            self._connect_if_due(now)
        if self._link is not None:
            self._tell_progress(now)
            self._send_reports(now)
            self._renew_if_due(now)

    # --- configuration ---------------------------------------------------------------------------

    def _look_at_file(self) -> None:
        before = self._file.fault
        if not self._file.refresh():
            return
        self._adapt_log()
        self._tell_fault()
        if self._file.fault is None:
            log.info("the configuration was read anew")
        if (before is None) != (self._file.fault is None) and self._link is not None:
            # What is wrong with it stands in the facts, which are said at the beginning of a connection.
            self._link.close(Disconnected("The facts have changed."))

    def _tell_fault(self) -> None:
        if self._file.fault is not None:
            log.error("%s The configuration before it stays in force.", self._file.fault)
        if self._file.loaded.distrust:
            log.warning("%s", self._file.loaded.distrust)

    def _adapt_log(self) -> None:
        log.setLevel(self._file.loaded.configuration.daemon.log_level.upper())

    # --- the connection --------------------------------------------------------------------------

    def _connect_if_due(self, now: float) -> None:
        if self._link is None and not self._connecting and now >= self._connect_at:
            self._connecting = True
            threading.Thread(target=self._connect, args=[self._introduction()], name="connect", daemon=True).start()

    def _introduction(self) -> messages.Control:
        fault = self._file.fault
        said = facts.facts(self._machine.host, self._machine.port, fault.what if fault else "good")
        return messages.Control(
            facts=said,
            zone=self._zone,
            time=time.time_ns() // 1000,
            retries=dict(self._ladders.counts),
            running=self._work.in_hand()[: limits.MAX_RUNNING],
        )

    def _connect(self, introduction: messages.Control) -> None:
        """Runs in a thread of its own, since a dead network takes its time."""
        link: ControlLink | None = None
        try:
            link = ControlLink(self._home, self._times, self._asked, self._ended)
            said = link.control(introduction)
        except AgentError as fault:
            if link is not None:
                link.close(fault)
            self._put(self._not_connected, fault)
        except Exception as fault:  # noqa: BLE001 - the last line of a thread: the daemon must hear of any end
            self._put(self._not_connected, Refused(f"The connection failed ({type(fault).__name__})."))
        else:
            self._put(self._connected, link, said)

    def _put(self, method: Callable[..., None], *arguments: Any) -> None:
        self._events.put(lambda: method(*arguments))

    def _connected(self, link: ControlLink, said: messages.Controlled) -> None:
        self._connecting = False
        log.info("connected to %s:%d", self._machine.host, self._machine.port)
        self._link = link
        self._ladders.connected()
        self._progress_seconds = max(0.2, said.progress_seconds)
        self._report_at = time.monotonic()
        for start in range(0, len(said.stop), limits.SHORT_ID):
            self._work.disown(said.stop[start : start + limits.SHORT_ID])
        self._take_configuration(said.configuration)
        if not link.alive:
            self._lost(link, Disconnected("The connection broke at once."))

    def _not_connected(self, fault: AgentError) -> None:
        self._connecting = False
        self._try_again_after(fault)

    def _ended(self, link: ControlLink, fault: AgentError) -> None:
        self._put(self._lost, link, fault)

    def _lost(self, link: ControlLink, fault: AgentError) -> None:
        if link is self._link:
            self._link = None
            self._try_again_after(fault)

    def _try_again_after(self, fault: AgentError) -> None:
        # Fenced: a second daemon with this home's keys is connected. Two that fight would disturb each other for ever.
        kind = Kind.AUTHENTICATION if isinstance(fault, Fenced) else kind_of_fault(fault)
        asked = fault.retry_after if isinstance(fault, Temporary) else None
        seconds = self._ladders.wait(kind, asked)
        self._connect_at = time.monotonic() + seconds
        log.warning("%s Trying again in %.0f s.", fault, seconds)

    # --- what the gateway asks -------------------------------------------------------------------

    def _asked(self, link: ControlLink, message: messages.Message, request: int) -> None:
        self._put(self._answer, link, message, request)

    def _answer(self, link: ControlLink, message: messages.Message, request: int) -> None:
        link.respond(self._answer_to(message), request)

    def _answer_to(self, message: messages.Message) -> messages.Message:
        if isinstance(message, messages.Offer):
            if self._stopping:
                return messages.Accepted(accepted=False, reason="The agent is about to end.", retry_after=60.0)
            try:
                return self._work.offered(message, self._file.loaded, self._zone, self._progress_seconds)
            except OSError as fault:
                why = (fault.strerror or "").lower()
                return messages.Accepted(accepted=False, reason=f"The job cannot be noted: {why}.", retry_after=600.0)
        if isinstance(message, messages.Cancel):
            self._work.cancel(message.job)
            return messages.Cancelled()
        if isinstance(message, messages.Configure):
            return messages.Configured(fault=self._take_configuration(message.configuration)[: limits.MAX_TEXT])
        return messages.Failure(code=FailureCode.UNSUPPORTED, message="This agent does not know that.")

    def _take_configuration(self, text: str) -> str:
        fault = platform_configuration.take(self._home.path, text) if text else ""
        if fault:
            log.warning("%s", fault)
        elif text and not self._work.running:
            applying = platform_configuration.kept(self._home.path).policies
            remove_others(self._home.path, (policy.name for policy in applying))
        return fault

    # --- what the gateway is told ----------------------------------------------------------------

    def _tell_progress(self, now: float) -> None:
        every = min(self._progress_seconds, MOST_SILENT)
        for job, child in self._work.running.items():
            if now - self._told_at.get(job, 0.0) >= every:
                self._told_at[job] = now
                self._tell(child)

    def _tell(self, child: Any) -> None:
        assert self._link is not None
        lines = child.new_lines(limits.MAX_LINES)
        said = [messages.LogLine(level=line.level, text=line.text) for line in lines]
        names = child.names_asked_for and self._file.loaded.configuration.privacy.file_names
        self._link.progress(child.job, child.offered.lease, progress_text(child.state(), names=names), said)
        if lines:
            child.told(len(lines))

    def _send_reports(self, now: float) -> None:
        if now < self._report_at or self._link is None:
            return
        self._report_at = now + REPORT_AGAIN
        for child, report in self._work.reports():
            for _ in range(MOST_LINES // limits.MAX_LINES + 1):
                if child.new_lines(1):
                    self._tell(child)
            try:
                self._link.report(report)
            except Temporary as fault:
                log.warning("job %s could not be reported: %s", child.job.hex()[:8], fault)
                return
            except AgentError as fault:
                log.warning("job %s is not wanted any more: %s", child.job.hex()[:8], fault)
            self._ladders.count(Kind.TRANSFER, self._work.retries_of(child))
            self._told_at.pop(child.job, None)
            self._work.reported(child)

    def _renew_if_due(self, now: float) -> None:
        if now < self._certificate_at or self._link is None:
            return
        self._certificate_at = now + LOOK_AT_CERTIFICATE
        from agents.daemon import renewal

        try:
            if renewal.is_due(self._home):
                renewal.renew(self._home, self._link)
                log.info("the machine's certificate was renewed")
        except (AgentError, ValueError) as fault:
            log.warning("the machine's certificate could not be renewed: %s", fault)

    # --- the end ---------------------------------------------------------------------------------

    def _end(self) -> None:
        log.info("ending")
        self._work.stop_all()
        until = time.monotonic() + LAST_WORDS
        while self._work.running and time.monotonic() < until:
            self._turn(TICK / 5)
        if self._link is not None:
            self._report_at = 0.0
            with contextlib.suppress(AgentError):
                self._send_reports(time.monotonic())
            self._link.close()


def serve(home: AgentHome) -> None:
    """Run a daemon until SIGTERM or SIGINT; SIGHUP has it look at its configuration. Raises AgentError."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    os.umask(0o077)
    daemon = Daemon(home)

    def end(number: int, frame: FrameType | None) -> None:
        daemon.stop()

    def reload(number: int, frame: FrameType | None) -> None:
        daemon.look_again()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGHUP, reload)
    daemon.run()
