"""The control desk: configuration when it changes, presence that puts itself right, Valkey that comes and goes."""

from __future__ import annotations

import json
import time

import pytest
import redis
from django.db import connection

from backup_platform.fleet.models import Machine
from backup_platform.fleet.presence import with_presence
from backup_platform.jobs import agent_jobs, waking
from backup_platform.jobs.models import Job, JobOrigin, JobState
from backup_platform.policies.assignments import assign
from backup_platform.policies.services import change_policy, create_policy
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from protocol.wire import FailureCode, messages
from tests.gateway.agent_peer import Failed, wait_until
from tests.gateway.daemon_peer import WAIT, DaemonPeer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def machine(stage):
    return stage.machine()


@pytest.fixture
def policy(stage):
    with tenant_scope(stage.vault.tenant_id):
        return create_policy(stage.vault.tenant, "Documents", {"selection.sources": ["/srv"]}, by="tests")


def row_of(machine):
    with without_tenant_scope("test"):
        return with_presence(Machine.objects.filter(pk=machine.id)).get()


def version_of_row(machine) -> int:
    """Changes with every write of the machine's row."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT xmin::text::bigint FROM fleet_machine WHERE id = %s", [machine.id])
        return cursor.fetchone()[0]


def ask_for_backup(policy, machine):
    with tenant_scope(policy.tenant_id):
        return agent_jobs.request_backup(policy, machine.row, origin=JobOrigin.PERSON, asked_by="tests", settings={})


def pubsub_clients(client: redis.Redis) -> list[dict[str, str]]:
    return [one for one in client.client_list() if one["sub"] != "0"]


def test_changed_policy_is_sent_to_its_machine(running_gateway, machine, policy):
    with DaemonPeer(running_gateway, machine) as daemon:
        with tenant_scope(policy.tenant_id):
            assign(policy, by="tests", machine=machine.row)
        event = daemon.wait_for(messages.Configure, 40)
        configuration = json.loads(event.message.configuration)
        assert [one["name"] for one in configuration["policies"]] == ["Documents"]
        daemon.send(messages.Configured(), event.request)
        with tenant_scope(policy.tenant_id):
            change_policy(policy, by="tests", settings={"selection.sources": ["/srv", "/home"]})
        event = daemon.wait_for(messages.Configure, 40)
        changed = json.loads(event.message.configuration)
        assert changed["policies"][0]["settings"]["selection.sources"] == ["/srv", "/home"]
        assert changed["version"] != configuration["version"]


def test_connected_machine_costs_no_write_of_its_row(running_gateway, machine):
    with DaemonPeer(running_gateway, machine) as daemon:
        wait_until(lambda: row_of(machine).online, WAIT)
        before = version_of_row(machine)
        until = time.monotonic() + 8
        while time.monotonic() < until:
            daemon.ask(messages.Ping(time=1))
            daemon.listen(0.5)
        assert version_of_row(machine) == before


def test_presence_that_was_overwritten_is_put_right(running_gateway, machine):
    with DaemonPeer(running_gateway, machine):
        wait_until(lambda: row_of(machine).online, WAIT)
        with without_tenant_scope("test"):
            Machine.objects.update(connected_to="")
        wait_until(lambda: row_of(machine).online, WAIT)


def test_newer_connection_at_another_gateway_takes_over(gateway_factory, machine):
    first, second = gateway_factory(), gateway_factory()
    with DaemonPeer(first, machine) as older:
        wait_until(lambda: row_of(machine).online, WAIT)
        with DaemonPeer(second, machine) as newer:
            with pytest.raises(Failed) as failed:
                older.wait_end()
            assert failed.value.code == FailureCode.FENCED
            assert newer.ask(messages.Ping(time=5)).message == messages.Pong(time=5)
            name = second.gateway.context.desk.gateway
            wait_until(lambda: row_of(machine).connected_to == name, WAIT)


def test_gateway_listens_again_after_valkey_cut_it_off(running_gateway, machine, policy, settings):
    client = redis.Redis.from_url(settings.REDIS_URL)
    with DaemonPeer(running_gateway, machine) as daemon:
        wait_until(lambda: pubsub_clients(client), WAIT)
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        wait_until(lambda: pubsub_clients(client), WAIT)
        job_id = ask_for_backup(policy, machine)
        assert daemon.accept_offer()[0] == job_id


def test_nonsense_on_the_wake_channel_harms_nobody(running_gateway, machine, policy, settings):
    client = redis.Redis.from_url(settings.REDIS_URL)
    with DaemonPeer(running_gateway, machine) as daemon:
        wait_until(lambda: pubsub_clients(client), WAIT)
        for nonsense in (b"", b"x" * 32, b"\xff" * 32, b"0" * 100_000):
            client.publish(waking.CHANNEL, nonsense)
        job_id = ask_for_backup(policy, machine)
        assert daemon.accept_offer()[0] == job_id


def test_progress_that_is_no_json_is_only_a_sign_of_life(running_gateway, machine, policy):
    with DaemonPeer(running_gateway, machine) as daemon:
        job_id = ask_for_backup(policy, machine)
        _, lease, _ = daemon.accept_offer()
        for state in ("{", "[1]", "[" * 4000, '"saving"', ""):
            daemon.send(messages.Progress(job=job_id.bytes, lease=lease, state=state))
        assert daemon.report(job_id, lease) == messages.Reported()
    with without_tenant_scope("test"):
        assert Job.objects.get(pk=job_id).state == JobState.DONE


def test_jobs_of_many_machines_go_on_after_their_gateway_died(gateway_factory, stage, policy):
    machines = [stage.machine(f"machine-{number}") for number in range(8)]
    gateway = gateway_factory()
    daemons = [DaemonPeer(gateway, machine) for machine in machines]
    taken = []
    for machine, daemon in zip(machines, daemons, strict=True):
        job_id = ask_for_backup(policy, machine)
        offered, lease, _ = daemon.accept_offer()
        assert offered == job_id
        taken.append(messages.RunningJob(job=job_id.bytes, lease=lease))
        daemon.ask(messages.Ping(time=1))  # the acceptance was heard
    gateway.die()
    for daemon in daemons:
        daemon.close()
    gateway = gateway_factory()
    for machine, held in zip(machines, taken, strict=True):
        with DaemonPeer(gateway, machine, running=[held]) as daemon:
            assert daemon.controlled.stop == b""
            daemon.ask(messages.Report(job=held.job, lease=held.lease, outcome="done"))
    with without_tenant_scope("test"):
        assert {job.state for job in Job.objects.all()} == {JobState.DONE}
