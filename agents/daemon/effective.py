"""What is in force on this machine, setting by setting, and where each value comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from agents.daemon.configuration import Configuration
from agents.daemon.platform_configuration import PlatformConfiguration

DEFAULT, OWN = "default", "agent.toml"


@dataclass(frozen=True)
class Setting:
    """One value; `origin` is `default`, `agent.toml` or the policy's own words."""

    name: str
    value: Any
    origin: str


def own_settings(configuration: Configuration) -> Iterator[Setting]:
    """The machine's own settings, named as agent.toml writes them."""
    yield from _walk("", msgspec.to_builtins(configuration), msgspec.to_builtins(Configuration()))


def _walk(prefix: str, present: dict[str, Any], usual: dict[str, Any]) -> Iterator[Setting]:
    for name, value in present.items():
        before = usual.get(name)
        if isinstance(value, dict) and (value or isinstance(before, dict)):
            yield from _walk(f"{prefix}{name}.", value, before if isinstance(before, dict) else {})
        else:
            yield Setting(f"{prefix}{name}", value, DEFAULT if name in usual and value == before else OWN)


def platform_settings(configuration: PlatformConfiguration) -> Iterator[Setting]:
    """Every policy's settings as the platform says that they apply here."""
    for policy in configuration.policies:
        for name in sorted(policy.settings):
            origin = policy.origins.get(name, "") or f"policy {policy.name}"
            yield Setting(f"{policy.name}: {name}", policy.settings[name], f"platform, {origin}")
