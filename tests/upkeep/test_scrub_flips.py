"""Bits that flip anywhere in what is stored: all found, no wrong byte restored, all healed. `make soak` turns 1,000."""

from __future__ import annotations

import os

from backup_platform.targets.models import Target
from tests.upkeep.scrub_flips import Bucket, run_flips

COUNT = int(os.environ.get("FLIPS") or 25)


def test_every_flipped_bit_is_found_and_healed_and_none_is_ever_restored(scrub_vault_row):
    assert run_flips(scrub_vault_row, COUNT).done == COUNT


def test_every_flipped_bit_in_a_bucket_too_is_found_and_healed(scrub_vault_row, s3_server, s3_target_row):
    def make_bucket() -> tuple[Target, Bucket]:
        cloud = s3_target_row(scrub_vault_row.tenant, parity_percent=10)
        return cloud, Bucket(s3_server.client(), cloud.bucket)

    stage = run_flips(scrub_vault_row, COUNT, make_cloud=make_bucket)
    assert stage.done == COUNT
