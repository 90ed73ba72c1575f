"""A platform that hands out a registration of its own making when a kit is made again from its printed keys."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from agents.keys.faults import KitFault
from agents.keys.kit import Kit, create_kit, rebuild_kit
from agents.keys.wrapped_secret import wrap_secret
from tests.agent.scripted_gateway import rsa_key

pytestmark = pytest.mark.defence
PASSPHRASE = "six words that only a test knows"


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    keys = {"opening": rsa_key("opening"), "signing": rsa_key("signing")}
    return create_kit(tmp_path / "kit", PASSPHRASE, "north", rounds=500, **keys)


def rebuild(tmp_path: Path, registration: bytes) -> Kit:
    return rebuild_kit(
        tmp_path / "again", PASSPHRASE, "north", keys=tmp_path / "kit", registration=registration, rounds=500
    )


def test_true_registration_makes_the_same_kit(tmp_path: Path, kit: Kit):
    assert rebuild(tmp_path, kit.registration()).enrollment == kit.enrollment


def test_dedup_secret_of_the_platforms_choice_is_refused(tmp_path: Path, kit: Kit):
    """Everything that it takes is public: the opening key's public half stands in the vault record."""
    known = b"the platform knows this secret.."
    forged = wrap_secret(known, vault_id=kit.vault_record.vault_id, epoch=1, recipient=kit.vault_record.opening_key)
    registration = json.loads(kit.registration()) | {"wrapped_secrets": [base64.b64encode(forged).decode()]}
    with pytest.raises(KitFault, match="commits to"):
        rebuild(tmp_path, json.dumps(registration).encode())
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("data", [b"[" * 100_000, b"{}", b"[]", b'{"record": 1, "wrapped_secrets": [1]}', b"\xff"])
def test_nonsense_is_one_sentence(tmp_path: Path, kit: Kit, data: bytes):
    with pytest.raises(KitFault, match="registration is damaged"):
        rebuild(tmp_path, data)
