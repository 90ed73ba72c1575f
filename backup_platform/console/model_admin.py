"""The base of every admin page. No model is registered with any other base; tests/admin walks the registry to see.

Django's admin reads rows in more ways than a list page shows: choices of foreign keys, labels of raw ids, filters,
autocompletion, `?field__lookup=` in addresses, the list of what a deletion takes along. All of them go through managers
that narrow themselves to the request's scope; this base closes what is left, and asks the role table who may.
"""

from __future__ import annotations

from typing import Any, Literal

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.paginator import InfinitePaginator as UnfoldPaginator

from backup_platform.console.site import actor_of
from backup_platform.tenants.access import may
from backup_platform.tenants.scope import TenantQuerySet, current_tenant_id

# Filters that look names up as they are typed: a list of five thousand machines is no filter.
TENANT_FILTER = ("tenant", AutocompleteSelectFilter)
VAULT_FILTER = ("vault", AutocompleteSelectFilter)
MACHINE_FILTER = ("machine", AutocompleteSelectFilter)

Action = Literal["view", "add", "change", "delete"]
MAX_SEARCH = 100
MAX_PAGE = 2000
"""Pages beyond this would make the database count past a hundred thousand rows; filters lead there faster."""


class InfinitePaginator(UnfoldPaginator):
    """Pages without COUNT(*), and an end to how deep they go. Unfold's templates know it by its name."""

    def validate_number(self, number: Any) -> int:
        """The page number, cut at `MAX_PAGE`."""
        return min(super().validate_number(number), MAX_PAGE)


class StrongroomModelAdmin(ModelAdmin):
    """What tenant and platform pages share."""

    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # a count for every filter is a COUNT(*) for every filter
    list_fullwidth = True
    list_filter_submit = True
    save_on_top = False
    when_empty = ""
    """What would stand on an empty list, and what to do: shown in its place."""
    actions: Any = None  # Django adds "delete selected" to an empty list; None means none at all
    # What people may do at all, before their role is asked. Most rows are made by agents and workers.
    allowed: frozenset[Action] = frozenset({"view"})

    def may(self, request: HttpRequest, action: Action) -> bool:
        """Whether this page allows the action, and the person's role does."""
        return action in self.allowed and may(actor_of(request), action, self.model._meta.label)

    def title_of(self, obj: Any) -> str:
        """What stands at the top of the object's page, where its own name says little. Empty: its own name."""
        return ""

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Django's, with the title for its page."""
        found = super().get_object(request, object_id, from_field)
        if found is not None and (title := self.title_of(found)):
            found.shown_title = title
        return found

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Django's question, answered by the role table."""
        return self.may(request, "view")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Django's question, answered by the role table."""
        return self.may(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Django's question, answered by the role table."""
        return self.may(request, "change")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Django's question, answered by the role table."""
        return self.may(request, "delete")

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whether the page stands in lists of pages."""
        return self.may(request, "view")

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Only what the page itself offers as a filter.

        Otherwise `?identity_key__startswith=` or `?user__password__startswith=` would answer questions about columns
        that no page shows.
        """
        return lookup in {"pk", "pk__exact"} or (
            lookup.partition("__")[0] in self._offered(request) and super().lookup_allowed(lookup, value, request)
        )

    def _offered(self, request: HttpRequest) -> set[str]:
        offered = {self.date_hierarchy} if self.date_hierarchy else set()
        for item in self.get_list_filter(request):
            name = item[0] if isinstance(item, tuple | list) else getattr(item, "parameter_name", item)
            offered.add(str(name).partition("__")[0])
        return offered

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        """Pop-ups name objects by primary key only."""
        return to_field == self.opts.pk.name

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Django's search, for terms of a bounded length."""
        return super().get_search_results(request, queryset, search_term[:MAX_SEARCH])


class TenantModelAdmin(StrongroomModelAdmin):
    """A page over rows of tenants: in the request's scope, and nowhere without one."""

    # Rows of tenants are many: no page counts them all.
    paginator = InfinitePaginator

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The scope's rows. Raises ScopeError when nobody opened a scope, and for a model that has none."""
        current_tenant_id()
        return _scoped(super().get_queryset(request))

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Choices come from the scope: the related model's manager narrows them. Others need platform staff."""
        self._check_choices(db_field, request)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """As for foreign keys."""
        self._check_choices(db_field, request)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def _check_choices(self, db_field: Any, request: HttpRequest) -> None:
        actor = actor_of(request)
        if not (actor and actor.is_platform_staff):
            _scoped(db_field.remote_field.model._default_manager.all())  # noqa: SLF001 - what Django's form uses

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """The columns; the tenant's is left out where all rows are of one tenant."""
        columns = list(super().get_list_display(request))
        actor = actor_of(request)
        return columns if actor and actor.tenant is None else [column for column in columns if column != "tenant"]

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        """The filters; the tenant's is left out where all rows are of one tenant."""
        actor = actor_of(request)
        everything = actor is not None and actor.tenant is None
        return [item for item in super().get_list_filter(request) if everything or item != TENANT_FILTER]


class RefusalsAsMessages:
    """For pages whose services refuse with a sentence: it is shown above the same page, and nothing was changed."""

    refusals: tuple[type[Exception], ...] = ()

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Django's page; its transaction is undone when the service refuses."""
        return self._answer(super().changeform_view, request, *args, **kwargs)  # type: ignore[misc]

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """The same for deletions."""
        return self._answer(super().delete_view, request, *args, **kwargs)  # type: ignore[misc]

    def _answer(self, view: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return view(request, *args, **kwargs)
        except self.refusals as refusal:
            messages.error(request, str(refusal))
            return HttpResponseRedirect(request.get_full_path())


class PlatformModelAdmin(StrongroomModelAdmin):
    """A page over rows that belong to no tenant, for the platform's own staff."""

    def may(self, request: HttpRequest, action: Action) -> bool:
        """Staff looks, superusers act, members see nothing."""
        actor = actor_of(request)
        if actor is None or not actor.is_platform_staff or action not in self.allowed:
            return False
        return action == "view" or actor.user.is_superuser


def _scoped(queryset: QuerySet[Any]) -> QuerySet[Any]:
    if not isinstance(queryset, TenantQuerySet):
        raise TypeError(f"{queryset.model.__name__} has no tenant scope; a tenant's page must not list it.")
    return queryset
