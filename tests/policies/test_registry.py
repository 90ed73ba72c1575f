"""Every setting: its default stands its own check, good values are kept, bad ones get one sentence at their name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_platform.policies.registry import SECTIONS, SETTINGS, check_settings, complete, defaults, settings_of

POLICY = "5f0c2d5e-6a3b-4b6e-9a47-0c1d2e3f4a5b"
DAY = {"days": [0], "from": "22:00", "until": "06:00"}

GOOD = {
    "selection.sources": [["/home/", "  /srv ", "/home"], ["C:\\Users"], ["/"]],
    "selection.exclude": [["*.tmp", "!keep.tmp", "", "*.tmp"], []],
    "selection.include": [["letters/"]],
    "selection.default_exclusions": [False],
    "selection.cache_dir_tags": [False],
    "selection.max_file_size": [None, 1, 2**40],
    "selection.max_file_age_days": [None, 30],
    "selection.one_file_system": [True],
    "selection.chunker": ["fine"],
    "schedule.kind": ["cron", "interval", "none"],
    "schedule.cron": ["0 2 * * *", "*/15  8-18 * * mon-fri"],
    "schedule.every_minutes": [1, 525600],
    "schedule.zone": ["machine", "UTC", "Europe/Berlin", "America/Argentina/Ushuaia"],
    "schedule.jitter_minutes": [0, 1440],
    "schedule.windows": [[DAY], [{"days": [6, 0, 6], "from": "00:00", "until": "24:00"}], []],
    "schedule.blackouts": [
        [{"from": "2026-12-24", "until": "2026-12-24"}],
        [{"from": "2026-12-31T18:00", "until": "2027-01-01T08:00"}],
        [{"from": "2026-12-31T18:00+01:00", "until": "2027-01-01"}],
    ],
    "schedule.catch_up": ["once", "skip"],
    "schedule.after_policy": [None, POLICY, ""],
    "schedule.priority": [-10, 10],
    "schedule.deadline_minutes": [1],
    "schedule.attempts": [1, 10],
    "limits.bandwidth": [[{**DAY, "kbit_per_second": 2000}, {**DAY, "kbit_per_second": None}]],
    "limits.bandwidth_default": [None, 512],
    "limits.niceness": [0, 19],
    "limits.io_class": ["idle"],
    "limits.only_on_ac": [True],
    "limits.not_on_metered": [True],
    "limits.adaptive": [True],
    "hooks.before": [None, "dump-database"],
    "hooks.after": ["tidy.up"],
    "retention.keep_last": [0, 3],
    "retention.keep_hourly": [48],
    "retention.keep_daily": [7],
    "retention.keep_weekly": [8],
    "retention.keep_monthly": [12],
    "retention.keep_yearly": [10],
    "retention.keep_within_days": [0, 30],
    "retention.keep_tags": [["before-upgrade", "  audit:2026 "], []],
    "retention.minimum_age_days": [0, 14],
    "drill.every_days": [0, 365],
    "drill.sample_files": [1],
    "drill.sample_mib": [10240],
    "privacy.file_names_in_progress": [True],
}

BAD = [
    ("selection.sources", ["home"], "not an absolute path"),
    ("selection.sources", ["/home/../etc"], "goes up"),
    ("selection.sources", "/home", "not a list"),
    ("selection.sources", ["/a\0b"], "NUL"),
    ("selection.sources", [1], "not a text"),
    ("selection.sources", ["/x"] * 1001, "at most 1000"),
    ("selection.sources", ["/" + "x" * 1000], "too long"),
    ("selection.exclude", ["!"], "not a pattern"),
    ("selection.exclude", ["x\\"], "not a pattern"),
    ("selection.include", ["[z-a]"], "not a pattern"),
    ("selection.exclude", ["*a" * 13], "too many stars"),
    ("selection.default_exclusions", 1, "neither yes nor no"),
    ("selection.max_file_size", 0, "out of bounds"),
    ("selection.max_file_size", "10", "not a whole number"),
    ("selection.max_file_size", True, "not a whole number"),
    ("selection.max_file_age_days", -1, "out of bounds"),
    ("selection.chunker", "coarse", "default, fine"),
    ("retention.keep_daily", -1, "use 0 to 10000 days"),
    ("retention.keep_last", None, "not a whole number"),
    ("retention.keep_tags", ["two words"], "no tag"),
    ("retention.minimum_age_days", 40000, "out of bounds"),
    ("schedule.kind", "daily", "none, cron, interval"),
    ("schedule.every_minutes", 0, "use 1 to 525600 minutes"),
    ("schedule.zone", "Europe/Berln", "Europe/Berlin"),
    ("schedule.zone", "Kathmandu", "Asia/Kathmandu"),
    ("schedule.zone", "europe/paris", "Europe/Paris"),
    ("schedule.zone", "", "such as Europe/Berlin"),
    ("schedule.zone", "../../etc/passwd", "no time zone"),
    ("schedule.jitter_minutes", -1, "out of bounds"),
    ("schedule.windows", [{"days": [0], "from": "08:00", "until": "08:00"}], "never opens"),
    ("schedule.windows", [{"days": [], "from": "08:00", "until": "09:00"}], "never opens"),
    ("schedule.windows", [{"days": [7], "from": "08:00", "until": "09:00"}], "0 .Monday. to 6"),
    ("schedule.windows", [{"days": [0], "from": "8:00", "until": "09:00"}], "not a time of day"),
    ("schedule.windows", [{"days": [0], "from": "24:00", "until": "09:00"}], "not a time of day"),
    ("schedule.windows", [{"days": [0], "from": "08:00"}], "until” is missing"),
    ("schedule.windows", [{**DAY, "till": 1}], "till” is not known"),
    ("schedule.windows", ["Mon"], "not a list of entries"),
    ("schedule.windows", [DAY] * 51, "at most 50"),
    ("schedule.blackouts", [{"from": "2026-12-24", "until": "2026-12-23"}], "not after"),
    ("schedule.blackouts", [{"from": "Christmas", "until": "2026-12-23"}], "neither a date"),
    ("schedule.blackouts", [{"from": "2026-02-30", "until": "2026-12-23"}], "neither a date"),
    ("schedule.catch_up", "all", "once, skip"),
    ("schedule.after_policy", "nightly", "not a policy's id"),
    ("schedule.cron", "61 * * * *", "minute"),
    ("schedule.cron", "* * *", "five"),
    ("schedule.cron", "0 0 * foo *", "month"),
    ("schedule.priority", 11, "-10 to 10"),
    ("schedule.deadline_minutes", 0, "out of bounds"),
    ("schedule.attempts", 11, "1 to 10"),
    ("limits.bandwidth", [DAY], "kbit_per_second” is missing"),
    ("limits.bandwidth", [{**DAY, "kbit_per_second": 0}], "out of bounds"),
    ("limits.bandwidth_default", 1, "out of bounds"),
    ("limits.niceness", 20, "0 to 19"),
    ("limits.io_class", "realtime", "normal, idle"),
    ("limits.only_on_ac", None, "neither yes nor no"),
    ("hooks.before", "rm -rf /", "agent.toml"),
    ("hooks.after", 5, "not a text"),
    ("stdin.hook", "dump", "stdin.name"),
    ("stdin.name", "db.sql", "stdin.hook"),
    ("stdin.name", "a/b", "not a file's name"),
]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_says_what_it_means_and_its_default_is_good(name):
    setting = SETTINGS[name]
    assert setting.section in {section.name for section in SECTIONS}
    assert setting in settings_of(setting.section)
    assert setting.label
    assert setting.help.endswith(".")
    assert setting.check(setting.default) == setting.default


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_a_good_value_is_kept_and_stands_its_check_again(name, value):
    checked = check_settings({name: value})
    assert not checked.faults
    assert check_settings(checked.values).values == checked.values
    assert set(checked.values) == {name}


@pytest.mark.defence
@pytest.mark.parametrize("name", ["hooks.before", "hooks.after", "stdin.hook"])
@pytest.mark.parametrize("command", ["rm -rf /", "/bin/sh", "a;b", "$(reboot)", "../hook", "a\tb", "-x"])
def test_a_hook_is_a_name_and_never_a_command(name, command):
    assert [fault.name for fault in check_settings({name: command}).faults] == [name]


def test_every_setting_has_a_good_value_here():
    assert set(SETTINGS) - set(GOOD) == {"stdin.hook", "stdin.name"}


@pytest.mark.parametrize(("name", "value", "words"), BAD)
def test_a_bad_value_gets_one_sentence(name, value, words):
    faults = check_settings({name: value}).faults
    assert len(faults) == 1
    assert re.search(words, f"{faults[0].name} {faults[0].sentence}")
    assert faults[0].sentence.endswith((".", "?"))
    assert len(faults[0].sentence) < 250


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule.kind": "cron", "schedule.cron": "0 0 30 2 *"},
        {"schedule.kind": "cron", "schedule.cron": "0 12 * * *", "schedule.catch_up": "skip",
         "schedule.windows": [{"days": [0, 1, 2, 3, 4, 5, 6], "from": "22:00", "until": "06:00"}]},
        {"schedule.kind": "interval", "schedule.blackouts": [{"from": "2020-01-01", "until": "2099-12-31"}]},
    ],
)  # fmt: skip
def test_a_timetable_that_never_comes_is_refused(settings):
    (fault,) = check_settings({"selection.sources": ["/home"], **settings}).faults
    assert fault.name.startswith("schedule.")
    assert "never" in fault.sentence


def test_values_are_kept_in_one_form():
    kept = check_settings({
        "selection.sources": ["/home/", " /home", ""],
        "schedule.windows": [{"days": [6, 0, 6], "from": "22:00", "until": "06:00"}],
        "schedule.zone": "UTC",
        "hooks.before": "",
    }).values  # fmt: skip
    assert kept["selection.sources"] == ["/home"]
    assert kept["schedule.windows"][0]["days"] == [0, 6]
    assert kept["schedule.zone"] == "utc"
    assert kept["hooks.before"] is None


def test_an_unknown_setting_is_refused_with_one_near_it():
    fault = check_settings({"schedule.prioritty": 1}).faults[0]
    assert fault.name == "schedule.prioritty"
    assert "schedule.priority" in fault.sentence


@pytest.mark.parametrize("mapping", [None, [], "x", 5])
def test_what_is_no_map_is_refused(mapping):
    assert "map of names" in check_settings(mapping).faults[0].sentence


def test_settings_of_an_excessive_length_are_refused():
    faults = check_settings({"selection.exclude": [f"{'x' * 900}{n}" for n in range(90)]}).faults
    assert "at most 65,536" in faults[0].sentence


@pytest.mark.parametrize(
    ("settings", "name", "words"),
    [
        ({}, "selection.sources", "Nothing is saved"),
        ({"selection.exclude": ["*"]}, "selection.exclude", "everything"),
        ({"selection.exclude": ["/**"]}, "selection.exclude", "everything"),
        ({"selection.exclude": ["/"]}, "selection.exclude", "names nothing"),
        ({"selection.exclude": ["# old"]}, "selection.exclude", "comment"),
        (
            {"selection.sources": ["/home"], "selection.exclude": ["/var/tmp"]},
            "selection.exclude",
            "none of the sources",
        ),
        ({"selection.exclude": ["a\\b"]}, "selection.exclude", "backslashes"),
        ({"selection.include": ["*.odt"]}, "selection.include", "nothing to take back"),
        ({"schedule.kind": "interval", "schedule.every_minutes": 10}, "schedule.jitter_minutes", "as long as"),
        ({"schedule.deadline_minutes": 10}, "schedule.deadline_minutes", "within the spread"),
        ({"schedule.blackouts": [{"from": "2020-01-01", "until": "2020-01-02"}]}, "schedule.blackouts", "over"),
        ({"selection.sources": ["/home"], "stdin.hook": "dump", "stdin.name": "x"}, "selection.sources", "not read"),
    ],
)
def test_what_is_hardly_meant_is_said_and_kept(settings, name, words):
    checked = check_settings(settings)
    assert not checked.faults
    assert any(warning.name == name and words in warning.sentence for warning in checked.warnings)


def test_what_is_taken_back_in_counts_before_everything_is_left_out():
    checked = check_settings({
        "selection.sources": ["/home"], "selection.exclude": ["*"], "selection.include": ["*/", "*.odt"],
    })  # fmt: skip
    assert not checked.warnings


@pytest.mark.parametrize("line", ["/home/*/.cache", "/home", "/home/ada/tmp", "*.tmp", "/*/x", "cache/"])
def test_patterns_that_can_match_raise_no_doubt(line):
    assert not check_settings({"selection.sources": ["/home/ada"], "selection.exclude": [line]}).warnings


def test_overrides_are_judged_together_with_what_they_override():
    base = {"stdin.hook": "dump", "stdin.name": "db.sql"}
    assert not check_settings({"stdin.name": "other.sql"}, base=base).faults
    assert check_settings({"stdin.name": None}, base=base).faults[0].name == "stdin.name"


def test_complete_overlays_in_order_and_leaves_out_unknown_names():
    values = complete({"limits.niceness": 5, "gone.setting": 1}, {"limits.niceness": 6})
    assert values["limits.niceness"] == 6
    assert set(values) == set(SETTINGS)


def test_defaults_are_the_callers_own():
    defaults()["selection.sources"].append("/x")
    assert defaults()["selection.sources"] == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(SETTINGS)) | st.text(), JSON))
def test_whatever_is_written_gets_sentences_and_never_a_traceback(mapping):
    checked = check_settings(mapping)
    assert checked.faults or set(checked.values) == set(mapping)
    assert all(fault.sentence for fault in checked.faults)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_stands_in_the_reference_with_its_default(name):
    reference = (Path(__file__).parents[2] / "docs/reference/policies.md").read_text()
    assert f"| `{name}` | `{json.dumps(SETTINGS[name].default)}` |" in reference
