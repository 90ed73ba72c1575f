"""Certificates renew by themselves on the control connection."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509

from protocol.wire import FailureCode, messages
from tests.gateway.agent_peer import AgentPeer, Failed
from tests.gateway.daemon_peer import DaemonPeer
from tests.gateway.stage import make_csr, spki

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def machine(stage):
    return stage.machine()


def test_renewed_certificate_opens_connections_and_so_does_the_old_one(running_gateway, machine, stage):
    with DaemonPeer(running_gateway, machine) as daemon:
        renewed = daemon.ask(messages.Renew(csr=make_csr(machine.key_label))).message
    assert hashlib.sha256(renewed.ca).digest() == running_gateway.ca_hash
    certificate = x509.load_der_x509_certificate(renewed.certificate)
    with AgentPeer(running_gateway, stage.files(machine.row, machine.key_label, certificate)) as agent:
        assert agent.welcome.machine_id == machine.id.bytes
    with AgentPeer(running_gateway, machine) as agent:
        assert agent.welcome.machine_id == machine.id.bytes


def test_renewal_for_another_key_is_refused_and_the_connection_goes_on(running_gateway, machine):
    assert spki("identity-other") != spki(machine.key_label)
    with DaemonPeer(running_gateway, machine) as daemon:
        with pytest.raises(Failed) as failed:
            daemon.ask(messages.Renew(csr=make_csr("identity-other")))
        assert failed.value.code == FailureCode.INVALID
        assert "own identity key" in failed.value.failure.message
        assert daemon.ask(messages.Ping(time=1)).message == messages.Pong(time=1)
