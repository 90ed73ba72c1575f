"""Messages to people: they cannot be led into the house, hold no secret in the open, and are told once."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit, Swap, Words

ROOM = "backup_platform.notifications"
HTTP = "tests/notifications/test_safe_http.py"
SECRETS = "tests/notifications/test_secrets.py"
ALERTS = "tests/notifications/test_alerts.py"
SENDING = "tests/notifications/test_delivery.py"
PAGES = "tests/notifications/test_pages.py"

PLATFORM_RULES = "backup_platform.notifications.platform_rules"
ALERTS_API = "tests/console/test_api_alerts.py"
RATES = "tests/console/test_api_rates.py"

ROWS = (
    defence(
        "unsafe-database-is-told",
        "law 1",
        "A PostgreSQL that may forget what it has committed is an alert to the platform's staff.",
        Edit(f"{PLATFORM_RULES}:unsafe_database", "if names:", "if False:"),
        "tests/platform/test_durability.py::test_the_platforms_staff_is_told_until_it_is_mended",
    ),
    defence(
        "forgotten-pauses-are-told",
        "binding",
        "A pause of reclaim that lasts for more than a week is told to whoever can end it.",
        Edit(f"{PLATFORM_RULES}:forgotten_pauses", "rows = list(cursor)", "rows = []"),
        "tests/notifications/test_platform_rules.py::"
        "test_a_pause_that_lasts_for_more_than_a_week_is_told_to_the_tenant_until_it_ends",
    ),
    defence(
        "snoozes-stay-within-reach",
        "law 5",
        "A member who sees the machines of some groups only silences no alerts of others.",
        Edit("backup_platform.notifications.acting:snooze_alert", "if whole_kind and by.is_limited:", "if False:"),
        f"{ALERTS_API}::test_a_member_of_some_machines_snoozes_these_and_no_whole_kind",
    ),
    defence(
        "alerts-api-asks-for-the-right-to-act",
        "roles",
        "Whoever may only look at alerts changes none over HTTP.",
        Edit(
            "backup_platform.api.alerts:ActPermission.has_permission",
            'wanted: Action = "view" if request.method in SAFE_METHODS else view.acts.get(request.method, "change")',
            'wanted: Action = "view"',
        ),
        f"{ALERTS_API}::test_who_may_only_look_changes_nothing",
    ),
    defence(
        "api-rate-of-people",
        "law 10",
        "A person asks the API so often a minute and no more.",
        Edit("backup_platform.api.rates:RateLimit.allow_request", "check_rate(request)", "pass"),
        f"{RATES}::test_a_person_who_asks_too_often_is_told_when_to_come_again",
    ),
    defence(
        "api-rate-of-visitors",
        "law 10",
        "Visitors of one network ask the API so often a minute and no more, though each is refused before that.",
        Edit("backup_platform.api.refusals:answer_to", 'check_rate(context["request"])', "pass"),
        f"{RATES}::test_visitors_are_counted_by_their_network_though_they_get_nothing",
    ),
    defence(
        "webhook-inside",
        "secrecy",
        "A webhook is not sent to a private, loopback or reserved address, however it is spelt.",
        Edit("backup_platform.safe_addresses:check_address", "if not is_public(address):", "if False:"),
        f"{HTTP}::test_addresses_of_the_inside_are_refused[10.0.0.1]",
        f"{HTTP}::test_no_spelling_of_this_host_is_reached",
    ),
    defence(
        "webhook-mapped",
        "secrecy",
        "An IPv4 address in IPv6's clothes is judged as what it is.",
        Edit("backup_platform.safe_addresses:_plain", "return mapped or address", "return address"),
        f"{HTTP}::test_a_clouds_own_service_stays_closed_in_networks_that_the_operator_allowed",
    ),
    defence(
        "webhook-carriers",
        "secrecy",
        "An IPv6 address that carries an IPv4 address inside is refused.",
        Swap("backup_platform.safe_addresses:CARRIERS", ()),
        f"{HTTP}::test_addresses_of_the_inside_are_refused[2002:7f00:1::]",
    ),
    defence(
        "webhook-metadata",
        "secrecy",
        "A cloud's service for its own machines is never reached, whatever the operator allows.",
        Swap("backup_platform.safe_addresses:METADATA", ()),
        f"{HTTP}::test_a_clouds_own_service_stays_closed_in_networks_that_the_operator_allowed",
    ),
    defence(
        "webhook-every-answer",
        "secrecy",
        "One bad address of a name spoils it.",
        Edit(
            "backup_platform.safe_addresses:resolve",
            "[check_address(address, allowed, advice) for address in addresses]",
            "[check_address(address, allowed, advice) for address in addresses[:1]]",
        ),
        f"{HTTP}::test_a_name_that_leads_inside_is_refused_even_if_it_also_leads_outside",
    ),
    defence(
        "webhook-pinned",
        "secrecy",
        "The address that was checked is dialled, not the name again.",
        Edit(
            f"{ROOM}.safe_http:_Pinned.connect",
            "(str(self.target.address), self.port)",
            "(self.target.host, self.port)",
        ),
        f"{HTTP}::test_a_name_that_changes_its_mind_is_asked_once_and_the_checked_address_is_dialled",
    ),
    defence(
        "channel-secrets-sealed",
        "secrecy",
        "A channel's secrets are encrypted in the database.",
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
        f"{SECRETS}::test_no_secret_is_in_the_database_in_clear",
    ),
    defence(
        "channel-secrets-bound",
        "secrecy",
        "A sealed secret does not open on another row.",
        (
            Edit("backup_platform.secret_box:SecretBox.seal", "cipher.update(VERSION + owner.bytes)", "pass"),
            Edit("backup_platform.secret_box:_open", "cipher.update(VERSION + owner.bytes)", "pass"),
        ),
        f"{SECRETS}::test_a_sealed_value_opens_only_on_its_own_row_and_unchanged",
    ),
    defence(
        "channel-secrets-unlogged",
        "secrecy",
        "What goes wrong while sending is logged without what it says.",
        Edit(
            f"{ROOM}.sending:send_all",
            "logger.error(",
            "logger.exception(",
        ),
        f"{SECRETS}::test_no_secret_is_logged_whatever_goes_wrong",
    ),
    defence(
        "alert-once",
        "delivered once",
        "While an alert is open, the same trouble makes no second one.",
        Words(
            f"{ROOM}.services:RAISE_SQL",
            "found.level, found.text, found.advice,\n           found.dedupe,",
            "found.level, found.text, found.advice,\n           found.id::text,",
        ),
        f"{ALERTS}::test_the_same_trouble_is_one_alert_that_counts_up",
        f"{ALERTS}::test_eight_at_once_make_one_alert",
        fails_as="models.MultipleObjectsReturned",
    ),
    defence(
        "delivery-claimed",
        "delivered once",
        "Of two workers at once one sends a message.",
        Edit(
            f"{ROOM}.delivery:_claim_of_channel",
            'mine.select_for_update(skip_locked=True, of=("self",))',
            "mine",
        ),
        f"{SENDING}::test_what_one_worker_is_claiming_another_does_not_get",
    ),
    defence(
        "delivery-in-order",
        "delivered once",
        "That it is over is never told before that it began.",
        Edit(f"{ROOM}.delivery:due", "free, ~Exists(earlier),", "free,"),
        f"{SENDING}::test_that_it_is_over_waits_for_that_it_began",
    ),
    defence(
        "delivery-lease",
        "delivered once",
        "A worker that lost its claim cannot overwrite what another one wrote.",
        Edit(
            f"{ROOM}.endings:_write",
            "state=DeliveryState.SENDING, lease_owner=delivery.lease_owner",
            "",
        ),
        f"{SENDING}::test_a_late_worker_cannot_overwrite_what_another_one_wrote",
    ),
    defence(
        "channel-of-who-left",
        "law 5",
        "A person who left a tenant hears nothing more of it.",
        Edit(
            f"{ROOM}.planning:usable_channels",
            "filter(belongs, paused_at__isnull=True)",
            "filter(paused_at__isnull=True)",
        ),
        f"{ALERTS}::test_a_person_who_left_the_tenant_is_told_nothing_more",
    ),
)
