"""What the network, TLS and the gateway's FAILUREs mean to a person: one error, one exit code, one sentence."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

from agents.errors import (
    AgentError,
    AuthenticationFault,
    Busy,
    Cold,
    Damage,
    Disconnected,
    Fenced,
    Forbidden,
    NotFound,
    Refused,
    Revoked,
    Temporary,
    TokenRefused,
    UntrustedServer,
)
from protocol.wire.errors import FailureCode

if TYPE_CHECKING:
    from protocol.wire.messages import Failure

ENROLL_AGAIN = "Ask for a new enrolment string and run `strongroom enroll` with a fresh agent home."
ASK_OPERATOR = "Ask the operator of the platform."

# OpenSSL's reasons for the alerts that a gateway ends a handshake with. In TLS 1.3 they arrive after the agent's side
# of the handshake is done, with the first read.
_ALERTS = {
    "CERTIFICATE_EXPIRED": ("This machine's certificate has expired.", ENROLL_AGAIN),
    "CERTIFICATE_REVOKED": ("This machine's certificate was revoked.", ASK_OPERATOR),
    "UNKNOWN_CA": (
        "The gateway does not accept this machine's certificate: another authority issued it.",
        ENROLL_AGAIN,
    ),
    "CERTIFICATE_REQUIRED": ("The gateway asks for a certificate, and this machine sent none.", ENROLL_AGAIN),
    "CERTIFICATE_UNKNOWN": ("The gateway does not accept this machine's certificate.", ENROLL_AGAIN),
    "BAD_CERTIFICATE": ("The gateway does not accept this machine's certificate.", ENROLL_AGAIN),
    "UNSUPPORTED_CERTIFICATE": ("The gateway does not accept this machine's kind of certificate.", ENROLL_AGAIN),
    "ACCESS_DENIED": ("The gateway does not admit this machine.", ASK_OPERATOR),
    "DECRYPT_ERROR": (
        "The gateway could not check this machine's certificate: key and certificate differ.",
        ENROLL_AGAIN,
    ),
}
_OTHER_PROTOCOL = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "UNSUPPORTED_PROTOCOL",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
    }
)
_EXPIRED, _NOT_YET_VALID, _WRONG_NAME = 10, 9, 62


def network_fault(fault: OSError, where: str) -> AgentError:
    """Return the error for a connection to `where` ("host:port") that failed with `fault`."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return _certificate_fault(fault, where)
    if isinstance(fault, ssl.SSLError):
        return _tls_fault(fault, where)
    if isinstance(fault, socket.gaierror):
        return Disconnected(f"The name in {where} cannot be resolved.", "Check the name and this machine's DNS.")
    if isinstance(fault, TimeoutError):
        return Disconnected(f"The gateway at {where} does not answer.", "Check the network and that it is running.")
    if isinstance(fault, ConnectionRefusedError):
        return Disconnected(f"Nothing listens at {where}.", "Check the address and that the gateway is running.")
    reason = fault.strerror or type(fault).__name__
    return Disconnected(f"The connection to {where} broke ({reason}).", "Check the network, then try again.")


def _certificate_fault(fault: ssl.SSLCertVerificationError, where: str) -> AgentError:
    if fault.verify_code == _EXPIRED:
        return UntrustedServer(f"The certificate of the gateway at {where} has expired.", ASK_OPERATOR)
    if fault.verify_code == _NOT_YET_VALID:
        return UntrustedServer(
            f"The certificate of the gateway at {where} is not valid yet.", "Check this machine's clock."
        )
    if fault.verify_code == _WRONG_NAME:
        return UntrustedServer(f"The certificate of the server at {where} is not a gateway's.", "Check the address.")
    return UntrustedServer(
        f"The certificate of the server at {where} was not issued by the CA that this machine was enrolled with.",
        "Somebody may stand between, or the platform was made anew: compare its CA, then enrol again.",
    )


def _tls_fault(fault: ssl.SSLError, where: str) -> AgentError:
    reason = fault.reason or ""
    for alert, (what, advice) in _ALERTS.items():
        if reason.endswith(alert):
            return AuthenticationFault(what, advice)
    if isinstance(fault, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return Disconnected(f"The gateway at {where} closed the connection.", "Try again later.")
    if reason in _OTHER_PROTOCOL:
        return UntrustedServer(f"The server at {where} does not speak TLS 1.3.", "Check host and port.")
    return Disconnected(
        f"The encrypted connection to {where} broke ({reason or 'unknown reason'}).", "Try again later."
    )


def failure(message: Failure) -> AgentError:
    """Return the error for a FAILURE of the gateway; its sentence stands in ours."""
    said = " ".join(message.message.split()) or "no reason given"
    try:
        code = FailureCode(message.code)
    except ValueError:
        code = FailureCode.INTERNAL
    kind, what, advice = _FAILURES.get(code, _FAILURES[FailureCode.INTERNAL])
    sentence = f"{what}: {said}".rstrip(".") + "."
    if issubclass(kind, Temporary):
        return kind(sentence, advice, message.retry_after)
    return kind(sentence, advice)


_LATER = "Try again later."
_REPORT = "Report this with the gateway's log."
_FAILURES: dict[FailureCode, tuple[type[AgentError], str, str]] = {
    FailureCode.PROTOCOL: (Refused, "The gateway says that this agent broke the protocol", _REPORT),
    FailureCode.VERSION: (Refused, "Agent and gateway have no protocol version in common", "Update the older one."),
    FailureCode.AUTHENTICATION: (AuthenticationFault, "The gateway does not know this machine", ENROLL_AGAIN),
    FailureCode.TOKEN: (TokenRefused, "The enrolment string was refused", "Ask for a new one."),
    FailureCode.REVOKED: (Revoked, "The platform does not let this machine in", ASK_OPERATOR),
    FailureCode.BUSY: (Busy, "The gateway is busy", _LATER),
    FailureCode.NOT_FOUND: (NotFound, "The gateway has no such thing", "`strongroom snapshots` lists what there is."),
    FailureCode.FORBIDDEN: (Forbidden, "The gateway does not permit this", "The vault's kit does: use --kit."),
    FailureCode.FENCED: (Fenced, "A newer backup of this machine took over", "Let that one finish."),
    FailureCode.TEMPORARY: (Temporary, "The gateway cannot do this at the moment", _LATER),
    FailureCode.TOO_LARGE: (Refused, "The gateway refused something as too large", _REPORT),
    FailureCode.RATE: (Temporary, "The gateway asks for fewer questions", _LATER),
    FailureCode.INVALID: (Refused, "The gateway refused what was sent", _REPORT),
    FailureCode.INTERNAL: (Refused, "The gateway had a fault of its own", _REPORT),
    FailureCode.ELSEWHERE: (Temporary, "Another gateway has what was asked for", _LATER),
    FailureCode.DAMAGED: (
        Damage,
        "The server cannot give what it has stored",
        "`strongroom backup` sends again what is still on this machine.",
    ),
    FailureCode.COLD: (
        Cold,
        "It cannot be read at the moment",
        "`strongroom restore` asks for it and waits; it takes hours.",
    ),
    FailureCode.UNSUPPORTED: (Refused, "The gateway is too old for this", "Update the platform."),
}
