"""Alerts and snoozes over HTTP: what is wrong, who looks after it, what is not told for a while."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from backup_platform.api.moments import MomentFilter
from backup_platform.api.views import NewestFirst, RolePermission
from backup_platform.console.site import actor_of, asking
from backup_platform.notifications import acting
from backup_platform.notifications.models import Alert, Snooze
from backup_platform.notifications.words import AlertKind, Level
from backup_platform.tenants.access import Action, may

LEVELS = [(level.word, level.label) for level in Level]
OPEN, ACKNOWLEDGED, OVER = "open", "acknowledged", "over"
STATES: dict[str, dict[str, bool]] = {
    OPEN: {"resolved_at__isnull": True, "acknowledged_at__isnull": True},
    ACKNOWLEDGED: {"resolved_at__isnull": True, "acknowledged_at__isnull": False},
    OVER: {"resolved_at__isnull": False},
}
MOST_HOURS = acting.LONGEST_SNOOZE // timedelta(hours=1)


class ActPermission(RolePermission):
    """Looking needs the right to look; each method that changes something needs what the view's `acts` says."""

    def has_permission(self, request: Any, view: Any) -> bool:
        """Whether the role may do this at all; which rows it may do it to, the scope decides."""
        wanted: Action = "view" if request.method in SAFE_METHODS else view.acts.get(request.method, "change")
        return may(actor_of(request), wanted, view.model._meta.label)


class AlertSerializer(serializers.ModelSerializer):
    """Something that is wrong, or was. `subject` names what it is about: `machine:<id>`, `tenant`, …"""

    level = serializers.SerializerMethodField()
    severity = serializers.IntegerField(source="level", help_text="The level as a number; higher is worse.")
    state = serializers.SerializerMethodField(help_text="open: nobody has said that they look after it.")

    class Meta:
        model = Alert
        fields = ["id", "tenant", "machine", "kind", "subject", "level", "severity", "state", "text", "advice", "count",
                  "opened_at", "last_seen_at", "acknowledged_at", "acknowledged_by", "resolved_at",
                  "resolution"]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(choices=LEVELS))
    def get_level(self, alert: Alert) -> str:
        """The level as a word."""
        return Level(alert.level).word

    @extend_schema_field(serializers.ChoiceField(choices=list(STATES)))
    def get_state(self, alert: Alert) -> str:
        """Where it stands."""
        return OVER if alert.resolved_at else ACKNOWLEDGED if alert.acknowledged_at else OPEN


class AlertFilter(filters.FilterSet):
    """Alerts by state, level (both may be given several times), kind, machine, and time of opening."""

    state = filters.MultipleChoiceFilter(choices=[(name, name) for name in STATES], method="in_states")
    level = filters.MultipleChoiceFilter(choices=LEVELS, method="of_levels")
    at_least = filters.ChoiceFilter(choices=LEVELS, method="at_least_of", help_text="This level or a worse one.")
    kind = filters.MultipleChoiceFilter(choices=AlertKind.choices)
    since = MomentFilter(field_name="opened_at", lookup_expr="gte")
    until = MomentFilter(field_name="opened_at", lookup_expr="lt")

    class Meta:
        model = Alert
        fields: ClassVar = ["state", "level", "at_least", "kind", "machine", "subject", "since", "until"]

    def in_states(self, rows: QuerySet[Alert], name: str, values: list[str]) -> QuerySet[Alert]:
        """Those in one of these states; all of them where none is named."""
        if not values:
            return rows
        found = rows.none()
        for value in values:
            found = found | rows.filter(**STATES[value])
        return found

    def of_levels(self, rows: QuerySet[Alert], name: str, values: list[str]) -> QuerySet[Alert]:
        """Those of these levels; all of them where none is named."""
        return rows.filter(level__in=[Level.of(value) for value in values]) if values else rows

    def at_least_of(self, rows: QuerySet[Alert], name: str, value: str) -> QuerySet[Alert]:
        """Those of this level and worse."""
        return rows.filter(level__gte=Level.of(value))


class OpenedLast(NewestFirst):
    """Pages of alerts."""

    ordering = ("-opened_at", "id")


class SnoozeSerializer(serializers.ModelSerializer):
    """Until when nobody is told of what. Without a kind and a subject: of anything, a maintenance window."""

    hours = serializers.IntegerField(min_value=1, max_value=MOST_HOURS, write_only=True, help_text="From now on.")

    class Meta:
        model = Snooze
        fields = ["id", "tenant", "kind", "subject", "hours", "until", "by", "reason", "created_at"]
        read_only_fields = ["id", "tenant", "until", "by", "created_at"]


