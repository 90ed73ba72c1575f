"""Who gets in: strangers may only enrol, machines are known by their key, everybody else is told why not."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from agents.keys.certificates import check_gateway_certificate
from backup_platform.fleet import certificates
from backup_platform.fleet.authority import open_authority
from backup_platform.fleet.models import EnrollmentToken
from backup_platform.fleet.services import authority, revoke_machine
from backup_platform.tenants.scope import tenant_scope
from protocol.wire import FailureCode, messages
from tests.gateway.agent_peer import AgentPeer, Closed, Failed, contents
from tests.gateway.revoking import revoke_unannounced
from tests.gateway.stage import BLOB, Stage, make_csr, rsa_key, spki


def enroll(agent: AgentPeer, token: bytes, label: str = "newcomer") -> messages.Enrolled:
    message = messages.Enroll(token=token, csr=make_csr(label), reading_key=spki("reading"), facts={"hostname": "db1"})
    return agent.ask(message).message


def test_stranger_enrolls_and_comes_back_as_the_machine(running_gateway, stage: Stage):
    with AgentPeer(running_gateway) as agent:
        assert not agent.welcome.authenticated
        assert hashlib.sha256(agent.welcome.ca).digest() == running_gateway.ca_hash
        check_gateway_certificate(agent.socket.getpeercert(binary_form=True), agent.welcome.ca, running_gateway.ca_hash)
        enrolled = enroll(agent, stage.token())
    assert (enrolled.blob, enrolled.machine_name) == (BLOB, "db1")
    assert enrolled.vault_record == bytes(stage.vault.record)
    identity = stage.files(None, "newcomer", x509.load_der_x509_certificate(enrolled.certificate))
    with AgentPeer(running_gateway, identity) as agent:
        assert agent.welcome.authenticated
        assert agent.welcome.machine_id == enrolled.machine_id
        assert agent.welcome.vault_id == stage.vault.pk.bytes


def test_used_expired_and_unknown_tokens_get_the_same_words(running_gateway, stage):
    used, expired = stage.token(), stage.token()
    with AgentPeer(running_gateway) as agent:
        enroll(agent, used)
    with tenant_scope(stage.vault.tenant_id):
        row = EnrollmentToken.objects.filter(token_hash=hashlib.sha256(expired).digest())
        assert row.update(expires_at=datetime.now(UTC) - timedelta(seconds=1)) == 1
    told = set()
    for token in (used, expired, bytes(32)):
        with AgentPeer(running_gateway) as agent, pytest.raises(Failed) as failed:
            enroll(agent, token, "second")
        told.add((failed.value.code, failed.value.failure.message))
    assert len(told) == 1
    assert told.pop()[0] == FailureCode.TOKEN


def test_stranger_may_ask_for_nothing_else(running_gateway, stage):
    with AgentPeer(running_gateway) as agent:
        agent.connection._talk.phase = AgentPeer(running_gateway, stage.machine()).connection.phase
        with pytest.raises(Failed) as failed:
            agent.ask(messages.List())
    assert failed.value.code == FailureCode.PROTOCOL


def test_certificate_of_another_authority_is_refused_in_the_handshake(running_gateway, stage, tmp_path):
    other = open_authority(tmp_path / "elsewhere")
    identity = stage.files(None, "alien", other.issue_machine("x", rsa_key("alien").public_key()))
    with pytest.raises(Closed):
        AgentPeer(running_gateway, identity)


def test_expired_certificate_is_refused_in_the_handshake(running_gateway, stage, monkeypatch):
    monkeypatch.setattr(certificates, "MACHINE_LIFE", timedelta(minutes=-5))
    identity = stage.machine()
    with pytest.raises(Closed):
        AgentPeer(running_gateway, identity)


def test_gateways_own_certificate_does_not_make_a_client(running_gateway, stage):
    found = authority().gateway_identity()
    identity = stage.files(None, "alien", x509.load_pem_x509_certificate(found.certificate_path.read_bytes()))
    identity.key.write_bytes(found.key_path.read_bytes())
    with pytest.raises(Closed):
        AgentPeer(running_gateway, identity)


def test_certificate_that_belongs_to_no_machine_is_refused_at_hello(running_gateway, stage):
    certificate = authority().issue_machine(str(stage.vault.pk), rsa_key("nobody").public_key())
    with pytest.raises(Failed) as failed:
        AgentPeer(running_gateway, stage.files(None, "nobody", certificate))
    assert failed.value.code == FailureCode.AUTHENTICATION


def test_identity_is_the_key_and_never_the_name_in_the_certificate(running_gateway, stage):
    victim, thief = stage.machine("victim"), stage.machine("thief")
    certificate = authority().issue_machine(str(victim.id), rsa_key(thief.key_label).public_key())
    with AgentPeer(running_gateway, stage.files(None, thief.key_label, certificate)) as agent:
        assert agent.welcome.machine_id == thief.id.bytes


def test_revoked_machine_is_refused_at_hello(running_gateway, stage):
    machine = stage.machine()
    revoke_machine(machine.row, actor="tests")
    with pytest.raises(Failed) as failed:
        AgentPeer(running_gateway, machine)
    assert failed.value.code == FailureCode.REVOKED


def test_machine_revoked_meanwhile_cannot_begin(running_gateway, stage):
    machine = stage.machine()
    with AgentPeer(running_gateway, machine) as agent:
        revoke_unannounced(machine.row)
        with pytest.raises(Failed) as failed:
            agent.begin()
    assert failed.value.code == FailureCode.REVOKED


def test_machine_revoked_during_a_backup_cannot_commit(running_gateway, stage):
    machine, segment = stage.machine(), contents(2)
    with AgentPeer(running_gateway, machine) as agent:
        agent.begin()
        for content in segment:
            agent.put(content)
        agent.flush()
        revoke_machine(machine.row, actor="tests")
        with pytest.raises(Failed) as failed:
            agent.commit(segment)
    assert failed.value.code == FailureCode.REVOKED


def test_machine_publishes_its_record_once(running_gateway, stage):
    with AgentPeer(running_gateway, stage.machine()) as agent, pytest.raises(Failed) as failed:
        agent.ask(messages.Publish(machine_record=b"not a record"))
    assert failed.value.code == FailureCode.INVALID


def test_no_resumption_so_that_every_connection_is_judged_afresh(running_gateway, stage):
    with AgentPeer(running_gateway, stage.machine()) as agent:
        agent.ask(messages.Status())
        assert agent.socket.version() == "TLSv1.3"
        assert agent.socket.session is None or not agent.socket.session.has_ticket


def test_certificate_is_der_that_agents_can_read(running_gateway, stage):
    with AgentPeer(running_gateway) as agent:
        x509.load_der_x509_certificate(agent.welcome.ca).public_bytes(Encoding.PEM)
