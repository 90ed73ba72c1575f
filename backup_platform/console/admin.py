"""Pages of other people's apps, put on our base: looked at by platform staff, styled like the rest."""

from __future__ import annotations

from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.mfa.models import Authenticator
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.contrib.auth.models import Group
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule
from unfold.decorators import display

from backup_platform.console import showing
from backup_platform.console.model_admin import PlatformModelAdmin

# Roles are a tenant's, schedules are a policy's, second factors a person's: these models stand behind other pages, or
# behind none.
HIDDEN = (Group, ClockedSchedule, CrontabSchedule, IntervalSchedule, SolarSchedule, AccessLog, AccessFailureLog,
          Authenticator, EmailAddress, EmailConfirmation)  # fmt: skip
for model in (*HIDDEN, PeriodicTask, AccessAttempt):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(PlatformModelAdmin):
    """The few fixed ticks of beat. Work itself is scheduled by policies and listed under Jobs."""

    list_display = ["name", "task", "schedule_shown", "enabled", "last_run_shown"]
    fields = ["name", "task", "schedule_shown", "enabled", "last_run_shown", "total_run_count"]
    list_select_related = ["interval", "crontab", "solar", "clocked"]
    search_fields = ["name", "task"]

    @display(description="Runs")
    def schedule_shown(self, task):
        return str(task.scheduler)

    @display(description="Last run", ordering="last_run_at")
    def last_run_shown(self, task):
        return showing.moment(task.last_run_at)


@admin.register(AccessAttempt)
class AccessAttemptAdmin(PlatformModelAdmin):
    """Sign-ins that failed. Deleting a line lets the person try again at once."""

    allowed = frozenset({"view", "delete"})
    list_display = ["attempt_time", "username", "ip_address", "failures_since_start"]
    search_fields = ["username", "ip_address"]
    fields = ["attempt_time", "username", "ip_address", "user_agent", "failures_since_start"]
