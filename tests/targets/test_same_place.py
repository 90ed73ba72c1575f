"""Two targets in one place are one copy, however the place is written or reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_platform.storage.local import LocalStore
from backup_platform.targets import services
from backup_platform.targets.models import Target, TargetKind
from backup_platform.targets.same_place import is_home_store, same_place
from tests.targets.conftest import KEYS, bucket_of


def directory(path: Path, name: str = "disk") -> Target:
    return Target(name=name, kind=TargetKind.LOCAL, path=str(path))


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


@pytest.mark.defence
def test_a_directory_by_another_name_is_the_same_place(disk: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(disk)
    assert same_place(directory(disk), directory(tmp_path / "link"))
    assert not same_place(directory(disk), directory(tmp_path / "elsewhere"))


@pytest.mark.parametrize(("one", "other", "same"), [
    ("https://s3.example.com", "https://S3.example.com:443", True),
    ("https://s3.example.com", "https://s3.example.com.", True),
    ("", "https://s3.eu-central-1.amazonaws.com", True),
    ("https://s3.example.com", "https://s3.example.com:9000", False),
    ("https://s3.example.com", "https://s3.example.org", False),
])  # fmt: skip
def test_an_endpoint_may_be_written_in_several_ways(one, other, same):
    assert same_place(bucket_of(endpoint=one), bucket_of(endpoint=other)) is same
    assert not same_place(bucket_of(endpoint=one, prefix="a"), bucket_of(endpoint=other, prefix="b"))


@pytest.mark.defence
def test_a_disk_that_is_a_target_already_is_refused_under_its_other_name(db, disk: Path, tmp_path: Path):
    services.create_target(directory(disk), None, actor="ada", staff=True)
    (tmp_path / "link").symlink_to(disk)
    with pytest.raises(services.TargetRefused, match="lies there already"):
        services.create_target(directory(tmp_path / "link", "again"), None, actor="ada", staff=True)


def test_a_bucket_under_another_spelling_is_refused(tenant):
    services.create_target(bucket_of(tenant), KEYS, actor="ada", staff=False)
    again = bucket_of(tenant, name="again", endpoint="https://93.184.215.14:443")
    with pytest.raises(services.TargetRefused, match="lies there already"):
        services.create_target(again, KEYS, actor="ada", staff=False)


@pytest.mark.defence
def test_the_disk_that_the_home_directorys_store_was_moved_to_is_refused(strongroom_home: Path, db, tmp_path: Path):
    """The store lies on a larger disk, by a link: a target there would hold the same files, not copies of them."""
    LocalStore.create(tmp_path / "large")
    (strongroom_home / "store").symlink_to(tmp_path / "large")
    assert is_home_store(directory(tmp_path / "large"))
    for path in (tmp_path / "large", tmp_path / "large" / "more"):
        with pytest.raises(services.TargetRefused, match="own home"):
            services.create_target(directory(path), None, actor="ada", staff=True)
