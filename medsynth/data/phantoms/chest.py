"""A frontal chest radiograph: what the beam meets on its way through an analytic body, in centimetres of tissue.

x runs from the patient's right (left in the picture) to left, z from head to feet, with 0 at the fork of the trachea.
Nothing is traced: a solid adds the chord that a beam from the back cuts out of it, times how dense it is.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from medsynth.data.phantoms import canvas
from medsynth.data.phantoms.canvas import Field, Lattice, Plane, Solid, band, ramp, rise

LUNG = 0.74  # how much less than tissue inflated lung takes from the beam
BONE = 0.85  # how much more than tissue bone takes
RIGHT, LEFT = -1.0, 1.0


@dataclass(frozen=True)
class Vessel:
    """A straight piece of a lung vessel between two points (x, z), with its radius in cm."""

    start: tuple[float, float]
    end: tuple[float, float]
    radius: float


@dataclass(frozen=True)
class Chest:
    """One patient. cm, but for `density` (of bones, 1 is usual) and `slope`, how far ribs fall from back to front."""

    half_width: float  # of the rib cage
    depth: float  # half the thickness of the trunk
    fat: float
    base: float  # z of the right dome of the diaphragm
    step: float  # how much lower the left one is
    rib_pitch: float
    slope: float
    density: float
    curve: float  # of the spine to one side
    heart: Solid
    breast: float  # radius, 0 for none
    vessels: tuple[Vessel, ...]
    patches: tuple[Solid, ...] = ()
    """Opacities of pneumonia; none in healthy lungs."""
    coarse: Lattice = field(repr=False, kw_only=True)
    fine: Lattice = field(repr=False, kw_only=True)

    @classmethod
    def random(cls, rng: np.random.Generator, *, positive: bool) -> "Chest":
        """A patient, with patchy opacities in the periphery of both lungs when `positive`."""
        half_width, base = rng.uniform(12.2, 14.6), rng.uniform(8.4, 11.2)
        size = rng.uniform(0.88, 1.18) * half_width / 13.4
        middle = rng.uniform(2.0, 3.0), 0.0, base - 4.6 * size
        heart = Solid(middle, (5.3 * size, 4.6, 5.2 * size), lean=(rng.uniform(0.2, 0.5), 0.0))
        return cls(
            half_width, rng.uniform(9.2, 11.2), rng.uniform(0.8, 3.2), base, rng.uniform(0.5, 1.8),
            rib_pitch=rng.uniform(2.1, 2.4), slope=rng.uniform(4.0, 6.5), density=rng.uniform(0.7, 1.25),
            curve=rng.uniform(-0.6, 0.6), heart=heart, breast=rng.uniform(4.0, 6.0) if rng.random() < 0.45 else 0.0,
            vessels=_random_vessels(rng, half_width, base),
            patches=_random_patches(rng, half_width, base) if positive else (),
            coarse=Lattice.random(rng, spacing_cm=1.6), fine=Lattice.random(rng, spacing_cm=0.45),
        )  # fmt: skip


@dataclass(frozen=True)
class Film:
    """One exposure of a patient.

    side_cm, centre: the square field of view.  breath: how far in cm the diaphragm is lower than in Chest.
    severity: 0 to 1, how much air the opacities have displaced.  black, white: centimetres of tissue.
    margins: shares of the side that the collimator covers left, right, top and bottom.
    """

    side_cm: float
    centre: tuple[float, float]
    roll_degrees: float
    breath: float
    severity: float
    black: float
    white: float
    gamma: float
    noise: float
    margins: tuple[float, float, float, float]
    has_marker: bool

    @classmethod
    def random(cls, rng: np.random.Generator, chest: Chest) -> "Film":
        """An exposure as different hospitals and days make it."""
        side = 2.0 * chest.half_width / rng.uniform(0.72, 0.92)
        covered = rng.uniform(0.01, 0.06, 4) * (rng.random(4) < 0.3)
        return cls(
            side_cm=side, centre=(rng.uniform(-1.2, 1.2), rng.uniform(0.0, 2.2)), roll_degrees=rng.uniform(-4.0, 4.0),
            breath=rng.uniform(-1.4, 0.8), severity=rng.uniform(0.3, 0.75), black=rng.uniform(2.0, 6.0),
            white=2.0 * chest.depth + rng.uniform(1.0, 4.5), gamma=rng.uniform(0.8, 1.25), noise=rng.uniform(1.0, 3.5),
            margins=(float(covered[0]), float(covered[1]), float(covered[2]), float(covered[3])),
            has_marker=rng.random() < 0.4,
        )  # fmt: skip


def radiograph(chest: Chest, film: Film, size: int) -> Field:
    """The picture (size, size) in grey levels 0..255, bone bright, without noise."""
    plane = Plane.coronal(size, side_cm=film.side_cm, centre=film.centre, level=0.0)
    tissue = canvas.blur(canvas.rolled(attenuation(chest, film, plane), degrees=film.roll_degrees, outside=0.0))
    light = np.clip((tissue - film.black) / (film.white - film.black), 0.0, 1.0) ** film.gamma
    picture = (250.0 * light).astype(np.float32)
    if film.has_marker:
        _draw_marker(picture)
    _collimate(picture, film.margins)
    return picture


def exposed(rng: np.random.Generator, picture: Field, noise: float) -> Field:
    """The picture with grain, `noise` grey levels where it is bright; what the beam never reached stays black."""
    return picture + noise * canvas.grain(rng, (picture.shape[0], picture.shape[1])) * np.minimum(picture / 40.0, 1.0)


def attenuation(chest: Chest, film: Film, plane: Plane) -> Field:
    """Centimetres of tissue (H, W) that a beam meets."""
    coarse, fine = chest.coarse.on(plane), chest.fine.on(plane)
    lung = _lungs(chest, film, plane)
    depth = _trunk(chest, plane) - LUNG * lung
    depth += lung * (0.012 * coarse + 0.02 * fine)
    inside = np.minimum(lung / 3.0, 1.0)
    for vessel in chest.vessels:
        _add_vessel(depth, plane, vessel, inside)
    depth += LUNG * film.severity * lung * _cloud(chest, plane, coarse)
    for solid, density in _soft_parts(chest, film):
        depth += density * _chord(plane, solid)
    _add_bones(depth, plane, chest)
    return depth + 0.08 * coarse * (depth > 1.0)


def _cloud(chest: Chest, plane: Plane, coarse: Field) -> Field:
    """The share (H, W) of its air that the lung has lost to the opacities, patchy inside each."""
    clear = np.ones((plane.z.shape[0], plane.x.shape[1]), np.float32)
    for patch in chest.patches:
        clear *= 1.0 - _body(plane, patch, lambda r: 0.8 * rise(r, 1.0, 0.1))
    return (1.0 - clear) * (0.35 + 0.65 * rise(coarse, -1.2, 1.2))


def _body(plane: Plane, solid: Solid, shade: Callable[[Field], Field]) -> Field:
    """`shade` of the distance from the solid's centre in radii, over the whole picture (H, W); 0 out of reach."""
    whole = np.zeros((plane.z.shape[0], plane.x.shape[1]), np.float32)
    window = solid.window(plane, 0.0)
    if window is not None:
        whole[window] = shade(solid.radius(plane, window))
    return whole


