"""What can be wrong with keys and with what they vouch for. No sentence here ever carries a secret."""

from __future__ import annotations

from agents.errors import AgentError, Damage, PassphraseWrong, UntrustedServer, UntrustedVault, UsageFault


class KeyFault(AgentError):
    """A key, or a file that should hold one, is not what it must be."""


class PassphraseMissing(KeyFault):
    """A key file is encrypted and no passphrase was given."""


class WrongPassphrase(PassphraseWrong, KeyFault):
    """A key file or a kit does not open under the passphrase that was given."""


class SignatureFault(Damage):
    """A signature is not the one that the key in question makes over these bytes."""


class KitFault(AgentError):
    """A kit cannot be made or found where it was asked for."""


class KitDamaged(Damage):
    """A kit's files are not as they were written."""


class VaultRecordFault(UntrustedVault):
    """A vault record does not verify, is older than one already seen, or is another vault's."""


class MachineRecordFault(Damage):
    """A machine record was not made by a machine of this vault, or names another machine."""


class EnrollmentFault(UsageFault):
    """An enrolment string, or what the server stored with it, cannot be used."""


class CertificateFault(UntrustedServer):
    """A certificate does not prove what it is shown for."""
