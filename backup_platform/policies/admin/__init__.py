"""Pages for policies and to whom they apply."""

import backup_platform.fleet.groups_admin  # noqa: F401 - groups are found by typing, which asks for their page

from .assignments import AssignmentAdmin
from .policies import PolicyAdmin

__all__ = ["AssignmentAdmin", "PolicyAdmin"]
