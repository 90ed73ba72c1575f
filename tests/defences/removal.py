"""Taking a defence away, in this process only: functions get changed code, values get changed, and both come back.

Production code has no switch for this. A function is compiled anew from its changed source and given the new code
*object*, so that everybody who imported it, wrapped it or made a method of it runs the changed code.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import CodeType, FunctionType
from typing import Any


class OutOfDate(Exception):
    """The source is not what the table says any more: the row must be looked at by a person."""


@dataclass(frozen=True, slots=True)
class Removal:
    """Something of the product, named `module:qualified.name`, and what it is replaced by."""

    place: str

    def apply(self) -> Callable[[], None]:
        """Take it away; the answer brings it back."""
        raise NotImplementedError

    @property
    def owner(self) -> Any:
        """The module or class that holds it."""
        module, _, path = self.place.partition(":")
        found: Any = import_module(module)
        for name in path.split(".")[:-1]:
            found = getattr(found, name)
        return found

    @property
    def name(self) -> str:
        return self.place.partition(":")[2].rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Edit(Removal):
    """A function whose source has `old` exactly once, and runs with `new` in its place; `more` are further pairs."""

    old: str
    new: str
    more: tuple[tuple[str, str], ...] = ()

    def apply(self) -> Callable[[], None]:
        function = plain_function(vars(self.owner)[self.name])
        kept = function.__code__
        if kept in _CHANGED:
            raise OutOfDate(f"{self.place} is edited twice: give the second pair as `more`")
        function.__code__ = changed_code(function, ((self.old, self.new), *self.more), self.place)
        _CHANGED.append(function.__code__)

        def put_back() -> None:
            _CHANGED.remove(function.__code__)
            function.__code__ = kept

        return put_back


_CHANGED: list[CodeType] = []
"""Code that is in force instead of its source's: an edit of it would start from the source and undo the first one."""


@dataclass(frozen=True, slots=True)
class Swap(Removal):
    """A value (a constant, a class's method or property) that is replaced by `value`."""

    value: Any

    def apply(self) -> Callable[[], None]:
        owner, name = self.owner, self.name
        kept = vars(owner)[name]
        setattr(owner, name, self.value)
        return lambda: setattr(owner, name, kept)


@dataclass(frozen=True, slots=True)
class Words(Removal):
    """A text constant (SQL, mostly) that has `old` at least once, and `new` in its place everywhere."""

    old: str
    new: str

    def apply(self) -> Callable[[], None]:
        text = vars(self.owner)[self.name]
        if self.old not in text:
            raise OutOfDate(f"{self.place} does not contain {self.old!r} any more")
        return Swap(self.place, text.replace(self.old, self.new)).apply()


@dataclass(frozen=True, slots=True)
class Sql(Removal):
    """Something that the test database itself holds: `off` takes it away, `on` brings it back."""

    off: str
    on: str

    def apply(self) -> Callable[[], None]:
        self._execute(self.off)
        return lambda: self._execute(self.on)

    def _execute(self, statement: str) -> None:
        # A connection of its own: pytest-django lets nobody use Django's between tests.
        import psycopg
        from django.db import connection

        settings = connection.settings_dict
        with psycopg.connect(
            dbname=settings["NAME"],
            host=settings["HOST"],
            port=settings["PORT"],
            user=settings["USER"],
            password=settings["PASSWORD"],
            autocommit=True,
        ) as direct:
            direct.execute(statement)


@contextmanager
def taken_away(removals: tuple[Removal, ...]) -> Iterator[None]:
    """Run a block without these defences. OutOfDate, with nothing changed, when one is not found as described."""
    undo: list[Callable[[], None]] = []
    try:
        for removal in removals:
            undo.append(removal.apply())  # noqa: PERF401 (what was applied must be undone when the next one fails)
        yield
    finally:
        for put_back in reversed(undo):
            put_back()


def plain_function(found: Any) -> FunctionType:
    """The function under a staticmethod, a property or a decorator that keeps what it wraps."""
    if isinstance(found, staticmethod | classmethod):
        found = found.__func__
    if isinstance(found, property):
        found = found.fget
    function = inspect.unwrap(found)
    assert isinstance(function, FunctionType), f"{found!r} has no source to change"
    return function


def changed_code(function: FunctionType, pairs: tuple[tuple[str, str], ...], place: str) -> CodeType:
    """The function's code with each pair's first text replaced by its second, line numbers kept."""
    source = textwrap.dedent(inspect.getsource(function))
    if not _is_source_of(source, function):
        raise OutOfDate(f"{place} was changed on disk after it was imported: run again")
    for old, new in pairs:
        if source.count(old) != 1:
            raise OutOfDate(f"{place} contains {old!r} {source.count(old)} times, not once")
        source = source.replace(old, new)
    code = _compiled(source, function)
    if code.co_freevars != function.__code__.co_freevars:
        raise OutOfDate(f"{place}: the changed copy uses other variables of its surroundings")
    return code


def _is_source_of(source: str, function: FunctionType) -> bool:
    """Whether the text on disk is what was imported. Not the code itself is compared: the compiler calls what the
    module imports in another way than what it does not see imported."""
    try:
        read, loaded = _compiled(source, function), function.__code__
    except (SyntaxError, StopIteration):
        return False
    return set(read.co_names) == set(loaded.co_names) and read.co_varnames == loaded.co_varnames


def _compiled(source: str, function: FunctionType) -> CodeType:
    """A function's code out of its source, line numbers kept."""
    body = textwrap.indent(source, " ")
    # A method that says super() has its class as a free variable; a maker with such variables gives the copy the same.
    frees = ", ".join(function.__code__.co_freevars)
    lines = "\n" * max(function.__code__.co_firstlineno - 2, 0)
    flags = function.__code__.co_flags & FUTURE_FEATURES
    module = compile(
        f"{lines}def maker({frees}):\n{body}", function.__code__.co_filename, "exec", flags, dont_inherit=True
    )
    return _code_named(_code_named(module, "maker"), function.__name__)


def _code_named(within: CodeType, name: str) -> CodeType:
    return next(item for item in within.co_consts if isinstance(item, CodeType) and item.co_name == name)


def _future_features() -> int:
    import __future__

    flags = 0
    for name in __future__.all_feature_names:
        flags |= getattr(__future__, name).compiler_flag
    return flags


FUTURE_FEATURES = _future_features()
