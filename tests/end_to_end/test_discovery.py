"""A gateway that announces itself is found by `strongroom discover`, with the port and the CA that it really has."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from agents.transport.discovering import discover
from backup_platform.fleet.services import authority
from backup_platform.gateway.announcing import addresses_to_announce
from tests.gateway.agent_peer import wait_until

pytest.importorskip("zeroconf")

REPOSITORY = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
TRIES = 5


def run_gateway(environment, port_file: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "manage.py", "run_gateway", "--port", "0", "--port-file", str(port_file), *arguments]
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: port_file.exists() or process.poll() is not None, 60)
    return process


def discovered(tmp_path: Path) -> list[dict]:
    """What the command prints, as a process of its own."""
    found = subprocess.run(
        [sys.executable, "-m", "agents", "discover", "--interface", LOOPBACK, "--seconds", "2", "--json"],
        cwd=REPOSITORY,
        env={**os.environ, "STRONGROOM_AGENT_HOME": str(tmp_path / "agent")},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    return [line for line in lines if line["message_type"] == "gateway"]


@pytest.mark.slow
def test_gateway_that_announces_itself_is_found_by_the_agents_command(transactional_db, platform_environment, tmp_path):
    if not loopback_has_multicast():
        pytest.skip("multicast does not come back on this machine's loopback")
    port_file = tmp_path / "port"
    process = run_gateway(platform_environment | {"STRONGROOM_ANNOUNCE": "on"}, port_file)
    try:
        assert process.poll() is None, process.stderr.read()
        port = int(port_file.read_text())
        for _ in range(TRIES):
            mine = [one for one in discovered(tmp_path) if one["port"] == port]
            if mine:
                break
        (gateway,) = mine
        assert (gateway["host"], gateway["load"]) == (LOOPBACK, 0)
        assert gateway["ca"] == authority().fingerprint.hex()
        process.terminate()
        assert process.wait(30) == 0
        assert [one for one in discover(1.0, [LOOPBACK]) if one.port == port] == [], "it took its word back"
    finally:
        process.kill()
        process.communicate()


def loopback_has_multicast() -> bool:
    """Whether a datagram to the group of DNS-SD comes back on 127.0.0.1."""
    group = "224.0.0.251"
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as hearing:
        hearing.settimeout(5)
        try:
            hearing.bind(("", 0))
            member = socket.inet_aton(group) + socket.inet_aton(LOOPBACK)
            hearing.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as saying:
                saying.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
                saying.sendto(b"?", (group, hearing.getsockname()[1]))
            return hearing.recv(16) == b"?"
        except OSError:
            return False


def test_word_that_is_no_wish_is_refused_in_a_sentence(transactional_db, platform_environment, tmp_path):
    process = run_gateway(platform_environment | {"STRONGROOM_ANNOUNCE": "yes"}, tmp_path / "port")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "STRONGROOM_ANNOUNCE is 'yes'; set it to auto, on or off." in said
    assert "Traceback" not in said


@pytest.mark.defence
@pytest.mark.parametrize(
    ("host", "wish", "announced"),
    [
        ("127.0.0.1", "auto", []),
        ("::1", "auto", []),
        ("192.168.7.4", "auto", ["192.168.7.4"]),
        ("192.168.7.4", "off", []),
        ("8.8.8.8", "auto", []),
        ("8.8.8.8", "on", ["8.8.8.8"]),
        ("127.0.0.1", "on", ["127.0.0.1"]),
        ("backup.example.com", "auto", []),
    ],
)
def test_a_gateway_announces_itself_on_private_addresses_only_unless_told(host, wish, announced):
    assert addresses_to_announce(host, wish) == announced


def test_a_gateway_that_listens_everywhere_is_never_announced_on_loopback():
    assert not {one for one in addresses_to_announce("0.0.0.0", "on") if one.startswith("127.")}  # noqa: S104
