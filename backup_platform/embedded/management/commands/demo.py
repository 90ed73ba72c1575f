"""`manage.py demo`, which `make demo` calls: the whole way of a backup in a few minutes, on this computer."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from backup_platform.embedded.child import ends_with_parent
from backup_platform.embedded.demonstration.by_itself import daemon_until_the_end
from backup_platform.embedded.demonstration.commands import AGENT
from backup_platform.embedded.demonstration.far_away import bucket_until_the_end
from backup_platform.embedded.demonstration.showing import STEPS, Demonstration, choose_source
from backup_platform.embedded.demonstration.telling import Teller
from backup_platform.embedded.errors import EmbeddedError, ServerFailed
from backup_platform.embedded.platform_processes import CHECKOUT, MANAGE

START_SECONDS = 300
STOP_SECONDS = 120


class Command(BaseCommand):
    """Starts the platform, backs up a real tree, restores it twice, lets a schedule fire, runs until Ctrl-C."""

    help = "Show a backup and a restore on this computer. DEMO_SOURCE=dir; DEMO_EXIT=1 stops after the comparison."
    requires_system_checks: list[str] = []

    def handle(self, *_: Any, **__: Any) -> None:
        """Exit code 0 only if the snapshot is verified and the restored tree is equal."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        try:
            self._run(Path(settings.STRONGROOM_HOME).absolute())
        except EmbeddedError as fault:
            raise CommandError(f"{fault.what}\ntry: {fault.remedy}") from None
        except KeyboardInterrupt:
            self.stdout.write("stopped")

    def _run(self, home: Path) -> None:
        # Wide enough that a path is not cut when the output goes to a file.
        console = Console(soft_wrap=True)
        teller = Teller(console, STEPS)
        source = choose_source(os.environ.get("DEMO_SOURCE", ""))
        console.print("[bold]Strongroom[/bold]: back up a real tree, restore it, and see that nothing is lost.")
        platform, ready = start_platform(home, teller)
        try:
            demonstration = Demonstration(home, source, teller)
            equal = demonstration.run()
            with bucket_until_the_end(demonstration) as far_away, daemon_until_the_end(demonstration) as by_itself:
                equal_from_s3 = far_away.run()
                fired = by_itself.run()
                self._show_result(teller, demonstration, ready, equal)
                if os.environ.get("DEMO_EXIT") != "1":
                    platform.wait()
        finally:
            stop_platform(platform)
        if not equal:
            raise CommandError("The restored tree differs from the original, or the snapshot was not verified.")
        if not equal_from_s3:
            raise CommandError("The tree that was restored from the bucket alone differs from the original.")
        if not fired:
            raise CommandError("The snapshot that the schedule made was not verified.")

    def _show_result(self, teller: Teller, shown: Demonstration, ready: dict[str, Any], equal: bool) -> None:
        result = (shown.home / "demo.json").read_text(encoding="utf-8").strip()
        verdict = "Equal: content and metadata came back as they were." if equal else "NOT equal: see above."
        teller.panel("Result", [verdict, result, str(shown.home / "demo.json")], good=equal)
        lines = [
            f"console   {ready['web']}",
            f"user      {ready['admin']['username']}",
            f"password  {read_one_time_password(Path(ready['admin']['password_file']))}",
            f"agent     STRONGROOM_AGENT_HOME={shlex.quote(str(shown.agent_home))} {' '.join(AGENT)} snapshots",
        ]
        end = "Ctrl-C stops everything, the S3 server that holds the packs too"
        if os.environ.get("DEMO_EXIT") == "1":
            end = "DEMO_EXIT: the platform stops now, and `make up` starts it again, on its own port"
        lines += ["", f"{end}. The data stays in {shown.home}"]
        teller.panel("Look around", lines)


def start_platform(home: Path, teller: Teller) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """`manage.py up` as a child, and what its ready file says. Raises EmbeddedError."""
    ready_file = home / "demo-ready.json"
    ready_file.unlink(missing_ok=True)
    environment = {"STRONGROOM_WEB_PORT": "0", "STRONGROOM_GATEWAY_PORT": "0", **os.environ}
    with (
        teller.step(
            "Starting the platform",
            "PostgreSQL, Valkey, web, gateway, worker and beat: real servers out of Python packages, all on this host.",
        ) as lines,
        tempfile.TemporaryFile() as output,
    ):
        # A session of its own: Ctrl-C reaches us, and we stop the platform in order.
        platform = subprocess.Popen(
            [*MANAGE, "up", "--ready-file", str(ready_file)],
            cwd=CHECKOUT,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=ends_with_parent(signal.SIGTERM),
        )
        try:
            ready = wait_for(ready_file, platform, output)
        except BaseException:
            stop_platform(platform)
            raise
        lines.append(f"web {ready['web']}   gateway {ready['gateway']}   {len(ready['pids'])} processes")
    return platform, ready


def wait_for(ready_file: Path, platform: subprocess.Popen[bytes], output: IO[bytes]) -> dict[str, Any]:
    """What the ready file says, once it is there. Raises ServerFailed with the platform's own words."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if ready_file.exists():
            description: dict[str, Any] = json.loads(ready_file.read_text(encoding="utf-8"))
            return description
        if platform.poll() is not None:
            break
        time.sleep(0.1)
    output.seek(0)
    said = output.read().decode("utf-8", "replace").strip().splitlines()[-6:]
    raise ServerFailed("The platform did not start.", "It said:\n" + "\n".join(said))


def stop_platform(platform: subprocess.Popen[bytes]) -> None:
    """End `up` and wait for it, within two minutes."""
    platform.send_signal(signal.SIGTERM)
    try:
        platform.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        platform.kill()  # its children get their stop signals from the kernel
        platform.wait()


def read_one_time_password(file: Path) -> str:
    """The first admin's password, or where it was."""
    try:
        return f"{file.read_text(encoding='utf-8').strip()}  (works once: it must be changed at the first sign-in)"
    except OSError:
        return f"(the one that you set; the first one was in {file})"
