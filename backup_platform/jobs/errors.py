"""What may be wrong with a wish for a job: one sentence for the person who has it."""

from __future__ import annotations


class JobRefused(Exception):
    """The job cannot be made or changed; the text says why, and what to do instead."""
