"""A bucket as a store: what it promises when the service answers, and above all when it does not."""

from __future__ import annotations

import io
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from backup_platform.storage.base import AlreadyThere, NotFound, StoreError, StoreUnavailable
from backup_platform.storage.s3 import Abilities, Account, Keeping, Patience, S3Store
from backup_platform.storage.s3_content import PART_BYTES
from tests.faulty_s3 import S3Fault
from tests.s3_server import ABILITIES, ACCESS_KEY, SECRET_KEY

QUICK = Patience(connect=10, silence=30, attempts=2)
BIG = 2 * PART_BYTES + 1000
KNOWN = pytest.mark.parametrize("abilities", [ABILITIES, Abilities()], ids=["known", "unknown"])


def content_of(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def keys_of(store: S3Store) -> list[str]:
    return list(store.list())


@KNOWN
@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES])
def test_contents_of_every_number_of_parts_come_back(s3_server, abilities, size):
    store, content = s3_server.store(abilities=abilities), content_of(size)
    store.put("a.pack", io.BytesIO(content), sha256=sha256(content).digest())
    assert store.get("a.pack") == content
    with pytest.raises(AlreadyThere):
        store.put("a.pack", io.BytesIO(content_of(size, 2)))
    assert store.get("a.pack") == content


def test_a_wrong_sum_of_many_parts_stores_nothing_and_leaves_no_upload(s3_server):
    store = s3_server.store()
    with pytest.raises(StoreError, match="SHA-256"):
        store.put("a.pack", io.BytesIO(content_of(BIG)), sha256=bytes(32))
    assert keys_of(store) == []
    assert not s3_server.client().list_multipart_uploads(Bucket=store.bucket).get("Uploads")


def test_uploads_that_nobody_finished_are_cleared_away(s3_server):
    store, client = s3_server.store(), s3_server.client()
    client.create_multipart_upload(Bucket=store.bucket, Key="left.pack")
    assert store.clear_unfinished(older_than_hours=1) == 0
    assert store.clear_unfinished(older_than_hours=-1) == 1
    assert not client.list_multipart_uploads(Bucket=store.bucket).get("Uploads")


@pytest.mark.defence
@KNOWN
@pytest.mark.parametrize("size", [1000, BIG])
def test_an_answer_that_was_lost_after_the_deed_is_success(faulty_s3, abilities, size):
    """Timeout after commit: the repetition is told "already there", and what is there is ours."""
    store, content = faulty_s3.store(abilities=abilities), content_of(size)
    method = "PUT" if size < PART_BYTES else "POST"
    part = "a.pack" if size < PART_BYTES else "uploadId="
    faulty_s3.next(S3Fault.TIMEOUT_AFTER, method, part)
    store.put("a.pack", content)
    assert faulty_s3.counts[S3Fault.TIMEOUT_AFTER] == 1
    assert store.get("a.pack") == content


@pytest.mark.defence
@pytest.mark.parametrize("size", [1000, BIG])
def test_every_attempt_unanswered_is_examined_and_found_done(faulty_s3, size):
    store, content = faulty_s3.store(patience=QUICK), content_of(size)
    method = "PUT" if size < PART_BYTES else "POST"
    part = "a.pack" if size < PART_BYTES else "uploadId="
    for _ in range(QUICK.attempts):
        faulty_s3.next(S3Fault.TIMEOUT_AFTER, method, part)
    store.put("a.pack", content)
    assert store.get("a.pack") == content


@pytest.mark.defence
def test_what_somebody_else_put_meanwhile_is_not_taken_for_ours(faulty_s3):
    """The first attempt was lost before it was done, and another writer came in between."""
    bucket = faulty_s3.server.make_bucket()
    store, other = faulty_s3.store(bucket, patience=QUICK), faulty_s3.server.store(bucket)
    other.put("a.pack", b"theirs")
    for _ in range(QUICK.attempts):
        faulty_s3.next(S3Fault.DROP_BEFORE, "PUT")
    with pytest.raises(AlreadyThere):
        store.put("a.pack", b"ours!!")
    assert other.get("a.pack") == b"theirs"


