"""What can be wrong with a timetable, in a sentence for the person who wrote it."""

from __future__ import annotations


class ScheduleFault(ValueError):
    """A timetable cannot be read. `setting` names the setting that should change; the text says how."""

    def __init__(self, setting: str, sentence: str) -> None:
        super().__init__(sentence)
        self.setting = setting
        self.sentence = sentence
