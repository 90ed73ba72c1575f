"""`strongroom config`: look at this machine's configuration, check it, take it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agents.commands.output import Output

if TYPE_CHECKING:
    from agents.daemon.effective import Setting


@click.group()
def command() -> None:
    """Look at this machine's configuration (agent.toml in the agent's home), check it, take it back."""


@command.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(file: Path | None, as_json: bool) -> int:
    """Check agent.toml, or a FILE that is to become it. Exit code 2 says that something is wrong."""
    from agents.daemon.configuration_file import FILE, read
    from agents.errors import ExitCode, NotFound
    from agents.state import AgentHome

    path = file if file is not None else AgentHome().path / FILE
    loaded = read(path)
    if not loaded.exists and file is not None:
        raise NotFound(f"There is no file {path}.", "Check the spelling.")
    output = Output(as_json=as_json)
    if not loaded.exists:
        output.text(f"There is no {path}: the defaults are in force.")
    elif loaded.distrust:
        output.text(f"{path} says nothing wrong, but: {loaded.distrust}")
    else:
        output.text(f"{path} is good.")
    output.record("summary", file=str(path), exists=loaded.exists, distrust=loaded.distrust)
    return ExitCode.USAGE if loaded.distrust else ExitCode.DONE


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@click.option("--changed", is_flag=True, help="Only what is not the default.")
def show(as_json: bool, changed: bool) -> None:
    """Show every setting that is in force, and where it comes from: default, agent.toml, or the platform's policies."""
    from agents.daemon.configuration_file import ConfigurationFile
    from agents.daemon.effective import own_settings, platform_settings
    from agents.daemon.platform_configuration import kept
    from agents.state import AgentHome

    output, home = Output(as_json=as_json), AgentHome().path
    file = ConfigurationFile(home, keep=False)
    file.refresh()
    if file.fault is not None:
        output.warn(f"{file.fault} What was in force before it is shown.")
    if file.loaded.distrust:
        output.warn(file.loaded.distrust)
    platform = kept(home)
    settings = [*own_settings(file.loaded.configuration), *platform_settings(platform)]
    shown = [setting for setting in settings if not (changed and setting.origin.endswith("default"))]
    width = min(48, max((len(setting.name) for setting in shown), default=0))
    for setting in shown:
        _show(output, setting, width)
    output.record("summary", file=str(file.path), fault=str(file.fault or ""), version=platform.version)


def _show(output: Output, setting: Setting, width: int) -> None:
    value = json.dumps(setting.value, ensure_ascii=False)
    output.text(f"{setting.name:{width}}  {value}  ({setting.origin})")
    output.record("setting", name=setting.name, value=setting.value, origin=setting.origin)


@command.command()
def rollback() -> None:
    """Put the last good configuration back into its place; a second time, the one before it."""
    from agents.daemon.configuration_file import ConfigurationFile
    from agents.state import AgentHome

    file = ConfigurationFile(AgentHome().path, keep=False)
    taken = file.rollback()
    Output(as_json=False).text(f"{file.path} is again what {taken.name} held. A running daemon takes it by itself.")
