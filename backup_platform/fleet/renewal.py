"""A machine's certificate is renewed over the same identity key, long before it ends.

The machine is its key: statements, machine records and connections are bound to it. So a renewal changes nothing but
the dates, and a request over any other key is refused, whoever signed it.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.db import transaction

from backup_platform.audit.services import record as record_audit
from backup_platform.tenants.scope import tenant_scope

from .errors import CsrRefused
from .models import Machine
from .requests import identity_of_request
from .services import authority


def renew_certificate(machine: Machine, csr: bytes) -> tuple[bytes, bytes]:
    """A new certificate for an active machine and the authority's, both DER. Raises `CsrRefused`.

    The old certificate stays valid until its end: a machine that did not get this answer has lost nothing.
    """
    identity = identity_of_request(csr)
    spki = identity.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if spki != bytes(machine.identity_key):
        raise CsrRefused(
            "A certificate is renewed for the machine's own identity key only; to change keys, enrol again."
        )
    issuer = authority()
    certificate = issuer.issue_machine(str(machine.pk), identity)
    der = certificate.public_bytes(Encoding.DER)
    with tenant_scope(machine.tenant_id), transaction.atomic():
        Machine.objects.filter(pk=machine.pk).update(certificate=der, certificate_until=certificate.not_valid_after_utc)
        record_audit(
            "machine.certificate_renewed",
            actor=f"machine {machine.name}",
            object=f"machine:{machine.pk}",
            tenant=machine.tenant_id,
            until=certificate.not_valid_after_utc.isoformat(),
            digest=hashlib.sha256(der).digest(),
        )
    return der, issuer.der
