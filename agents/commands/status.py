"""`strongroom status`: who this machine is, and how its backups stand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from agents.commands.output import Output, instant, moment, size

if TYPE_CHECKING:
    from agents.engine.reading import Listed
    from agents.state import MachineState

RETRY_FOR = 5.0
"""Seconds: whoever asks for the status wants to hear now that the gateway is away."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Show who this machine is and how its backups stand."""
    from agents.commands.readers import own_trust
    from agents.engine.paths import display
    from agents.engine.reading import SnapshotReader
    from agents.keys.certificates import fingerprint
    from agents.state import AgentHome
    from agents.transport.reading_link import ReadingLink

    output = Output(as_json=as_json)
    home = AgentHome()
    machine = home.machine()
    output.text(f"machine    {display(machine.machine_name.encode())} ({machine.machine_id.hex()})")
    output.text(f"vault      {machine.vault_id.hex()}, epoch {machine.epoch}{_kind(machine)}")
    key = fingerprint(home.certificate_pem())
    output.text(f"key        {key}")
    output.text(f"gateway    {machine.host}:{machine.port}")
    link = ReadingLink(home, RETRY_FOR, output.note)
    try:
        link.connect()
        newest = next(iter(SnapshotReader(link, own_trust(home)).listed()), None)
        worker = link.status([newest.item.id] if newest else []).worker_alive
    finally:
        link.close()
    output.text(f"newest     {_newest(newest)}")
    output.text("worker     running" if worker else "worker     NOT running: snapshots are stored, but not verified")
    output.record("summary", **_summary(machine, newest, worker=worker), fingerprint=key)


def _kind(machine: MachineState) -> str:
    return ", write-only" if machine.write_only else ""


def _newest(listed: Listed | None) -> str:
    if listed is None:
        return "no snapshot yet"
    age = max(0, int(time.time() - listed.item.received_at / 1e6)) // 60
    ago = f"{age} min" if age < 120 else f"{age // 60} h" if age < 2880 else f"{age // 1440} days"
    return (
        f"{listed.name[:8]} of {moment(listed.statement.time)} ({ago} ago), {listed.item.state},"
        f" {listed.item.files:,} files, {size(listed.item.bytes)}"
    )


def _summary(machine: MachineState, newest: Listed | None, *, worker: bool) -> dict[str, Any]:
    latest = {"snapshot_id": newest.name, "state": newest.item.state} if newest else {}
    if newest:
        latest["received_at"] = instant(newest.item.received_at)
    return {
        "machine_id": machine.machine_id.hex(),
        "machine_name": machine.machine_name,
        "vault_id": machine.vault_id.hex(),
        "write_only": machine.write_only,
        "gateway": f"{machine.host}:{machine.port}",
        "worker_alive": worker,
        "newest": latest or None,
    }
