"""Batches: as large as their time allows, and shared out at the end."""

from __future__ import annotations

from collections.abc import Iterator

from barloop.batches import Batches


def numbered(n_sets: int) -> Iterator[tuple[int, dict[str, int]]]:
    return ((number, {}) for number in range(n_sets))


def test_batches_grow_to_a_tenth_of_a_second() -> None:
    batches = Batches(numbered(100_000), 100_000)
    sizes = []
    for _ in range(8):
        n_sets = len(batches.take(2))
        sizes.append(n_sets)
        batches.learn(n_sets, n_sets * 0.001)
    assert sizes == [1, 4, 16, 64, 100, 100, 100, 100]
    # Slow sets come: the next batches are small.
    for _ in range(3):
        batches.learn(100, 100 * 0.05)
    assert len(batches.take(2)) == 2


def test_long_sets_do_not_wait_at_a_worker() -> None:
    batches = Batches(numbered(10), 10)
    ahead = [batches.ahead]
    for seconds in (0.01, 2.0, 0.01, 0.01, 0.01):
        batches.learn(1, seconds)
        ahead.append(batches.ahead)
    # Nothing is known of the first ones.
    assert ahead == [1, 2, 1, 1, 2, 2]


def test_the_last_sets_are_shared_out() -> None:
    batches = Batches(numbered(40), 40)
    batches.size = 1000
    sizes = []
    while n_sets := len(batches.take(2)):
        sizes.append(n_sets)
    assert sizes[0] == 10
    assert sizes[-1] == 1
    assert sum(sizes) == 40
