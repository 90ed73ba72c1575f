"""What can be wrong with an enrolment, a certificate or a machine. The texts may be shown to an agent."""

from __future__ import annotations


class EnrollmentRefused(Exception):
    """An enrolment was refused; the text says what to do."""


class TokenRefused(EnrollmentRefused):
    """The token is unknown, used up or expired: one sentence for all, so that guessing teaches nothing."""

    def __init__(self) -> None:
        super().__init__("This enrolment string is not valid (any more). Ask for a new one and try again.")


class CsrRefused(EnrollmentRefused):
    """The certificate request or the reading key breaks a rule, which the text names."""


class RecordRefused(Exception):
    """A machine record does not describe the machine that publishes it."""


class MachineUnknown(Exception):
    """No machine has this key."""

    def __init__(self) -> None:
        super().__init__("This certificate belongs to no machine of this platform. Enrol the machine again.")


class MachineRevoked(Exception):
    """The machine's access was revoked."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The access of machine {name} was revoked. Ask your administrator; enrol again if you may.")


class MachinePending(MachineRevoked):
    """The machine waits for somebody to compare its fingerprint; like a revoked one, it may do nothing."""

    def __init__(self, name: str) -> None:
        Exception.__init__(
            self,
            f"Machine {name} waits for approval: an administrator compares its fingerprint in the console and lets it "
            "in. Try again then.",
        )


class MachineDecommissioned(MachineRevoked):
    """The machine was taken out of service."""

    def __init__(self, name: str) -> None:
        Exception.__init__(self, f"Machine {name} was decommissioned. Enrol it again if it is to be backed up.")


class StateRefused(ValueError):
    """A machine is not in a state in which this can be done; the text says why."""


class TermsRefused(ValueError):
    """An enrolment cannot be made on these terms; the text says why."""


class AuthorityFault(Exception):
    """The platform's certificate authority cannot be used; the text says why and what to do."""
