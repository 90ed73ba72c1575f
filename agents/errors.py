"""What can go wrong in the agent, each with the exit code that scripts rely on.

Every error is one sentence of what happened and why, and one of what to do. None carries a secret.
The codes: 1 failed, 2 usage, 3 done but some sources could not be read, 4 authentication, 5 temporary,
10 no such snapshot, 20 damage, 130 interrupted.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the `strongroom` command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3
    AUTHENTICATION = 4
    TEMPORARY = 5
    NOT_FOUND = 10
    DAMAGE = 20
    INTERRUPTED = 130


class AgentError(Exception):
    """A fault that ends a command.

    `what` says what happened and why; `advice` says what to do (may be empty).
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what, advice)
        self.what = what
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.what} {self.advice}".strip()


class Refused(AgentError):
    """The server understood the request and says no; repeating it would not help."""


class StateFault(AgentError):
    """The agent's own files are missing, damaged or readable for others."""


class UsageFault(AgentError):
    """The command line asks for something that cannot be."""

    exit_code = ExitCode.USAGE


class AuthenticationFault(AgentError):
    """One side did not accept who the other says it is."""

    exit_code = ExitCode.AUTHENTICATION


class NotEnrolled(AuthenticationFault):
    """This agent home belongs to no machine yet."""


class TokenRefused(AuthenticationFault):
    """The enrolment string is used up, too old or unknown."""


class Revoked(AuthenticationFault):
    """This machine's right to connect was taken back."""


class Forbidden(AuthenticationFault):
    """The machine is known, but may not do this (write-only, or another machine's snapshots)."""


class UntrustedServer(AuthenticationFault):
    """Who answers is not the gateway that this agent was enrolled with."""


class UntrustedVault(AuthenticationFault):
    """The vault record that the server gave does not verify: nothing is sealed to its keys."""


class PassphraseWrong(AuthenticationFault):
    """A kit did not open under the passphrase."""


class Temporary(AgentError):
    """The server is away or cannot at the moment; trying again later may work.

    `retry_after`: seconds after which the server suggests to try again, if it said so.
    """

    exit_code = ExitCode.TEMPORARY
    final = False
    """Whether this run must not try again by itself."""

    def __init__(self, what: str, advice: str = "", retry_after: float | None = None) -> None:
        super().__init__(what, advice)
        self.retry_after = retry_after


class Disconnected(Temporary):
    """The connection could not be made, or broke."""


class Busy(Temporary):
    """Another backup of this machine is running."""


class Fenced(Temporary):
    """A newer connection of this machine took the backup over; this one may write nothing more."""

    final = True


class HomeBusy(Temporary):
    """Another process uses this agent home."""

    final = True


class WaitedTooLong(Temporary):
    """A wait reached its end before what it waited for happened."""

    final = True


class Cold(Temporary):
    """It lies whole in cold storage, and somebody has to ask for it before it can be read; trying again is no use."""

    final = True


class NotFound(AgentError):
    """No such snapshot, machine or path."""

    exit_code = ExitCode.NOT_FOUND


class Damage(AgentError):
    """Stored data, or what proves it, is not what it must be."""

    exit_code = ExitCode.DAMAGE
