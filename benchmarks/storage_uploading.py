"""Copies to a bucket: tiering's own way of a pack, against boto3's `upload_file` alone, to the same server.

Ours is `copy_to` for one pack after the other, as a worker's job does it: the row, a first pass that proves the pack
and makes its SHA-256, the upload in parts with a SHA-256 each, then the read-back of the whole. boto3 is given the same
files from the page cache, the same client, parts and threads, and adds no checksum; a further row takes it as it
comes. Everything is removed from the bucket after each turn.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.measuring import MIB, StepFailed, read_once
from benchmarks.storage_cells import cell, prepare_django
from benchmarks.storage_grounds import Grounds
from benchmarks.storage_stored import bucket_target, file_of, moved_packs

RATIO = 1.25
"""Seconds to seconds: 80 % of boto3's rate."""
ME = "benchmarks.storage_uploading"


def measure(grounds: Grounds) -> list[dict[str, Any]]:
    """The cells of this part."""
    store = grounds.stored()
    store.bucket()
    done = store.work_on(ME, str(grounds.runs))
    mib, corpus = done.pop("mib"), store.moved_corpus
    wall, cpu = ({name: statistics.median(one[kind] for one in taken) for name, taken in done.items()}
                 for kind in ("wall", "cpu"))  # fmt: skip
    alone = {"peer": wall["boto3"], "mib": mib}
    return [
        cell(corpus, "upload, without read-back", "wall", wall["transfer"], goal=RATIO, **alone),
        cell(corpus, "upload, with read-back", "wall", wall["ours"], **alone),
        cell(corpus, "of it the first pass, for SHA-256", "wall", wall["first pass"], mib=mib),
        cell(corpus, "of it the read-back", "wall", wall["read-back"], mib=mib),
        cell(corpus, "upload, with read-back", "cpu", cpu["ours"], peer=cpu["boto3"]),
        cell(corpus, "upload, without read-back, to boto3 as it comes", "wall", wall["transfer"],
             peer=wall["boto3 as it comes"], mib=mib),
    ]  # fmt: skip


# --- in the platform's Django ------------------------------------------------------------------------------------


@dataclass
class Clock:
    """Seconds that are spent within functions."""

    wall: float = 0.0
    cpu: float = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, with its time added here."""

        def timed(*arguments: Any, **named: Any) -> Any:
            began, used = time.perf_counter(), time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                self.wall += time.perf_counter() - began
                self.cpu += time.process_time() - used

        return timed

    def take(self) -> dict[str, float]:
        """What has been counted; from now on it counts anew."""
        found = {"wall": self.wall, "cpu": self.cpu}
        self.wall = self.cpu = 0.0
        return found


def take_turns(first: int, runs: int) -> dict[str, Any]:
    """Ours and boto3 in turn, `runs` times."""
    from backup_platform.targets.opening import open_store

    packs = moved_packs(first)
    store = open_store(bucket_target())
    turns: dict[str, Callable[[], dict[str, Any]]] = {
        "ours": _Ours(packs).copy,
        "boto3": lambda: _boto3(store, packs, same=True),
        "boto3 as it comes": lambda: _boto3(store, packs, same=False),
    }
    done: dict[str, list[Any]] = {}
    names = list(turns)
    for run in range(runs):
        for name in names[run % len(names) :] + names[: run % len(names)]:
            for pack in packs:
                read_once(file_of(pack).parent)
            for part, taken in turns[name]().items():
                done.setdefault(part, []).append(taken)
            _empty(store)
    return {**done, "mib": sum(pack.bytes for pack in packs) / MIB}


class _Ours:
    """Tiering's copies, with clocks around two of its steps."""

    def __init__(self, packs: list[Any]) -> None:
        from backup_platform.tiering import copying

        self.packs, self.copying = packs, copying
        self.whole, self.reading, self.passing = Clock(), Clock(), Clock()
        copying.read_back = self.reading.around(copying.read_back)
        copying._know_sha256 = self.passing.around(copying._know_sha256)  # noqa: SLF001

    def copy(self) -> dict[str, Any]:
        """Every pack to the bucket, as if none had ever been copied."""
        from backup_platform.catalog.models import Copy, Pack

        Copy.objects.all().delete()
        Pack.objects.filter(pk__in=[pack.pk for pack in self.packs]).update(sha256=b"")
        target = bucket_target()
        self.whole.around(self._copy_all)(target)
        whole, reading, passing = self.whole.take(), self.reading.take(), self.passing.take()
        transfer = {name: whole[name] - reading[name] for name in whole}
        Copy.objects.all().delete()
        return {"ours": whole, "transfer": transfer, "read-back": reading, "first pass": passing}

    def _copy_all(self, target: Any) -> None:
        from backup_platform.catalog.leases import pack_lease
        from backup_platform.tenants.scope import tenant_scope

        for pack in self.packs:
            with tenant_scope(pack.tenant_id), pack_lease(pack.pk) as held:
                if not self.copying.copy_to(held, target):
                    raise StepFailed(f"The copy of pack {pack.pk} is not good.")


def _boto3(store: Any, packs: list[Any], *, same: bool) -> dict[str, Any]:
    """`upload_file` for one file after the other. `same`: with our client, parts and threads; else with its own."""
    from boto3.s3.transfer import TransferConfig

    from backup_platform.storage.s3_content import PART_BYTES
    from backup_platform.storage.s3_writing import PARTS_AT_ONCE

    client = store.client if same else _plain_client()
    settings = (
        TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
        if same
        else TransferConfig()
    )
    clock = Clock()
    upload = clock.around(client.upload_file)
    for pack in packs:
        upload(str(file_of(pack)), store.bucket, f"boto3/{pack.uid.hex}", Config=settings)
    return {"boto3" if same else "boto3 as it comes": clock.take()}


def _plain_client() -> Any:
    """A client as anybody would make one; only the address form is given, as this server knows no other."""
    import boto3
    from botocore.config import Config

    from backup_platform.targets.credentials import opened

    target = bucket_target()
    held = opened(target)
    return boto3.client(
        "s3", endpoint_url=target.endpoint, region_name=target.region, aws_access_key_id=held.access_key,
        aws_secret_access_key=held.secret_key, config=Config(s3={"addressing_style": "path"}, proxies={}),
    )  # fmt: skip


def _empty(store: Any) -> None:
    pages = store.client.get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=store.bucket):
        for found in page.get("Contents", []):
            store.client.delete_object(Bucket=store.bucket, Key=found["Key"])


def main() -> None:
    prepare_django()
    from backup_platform.tenants.scope import without_tenant_scope

    with without_tenant_scope("the benchmark has one tenant"):
        print(json.dumps(take_turns(int(sys.argv[1]), int(sys.argv[2]))))


if __name__ == "__main__":
    main()
