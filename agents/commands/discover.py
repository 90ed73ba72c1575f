"""`strongroom discover`: the gateways of the local network."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from agents.commands.output import Output

if TYPE_CHECKING:
    from agents.transport.discovering import Found

LISTEN = 3.0


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(0.2, 60), default=LISTEN, show_default=True, help="How long to listen."
)
@click.option("--interface", multiple=True, metavar="ADDRESS", help="Listen on this address only.")
@click.option("--choose", is_flag=True, help="Choose one, and have this enrolled machine use its address from now on.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
def command(seconds: float, interface: tuple[str, ...], choose: bool, as_json: bool) -> None:
    """List the gateways that announce themselves on the local network.

    Anybody there can announce anything. Compare the fingerprint with the one that your operator gives you; an enrolled
    machine talks to gateways of its own platform only, whatever their address.
    """
    from agents.errors import NotFound
    from agents.transport.discovering import discover

    output = Output(as_json=as_json)
    found = discover(seconds, interface)
    for number, gateway in enumerate(found, 1):
        _show(output, number, gateway)
    if choose:
        if not found:
            raise NotFound("No gateway announces itself here.", "Ask the operator for its address.")
        _use(output, found)
    elif not found:
        output.text("No gateway announces itself here. An enrolment string names its gateway's address by itself.")
    output.record("summary", gateways=len(found))


def _show(output: Output, number: int, gateway: Found) -> None:
    load = "" if gateway.load is None else f", {gateway.load} % busy"
    output.text(f"{number}. {gateway.name}  {gateway.address}  version {gateway.version or 'unknown'}{load}")
    output.text(f"   CA fingerprint (SHA-256) {gateway.ca or 'not given'}")
    output.record("gateway", **asdict(gateway))


def _use(output: Output, found: list[Found]) -> None:
    """Ask which one, and keep its address, if it is one of this machine's own platform."""
    from agents.errors import Refused, UsageFault
    from agents.state import AgentHome

    if not sys.stdin.isatty():
        raise UsageFault("There is no terminal to ask on.", "Leave --choose out, and look at the list.")
    home = AgentHome()
    machine = home.machine()
    number = click.prompt("Which one", type=click.IntRange(1, len(found)), err=True)
    chosen = found[number - 1]
    if chosen.ca != machine.ca_pin.hex():
        raise Refused(
            f"{chosen.name} belongs to another platform than the one that this machine is enrolled at.",
            "To join that one, ask its operator for an enrolment string.",
        )
    home.save_machine(replace(machine, host=chosen.host, port=chosen.port))
    output.text(f"This machine uses {chosen.address} from now on.")
