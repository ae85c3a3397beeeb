"""Cutting many proteins into requests: each as large as the limits let it be, in the order of the proteins."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Room:
    """What a request has room for, or a protein takes up."""

    tokens: int = 0
    """Of model passes."""
    numbers: int = 0
    """In the answer."""
    records: int = 0
    bytes: int = 0

    def less(self, other: "Room") -> "Room":
        return Room(
            self.tokens - other.tokens,
            self.numbers - other.numbers,
            self.records - other.records,
            self.bytes - other.bytes,
        )

    @property
    def is_left(self) -> bool:
        return min(self.tokens, self.numbers, self.records, self.bytes) >= 0


def portions(sizes: Iterable[tuple[int, Room]], most: Room) -> list[list[int]]:
    """Proteins by their numbers, in lists that fit into `most`. One that does not fit alone is alone."""
    cut: list[list[int]] = []
    room = most
    for number, size in sizes:
        room = room.less(size)
        if not cut or not room.is_left:
            cut.append([])
            room = most.less(size)
        cut[-1].append(number)
    return cut
