"""What is to come is shown with the reasons for odd times."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings

from backup_platform.policies.models import Plan
from backup_platform.policies.planning import replan
from backup_platform.policies.previews import preview, preview_of
from backup_platform.policies.registry import complete
from backup_platform.policies.timetable import explained_runs, next_runs, read
from backup_platform.tenants.scope import tenant_scope
from tests.policies.test_timetable_against_a_walk import cases

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
SAVED = {"selection.sources": ["/home"], "schedule.jitter_minutes": 0}
DAILY = {**SAVED, "schedule.kind": "cron", "schedule.cron": "30 2 * * *", "schedule.zone": "utc"}


def shown(zone: str, after: str, most: int = 3, **schedule) -> list[str]:
    values = complete(DAILY, {f"schedule.{name}": value for name, value in schedule.items()})
    found = preview_of(values, zone, "m", most, datetime.fromisoformat(after))
    return [f"{run.local:%d %H:%M} {','.join(run.shifts)}".strip() for run in found.runs]


def test_both_changes_of_the_clock_are_told():
    assert shown("Europe/Berlin", "2026-03-27T12:00Z") == ["28 02:30", "29 03:00 gap", "30 02:30"]
    assert shown("Europe/Berlin", "2026-10-23T12:00Z") == ["24 02:30", "25 02:30 twice", "26 02:30"]
    assert shown("Australia/Lord_Howe", "2026-10-03T14:40Z", cron="0 * * * *") == [
        "04 02:30 clock",
        "04 03:00",
        "04 04:00",
    ]


def test_blackouts_windows_and_the_spread_are_told():
    dark = [{"from": "2026-05-05", "until": "2026-05-06"}]
    assert shown("Europe/Berlin", "2026-05-04T12:00Z", blackouts=dark)[:1] == ["07 00:00 blackout"]
    night = [{"days": list(range(7)), "from": "22:00", "until": "02:00"}]
    assert shown("Europe/Berlin", "2026-05-04T12:00Z", windows=night)[0] == "04 22:00 window"
    both = shown(
        "Europe/Berlin",
        "2026-05-04T12:00Z",
        windows=night,
        blackouts=[{"from": "2026-05-05", "until": "2026-05-06T12:00"}],
    )
    assert both[1] == "06 22:00 blackout,window"
    assert shown("Europe/Berlin", "2026-05-04T12:00Z", jitter_minutes=30)[0].endswith("jitter")


def test_each_reason_is_a_sentence_of_plain_words():
    found = preview_of(complete(DAILY), "Europe/Berlin", "m", 2, datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert "does not exist on this day" in found.runs[0].because
    assert found.runs[1].because == ""


@settings(max_examples=40)
@given(cases())
def test_the_preview_shows_what_will_happen(case):
    zone, begin, schedule, key = case
    timetable = read(schedule, zone)
    assert [run.at for run in explained_runs(begin, timetable, key, 20)] == next_runs(begin, timetable, key, 20)


def test_the_first_run_of_a_preview_is_when_the_plan_is_due(ours):
    policy, machine = ours.policy(**{**DAILY, "schedule.jitter_minutes": 45}), ours.machine(zone="Europe/Berlin")
    ours.assign(policy)
    ours.assign(policy, machine=machine, **{"schedule.zone": "machine"})
    replan(ours.tenant.pk, now=NOON)
    with tenant_scope(ours.tenant):
        found = preview(policy, machine, 3, NOON)
        assert found.zone == "Europe/Berlin"
        assert found.runs[0].at == Plan.objects.get().next_run_at
        assert len(found.runs) == 3


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"selection.sources": []}, "name at least one source"),
        ({"schedule.cron": "0 25 * * *"}, "field hour"),
        ({"schedule.kind": "none"}, "never runs by itself"),
        ({"schedule.kind": "none", "schedule.after_policy": "0" * 32}, "each time that the policy before it"),
    ],
)
def test_silence_is_explained(values, said):
    found = preview_of(complete(DAILY, values), "UTC", "m", 5, NOON)
    assert found.runs == ()
    assert said in found.silence


def test_pauses_and_policies_that_do_not_apply_are_told(ours):
    policy, machine = ours.policy(**DAILY), ours.machine()
    with tenant_scope(ours.tenant):
        assert "does not apply" in preview(policy, machine).silence
    ours.assign(policy)
    policy.paused_at = NOON
    with tenant_scope(ours.tenant):
        assert "Documents is paused" in preview(policy, machine).silence
