"""`manage.py up`, from outside: what it serves, survives and leaves behind. The tests run in this order."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.platform.conftest import REPOSITORY, Platform, is_alive, manage, wait_until

NAMES = {"web", "gateway", "worker", "tier_worker", "beat", "postgres", "valkey"}

ASK_QUEUES = """
from workers.app import app
for node, queues in sorted(app.control.inspect(timeout=20, limit=2).active_queues().items()):
    print(node.split("@")[0] + ":" + ",".join(sorted(queue["name"] for queue in queues)))
"""


def test_ready_file_describes_seven_living_processes(platform: Platform) -> None:
    ready = platform.ready()
    assert set(ready["pids"]) == NAMES
    assert all(is_alive(pid) for pid in ready["pids"].values())
    assert len(os.fsencode(platform.home)) > 200


def test_web_and_gateway_serve_where_the_ready_file_says(platform: Platform) -> None:
    ready = platform.ready()
    with urllib.request.urlopen(f"{ready['web']}healthz", timeout=10) as answer:
        assert answer.status == 200
    host, port = ready["gateway"].rsplit(":", 1)
    socket.create_connection((host, int(port)), 5).close()


def test_sign_in_page_comes_with_its_style_sheets(platform: Platform) -> None:
    web = platform.ready()["web"]
    with urllib.request.urlopen(f"{web}admin/login/", timeout=10) as answer:
        page = answer.read().decode()
    sheets = re.findall(r'href="(/static/[^"]+\.css)', page)
    assert sheets
    for sheet in sheets:
        with urllib.request.urlopen(f"{web.rstrip('/')}{sheet}", timeout=10) as answer:
            assert answer.status == 200


def test_first_admin_has_a_one_time_password_in_a_closed_file(platform: Platform) -> None:
    admin = platform.ready()["admin"]
    file = Path(admin["password_file"])
    assert admin["username"] == "admin"
    assert len(file.read_text().strip()) >= 20
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    finished = manage(platform.home, "shell", "-v", "0", "-c", "from django.contrib.auth import get_user_model as g\n"
                      "print(g().objects.get(username='admin').must_change_password)")  # fmt: skip
    assert finished.stdout.strip() == "True", finished.stderr


def test_no_password_shows_in_a_process_list_or_a_log(platform: Platform) -> None:
    secrets = [file.read_text().strip() for file in (platform.home / "secrets").iterdir()]
    seen = [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in platform.ready()["pids"].values()]
    seen += [log.read_text() for log in (platform.home / "logs").iterdir()]
    assert not [secret for secret in secrets if any(secret in text for text in seen)]


def test_second_up_in_the_same_home_is_refused_in_one_sentence(platform: Platform) -> None:
    refused = manage(platform.home, "up")
    assert refused.returncode == 1
    assert f"already runs in {platform.home} (process {platform.process.pid})" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert platform.process.poll() is None


def test_background_work_gets_done(platform: Platform) -> None:
    wait_until(
        lambda: manage(platform.home, "check_background", "--within", "60").returncode == 0, "a tick of beat", 60
    )


def test_killed_gateway_is_started_again_on_the_same_port(platform: Platform) -> None:
    before = platform.ready()
    os.kill(before["pids"]["gateway"], signal.SIGKILL)
    wait_until(lambda: platform.ready()["pids"]["gateway"] != before["pids"]["gateway"], "a new gateway")
    after = platform.ready()
    assert after["gateway"] == before["gateway"]
    assert {name for name in NAMES if after["pids"][name] != before["pids"][name]} == {"gateway"}
    host, port = after["gateway"].rsplit(":", 1)
    socket.create_connection((host, int(port)), 5).close()


def test_killed_tier_worker_is_started_again_and_the_other_worker_goes_on(platform: Platform) -> None:
    before = platform.ready()
    os.kill(before["pids"]["tier_worker"], signal.SIGKILL)
    wait_until(lambda: platform.ready()["pids"]["tier_worker"] != before["pids"]["tier_worker"], "a new tier worker")
    after = platform.ready()["pids"]
    assert {name for name in NAMES if after[name] != before["pids"][name]} == {"tier_worker"}


def test_each_worker_serves_its_own_queues(platform: Platform) -> None:
    found = manage(platform.home, "shell", "-v", "0", "-c", ASK_QUEUES)
    assert found.stdout.split() == ["tier_worker:tier", "worker:control,notify,restore,verify"], found.stderr


def test_platform_survives_the_death_of_its_database(platform: Platform) -> None:
    before = platform.ready()["pids"]["postgres"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: platform.ready()["pids"]["postgres"] != before, "a new PostgreSQL")
    with urllib.request.urlopen(f"{platform.ready()['web']}readyz", timeout=20) as answer:
        assert answer.status == 200


def test_killed_up_takes_its_children_along_and_can_be_started_again(platform: Platform) -> None:
    pids = platform.ready()["pids"].values()
    sockets = Path((platform.home / "sockets").read_text().strip())
    platform.process.kill()
    platform.process.wait()
    platform.ready_file.unlink()
    assert "No Strongroom runs" in manage(platform.home, "check_background").stderr
    platform.start()
    assert not [pid for pid in pids if is_alive(pid)]
    assert not sockets.exists()


def test_sigterm_ends_everything_and_leaves_nothing_behind(platform: Platform) -> None:
    pids = platform.ready()["pids"].values()
    sockets = Path((platform.home / "sockets").read_text().strip())
    assert sockets.is_dir()
    assert platform.stop() == 0, platform.said()
    assert not [pid for pid in pids if is_alive(pid)]
    assert not platform.ready_file.exists()
    assert not (platform.home / "run.json").exists()
    assert not sockets.exists()


def test_commands_say_so_when_nothing_runs(platform: Platform) -> None:
    finished = manage(platform.home, "check_background")
    assert finished.returncode == 1
    assert f"No Strongroom runs in {platform.home}" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_taken_port_is_refused_in_one_sentence(platform: Platform) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        refused = manage(platform.home, "up", STRONGROOM_WEB_PORT=str(other.getsockname()[1]))
    assert refused.returncode == 1
    assert "is taken: another program listens there" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_too_few_processes_for_slow_buckets_are_refused_in_one_sentence(platform: Platform) -> None:
    refused = manage(platform.home, "up", STRONGROOM_TIER_PROCESSES="2")
    assert refused.returncode == 1
    assert "STRONGROOM_TIER_PROCESSES must be 3 or more" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_swapped_or_missing_database_is_never_made_anew(platform: Platform) -> None:
    servers = Path(json.loads((platform.home / "instance.json").read_text())["servers"])
    (servers / "postgres").rename(servers / "aside")
    refused = manage(platform.home, "up")
    assert refused.returncode == 1
    assert "The database of this instance is missing" in refused.stderr
    assert not (servers / "postgres").exists()
    (servers / "aside").rename(servers / "postgres")
    described = json.loads((platform.home / "instance.json").read_text())
    (platform.home / "instance.json").write_text(json.dumps({**described, "cluster": "7000000000000000001"}))
    refused = manage(platform.home, "up")
    assert refused.returncode == 1
    assert "another PostgreSQL cluster" in refused.stderr
    (platform.home / "instance.json").write_text(json.dumps(described))


def ordinary_interpreter() -> tuple[str, dict[str, str]] | None:
    """A Python that `nobody` can run with our packages: this one, or the system's with this one's packages."""
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    for interpreter, more in ((sys.executable, {}), ("/usr/bin/python3", {"PYTHONPATH": packages})):
        probe = [interpreter, "-c", "import django, psycopg, redis, celery, uvicorn"]
        try:
            finished = subprocess.run(
                probe, env=os.environ | more, cwd=REPOSITORY, user=65534, group=65534, capture_output=True, timeout=30
            )
        except OSError:
            continue
        if finished.returncode == 0:
            return interpreter, more
    return None


@pytest.fixture
def ordinary_platform() -> Iterator[Platform]:
    """The platform as an ordinary user runs it: without root, in a home of its own."""
    directory = Path(tempfile.mkdtemp(prefix="sr-user-"))
    interpreter, more, options = sys.executable, {}, {}
    if os.geteuid() == 0:
        found = ordinary_interpreter()
        if found is None:
            pytest.skip("this checkout or its Python cannot be entered by an ordinary user")
        interpreter, more = found
        options = {"user": 65534, "group": 65534, "extra_groups": []}
        os.chown(directory, 65534, 65534)
    running = Platform(
        directory, interpreter, options, {**more, "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(directory)}
    )
    try:
        (directory / "up.log").touch()
        yield running
    finally:
        running.remove()
        shutil.rmtree(directory, ignore_errors=True)


def test_ordinary_user_runs_all_of_it(ordinary_platform: Platform) -> None:
    pids = ordinary_platform.start().ready()["pids"].values()
    owners = {os.stat(f"/proc/{pid}").st_uid for pid in pids}
    assert len(owners) == 1
    assert 0 not in owners
    assert ordinary_platform.stop(signal.SIGINT) == 0, ordinary_platform.said()
    assert not [pid for pid in pids if is_alive(pid)]
