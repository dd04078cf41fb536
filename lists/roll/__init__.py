"""The roll: the States, and what each is to the treaty on any date."""

from lists.roll.data_files import Event, EventKind
from lists.roll.states import State, fold, in_words, sorted_by_name
from lists.roll.table import AS_AT, Roll

__all__ = ["AS_AT", "Event", "EventKind", "Roll", "State", "fold", "in_words", "sorted_by_name"]