def _chord(plane: Plane, solid: Solid) -> Field:
    """How many cm of the solid lie in a beam (H, W)."""
    return _body(plane, solid, lambda r: 2.0 * solid.radii[1] * np.sqrt(np.maximum(1.0 - r * r, 0.0)))


def _trunk(chest: Chest, plane: Plane) -> Field:
    """Tissue of neck, shoulders, arms and trunk, lungs not yet taken out of it."""
    wide = chest.half_width + 1.2 + chest.fat
    half = 5.6 + (wide - 5.6) * rise(plane.z, -16.5, -8.0) + 0.06 * np.maximum(plane.z - 6.0, 0.0)
    thick = 5.5 + (chest.depth - 5.5) * rise(plane.z, -16.0, -3.0) + 0.14 * np.maximum(plane.z - chest.base, 0.0)
    depth = 2.0 * thick * np.sqrt(np.maximum(1.0 - np.abs(plane.x / half) ** 2.6, 0.0))
    for side in (RIGHT, LEFT):
        shoulder = Solid((side * (wide + 1.0), 0.0, -8.5), (6.5, 5.5, 5.5), lean=(0.5 * side, 0.0))
        arm = Solid((side * (wide + 5.5), 0.0, 10.0), (4.2, 4.5, 21.0), lean=(0.1 * side, 0.0))
        depth = np.maximum(depth, np.maximum(_chord(plane, shoulder), _chord(plane, arm)))
    return depth