def test_what_was_not_done_is_said_to_be_unknown(faulty_s3):
    store = faulty_s3.store(patience=QUICK)
    for _ in range(QUICK.attempts):
        faulty_s3.next(S3Fault.ERROR_500, "PUT")
    with pytest.raises(StoreUnavailable):
        store.put("a.pack", b"content")
    store.put("a.pack", b"content")


def written_at_once(store: S3Store, size: int) -> list[int]:
    """Six writers of one key, each with a content of its own; those that were told that theirs is there."""
    gate, winners = threading.Barrier(6), []

    def write(number: int) -> None:
        gate.wait()
        try:
            store.put("a.pack", bytes([number]) * size)
            winners.append(number)
        except AlreadyThere:
            pass

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    return winners


@pytest.mark.defence
def test_of_many_writers_at_once_one_wins(s3_server):
    store = s3_server.store()
    winners = written_at_once(store, 100)
    assert len(winners) == 1
    assert store.get("a.pack") == bytes(winners) * 100


def test_of_many_writers_in_parts_no_mixture_stays(s3_server):
    """This server does not make the condition at the end of an upload in parts atomic: the last of a tie may win."""
    store = s3_server.store()
    winners = written_at_once(store, BIG)
    assert winners
    assert store.get("a.pack") in {bytes([winner]) * BIG for winner in winners}


@pytest.mark.defence
@pytest.mark.parametrize("act", ["get", "size", "open", "delete", "exists"])
def test_an_error_is_not_absence(faulty_s3, act):
    store = faulty_s3.store(patience=QUICK)
    store.put("here", b"content")
    faulty_s3.share, faulty_s3.kinds = 1.0, {S3Fault.ERROR_500}
    with pytest.raises(StoreUnavailable):
        getattr(store, act)("here")
    faulty_s3.calm()
    assert store.get("here") == b"content"


@pytest.mark.defence
def test_a_bucket_that_is_gone_is_an_error_and_not_an_empty_store(s3_server):
    store = s3_server.store()
    store.put("key", b"content")
    store.delete("key")
    s3_server.client().delete_bucket(Bucket=store.bucket)
    for act in (lambda: store.get("key"), lambda: store.size("key"), lambda: store.exists("key"),
                lambda: keys_of(store), lambda: store.delete("key")):  # fmt: skip
        with pytest.raises(StoreUnavailable, match="bucket"):
            act()


@pytest.mark.defence
@pytest.mark.parametrize("fault", [S3Fault.FAILED_LIST, S3Fault.TRUNCATED])
def test_a_listing_that_breaks_off_is_an_error_at_any_page(faulty_s3, fault):
    bucket = faulty_s3.server.make_bucket()
    keys = [f"{number:04}" for number in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: faulty_s3.server.store(bucket).put(key, b""), keys[:1]))
        writer = faulty_s3.server.store(bucket)
        list(pool.map(lambda key: writer.put(key, b""), keys[1:]))
    store = faulty_s3.store(bucket, patience=QUICK)
    assert list(store.list()) == keys
    for part in ("list-type", "continuation-token"):
        for _ in range(4):
            faulty_s3.next(fault, "GET", part)
        with pytest.raises(StoreUnavailable):
            list(store.list())
        faulty_s3.calm()


def test_a_body_that_is_cut_off_is_read_again(faulty_s3):
    store, content = faulty_s3.store(), content_of(300_000)
    store.put("a.pack", content)
    for act in (lambda: store.get("a.pack"), lambda: store.get("a.pack", 0, 300_000),
                lambda: store.open("a.pack").read()):  # fmt: skip
        faulty_s3.next(S3Fault.TRUNCATED, "GET", "a.pack")
        assert act() == content
    assert faulty_s3.counts[S3Fault.TRUNCATED] == 3


def test_a_body_that_is_always_cut_off_is_an_error(faulty_s3):
    store = faulty_s3.store()
    store.put("a.pack", content_of(300_000))
    faulty_s3.share, faulty_s3.kinds = 1.0, {S3Fault.TRUNCATED}
    with pytest.raises(StoreUnavailable):
        store.get("a.pack")


