"""Drawing solid bodies on a flat slice: planes, soft ellipsoids, smooth value noise and image grain, in numpy alone.

A body is described in centimetres: x from the patient's right (left in the picture) to left, y from front to back, z
from head to feet. A slice is a plane through it; every shape is evaluated only in the window that it can reach.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]  # float32 throughout; numpy's own stubs forget it at the first operation
Point = tuple[float, float, float]
INFINITE = 1e6  # a radius in cm beyond any slice: turns an ellipsoid into a cylinder


def stream(*words: int) -> np.random.Generator:
    """The random stream named by non-negative integers (seed first), independent of every other stream."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


@dataclass(frozen=True)
class Plane:
    """The pixel centres of one slice: x (1, W), y and z (H, 1) or (1, 1), in cm, and the pixel side `pixel_cm`."""

    x: Field
    y: Field
    z: Field
    pixel_cm: float
    is_axial: bool

    @classmethod
    def axial(cls, size: int, *, side_cm: float, centre: tuple[float, float], level: float) -> "Plane":
        """The cross-section at z = `level`, `side_cm` wide, with body point `centre` (x, y) in the middle."""
        steps = _steps(size, side_cm)
        return cls((steps + centre[0])[None, :], (steps + centre[1])[:, None], _single(level), side_cm / size, True)

    @classmethod
    def coronal(cls, size: int, *, side_cm: float, centre: tuple[float, float], level: float) -> "Plane":
        """The frontal section at y = `level`, `side_cm` wide, with body point `centre` (x, z) in the middle."""
        steps = _steps(size, side_cm)
        return cls((steps + centre[0])[None, :], _single(level), (steps + centre[1])[:, None], side_cm / size, False)

    @property
    def down(self) -> Field:
        """The coordinate (H, 1) that grows from the top of the picture to its bottom."""
        return self.y if self.is_axial else self.z

    def shifted_back(self, distance: Field | float) -> "Plane":
        """The same pixels as seen by structures that lie `distance` cm (constant, or one value a row) further back."""
        y = (self.y - distance).astype(np.float32)
        return Plane(self.x, y, self.z, self.pixel_cm, self.is_axial)


def _steps(size: int, side_cm: float) -> Field:
    return (((np.arange(size) + 0.5) / size - 0.5) * side_cm).astype(np.float32)


def _single(value: float) -> Field:
    return np.full((1, 1), value, np.float32)


@dataclass(frozen=True)
class Solid:
    """An ellipsoid: centre and radii in cm, `turn` in radians about z, `lean` = shift of (x, y) per cm of z."""

    centre: Point
    radii: Point
    turn: float = 0.0
    lean: tuple[float, float] = (0.0, 0.0)

    def mirrored(self) -> "Solid":
        """The same solid on the other side of the midline x = 0."""
        (x, y, z), (lean_x, lean_y) = self.centre, self.lean
        return Solid((-x, y, z), self.radii, -self.turn, (-lean_x, lean_y))

    def scaled(self, factor: float) -> "Solid":
        """The same solid with all radii multiplied by `factor`."""
        a, b, c = self.radii
        return Solid(self.centre, (a * factor, b * factor, c * factor), self.turn, self.lean)

    def at(self, offset: Point) -> Point:
        """The body point at `offset`, given in radii along the solid's own (turned) axes."""
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        u, v, w = (o * r for o, r in zip(offset, self.radii, strict=True))
        x, y, z = self.centre
        return (x + cos * u - sin * v + self.lean[0] * w, y + sin * u + cos * v + self.lean[1] * w, z + w)

    def window(self, plane: Plane, margin: float) -> tuple[slice, slice] | None:
        """Rows and columns of `plane` that the solid grown by 1 + `margin` can touch, None where none can."""
        a, b, c = self.radii
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        grow = 1.0 + margin
        reach_x = (math.hypot(a * cos, b * sin) + abs(self.lean[0]) * min(c, 30.0)) * grow + plane.pixel_cm
        reach_y = (math.hypot(a * sin, b * cos) + abs(self.lean[1]) * min(c, 30.0)) * grow + plane.pixel_cm
        reach_z = c * grow + plane.pixel_cm
        down, across = ("y", "z") if plane.is_axial else ("z", "y")
        reach = {"y": (self.centre[1], reach_y), "z": (self.centre[2], reach_z)}
        middle, half = reach[across]
        if np.abs(getattr(plane, across) - middle).min() > half:
            return None
        middle, half = reach[down]
        rows = _span(plane.down[:, 0], middle - half, middle + half)
        columns = _span(plane.x[0], self.centre[0] - reach_x, self.centre[0] + reach_x)
        empty = rows.start >= rows.stop or columns.start >= columns.stop
        return None if empty else (rows, columns)

    def radius(self, plane: Plane, window: tuple[slice, slice]) -> Field:
        """Distance from the centre in units of the radii (1 on the surface) over the pixels of `window`."""
        rows, columns = window
        dz = _cut(plane.z, rows) - self.centre[2]
        dx = plane.x[:, columns] - self.centre[0] - self.lean[0] * dz
        dy = _cut(plane.y, rows) - self.centre[1] - self.lean[1] * dz
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        a, b, c = self.radii
        if self.turn:
            square = ((cos * dx + sin * dy) / a) ** 2 + ((cos * dy - sin * dx) / b) ** 2 + (dz / c) ** 2
        else:
            square = (dx / a) ** 2 + ((dy / b) ** 2 + (dz / c) ** 2)
        return np.sqrt(square)


