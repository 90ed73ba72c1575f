"""Bits that flip anywhere in what is stored: all found, no wrong byte restored, all healed. `make soak` turns 1,000."""

from __future__ import annotations

import os

from tests.upkeep.scrub_flips import run_flips


def test_every_flipped_bit_is_found_and_healed_and_none_is_ever_restored(scrub_vault_row):
    stage = run_flips(scrub_vault_row, int(os.environ.get("FLIPS") or 25))
    assert stage.done == int(os.environ.get("FLIPS") or 25)
