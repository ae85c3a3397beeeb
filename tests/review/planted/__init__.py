"""The table of planted changes: what a review must see, and what it must leave alone."""

from tests.review.planted import (
    conditions,
    data,
    delivery,
    harmless,
    money,
    network,
    permissions,
    promotion,
    service,
    undecided,
    unlisted,
    updates,
)
from tests.review.planted.variants import VARIANTS
from tests.review.workshop import Planted

TABLE: tuple[Planted, ...] = (
    *harmless.TABLE,
    *permissions.TABLE,
    *network.TABLE,
    *data.TABLE,
    *service.TABLE,
    *money.TABLE,
    *promotion.TABLE,
    *delivery.TABLE,
    *unlisted.TABLE,
    *undecided.TABLE,
    *conditions.TABLE,
    *updates.TABLE,
)

SAMPLE = (  # of `make test`
    "a comment",
    "the order of a dict",
    "every action of S3",
    "a renamed bucket construct",
    "a gate loosened",
    "machines a hundred times dearer",
)

__all__ = ["SAMPLE", "TABLE", "VARIANTS"]
