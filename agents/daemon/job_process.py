"""The process that does one job: hooks around a `strongroom` command, and a result on disk at the end.

It is started by the daemon as `python -m agents.daemon.job_process DIRECTORY`, in a session of its own, and goes on
when the daemon dies. SIGINT ends it: the command stops as Ctrl-C stops it, the after-hook runs, the result is written.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from agents.daemon.children import SHUTDOWN
from agents.daemon.configuration_file import ConfigurationFile, Loaded
from agents.daemon.drill_words import of_drill
from agents.daemon.job_file import JobFile, read_job_file
from agents.daemon.job_output import CommandComplaints, CommandOutput, JobLog
from agents.daemon.job_plan import Plan, make_target, plan_backup, plan_drill, plan_restore
from agents.daemon.job_records import JOB_FILE, PROCESS, JobRecord, Offered, Process, Result, start_of
from agents.errors import AgentError, ExitCode, Refused

if TYPE_CHECKING:
    from types import FrameType

OUTCOMES = {ExitCode.DONE: "done", ExitCode.INCOMPLETE: "warnings", ExitCode.TEMPORARY: "temporary"}
COUNTED = (
    "files", "directories", "bytes", "errors", "bytes_read", "bytes_sent", "chunks_sent", "retries", "files_new",
    "files_changed", "files_unmodified", "symlinks", "skipped", "warnings", "damaged",
    "in_part", "faults", "compared", "differ", "seconds",
)  # fmt: skip
"""Numbers of a command's summary that a report carries."""


@dataclass
class Ended:
    """How a command, or all of a job's commands, ended."""

    code: int
    message: str = ""
    advice: str = ""
    summary: Mapping[str, Any] | None = None


