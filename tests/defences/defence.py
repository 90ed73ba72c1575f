"""What a row of the table says: a defence, how it is taken away, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass

from tests.defences.removal import Removal

FAILED_CHECK = frozenset({"AssertionError", "Failed"})
"""How a test says by itself that something is wrong: an assertion, or `pytest.raises` that saw nothing raised."""


@dataclass(frozen=True, slots=True)
class Defence:
    """One row.

    `law` is "law 1" … "law 10" or a binding, `says` what holds while the defence stands, `tests` are node ids, every
    one of which must fail without it. Some tests meet the harm as an exception of the product and not in an assertion:
    `fails_as` names those kinds.
    """

    name: str
    law: str
    says: str
    removals: tuple[Removal, ...]
    tests: tuple[str, ...]
    fails_as: frozenset[str] = frozenset()

    @property
    def accepted(self) -> frozenset[str]:
        """The kinds of exception that count as the test noticing."""
        return FAILED_CHECK | self.fails_as


def defence(
    name: str, law: str, says: str, removals: Removal | tuple[Removal, ...], *tests: str, fails_as: str = ""
) -> Defence:
    """Write a row of the table: `fails_as` holds names with blanks between them."""
    several = removals if isinstance(removals, tuple) else (removals,)
    return Defence(name, law, says, several, tests, frozenset(fails_as.split()))
