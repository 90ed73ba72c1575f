"""`strongroom service`: have systemd run the daemon."""

from __future__ import annotations

import click

from agents.commands.output import Output

USER = click.option("--user", is_flag=True, help="A service of this user, not of the machine.")


@click.group()
def command() -> None:
    """Have systemd run the daemon."""


@command.command()
@USER
@click.option("--print", "only_print", is_flag=True, help="Show the unit, and change nothing.")
def install(user: bool, only_print: bool) -> None:
    """Write a unit, enable it and start it."""
    from agents.daemon import service_unit
    from agents.state import AgentHome

    home = AgentHome()
    output = Output(as_json=False)
    if only_print:
        for line in service_unit.unit(home.path.absolute(), user=user).splitlines():
            output.text(line)
        return
    home.machine()
    path = service_unit.install(home.path.absolute(), user=user)
    output.text(f"{path} is written, enabled and started. `strongroom service status` shows how it is.")


@command.command()
@USER
def uninstall(user: bool) -> None:
    """Stop the service and remove its unit. The agent's home stays."""
    from agents.daemon import service_unit

    path = service_unit.uninstall(user=user)
    Output(as_json=False).text(f"The service is stopped and {path} removed. The agent's home is as it was.")


@command.command()
@USER
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(user: bool, as_json: bool) -> int:
    """Say whether the daemon runs. Exit code 1 says that it does not."""
    from agents.daemon import service_unit
    from agents.errors import ExitCode

    said = service_unit.status(user=user)
    output = Output(as_json=as_json)
    output.text(f"{service_unit.NAME} is {said}.")
    output.record("summary", service=service_unit.NAME, state=said)
    return ExitCode.DONE if said in ("active", "activating", "reloading") else ExitCode.FAILED