class JobProcess:
    """One job. `run` never raises but for faults of its own."""

    def __init__(self, directory: Path) -> None:
        self._record = JobRecord(directory)
        offered = self._record.offered()
        if offered is None:
            raise Refused(f"{directory} holds no job.")
        self._offered: Offered = offered
        self._home = directory.parent.parent
        self._job_file = directory / JOB_FILE
        self._job: JobFile = read_job_file(self._job_file)
        self._log = JobLog(directory)
        own = ConfigurationFile(self._home, keep=False)
        own.refresh()
        self._own: Loaded = own.loaded

    def run(self) -> Result:
        """Do the job and say how it ended."""
        ended = self._between_hooks()
        try:
            hook = self._hook("after")
            if hook:
                self._run_hook(hook, {"outcome": self._outcome(ended.code), "exit_code": str(int(ended.code))})
        except (AgentError, KeyboardInterrupt) as fault:
            ended = self._after_failed(ended, fault)
        return self._result(ended)

    def _between_hooks(self) -> Ended:
        try:
            self._step_back()
            hook = self._hook("before")
            if hook:
                self._run_hook(hook, {})
            return self._commands(self._plan())
        except AgentError as fault:
            return Ended(fault.exit_code, fault.what, fault.advice)
        except KeyboardInterrupt:
            return Ended(ExitCode.INTERRUPTED, "Interrupted.")
        except OSError as fault:
            why = (fault.strerror or type(fault).__name__).lower()
            return Ended(ExitCode.FAILED, f"The operating system refused something: {why}.")

    # --- the commands ----------------------------------------------------------------------------

    def _plan(self) -> Plan:
        if self._offered.kind == "backup":
            return plan_backup(self._offered.spec, self._job_file)
        if self._offered.kind == "restore":
            return plan_restore(self._offered.spec, self._record.job, self._home, self._own, self._job_file)
        if self._offered.kind == "drill":
            return plan_drill(self._offered.spec, self._job_file)
        raise Refused(f"This agent does not know jobs of the kind '{self._offered.kind}'.", "Update the agent.")

    def _commands(self, plan: Plan) -> Ended:
        if plan.target is not None:
            make_target(plan.target, self._home)
            self._log.say("info", f"Restoring into {plan.target}.")
        worst = Ended(ExitCode.DONE, summary={})
        for command in plan.commands:
            ended = self._command(command)
            worst = _worse(worst, ended)
            if ended.code not in (ExitCode.DONE, ExitCode.INCOMPLETE, ExitCode.DAMAGE):
                break
        return worst

    def _command(self, arguments: list[str]) -> Ended:
        from agents import cli

        output, complaints = CommandOutput(self._record.directory), CommandComplaints(self._log)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(complaints):
            code = cli.run(arguments)
        for reason, count in output.reasons.most_common():
            self._log.say("warning", f"{count:,} × {reason}" if reason else f"{count:,} complaints")
        message, advice = complaints.message, complaints.advice
        if not message and self._offered.kind == "drill":
            message, advice = of_drill(output.summary)
        return Ended(code, message or self._of_warnings(code, output), advice, output.summary)

    def _of_warnings(self, code: int, output: CommandOutput) -> str:
        errors = sum(output.reasons.values())
        if code == ExitCode.INCOMPLETE and self._offered.kind == "backup":
            return f"A snapshot was made; {errors:,} of its sources could not be saved as they should."
        if code in (ExitCode.INCOMPLETE, ExitCode.DAMAGE):
            return f"{errors:,} entries could not be restored as they were."
        return ""

    # --- hooks and limits ------------------------------------------------------------------------

    def _step_back(self) -> None:
        from agents.daemon.priorities import step_back

        step_back(self._own.configuration.limits, self._job.settings)

    def _hook(self, when: str) -> str:
        name = self._job.settings.get(f"hooks.{when}") if self._offered.kind == "backup" else None
        return name if isinstance(name, str) else ""

    def _run_hook(self, name: str, facts: dict[str, str]) -> None:
        from agents.daemon import hooks

        facts = {"job": self._offered.job, "kind": self._offered.kind, "policy": self._job.policy, **facts}
        try:
            ran = hooks.run(hooks.find(self._own, name), name, facts)
        except hooks.HookFailed as fault:
            self._log.say("error", fault.tail)
            raise
        self._log.say("info", f"The hook '{name}' took {ran.seconds:.1f} s.\n{ran.tail}")

    def _after_failed(self, ended: Ended, fault: AgentError | KeyboardInterrupt) -> Ended:
        """The work is done; that the machine was not tidied up after it is a warning."""
        said = fault.what if isinstance(fault, AgentError) else "The hook after the backup was interrupted."
        self._log.say("warning", said)
        if ended.code != ExitCode.DONE:
            return ended
        advice = fault.advice if isinstance(fault, AgentError) else ""
        return Ended(ExitCode.INCOMPLETE, f"The backup is done, but: {said}", advice, ended.summary)

    # --- the result ------------------------------------------------------------------------------

    def _outcome(self, code: int) -> str:
        if code == ExitCode.INTERRUPTED:
            return "cancelled" if self._record.stopped == "cancel" else "temporary"
        return OUTCOMES.get(ExitCode(code), "failed")

    def _result(self, ended: Ended) -> Result:
        summary = ended.summary or {}
        counts = {name: summary[name] for name in COUNTED if isinstance(summary.get(name), int)}
        shut_down = ended.code == ExitCode.INTERRUPTED and self._record.stopped != "cancel"
        snapshot = summary.get("snapshot_id", "") if self._offered.kind == "backup" else ""
        return Result(
            outcome=self._outcome(ended.code),
            message=SHUTDOWN if shut_down else ended.message,
            advice="It goes on where it stopped." if shut_down else ended.advice,
            snapshot=str(snapshot),
            counts={**counts, "exit_code": int(ended.code)},
        )


def _worse(one: Ended, other: Ended) -> Ended:
    """The worse of two ends, with both their counts."""
    summary: dict[str, Any] = dict(one.summary or {})
    for name, value in (other.summary or {}).items():
        is_sum = isinstance(value, int) and isinstance(summary.get(name), int)
        summary[name] = summary[name] + value if is_sum else value
    worse = other if _badness(other.code) >= _badness(one.code) else one
    return Ended(worse.code, worse.message, worse.advice, summary)


def _badness(code: int) -> int:
    order = (ExitCode.DONE, ExitCode.INCOMPLETE, ExitCode.DAMAGE)
    return order.index(ExitCode(code)) if code in order else len(order)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> NoReturn:
    """Do the job in the directory that the first argument names."""
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGINT, _interrupted)
    faulthandler.register(signal.SIGUSR1)  # a job that seems to hang says where, into its output.txt
    directory = Path(sys.argv[1])
    os.umask(0o077)
    # The daemon writes the same; it may have died before it could.
    JobRecord(directory).write(PROCESS, Process(pid=os.getpid(), started=start_of(os.getpid()) or ""))
    try:
        result = JobProcess(directory).run()
    except AgentError as fault:
        result = Result(outcome="failed", message=fault.what, advice=fault.advice)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    JobRecord(directory).end(result)
    sys.exit(0)


if __name__ == "__main__":
    main()