def _lungs(chest: Chest, film: Film, plane: Plane) -> Field:
    """Centimetres of lung in a beam: two rounded cones on the diaphragm, less what heart and great vessels displace."""
    lung = np.zeros((plane.z.shape[0], plane.x.shape[1]), np.float32)
    for side in (RIGHT, LEFT):
        middle, half = 0.53 * chest.half_width, 0.49 * chest.half_width
        lower = rise(plane.z, -11.0, 3.0)
        across = np.abs((side * plane.x - middle * (0.78 + 0.22 * lower)) / (half * (0.72 + 0.28 * lower)))
        along = np.abs((plane.z - 4.0) / 14.6)
        thick = 1.72 * chest.depth * np.sqrt(np.maximum(1.0 - across**2.8 - along**2.6, 0.0))
        dome = _dome(chest, film, plane, side)
        above = ramp((dome - plane.z) / max(0.35, plane.pixel_cm) + 0.5)
        behind = ramp((dome + 3.0 - plane.z) / 3.0)  # the recess that hangs behind the dome
        lung += thick * (0.95 * above + 0.05 * behind)
    for solid in _mediastinum(chest):
        lung -= np.minimum(lung, _chord(plane, solid))
    return lung


def _dome(chest: Chest, film: Film, plane: Plane, side: float) -> Field:
    """z (1, W) of one half of the diaphragm, higher on the right, steep at the flank."""
    top = chest.base + film.breath + (chest.step if side == LEFT else 0.0)
    aside = (side * plane.x - 0.42 * chest.half_width) / (0.55 * chest.half_width)
    return top + 1.6 * aside**2 + 2.2 * np.maximum(aside, 0.0) ** 4


def _mediastinum(chest: Chest) -> tuple[Solid, ...]:
    """Heart with its apex on the left, right atrium, aortic arch on the left, pulmonary trunk, cava and the middle."""
    _, _, z = chest.heart.centre
    return (
        chest.heart,
        Solid((-1.6, 0.0, z + 0.4), (3.1, 3.6, 4.2)),
        Solid((2.3, 0.0, -3.4), (1.7, 2.4, 1.6)),
        Solid((2.5, 0.0, -0.4), (1.9, 2.2, 2.2)),
        Solid((-1.5, 0.0, -3.5), (1.5, 2.4, 6.5)),
        Solid((0.4, 0.0, -6.0), (2.3, 3.6, 7.0)),
        Solid((1.3, 0.0, 6.0), (1.5, 1.6, 12.0)),
    )


def _soft_parts(chest: Chest, film: Film) -> list[tuple[Solid, float]]:
    """Solids with how much denser than their surroundings they are: airways, stomach gas, hila, breasts."""
    parts = [
        (Solid((0.0, 0.0, -9.0), (0.85, 0.9, 9.5)), -0.9),
        (Solid((-1.5, 0.0, 1.3), (0.6, 0.6, 1.8), lean=(-0.9, 0.0)), -0.7),
        (Solid((1.7, 0.0, 1.5), (0.6, 0.6, 1.8), lean=(1.1, 0.0)), -0.7),
        (Solid((5.5, 0.0, chest.base + chest.step + film.breath + 3.6), (2.7, 2.4, 1.7)), -0.9),
    ]
    parts += [(Solid((side * 3.7, 0.0, 2.0 - 0.5 * side), (1.3, 1.2, 2.0)), 0.8) for side in (RIGHT, LEFT)]
    if chest.breast:
        breast = Solid((7.4, 0.0, 6.5), (chest.breast, 0.45 * chest.breast, 0.9 * chest.breast))
        parts += [(breast, 0.6), (breast.mirrored(), 0.6)]
    return parts


