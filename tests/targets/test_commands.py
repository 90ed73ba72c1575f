"""`manage.py create_target` and `probe_target`."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command

from backup_platform.targets import bucket_probe
from backup_platform.targets.queries import targets_of
from tests.s3_server import ACCESS_KEY, SECRET_KEY

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def few_pages(monkeypatch):
    monkeypatch.setattr(bucket_probe, "PAGE_KEYS", 5)


@pytest.fixture
def keys(monkeypatch, tmp_path):
    """The access key in the environment, the secret one in a file."""
    (tmp_path / "secret").write_text(f"{SECRET_KEY}\n")
    monkeypatch.setenv("STRONGROOM_TARGET_ACCESS_KEY", ACCESS_KEY)
    monkeypatch.setenv("STRONGROOM_TARGET_SECRET_KEY_FILE", str(tmp_path / "secret"))


def run(*arguments) -> str:
    output = io.StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def test_a_bucket_is_added_and_probed_from_the_command_line(tenant, s3_server, keys):
    answer = json.loads(run("create_target", "cloud", "--tenant", "ours", "--kind", "s3", "--endpoint", s3_server.url,
                            "--region", "us-east-1", "--bucket", s3_server.make_bucket(), "--allow-private", "--price",
                            "0.023", "--currency", "eur", "--json"))  # fmt: skip
    assert answer["usable"]
    assert answer["checksums"]
    assert [target.name for target in targets_of(tenant.pk)] == ["cloud"]
    text = run("probe_target", "cloud", "--tenant", "ours")
    assert "SHA-256" in text
    assert SECRET_KEY not in text


def test_a_directory_is_added(tmp_path):
    assert "good" in run("create_target", "disk", "--kind", "local", "--path", str(tmp_path / "x"))


@pytest.mark.parametrize(("arguments", "words"), [
    (["create_target", "x", "--kind", "local", "--path", "relative"], "absolute"),
    (["create_target", "x", "--kind", "s3", "--bucket", "our-bucket", "--endpoint", "https://127.0.0.1"], "inside"),
    (["create_target", "x", "--kind", "local", "--path", "/x", "--price", "much"], "price"),
    (["create_target", "x", "--kind", "local", "--path", "/x", "--tenant", "nobody"], "nobody"),
    (["probe_target", "nothing"], "no target named"),
])  # fmt: skip
def test_faults_are_one_sentence(arguments, words, keys):
    with pytest.raises(CommandError, match=words):
        run(*arguments)


def test_credentials_are_asked_for_and_never_taken_as_arguments(s3_server):
    with pytest.raises(CommandError, match="STRONGROOM_TARGET_ACCESS_KEY"):
        run("create_target", "x", "--kind", "s3", "--bucket", "our-bucket")
