"""`manage.py run_gateway` as a process: it serves, and SIGTERM ends it cleanly."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.db import connection
from django.utils import timezone

from backup_platform.catalog.models import Pack, PackState, Session
from backup_platform.tenants.scope import tenant_scope
from tests.gateway.agent_peer import BLOCK, AgentPeer, Closed, block_of, contents, digest, wait_until

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def command(platform_environment, tmp_path):
    """Starts the command and returns the process, and where it listens."""
    started = []

    def start():
        port_file = tmp_path / f"port-{len(started)}"
        process = subprocess.Popen(
            [sys.executable, "manage.py", "run_gateway", "--port", "0", "--port-file", str(port_file)],
            cwd=REPOSITORY,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, 2048)),
            env=platform_environment | {"STRONGROOM_LOG_LEVEL": "INFO", "STRONGROOM_DATABASE_POOL": "8"},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        wait_until(lambda: port_file.exists() or process.poll() is not None, 30)
        assert process.poll() is None, process.stderr.read()
        return process, SimpleNamespace(host="127.0.0.1", port=int(port_file.read_text()))

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def test_command_serves_and_sigterm_ends_it_cleanly(command, stage):
    segment = contents(3)
    process, gateway = command()
    with AgentPeer(gateway, stage.machine()) as agent:
        assert hashlib.sha256(agent.welcome.ca).digest()
        committed = agent.back_up(segment)
        records, _ = agent.fetch(committed.snapshot, digest(block_of(segment)), [digest(one) for one in segment])
        assert records == {digest(one): one for one in segment}
        agent.begin()
        agent.put(b"not yet sealed")
        agent.flush()
        process.send_signal(signal.SIGTERM)
        with pytest.raises(Closed):
            agent.wait_end()
    assert process.wait(10) == 0
    said = process.stderr.read()
    assert "Traceback" not in said
    assert "gateway serving" in said
    with tenant_scope(stage.vault.tenant_id):
        assert set(Pack.objects.values_list("state", flat=True)) == {PackState.SEALED}


def test_killed_process_loses_nothing_acknowledged(command, stage):
    machine, segment = stage.machine(), [os.urandom(200_000) for _ in range(60)]
    process, gateway = command()
    acknowledged = 0
    with AgentPeer(gateway, machine) as agent:
        agent.begin()
        for number, content in enumerate(segment):
            agent.put(content)
            if number == 40:
                agent.flush()
                acknowledged = agent.stored
        process.kill()
        process.wait()
    _, gateway = command()
    with tenant_scope(stage.vault.tenant_id):
        Session.objects.update(lease_until=timezone.now())
    with AgentPeer(gateway, machine) as agent:
        agent.begin()
        missing = agent.missing([digest(one) for one in segment])
        assert acknowledged > 40
        assert missing.isdisjoint({digest(one) for one in segment[:acknowledged]})
        for content in segment:
            if digest(content) in missing:
                agent.put(content)
        agent.put(block_of(segment), BLOCK)
        committed = agent.commit(segment)
        records, _ = agent.fetch(committed.snapshot, digest(block_of(segment)), [digest(one) for one in segment])
    assert records == {digest(one): one for one in segment}


def test_command_on_a_taken_port_says_so_in_one_sentence(command, platform_environment):
    _, gateway = command()
    second = subprocess.run(
        [sys.executable, "manage.py", "run_gateway", "--port", str(gateway.port)],
        cwd=REPOSITORY,
        env=platform_environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert second.returncode == 1
    assert "The gateway cannot start" in second.stderr
    assert "Traceback" not in second.stderr


def test_command_may_open_as_many_files_as_the_system_allows(command, stage):
    process, _ = command()
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


def backends() -> set[int]:
    """The server processes of PostgreSQL that work for the platform's role."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE usename = 'strongroom_app' AND datname = current_database()"
        )
        return {row[0] for row in cursor}


def test_connections_to_the_database_are_kept_and_replaced_when_they_break(command, stage):
    segment = contents(3)
    _, gateway = command()
    with AgentPeer(gateway, stage.machine()) as agent:
        committed = agent.back_up(segment)

        def read() -> None:
            assert len(agent.fetch(committed.snapshot, digest(block_of(segment)), [digest(segment[0])])[0]) == 1

        read()
        kept = backends()
        for _ in range(20):
            read()
        assert kept
        assert kept <= backends(), "each request made its own connection"
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", [list(kept)])
        wait_until(lambda: not kept & backends())  # a backend ends when it looks up, not when it is told
        read()
