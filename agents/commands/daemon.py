"""`strongroom daemon`: wait for jobs and do them."""

from __future__ import annotations

import click


@click.command()
def command() -> None:
    """Hold a connection to the platform, do the jobs that it offers, and report.

    It runs in the foreground until SIGTERM or Ctrl-C; `strongroom service install` has systemd run it. Its
    configuration is agent.toml in the agent's home and is read again when it changes.
    """
    from agents.daemon.daemon import serve
    from agents.state import AgentHome

    home = AgentHome()
    home.machine()
    with home.locked("daemon.lock"):
        serve(home)
