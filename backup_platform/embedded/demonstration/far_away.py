"""The demonstration's second place: packs go to an S3 bucket, local copies leave, and all of it comes back."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from backup_platform.embedded.demonstration.bucket import BUCKET, REGION, BucketServer
from backup_platform.embedded.demonstration.commands import StepFailed, last_object, run, shown
from backup_platform.embedded.demonstration.comparing import compare_trees
from backup_platform.embedded.demonstration.showing import Demonstration
from backup_platform.embedded.demonstration.telling import megabytes
from backup_platform.embedded.durable_files import write_private
from backup_platform.embedded.platform_processes import MANAGE

TARGET = "Demonstration bucket"
MOVE_SECONDS = 600
LOOK_SECONDS = 1.0


class FarAway:
    """Three steps after the first restore. The S3 server keeps running until `stop`."""

    def __init__(self, demonstration: Demonstration) -> None:
        self.shown = demonstration
        self.server = BucketServer(demonstration.directory / "s3")
        self.restored = demonstration.directory / "restored-from-s3"

    def run(self) -> bool:
        """Whether the tree that came back from the bucket alone equals the source. Adds that to demo.json."""
        self.add_bucket()
        self.wait_until_moved()
        equal = self.restore_and_compare()
        result = json.loads((self.shown.home / "demo.json").read_text(encoding="utf-8"))
        write_private(self.shown.home / "demo.json", json.dumps({**result, "equal_from_s3": equal}) + "\n")
        return equal

    def add_bucket(self) -> None:
        """A real S3 server, a target that was probed, and a rule."""
        with self.shown.teller.step(
            "A second place: an S3 bucket",
            "A real S3 server out of a Python package. The target is tried out before it is used, and a rule says that"
            " packs go there and that local copies may leave once their copy was read back.",
        ) as lines:
            self.server.start()
            tenant = ["--tenant", self.shown.name]
            place = ["--endpoint", self.server.url, "--region", REGION, "--bucket", BUCKET, "--allow-private"]
            self._manage(lines, ["create_target", TARGET, "--kind", "s3", *tenant, *place])
            rule = ["--target", TARGET, "--copy", "verified", "--at-once", "--evict", "0"]
            self._manage(lines, ["set_tier_rule", *tenant, *rule])

    def wait_until_moved(self) -> None:
        """Every pack copied, read back and gone from this host."""
        with self.shown.teller.step(
            "Packs move to the bucket",
            "Each is copied with its SHA-256, read back whole, and only then let go here.",
        ) as lines:
            began = time.monotonic()
            storage = self._wait(began)
            lines.append(self._manage([], ["unlink_evicted", "--now"]).strip())
            there = storage["targets"][0]
            lines.append(
                f"{there['copies']:,} packs, {megabytes(there['bytes'])}, at the bucket;"
                f" {storage['here_packs']} left here; {time.monotonic() - began:.0f} s"
            )

    def restore_and_compare(self) -> bool:
        """The same restore as before, into another directory, out of the bucket."""
        with self.shown.teller.step(
            "Restoring from the bucket alone",
            "No pack is on this host any more: what is restored now was read from S3, and checked by the agent again.",
        ) as lines:
            more = ["--keep-setuid"] if os.geteuid() == 0 else []
            self.shown.agent(lines, ["restore", "latest", "--target", str(self.restored), *more, "--json"])
            restored = os.fsencode(self.restored) + os.fsencode(self.shown.source)
            comparison = compare_trees(os.fsencode(self.shown.source), restored)
            lines.append(
                f"{comparison.files:,} files, {megabytes(comparison.size)}: "
                + ("no difference" if comparison.equal else f"{comparison.differences} differences")
            )
            lines.extend(comparison.examples)
        return comparison.equal

    def stop(self) -> None:
        """End the S3 server."""
        self.server.stop()

    def _wait(self, began: float) -> dict[str, Any]:
        while True:
            storage = last_object(self._manage([], ["tier_status", "--tenant", self.shown.name, "--json"]))
            if storage["packs"] and not storage["here_packs"] and not storage["targets"][0]["lacking_packs"]:
                return storage
            if time.monotonic() - began > MOVE_SECONDS:
                raise StepFailed("The packs did not reach the bucket in time.", f"tier_status says: {storage}")
            time.sleep(LOOK_SECONDS)

    def _manage(self, lines: list[str], arguments: list[str]) -> str:
        command = [*MANAGE, *arguments]
        lines.append(f"$ {shown(command)}")
        return run(command, {**self.shown.environment, **self.server.credentials})


@contextmanager
def bucket_until_the_end(demonstration: Demonstration) -> Iterator[FarAway]:
    """The steps; whatever happens, their S3 server is stopped."""
    steps = FarAway(demonstration)
    try:
        yield steps
    finally:
        steps.stop()
