"""Buckets and directories: an error is not absence, nothing is written over, nobody is led into the house."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit, Swap

STORAGE = "backup_platform.storage"
ROOM = "backup_platform.targets"
S3 = "tests/storage/test_s3.py"
WIRE = "tests/storage/test_s3_wire.py"
SERVICES = "tests/targets/test_services.py"
OPENING = "tests/targets/test_opening.py"

ROWS = (
    defence(
        "bucket-gone-is-an-error",
        "law 7",
        "A bucket that is gone is an error, and no store without objects.",
        Swap(f"{STORAGE}.s3_faults:ABSENT", {"NoSuchKey", "NoSuchBucket"}),
        f"{S3}::test_a_bucket_that_is_gone_is_an_error_and_not_an_empty_store",
        fails_as="base.NotFound",
    ),
    defence(
        "bucket-listing-complete",
        "law 7",
        "A listing of a bucket that breaks off is an error, at any page.",
        Edit(
            f"{STORAGE}.s3:S3Store._again",
            "raise (StoreUnavailable(str(error)) if absent else error) from None",
            'return {"IsTruncated": False}',
        ),
        f"{S3}::test_a_listing_that_breaks_off_is_an_error_at_any_page[failed-list]",
    ),
    defence(
        "bucket-answer-is-a-listing",
        "law 7",
        "An answer that does not say whether there is more is no listing.",
        Edit(
            f"{STORAGE}.s3_listing:_pages",
            'if "IsTruncated" not in page:',
            "if False:",
            (('if not page["IsTruncated"]:', 'if not page.get("IsTruncated"):'),),
        ),
        f"{WIRE}::test_a_service_that_is_none_is_an_error_and_not_absence",
    ),
    defence(
        "bucket-first-put-wins",
        "law 4",
        "Of many writers of one key at once, one wins (If-None-Match).",
        Edit(
            f"{STORAGE}.s3_writing:Writer._put_whole",
            '{"IfNoneMatch": "*"} if only_if_absent and self.abilities.conditional_put else {}',
            "{}",
        ),
        f"{S3}::test_of_many_writers_at_once_one_wins",
    ),
    defence(
        "bucket-unknown-examined",
        "law 1",
        "After a put without an answer the object is looked at.",
        Edit(f"{STORAGE}.s3_writing:Writer._examine", "if not is_outcome_unknown(fault):", "if True:"),
        f"{S3}::test_an_answer_that_was_lost_after_the_deed_is_success[1000-known]",
        f"{S3}::test_every_attempt_unanswered_is_examined_and_found_done[1000]",
        fails_as="base.AlreadyThere base.StoreUnavailable",
    ),
    defence(
        "bucket-unknown-compared",
        "law 1",
        "What lies there after a put without an answer is compared with what was put.",
        Edit(f"{STORAGE}.s3_writing:Writer._examine", "if not found:", "if False:"),
        f"{S3}::test_what_somebody_else_put_meanwhile_is_not_taken_for_ours",
    ),
    defence(
        "bucket-inside-not-dialled",
        "secrecy",
        "No bucket's client dials an address inside the house, unless staff allowed it for that target.",
        Edit(
            f"{STORAGE}.s3_wire:_Checked._new_conn",
            "resolve(self.host, self.port, self.allowed, ADVICE)",
            "resolve(self.host, self.port, networks(EVERYWHERE), ADVICE)",
        ),
        f"{WIRE}::test_an_endpoint_inside_the_house_is_not_dialled[127.0.0.1]",
        f"{OPENING}::test_a_private_endpoint_is_dialled_only_where_it_was_allowed",
    ),
    defence(
        "bucket-pinned",
        "secrecy",
        "A bucket's client dials the address that was checked, not the name again.",
        Edit(f"{STORAGE}.s3_wire:_Checked._new_conn", "(str(found.address), self.port)", "(self.host, self.port)"),
        f"{WIRE}::test_a_name_that_changes_its_mind_is_asked_once_and_the_checked_address_is_dialled",
    ),
    defence(
        "bucket-endpoint-checked",
        "secrecy",
        "An endpoint inside the house is refused when it is entered.",
        Edit(f"{ROOM}.endpoints:_allowed", "if private else []", ""),
        f"{SERVICES}::test_an_endpoint_inside_the_house_is_refused[https://127.0.0.1]",
    ),
    defence(
        "target-staff-only",
        "law 5",
        "Only the platform's staff makes targets of its directories, of private addresses, or shared ones.",
        Edit(f"{ROOM}.checking:_check_rights", "if staff:", "if True:"),
        f"{SERVICES}::test_what_leads_into_the_platforms_house_is_for_its_staff[fields1]",
    ),
    defence(
        "target-credentials-sealed",
        "secrecy",
        "A target's credentials are encrypted in the database.",
        (
            Edit(
                "backup_platform.secret_box:SecretBox.seal",
                "text, tag = cipher.encrypt_and_digest(json.dumps(value).encode())",
                "text, tag = json.dumps(value).encode(), bytes(TAG_BYTES)",
            ),
            Edit(
                "backup_platform.secret_box:_open",
                "json.loads(cipher.decrypt_and_verify(text, tag))",
                "json.loads(text)",
            ),
        ),
        f"{SERVICES}::test_credentials_are_sealed_and_open_on_their_own_row_only",
    ),
    defence(
        "target-credentials-stay",
        "secrecy",
        "Credentials do not sign for another endpoint unless they are entered anew.",
        Edit(f"{ROOM}.services:_refuse_sent_elsewhere", "moved and credentials is None", "False"),
        f"{SERVICES}::test_credentials_are_not_used_with_another_endpoint_unasked",
    ),
    defence(
        "bucket-words-without-secrets",
        "secrecy",
        "What goes wrong at a bucket is told without what the client or the service said.",
        Edit(f"{STORAGE}.s3:S3Store._again", "if absent else error) from None", "if absent else error) from fault"),
        f"{S3}::test_no_message_holds_a_secret",
    ),
)
