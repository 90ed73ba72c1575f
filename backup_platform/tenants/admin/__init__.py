"""Pages of tenants, their people and roles, and of everybody who may sign in."""

from . import people, tenants, users  # noqa: F401 - they register their pages