@KNOWN
def test_bytes_that_change_on_the_way_up_are_not_stored(faulty_s3, abilities):
    store, content = faulty_s3.store(abilities=abilities), content_of(1000)
    faulty_s3.next(S3Fault.FLIPPED_UPLOAD, "PUT")
    with pytest.raises(StoreError):
        store.put("a.pack", content)
    assert not store.exists("a.pack")
    store.put("a.pack", content)
    assert store.get("a.pack") == content


def test_a_whole_object_that_comes_back_changed_is_noticed(faulty_s3):
    store, content = faulty_s3.store(), content_of(1000)
    store.put("a.pack", content)
    faulty_s3.next(S3Fault.FLIPPED, "GET", "a.pack")
    assert store.get("a.pack") == content
    assert faulty_s3.counts[S3Fault.FLIPPED] == 1


def test_an_unanswered_delete_is_looked_at(faulty_s3):
    store = faulty_s3.store(patience=QUICK)
    store.put("key", b"content")
    for _ in range(QUICK.attempts):
        faulty_s3.next(S3Fault.TIMEOUT_AFTER, "DELETE")
    store.delete("key")
    assert not store.exists("key")


def test_an_object_is_read_like_a_file(s3_server):
    store, content = s3_server.store(), content_of(3_000_000)
    store.put("a.pack", content)
    choose = random.Random(7)
    with store.open("a.pack") as file:
        for _ in range(30):
            start, length = choose.randrange(3_100_000), choose.randrange(400_000)
            file.seek(start)
            assert file.read(length) == content[start : start + length]
        file.seek(-10, os.SEEK_END)
        assert file.read() == content[-10:]
        file.seek(0)
        assert file.read() == content


def test_an_object_that_is_replaced_while_it_is_read_is_an_error(s3_server):
    store = s3_server.store()
    store.put("key", content_of(2_000_000, 1))
    with store.open("key") as file:
        file.read(10)
        store.put("key", content_of(2_000_000, 2), only_if_absent=False)
        with pytest.raises(StoreUnavailable, match="replaced"):
            file.read()


def test_a_prefix_keeps_stores_apart_and_what_is_no_key_is_passed_over(s3_server):
    bucket = s3_server.make_bucket()
    one, two = s3_server.store(bucket, prefix="one"), s3_server.store(bucket, prefix="two/deep")
    one.put("a/key", b"1")
    two.put("a/key", b"2")
    s3_server.client().put_object(Bucket=bucket, Key="one/Not A Key", Body=b"")
    assert (keys_of(one), keys_of(two)) == (["a/key"], ["a/key"])
    assert (one.get("a/key"), two.get("a/key")) == (b"1", b"2")


def test_packs_take_the_storage_class_and_records_do_not(s3_server):
    store = s3_server.store(keeping=Keeping(storage_class="STANDARD_IA"))
    store.put("a.pack", b"pack")
    store.put("a.root", b"root")
    assert store.head("a.pack").get("StorageClass") == "STANDARD_IA"
    assert store.head("a.root").get("StorageClass", "STANDARD") == "STANDARD"


@pytest.mark.parametrize("size", [100, PART_BYTES + 1])
def test_locked_objects_stay_for_their_days(s3_server, size):
    bucket = s3_server.make_bucket(ObjectLockEnabledForBucket=True)
    store = s3_server.store(bucket, keeping=Keeping(lock_days=1))
    store.put("a.pack", content_of(size))
    head = store.head("a.pack")
    assert head["ObjectLockMode"] == "COMPLIANCE"
    version = head["VersionId"]
    with pytest.raises(Exception, match=r"AccessDenied|Access Denied"):
        s3_server.client().delete_object(Bucket=bucket, Key="a.pack", VersionId=version)