def _random_vessels(rng: np.random.Generator, half_width: float, base: float) -> tuple[Vessel, ...]:
    """Two trees that fork from the hila towards the chest wall, the left root higher by a centimetre."""
    found: list[Vessel] = []

    def grow(start: tuple[float, float], angle: float, radius: float, side: float) -> None:
        length = rng.uniform(1.2, 2.4) * (radius / 0.4) ** 0.35
        end = start[0] + side * length * math.cos(angle), start[1] + length * math.sin(angle)
        found.append(Vessel(start, end, radius))
        if radius < 0.12 or abs(end[0]) > half_width or end[1] > base + 1.0:
            return
        spread = rng.uniform(0.2, 0.55)
        for turn in (-spread, spread):
            grow(end, angle + turn + rng.normal(0.0, 0.15), radius * rng.uniform(0.68, 0.84), side)

    for side in (RIGHT, LEFT):
        for angle in (-1.15, -0.45, 0.35, 0.95, 1.35):
            root = side * 3.0, 1.6 - 0.5 * side + 1.1 * angle
            grow(root, angle + rng.normal(0.0, 0.12), rng.uniform(0.3, 0.42), side)
    return tuple(found)


def _random_patches(rng: np.random.Generator, half_width: float, base: float) -> tuple[Solid, ...]:
    """Opacities in both lungs, near the chest wall and more below than above."""
    found = []
    for side in (RIGHT, LEFT):
        for _ in range(int(rng.integers(2, 5))):
            z = base - rng.triangular(0.5, 3.0, 14.0)
            reach = half_width * math.sqrt(max(1.0 - ((z - 4.0) / 15.5) ** 2, 0.1))
            radii = rng.uniform(2.6, 5.0), 5.0, rng.uniform(2.4, 5.5)
            centre = side * reach * rng.uniform(0.66, 0.9), 0.0, z
            found.append(Solid(centre, radii, lean=(rng.uniform(-0.4, 0.4), 0.0)))
    return tuple(found)


def _add_vessel(depth: Field, plane: Plane, vessel: Vessel, inside: Field) -> None:
    """Add a vessel where the mask `inside` (H, W) says lung; it is never thinner than half a pixel."""
    (x0, z0), (x1, z1) = vessel.start, vessel.end
    reach = vessel.radius + plane.pixel_cm
    rows = slice(*np.searchsorted(plane.z[:, 0], (min(z0, z1) - reach, max(z0, z1) + reach)))
    columns = slice(*np.searchsorted(plane.x[0], (min(x0, x1) - reach, max(x0, x1) + reach)))
    dx, dz = plane.x[:, columns] - x0, plane.z[rows] - z0
    length = (x1 - x0) ** 2 + (z1 - z0) ** 2
    along = ramp((dx * (x1 - x0) + dz * (z1 - z0)) / length)
    distance = np.hypot(dx - along * (x1 - x0), dz - along * (z1 - z0))
    wide = max(vessel.radius, 0.5 * plane.pixel_cm)
    profile = np.sqrt(np.maximum(1.0 - (distance / wide) ** 2, 0.0))
    depth[rows, columns] += 3.2 * vessel.radius**2 / wide * profile * inside[rows, columns]


def _add_bones(depth: Field, plane: Plane, chest: Chest) -> None:
    """Add spine, ribs, collar bones, shoulder blades and the heads of the arms."""
    dense = BONE * chest.density
    _add_spine(depth, plane, chest, dense)
    for number in range(10):
        _add_rib(depth, plane, chest, number, dense)
    for side in (RIGHT, LEFT):
        aside = side * plane.x
        height = -8.6 - 1.9 * rise(aside, 1.5, 13.0) + 0.5 * np.sin(0.45 * aside)
        ends = ramp(aside - 1.6) * ramp(15.5 - aside)
        depth += 3.2 * dense * ends * _tube(plane.z - height, 0.65, plane.pixel_cm)
        wide = chest.half_width + chest.fat
        blade = Solid((side * (0.95 * wide), 0.0, -2.0), (3.3, 1.0, 6.6), lean=(-0.28 * side, 0.0))
        depth += dense * _body(plane, blade, lambda r: 0.6 * rise(r, 1.0, 0.92) + 1.0 * band(r - 0.94, 0.09))
        depth += 0.5 * dense * _chord(plane, Solid((side * (wide + 3.6), 0.0, -8.6), (2.4, 2.2, 2.4)))
        depth += (
            0.5
            * dense
            * _chord(plane, Solid((side * (wide + 5.6), 0.0, 8.0), (1.25, 1.2, 17.0), lean=(0.1 * side, 0.0)))
        )


