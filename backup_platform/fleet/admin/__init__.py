"""Pages of machines, their groups, and enrolments."""

from backup_platform.fleet import groups_admin  # noqa: F401 - it registers its page

from . import enrollments, machines  # noqa: F401 - they register their pages