def test_a_service_that_is_away_and_comes_back(faulty_s3):
    store = faulty_s3.store(patience=QUICK)
    store.put("key", b"content")
    faulty_s3.refuse = True
    for act in (lambda: store.get("key"), lambda: store.put("other", b""), lambda: keys_of(store)):
        with pytest.raises(StoreUnavailable):
            act()
    faulty_s3.refuse = False
    assert store.get("key") == b"content"


@pytest.mark.parametrize(("code", "words"), [
    ("InvalidAccessKeyId", "credentials are refused"), ("ExpiredToken", "credentials are refused"),
    ("RequestTimeTooSkewed", "clock"), ("AccessDenied", "Access is denied"), ("NoSuchBucket", "bucket"),
])  # fmt: skip
def test_refusals_are_told_in_plain_words(faulty_s3, code, words):
    store = faulty_s3.store(patience=QUICK)
    store.put("key", b"content")
    faulty_s3.denied, faulty_s3.denied_code = True, code
    for act in (lambda: store.get("key"), lambda: store.size("key"), lambda: store.put("other", b""),
                lambda: store.delete("key"), lambda: keys_of(store)):  # fmt: skip
        with pytest.raises(StoreUnavailable, match=words):
            act()


@pytest.mark.defence
def test_no_message_holds_a_secret(s3_server, faulty_s3):
    bucket = s3_server.make_bucket()
    wrong = s3_server.store(bucket, account=Account(ACCESS_KEY, "wrong-secret-abcdef"))
    unknown = s3_server.store(bucket, account=Account("unknown-access", "wrong-secret-abcdef"))
    away = faulty_s3.store(bucket, patience=QUICK)
    faulty_s3.refuse = True
    told = []
    for store in (wrong, unknown, away):
        for act in (lambda: store.get("key"), lambda: store.put("key", b"x"), lambda: keys_of(store)):  # noqa: B023
            with pytest.raises(StoreUnavailable) as caught:
                act()
            told.append(f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__suppress_context__}")
    text = " ".join(told)
    assert "credentials are refused" in text
    for secret in (ACCESS_KEY, SECRET_KEY, "wrong-secret-abcdef", "unknown-access", s3_server.url, faulty_s3.url):
        assert secret not in text
    assert "False" not in text  # no traceback shows what the client said


def test_with_one_call_in_ten_failing_everything_gets_there_and_nothing_is_written_over(faulty_s3):
    """As tiering does it: again until it is there, and AlreadyThere is looked at."""
    bucket = faulty_s3.server.make_bucket()
    store, plain = faulty_s3.store(bucket), faulty_s3.server.store(bucket)
    contents = {f"p/{number:03}.pack": content_of(2_000 + number, number) for number in range(60)}
    contents["p/big.pack"] = content_of(BIG)
    plain.put("p/taken.pack", b"there before")
    faulty_s3.share = 0.1

    def bring(key: str) -> None:
        for _ in range(20):
            try:
                store.put(key, contents[key])
            except AlreadyThere:
                assert plain.get(key) == contents[key]
            except StoreError:
                continue
            return
        pytest.fail(f"{key} never got there")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(bring, contents))
    while sum(faulty_s3.counts.values()) <= 5:  # chance decides how many calls failed: go on until some did
        key = f"p/more-{len(contents)}"
        contents[key] = key.encode()
        bring(key)
    with pytest.raises(StoreError):
        store.put("p/taken.pack", b"another one!")
    for _ in range(20):
        try:
            listed = set(store.list("p"))
            break
        except StoreUnavailable:
            continue
    assert listed == {*contents, "p/taken.pack"}
    for key, content in contents.items():
        assert plain.get(key) == content
    assert plain.get("p/taken.pack") == b"there before"


def test_what_is_not_there_is_not_there_also_when_calls_fail(faulty_s3):
    store = faulty_s3.store()
    store.put("key", b"content")
    faulty_s3.share, faulty_s3.kinds = 0.2, {S3Fault.ERROR_500, S3Fault.ERROR_503, S3Fault.DROP_BEFORE}
    for _ in range(20):
        try:
            assert store.exists("key")
            with pytest.raises((NotFound, StoreUnavailable)):
                store.get("missing")
        except StoreUnavailable:
            continue
