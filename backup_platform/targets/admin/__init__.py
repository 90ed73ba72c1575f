"""The pages of targets."""

from . import pages  # noqa: F401 - it registers its page
