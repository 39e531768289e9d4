"""Pure networks: they compute depth from `resolution`, and know no loss and no Lightning."""

from medsynth.errors import UserError

RESOLUTIONS = [2**power for power in range(4, 11)]  # 16 ... 1024


def check_resolution(resolution: object) -> int:
    """Return log2 of a power of two from 16 to 1024; anything else is the user's mistake."""
    if not isinstance(resolution, int):
        raise UserError(f"resolution={resolution} must be a number: a power of two between 16 and 1024")
    if resolution not in RESOLUTIONS:
        below = [size for size in RESOLUTIONS if size < resolution][-1:]
        above = [size for size in RESOLUTIONS if size > resolution][:1]
        nearest = ", ".join(map(str, below + above))
        raise UserError(f"resolution={resolution} must be a power of two between 16 and 1024; nearest: {nearest}")
    return resolution.bit_length() - 1
