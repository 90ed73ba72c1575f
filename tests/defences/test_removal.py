"""The tool itself: a defence that is taken away is away for everybody, comes back, and cannot be missed by mistake."""

from __future__ import annotations

import pytest

from tests.defences import sample
from tests.defences.removal import Edit, OutOfDate, Swap, Words, taken_away
from tests.defences.sample import Gate, guarded

SAMPLE = "tests.defences.sample"
OPEN = Edit(f"{SAMPLE}:guarded", "if number > LIMIT:", "if False:")


def test_everybody_who_imported_a_function_meets_the_changed_one_and_then_the_old_one():
    with taken_away((OPEN,)):
        assert guarded(99) == sample.guarded(99) == 99
    with pytest.raises(ValueError, match="too large"):
        guarded(99)


@pytest.mark.parametrize("name", ["method", "quiet", "fixed", "wide"])
def test_methods_properties_and_what_says_super_are_changed_alike(name):
    gate = Gate()
    with taken_away((Edit(f"{SAMPLE}:Gate.{name}", "3", "4"),)):
        assert gate.read(name) == 4
    assert gate.read(name) == 3


def test_values_and_texts_are_swapped_and_come_back():
    with taken_away((Swap(f"{SAMPLE}:LIMIT", 100), Words(f"{SAMPLE}:SQL", " AND live", ""))):
        assert (guarded(99), sample.SQL) == (99, "SELECT 1 WHERE true")
    assert (sample.LIMIT, sample.SQL) == (10, "SELECT 1 WHERE true AND live")


@pytest.mark.parametrize(
    "removal",
    [
        Edit(f"{SAMPLE}:guarded", "if number > LIMIT and True:", "if False:"),
        Edit(f"{SAMPLE}:guarded", "number", "numeral"),
        Words(f"{SAMPLE}:SQL", "AND dead", ""),
    ],
    ids=["not there", "there more than once", "no such words"],
)
def test_what_is_not_as_described_is_out_of_date_and_nothing_stays_changed(removal):
    with pytest.raises(OutOfDate), taken_away((OPEN, removal)):
        pytest.fail("it was taken for applied")
    with pytest.raises(ValueError, match="too large"):
        guarded(99)


def test_a_second_edit_of_a_function_does_not_undo_the_first_unseen():
    with pytest.raises(OutOfDate, match="twice"), taken_away((OPEN, OPEN)):
        pytest.fail("the second edit started from the untouched source")
