"""A page as one file: templates of one family, pictures inside it, written whole or not at all."""

import base64
import io
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jaxtyping import Float
from jinja2 import Environment, FunctionLoader, StrictUndefined
from PIL import Image
from torch import Tensor

from medsynth.viz.grid import grid


def write_page(path: Path, *, template: str, content: Mapping[str, Any]) -> Path:
    """Fill a template of this folder, which may extend and include others, and write it to `path`."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda name: files("medsynth.report").joinpath(name).read_text("utf-8")),
    )
    html = environment.get_template(template).render(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(html, encoding="utf-8")
    return partial.replace(path)


def grid_uri(images: Float[Tensor, "b c h w"], *, columns: int = 8) -> str:
    """Images as one sheet of so many columns at most."""
    return png_uri(grid(images, columns=min(columns, len(images))))


def image_uri(image: Float[Tensor, "c h w"]) -> str:
    """One image."""
    return png_uri(grid(image[None], columns=1))


def png_uri(image: Image.Image) -> str:
    """An image inside the page: a data URI of its PNG, without metadata."""
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
