"""The platform itself: its servers, its roles in the database."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit, Sql

ROWS = (
    defence(
        "role-without-schema",
        "law 5",
        "The application's role cannot change the schema.",
        Sql(
            "backup_platform.embedded.database_roles:grant_application_role",
            "GRANT CREATE ON SCHEMA public TO strongroom_app",
            "REVOKE CREATE ON SCHEMA public FROM strongroom_app",
        ),
        "tests/platform/test_database_roles.py::test_application_role_cannot_touch_the_schema",
    ),
    defence(
        "secrets-closed",
        "secrecy",
        "The platform's secrets are closed to other users.",
        Edit(
            "backup_platform.embedded.durable_files:write_private",
            "os.fsync(handle.fileno())",
            "os.fchmod(handle.fileno(), 0o644)",
        ),
        "tests/platform/test_home.py::test_secrets_are_closed_to_others",
    ),
    defence(
        "home-never-made-anew",
        "law 7",
        "A missing data directory is said plainly, never silently made new.",
        Edit("backup_platform.embedded.home:open_home", "_check_servers(home)", "pass"),
        "tests/platform/test_home.py::test_missing_data_directory_is_reported_instead_of_made_anew",
        fails_as="FileNotFoundError",
    ),
    defence(
        "keeper-never-raises",
        "availability",
        "A child that could not be started is tried again.",
        Edit(
            "backup_platform.embedded.supervisor:Supervisor._start_again",
            "except Exception as fault:  # noqa: BLE001 - see above",
            "except ServerFailed as fault:",
        ),
        "tests/platform/test_supervisor.py::test_child_that_cannot_be_started_is_tried_again",
        fails_as="TimeoutError",
    ),
)
