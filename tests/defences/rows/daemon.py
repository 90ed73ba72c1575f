"""The daemon: what a platform may start on a machine, and what a machine may not lose."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit

HOOKS = "tests/daemon/test_hooks.py"
PLANS = "tests/daemon/test_plans.py"
CONFIGURATION = "tests/daemon/test_configuration.py"

ROWS = (
    defence(
        "hooks-only-of-the-machine",
        "law 8",
        "A hook runs only if the machine's own configuration names it.",
        Edit(
            "agents.daemon.hooks:find",
            "if hook is None:\n        raise Refused(",
            "if hook is None:\n        return Hook(command=(name,))\n        raise Refused(",
        ),
        f"{HOOKS}::test_only_hooks_of_the_machines_own_configuration_are_found",
    ),
    defence(
        "hooks-of-a-safe-file",
        "law 8",
        "No hook of a configuration runs that somebody else could have written.",
        Edit("agents.daemon.hooks:find", "if loaded.distrust:", "if False:"),
        f"{HOOKS}::test_hooks_of_a_file_that_others_can_write_are_refused",
    ),
    defence(
        "configuration-of-another-user",
        "law 8",
        "A configuration that others can write is told from one that only its owner can.",
        Edit(
            "agents.daemon.configuration_file:_distrust",
            "if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):",
            "if False:",
        ),
        f"{CONFIGURATION}::test_file_that_others_can_write_is_read_but_not_trusted",
    ),
    defence(
        "hooks-see-no-secret",
        "law 6",
        "A hook does not get the daemon's environment.",
        Edit(
            "agents.daemon.hooks:start",
            "environment = {key: os.environ[key] for key in PASSED_ON if key in os.environ}",
            "environment = dict(os.environ)",
        ),
        f"{HOOKS}::test_hook_sees_facts_and_no_secret",
    ),
    defence(
        "restore-folders-only-of-the-machine",
        "law 8",
        "A restore job writes only into a folder that the machine's own configuration names.",
        Edit(
            "agents.daemon.job_plan:restore_target",
            "folder = restore.folders.get(into)",
            "folder = restore.folders.get(into, into)",
        ),
        f"{PLANS}::test_folders_that_the_machine_does_not_name_are_refused",
    ),
    defence(
        "restore-folders-of-a-safe-file",
        "law 8",
        "No folder of a configuration is written into that somebody else could have named.",
        Edit("agents.daemon.job_plan:restore_target", "if loaded.distrust:", "if False:"),
        f"{PLANS}::test_folders_of_a_file_that_others_can_write_are_refused",
    ),
    defence(
        "machine-may-refuse-restores",
        "law 8",
        "A machine that takes no restores gets none.",
        Edit("agents.daemon.job_plan:restore_target", "if not restore.allow:", "if False:"),
        f"{PLANS}::test_machine_may_take_no_restores_at_all",
    ),
    defence(
        "restore-jobs-into-fresh-directories",
        "law 8",
        "A restore job makes its directory itself; one that exists is not used.",
        Edit(
            "agents.daemon.job_plan:make_target", "os.mkdir(target, 0o700)", "os.makedirs(target, 0o700, exist_ok=True)"
        ),
        f"{PLANS}::test_second_attempt_gets_a_fresh_directory_and_nothing_is_ever_overwritten",
    ),
    defence(
        "settings-are-no-options",
        "law 8",
        "What a policy says is a value of an option, never an option.",
        Edit("agents.daemon.job_plan:_selection", 'f"--exclude={line}"', "line"),
        f"{PLANS}::test_settings_become_options_and_values_stay_values",
    ),
    defence(
        "half-a-stream-is-no-snapshot",
        "law 2",
        "A dump whose command failed is not published.",
        Edit("agents.daemon.hooks:Running.finish", "if code:", "if False:"),
        f"{HOOKS}::test_failing_hook_says_how_and_its_last_words",
    ),
    defence(
        "bad-configuration-changes-nothing",
        "law 10",
        "A bad agent.toml is reported, and what was in force before it stays in force.",
        Edit(
            "agents.daemon.configuration_file:ConfigurationFile._take",
            "self.fault = fault\n",
            "self.fault = fault\n        self.loaded = Loaded()\n",
        ),
        f"{CONFIGURATION}::test_bad_file_is_reported_and_the_old_configuration_stays_in_force",
    ),
    defence(
        "half-a-configuration-is-not-taken",
        "law 10",
        "A configuration that is still being written is not taken.",
        Edit(
            "agents.daemon.configuration_file:ConfigurationFile.refresh",
            "if not first and mark != self._candidate:",
            "if False:",
        ),
        f"{CONFIGURATION}::test_half_written_file_is_not_taken_while_it_grows",
    ),
)
