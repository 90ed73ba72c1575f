"""What can be wrong with a policy. The texts are for the person who writes it."""

from __future__ import annotations

from dataclasses import dataclass


class SettingRefused(ValueError):
    """A setting's value cannot be used; the text is one sentence: what is wrong, and what would be right."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with one setting; `name` is empty where it is about all of them."""

    name: str
    sentence: str


class PolicyRefused(ValueError):
    """A policy, an assignment or a group cannot be made so; `faults` says what is wrong with which setting."""

    def __init__(self, sentence: str, faults: list[Fault] | None = None) -> None:
        super().__init__(sentence)
        self.faults = faults or [Fault("", sentence)]


class PolicyMissing(LookupError):
    """There is no such policy, machine or group among what the asking person may see."""