def _add_spine(depth: Field, plane: Plane, chest: Chest, dense: float) -> None:
    """Vertebral bodies 2.4 cm apart, darker discs between them, and the spines behind as bright drops."""
    x = plane.x - chest.curve * np.sin(plane.z / 7.0)
    disc = np.abs(np.mod(plane.z / 2.4, 1.0) - 0.5) * 2.0
    width = 1.5 + 0.05 * np.maximum(plane.z, 0.0)
    body = ramp((width - np.abs(x)) / 0.35 + 0.5)
    depth += dense * body * (0.7 + 1.0 * rise(disc, 0.95, 0.7))
    drop = np.sqrt(np.maximum(1.0 - (x / 0.35) ** 2 - ((disc - 0.3) / 0.35) ** 2, 0.0))
    depth += 0.5 * dense * drop


def _add_rib(depth: Field, plane: Plane, chest: Chest, number: int, dense: float) -> None:
    """Both ribs of a pair: behind, outwards from the spine; in front, faint, falling towards the breast bone."""
    reach = chest.half_width * (1.0 - 0.62 * math.exp(-number / 1.9))
    root = -9.8 + chest.rib_pitch * number
    fall = chest.slope * min(1.0, 0.45 + 0.14 * number)
    aside = np.minimum(np.abs(plane.x) / reach, 1.0)
    within = ramp((reach - np.abs(plane.x)) / plane.pixel_cm + 0.5)
    turn = np.arcsin(aside) / np.pi  # 0 at the spine, 1/2 at the flank
    steep = np.sqrt(1.0 + np.minimum((fall / (np.pi * reach)) ** 2 / np.maximum(1.0 - aside**2, 1e-3), 6.0))
    edge = 1.0 + 0.7 * aside**8  # at the flank the beam runs along the bone
    behind = _tube(plane.z - (root + fall * turn), 0.5 * steep, plane.pixel_cm)
    depth += 2.0 * dense * within * edge * behind * rise(np.abs(plane.x), 0.8, 2.2)
    front = _tube(plane.z - (root + fall * (1.0 - turn)), 0.6 * steep, plane.pixel_cm)
    depth += 1.1 * dense * within * edge * front * rise(aside, 0.42, 0.6)


def _tube(distance: Field, radius: Field | float, pixel_cm: float) -> Field:
    """A hollow bone seen from the side: 1 along its two edges, 0.65 between, soft over a pixel."""
    part = np.abs(distance) / radius
    return ramp((1.0 - part) * radius / pixel_cm + 0.5) * (0.65 + 0.35 * np.minimum(part, 1.0) ** 2)


def _draw_marker(picture: Field) -> None:
    """The letter L of lead beside the patient's left shoulder, which is the right of the picture."""
    size = len(picture)
    tall, wide = max(3, size // 20), max(1, size // 70)
    top, left = round(0.06 * size), round(0.9 * size)
    picture[top : top + tall, left : left + wide] = 250.0
    picture[top + tall - wide : top + tall, left : left + max(2, tall // 2 + wide)] = 250.0


def _collimate(picture: Field, margins: tuple[float, float, float, float]) -> None:
    """Blacken what the collimator covers."""
    size = len(picture)
    left, right, top, bottom = (round(share * size) for share in margins)
    picture[:, :left] = 0.0
    picture[:, size - right :] = 0.0
    picture[:top] = 0.0
    picture[size - bottom :] = 0.0
