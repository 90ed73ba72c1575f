"""The control connection: whoever may not be here is sent away, and only the lease speaks for a job."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit

LEASED = "backup_platform.jobs.running_on_machines:_leased"
CONTROL = "tests/gateway/test_control.py"

ROWS = (
    defence(
        "revocation-ends-open-connections",
        "law 9",
        "A machine that was revoked is sent away on the connections that it has open.",
        Edit("backup_platform.gateway.control_desk:ControlDesk._settle", 'if standing.state != "active":', "if False:"),
        "tests/gateway/test_revocation.py::test_revoked_machine_is_sent_away_on_its_open_control_connection",
        fails_as="Closed AssertionError TimeoutError",
    ),
    defence(
        "renewal-for-the-same-key",
        "law 9",
        "A certificate is renewed for the machine's own identity key only.",
        Edit("backup_platform.fleet.renewal:renew_certificate", "if spki != bytes(machine.identity_key):", "if False:"),
        "tests/fleet/test_renewal.py::test_certificate_is_renewed_for_the_machines_own_key_only",
    ),
    defence(
        "report-needs-the-lease",
        "law 5",
        "How a job ended is said under its newest lease only.",
        Edit(LEASED, "return jobs.filter(lease_owner=lease)", "return jobs"),
        f"{CONTROL}::test_words_under_another_lease_change_nothing",
    ),
    defence(
        "progress-needs-the-lease",
        "law 5",
        "A gateway hears progress and log lines of a job under its newest lease only.",
        Edit(
            "backup_platform.gateway.control:ControlLine.note",
            "if held is None or held.lease != message.lease:",
            "if held is None:",
        ),
        f"{CONTROL}::test_words_under_another_lease_change_nothing",
    ),
)