class SnoozeOneSerializer(serializers.Serializer):
    """For how long, and how far it reaches."""

    hours = serializers.IntegerField(min_value=1, max_value=MOST_HOURS, help_text="From now on.")
    whole_kind = serializers.BooleanField(
        default=False, help_text="Every alert of this kind; else only those about the same subject."
    )
    reason = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")


class SnoozeOrder(NewestFirst):
    """Pages of snoozes: those that last longest come first."""

    ordering = ("-until", "id")


class AlertViewSet(viewsets.ReadOnlyModelViewSet):
    """Alerts of the tenant in force; for platform staff without a chosen tenant, everybody's and the platform's own."""

    model = Alert
    queryset = Alert.objects.all()
    serializer_class = AlertSerializer
    permission_classes = [ActPermission]
    pagination_class = OpenedLast
    filterset_class = AlertFilter
    acts: ClassVar[dict[str, Action]] = {"POST": "change"}

    @extend_schema(request=None, responses=AlertSerializer)
    @action(detail=True, methods=["post"], pagination_class=None, filterset_class=None)
    def acknowledge(self, request: Request, pk: str | None = None) -> Response:
        """Say that somebody looks after it: no more reminders. Doing it again changes nothing."""
        alert = self.get_object()
        acting.acknowledge(alert, actor=asking(request).name)
        return self._as_it_is(alert)

    @extend_schema(request=None, responses=AlertSerializer)
    @action(detail=True, methods=["post"], pagination_class=None, filterset_class=None)
    def close(self, request: Request, pk: str | None = None) -> Response:
        """Say that it is over; what a rule still finds opens anew within a minute. Doing it again changes nothing."""
        alert = self.get_object()
        acting.close_alert(alert, actor=asking(request).name)
        return self._as_it_is(alert)

    @extend_schema(request=SnoozeOneSerializer, responses={201: SnoozeSerializer})
    @action(detail=True, methods=["post"], pagination_class=None, filterset_class=None)
    def snooze(self, request: Request, pk: str | None = None) -> Response:
        """Tell nobody of such alerts for some hours; what is still wrong afterwards is told then."""
        alert = self.get_object()
        asked = SnoozeOneSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        made = _made(lambda: acting.snooze_alert(
            alert, by=asking(request), until=_in(given["hours"]), whole_kind=given["whole_kind"],
            reason=given["reason"],
        ))  # fmt: skip
        return Response(SnoozeSerializer(made).data, status=status.HTTP_201_CREATED)

    def _as_it_is(self, alert: Alert) -> Response:
        alert.refresh_from_db()
        return Response(AlertSerializer(alert).data)


class SnoozeViewSet(mixins.CreateModelMixin, mixins.DestroyModelMixin, viewsets.ReadOnlyModelViewSet):
    """Snoozes of the tenant in force. Making and ending one need the right `notifications.manage`."""

    model = Snooze
    queryset = Snooze.objects.all()
    serializer_class = SnoozeSerializer
    permission_classes = [ActPermission]
    pagination_class = SnoozeOrder
    filterset_fields: ClassVar = ["kind", "subject"]
    acts: ClassVar[dict[str, Action]] = {"POST": "add", "DELETE": "delete"}

    def perform_create(self, serializer: Any) -> None:
        """By the service. Where platform staff sees all tenants, it is one of the platform's own alerts."""
        given, actor = serializer.validated_data, asking(self.request)
        serializer.instance = _made(lambda: acting.snooze(
            actor.tenant.pk if actor.tenant else None, until=_in(given["hours"]), actor=actor.name,
            kind=given.get("kind", ""), subject=given.get("subject", ""), reason=given.get("reason", ""),
        ))  # fmt: skip

    def perform_destroy(self, instance: Snooze) -> None:
        """End it, with a line in the audit."""
        acting.end_snooze(instance, actor=asking(self.request).name)


def _in(hours: int) -> datetime:
    return timezone.now() + timedelta(hours=hours)


def _made(act: Any) -> Snooze:
    """What an act made; what it refuses is told as a fault of the request."""
    try:
        made: Snooze = act()
    except acting.ActRefused as refused:
        raise ValidationError({"detail": str(refused)}) from None
    return made