def _span(coordinate: Field, low: float, high: float) -> slice:
    return slice(int(np.searchsorted(coordinate, low)), int(np.searchsorted(coordinate, high)))


def _cut(coordinate: Field, rows: slice) -> Field:
    return coordinate[rows] if coordinate.shape[0] > 1 else coordinate


@dataclass(frozen=True)
class Patch:
    """What a solid covers of a slice: a window of pixels, the distance from its centre and its soft mask there."""

    window: tuple[slice, slice]
    radius: Field
    mask: Field


@dataclass(frozen=True)
class Canvas:
    """A slice being painted: `image` (H, W), or (c, H, W) for c contrasts at once, is changed in place.

    Later paint covers earlier paint. labels: (H, W), set to `label` wherever more than half of a pixel is painted over.
    """

    plane: Plane
    image: Field
    labels: NDArray[np.uint8] | None = None
    label: int = 0

    def on(self, plane: Plane) -> "Canvas":
        """The same image painted through another plane of the same pixels (see Plane.shifted_back)."""
        return replace(self, plane=plane)

    def labelled(self, label: int) -> "Canvas":
        """The same image and labels, what is painted through it being marked `label`."""
        return replace(self, label=label)

    def patch(
        self, solid: Solid, *, warp: Field | None = None, inside: Field | None = None, soft_cm: float = 0.0
    ) -> Patch | None:
        """The pixels of `solid`, its radius changed by `warp` (H, W), limited to the mask `inside` (H, W).

        Edges run over one pixel or `soft_cm`, whichever is more. None where the slice misses the solid.
        """
        margin = 0.0 if warp is None else 0.4
        window = solid.window(self.plane, margin)
        if window is None:
            return None
        radius = solid.radius(self.plane, window)
        if warp is not None:
            radius = radius + np.maximum(warp[window], -0.3)  # what reaches further would be cut by the window
        sharpness = min(solid.radii) / max(soft_cm, self.plane.pixel_cm)
        mask = ramp((1.0 - radius) * sharpness + 0.5)
        if inside is not None:
            mask = mask * inside[window]
        return Patch(window, radius, mask)

    def paint(self, patch: Patch | None, value: float | Field | Callable[[Patch], Field]) -> None:
        """Blend `value` (an array like the window, or a callable of the patch) into the image by the mask."""
        if patch is None:
            return
        target = self.image[(..., *patch.window)]
        colour = value(patch) if callable(value) else value
        target += patch.mask * (colour - target)
        self.mark(patch)

    def mark(self, patch: Patch) -> None:
        """Label the pixels that the patch covers by more than half, and leave the image as it is."""
        if self.labels is not None:
            self.labels[patch.window][patch.mask > 0.5] = self.label

    def fill(
        self,
        solid: Solid,
        value: float | Field | Callable[[Patch], Field],
        *,
        warp: Field | None = None,
        inside: Field | None = None,
        soft_cm: float = 0.0,
    ) -> None:
        """Paint `solid` with `value`: `patch` and `paint` in one."""
        self.paint(self.patch(solid, warp=warp, inside=inside, soft_cm=soft_cm), value)

    def spread(self, mask: NDArray[np.floating] | NDArray[np.bool_]) -> Field:
        """A mask of one value, a row or a column seen over the whole image (H, W)."""
        return np.broadcast_to(mask, self.image.shape[-2:]).astype(np.float32, copy=False)

    def cover(self, mask: Field, value: float | Field) -> None:
        """Blend `value` into the whole image by `mask` (H, W)."""
        np.add(self.image, mask * (value - self.image), out=self.image)
        if self.labels is not None:
            self.labels[self.spread(mask) > 0.5] = self.label


