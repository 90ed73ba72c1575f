"""Waiting for a thread's work at a pace."""

from __future__ import annotations

from concurrent.futures import Future

from backup_platform.storage.pace import at_least, wait_for


class JustNow(Future):
    """Work that comes to its end in the very moment in which the waiting for it was over."""

    def result(self, timeout: float | None = None) -> object:
        if not self.done():
            self.set_result("sent")
            raise TimeoutError
        return super().result(timeout)


def test_work_that_ends_as_the_look_at_it_ends_is_done():
    with at_least(1) as pace:
        assert wait_for(JustNow(), pace) == "sent"
