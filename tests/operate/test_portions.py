"""Many proteins as requests."""

from operate.portions import Room, portions


def test_every_protein_is_in_one_portion_in_order_and_only_one_alone_is_over_a_limit() -> None:
    most = Room(tokens=10, numbers=100, records=3, bytes=1_000)
    tokens = (5, 5, 5, 50, 1, 1, 1, 1)
    assert portions(enumerate(Room(one, 1, 1, 1) for one in tokens), most) == [[0, 1], [2], [3], [4, 5, 6], [7]]


def test_each_limit_cuts() -> None:
    most = Room(tokens=10, numbers=10, records=10, bytes=10)
    for full in (Room(6, 1, 1, 1), Room(1, 6, 1, 1), Room(1, 1, 6, 1), Room(1, 1, 1, 6)):
        assert portions([(7, full), (9, full)], most) == [[7], [9]]
    assert portions([], most) == []