@dataclass(frozen=True)
class Lattice:
    """Smooth value noise of unit variance: normal numbers on a cubic lattice joined by cubic B-splines, periodic."""

    numbers: Field  # (n, n, n) in the order z, y, x
    spacing_cm: float

    @classmethod
    def random(cls, rng: np.random.Generator, *, spacing_cm: float, nodes: int = 32) -> "Lattice":
        """Draw a lattice of `nodes`³ numbers."""
        # a B-spline of unit white noise has variance 0.479 along each axis between and at the nodes
        return cls(rng.standard_normal((nodes,) * 3, dtype=np.float32) / np.float32(0.479**1.5), spacing_cm)

    def on(self, plane: Plane) -> Field:
        """The noise (H, W) on a plane."""
        across, down = (plane.z, plane.y) if plane.is_axial else (plane.y, plane.z)
        numbers = self.numbers if plane.is_axial else self.numbers.swapaxes(0, 1)
        flat = self._along(numbers, np.mean(across).reshape(1))[0]  # (down, x)
        columns = self._along(np.ascontiguousarray(flat.T), plane.x[0]).T  # (down, W)
        return self._along(np.ascontiguousarray(columns), down[:, 0])  # (H, W)

    def _along(self, numbers: Field, coordinate: Field) -> Field:
        place = coordinate / self.spacing_cm
        node = np.floor(place)
        t = (place - node).astype(np.float32).reshape(-1, *[1] * (numbers.ndim - 1))
        first = node.astype(np.int64) - 1
        weights = ((1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (1 + 3 * (t + t**2 - t**3)) / 6, t**3 / 6)
        return sum(w * numbers.take((first + k) % len(numbers), axis=0) for k, w in enumerate(weights))  # type: ignore[return-value]


def ramp(value: Field) -> Field:
    """Clip to [0, 1], in place."""
    return np.clip(value, 0.0, 1.0, out=value)


def rise(value: Field | float, low: float, high: float) -> Field:
    """The smooth step 3t² - 2t³ from 0 at `low` to 1 at `high` (falling where low > high)."""
    t = np.clip((np.asarray(value, np.float32) - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def band(value: Field, half_width: float) -> Field:
    """A soft line: 1 where `value` is 0, falling linearly to 0 at ± `half_width`."""
    return ramp(1.0 - np.abs(value) / half_width)


def blur(image: Field) -> Field:
    """Smooth rows and columns (the last two axes) with the kernel (1, 2, 1)/4; the border keeps its values."""
    out = image.copy()
    out[..., 1:-1, :] = 0.25 * (image[..., :-2, :] + image[..., 2:, :]) + 0.5 * image[..., 1:-1, :]
    image = out.copy()
    out[..., 1:-1] = 0.25 * (image[..., :-2] + image[..., 2:]) + 0.5 * image[..., 1:-1]
    return out


def grain(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Correlated normal noise of unit variance: white noise under a 2 x 2 box, as reconstruction filters leave it."""
    white = rng.standard_normal((shape[0] + 1, shape[1] + 1), dtype=np.float32)
    rows = white[1:] + white[:-1]
    return 0.5 * (rows[:, 1:] + rows[:, :-1])


def with_rician_noise(rng: np.random.Generator, image: Field, deviation: float) -> Field:
    """Magnitude of image + complex normal noise, `deviation` in each part (Eq. 1, Gudbjartsson & Patz 1995)."""
    real, imaginary = deviation * rng.standard_normal((2, *image.shape), dtype=np.float32)
    return np.sqrt((image + real) ** 2 + imaginary**2)


def rolled(image: Field, *, degrees: float, outside: float) -> Field:
    """Rotate about the middle of the picture (bilinear); corners that come in hold `outside`."""
    from PIL import Image

    turned = Image.fromarray(image).rotate(degrees, Image.Resampling.BILINEAR, fillcolor=outside)
    return np.array(turned, np.float32)


def write_jpeg(path: Path, image: Field) -> None:
    """Write grey levels (clipped to 0..255) as an 8-bit JPEG."""
    from PIL import Image

    Image.fromarray(np.clip(image + 0.5, 0, 255).astype(np.uint8)).save(path, quality=90)
