"""Vaults: public facts only."""

from __future__ import annotations

from django.contrib import admin
from unfold.decorators import display

from backup_platform.console import showing
from backup_platform.console.model_admin import TENANT_FILTER, TenantModelAdmin
from backup_platform.vaults.models import Vault


@admin.register(Vault)
class VaultAdmin(TenantModelAdmin):
    """Vaults are made where the customer is, and registered by command; here they are looked at."""

    list_display = ["name", "tenant", "epoch", "made_by", "signing_key", "created_shown"]
    list_filter = ["operator_made", TENANT_FILTER]
    search_fields = ["name"]
    list_select_related = ["tenant"]
    fields = ["name", "id_shown", "tenant", "made_by", "signing_key_whole", "record_number", "epoch", "generation",
              "created_shown"]  # fmt: skip

    @display(description="Keys made", label={"by the customer": "success", "on the server": "warning"})
    def made_by(self, vault):
        return "on the server" if vault.operator_made else "by the customer"

    @display(description="Id")
    def id_shown(self, vault):
        return showing.code(vault.pk.hex)

    @display(description="Signing key (SHA-256)")
    def signing_key(self, vault):
        return showing.code(bytes(vault.signing_key_hash).hex(), 16)

    @display(description="Signing key (SHA-256)")
    def signing_key_whole(self, vault):
        return showing.code(bytes(vault.signing_key_hash).hex())

    @display(description="Registered", ordering="created_at")
    def created_shown(self, vault):
        return showing.moment(vault.created_at)
