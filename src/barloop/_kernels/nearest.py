"""The nearest points of each point, found in a k-d tree."""

from __future__ import annotations

from barloop._jit import kernel, subkernel
from barloop.typing import FloatBlock, FloatVector, IntBlock, IntVector


@kernel
def nearest(
    point: FloatBlock,  # (n_points, n_axes) whole numbers, leaf after leaf
    number: IntVector,  # (n_points,) decides between points at the same distance
    start: IntVector,  # (n_leaves + 1,) leaf k holds the points start[k]:start[k + 1]
    low: FloatBlock,  # (2 * n_leaves, n_axes) least coordinates below each node
    high: FloatBlock,  # (2 * n_leaves, n_axes) greatest
    node_stack: IntVector,  # (depth of the tree + 2,) work buffer
    distance_stack: FloatVector,  # (depth of the tree + 2,) work buffer
    distance_out: FloatBlock,  # (n_points, n_nearest) squared, ascending; inf at first
    nearest_out: IntBlock,  # (n_points, n_nearest) rows of `point`; -1 at first
) -> None:
    """Find the other points with the least sum of squared differences.

    Node 1 is the root, the children of node k are 2 k and 2 k + 1, and the leaves are
    the nodes from n_leaves, a power of 2.  With whole numbers whose squared distances
    are below 2**53, no distance is rounded, so that equal ones are equal.
    """
    n_leaves = start.size - 1
    last = distance_out.shape[1] - 1
    for i in range(point.shape[0]):
        node_stack[0] = 1
        distance_stack[0] = 0.0
        n_stacked = 1
        while n_stacked > 0:
            n_stacked -= 1
            # Not >=: a point at the same distance with a lower number may be there.
            if distance_stack[n_stacked] > distance_out[i, last]:
                continue
            node = node_stack[n_stacked]
            if node < n_leaves:
                one = _box_distance(point, i, low, high, 2 * node)
                two = _box_distance(point, i, low, high, 2 * node + 1)
                near = 2 * node if one <= two else 2 * node + 1
                node_stack[n_stacked] = 4 * node + 1 - near
                distance_stack[n_stacked] = max(one, two)
                node_stack[n_stacked + 1] = near
                distance_stack[n_stacked + 1] = min(one, two)
                n_stacked += 2
                continue
            leaf = node - n_leaves
            for other in range(start[leaf], start[leaf + 1]):
                if other != i:
                    _insert(point, number, i, other, distance_out, nearest_out)


@subkernel
def _box_distance(
    point: FloatBlock,
    i: int,
    low: FloatBlock,
    high: FloatBlock,
    node: int,
) -> float:
    """Return the least squared distance that a point of the box can have."""
    total = 0.0
    for j in range(point.shape[1]):
        # At most one of the two is positive.
        gap = max(low[node, j] - point[i, j], point[i, j] - high[node, j], 0.0)
        total += gap * gap
    return total


@subkernel
def _insert(
    point: FloatBlock,
    number: IntVector,
    i: int,
    other: int,
    distance_out: FloatBlock,
    nearest_out: IntBlock,
) -> None:
    """Put a point among the nearest ones, if it is one of them."""
    last = distance_out.shape[1] - 1
    total = 0.0
    for j in range(point.shape[1]):
        gap = point[i, j] - point[other, j]
        total += gap * gap
    place = last + 1
    while place > 0 and (
        total < distance_out[i, place - 1]
        or (
            total == distance_out[i, place - 1]
            and number[other] < number[nearest_out[i, place - 1]]
        )
    ):
        place -= 1
    if place > last:
        return
    for slot in range(last, place, -1):
        distance_out[i, slot] = distance_out[i, slot - 1]
        nearest_out[i, slot] = nearest_out[i, slot - 1]
    distance_out[i, place] = total
    nearest_out[i, place] = other
