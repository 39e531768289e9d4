"""Contours of a grid of values as closed SVG paths."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

# Marching squares (Lorensen and Cline 1987 in the plane): which edges of a cell a contour joins, by which corners are
# inside (1 upper left, 2 upper right, 4 lower right, 8 lower left). It always has the inside on its left, so it leaves
# through an edge where it enters the next cell. Two opposite corners count as apart.
T, R, B, L = range(4)
STEPS: dict[int, list[tuple[int, int]]] = {
    1: [(L, T)], 2: [(T, R)], 3: [(L, R)], 4: [(R, B)], 5: [(L, T), (R, B)], 6: [(T, B)], 7: [(L, B)],
    8: [(B, L)], 9: [(B, T)], 10: [(T, R), (B, L)], 11: [(B, R)], 12: [(R, L)], 13: [(R, T)], 14: [(T, L)],
}  # fmt: skip
Edge = tuple[int, int, int]  # row and column of its upper or left end, and 0 across or 1 down
Point = tuple[float, float]


def contours(values: Float[ndarray, "h w"], level: float) -> list[list[Point]]:
    """The outlines of where `values` exceed `level`, each a list of (x, y) in grid steps, the first point not repeated.

    Beyond the grid values count as below the level, so that every outline is closed and can be filled (even-odd).
    """
    padded = np.pad(values, 1, constant_values=min(float(values.min()), level - abs(level) - 1))
    inside = padded > level
    cases = inside[:-1, :-1] + 2 * inside[:-1, 1:] + 4 * inside[1:, 1:] + 8 * inside[1:, :-1]
    following: dict[Edge, Edge] = {}
    for row, column in np.argwhere((cases > 0) & (cases < 15)).tolist():
        edges: list[Edge] = [(row, column, 0), (row, column + 1, 1), (row + 1, column, 0), (row, column, 1)]
        for start, end in STEPS[int(cases[row, column])]:
            following[edges[start]] = edges[end]
    outlines = []
    while following:
        edge, onward = following.popitem()
        outline = [_crossing(padded, level, edge)]
        while onward in following:
            outline.append(_crossing(padded, level, onward))
            onward = following.pop(onward)
        outlines.append(outline)
    return outlines


def _crossing(padded: ndarray, level: float, edge: Edge) -> Point:
    """Where the level is met on an edge, in steps of the grid without its padding."""
    row, column, down = edge
    first, second = padded[row, column], padded[row + down, column + 1 - down]
    part = float((level - first) / (second - first))
    x, y = column - 1 + (0 if down else part), row - 1 + (part if down else 0)
    return float(min(max(x, 0), padded.shape[1] - 3)), float(min(max(y, 0), padded.shape[0] - 3))
