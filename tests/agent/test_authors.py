"""Whom a machine seals its snapshots to: the vault record's recipients and its own reading key, if it may read."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.commands.backup import make_author
from agents.errors import AuthenticationFault
from agents.keys.vault_record import VaultRecord, open_vault_record
from tests.agent.scripted_gateway import make_home, rsa_key, vault_record


def record(epoch: int = 1) -> VaultRecord:
    return open_vault_record(vault_record(epoch=epoch), rsa_key("signing").public.key_hash, 1)


def recipients(home) -> list[bytes]:
    return [recipient.key.key_hash for recipient in make_author(home, record()).recipients]


def test_machine_seals_to_the_vault_and_to_itself(tmp_path: Path) -> None:
    home = make_home(tmp_path / "agent", 1)
    assert recipients(home) == [rsa_key("opening").public.key_hash, rsa_key("reading").public.key_hash]


@pytest.mark.defence
def test_write_only_machine_seals_to_the_vault_alone(tmp_path: Path) -> None:
    home = make_home(tmp_path / "agent", 1, write_only=True)
    assert recipients(home) == [rsa_key("opening").public.key_hash]


@pytest.mark.defence
def test_machine_that_lacks_the_epochs_secret_seals_nothing(tmp_path: Path) -> None:
    home = make_home(tmp_path / "agent", 1)
    with pytest.raises(AuthenticationFault, match="epoch 2"):
        make_author(home, record(epoch=2))
