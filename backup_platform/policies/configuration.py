"""What is sent to machines: their configuration, and the specification of one backup job."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from backup_platform.fleet.models import Machine
from backup_platform.tenants.scope import tenant_scope

from .effective import Effective, applying_policies, effective
from .models import Policy

MAX_CHARACTERS = 256_000
"""What the protocol's CONFIGURE and OFFER carry of JSON."""


def configuration_for(machine: Machine) -> str:
    """A machine's configuration as JSON of at most `MAX_CHARACTERS`: `{"version", "tenant", "machine", "policies":
    [{"id", "name", "version", "paused", "settings", "origins"}], "left_out": [names]}`.

    `version` is a digest of the rest, so that whoever holds a configuration knows whether it is the same. What does
    not fit is left out in this order: origins, then the last policies by name, which `left_out` then names.
    """
    with tenant_scope(machine.tenant_id):
        body: dict[str, Any] = {"tenant": machine.tenant.name, "machine": machine.name, "left_out": []}
        body["policies"] = [_entry(one.policy, one.settings) for one in applying_policies(machine)]
    return _fitted(body)


def _entry(policy: Policy, settings: dict[str, Effective]) -> dict[str, Any]:
    return {
        "id": str(policy.pk),
        "name": policy.name,
        "version": policy.version,
        "paused": policy.paused_at is not None,
        "settings": {name: one.value for name, one in settings.items()},
        "origins": {name: one.origin for name, one in settings.items()},
    }


def _fitted(body: dict[str, Any]) -> str:
    text = _written(body)
    if len(text) > MAX_CHARACTERS:
        for entry in body["policies"]:
            entry["origins"] = {}
        text = _written(body)
    while len(text) > MAX_CHARACTERS:
        body["left_out"].insert(0, body["policies"].pop()["name"])
        text = _written(body)
    return text


def _written(body: dict[str, Any]) -> str:
    bare = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    version = hashlib.sha256(bare.encode("utf-8", "backslashreplace")).hexdigest()[:32]
    return json.dumps({"version": version, **body}, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def spec_of(policy: Policy, machine: Machine) -> dict[str, Any]:
    """What a backup job of this policy tells this machine's agent: the policy, and every effective setting."""
    settings = {name: one.value for name, one in effective(policy, machine).items()}
    return {"policy": policy.name, "policy_id": str(policy.pk), "version": policy.version, "settings": settings}
