"""Tests for wrong_rows.py; named so that no ordinary run collects them, since one of them fails."""

from __future__ import annotations

import pytest

from tests.defences.sample import guarded


def test_guard():
    with pytest.raises(ValueError):  # noqa: PT011 (the words are what one of the rows changes)
        guarded(99)


def test_wrong():
    assert guarded(1) == 2
