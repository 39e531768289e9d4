"""Any folder of images: one folder per class, or flat; labels and patients from a CSV when there is one."""

from collections.abc import Sequence
from pathlib import Path

from medsynth.data.series import Groups, Looks, group_duplicates, group_patients
from medsynth.data.sources.source import (
    Listing,
    Record,
    Source,
    check_choice,
    is_image,
    unwrap,
    walk_files,
    without_masks,
)
from medsynth.data.sources.table import FileTable
from medsynth.errors import UserError


class ImageFolder(Source):
    """Images below `root`: the first folder below it is the class; images right in it have none.

    Folders that only hold one other folder are passed through, as archives nest them. Masks beside images, x_mask.png
    beside x.png as generate writes them, are no images.
    labels: "folders", or "none" to read every image below `root` without a label.
    table: CSV file, relative to `root`, whose labels and patients count instead of the folders; None for none. Rows
    without a file and files without a row are counted in prepare.json; a file without a row keeps its folder's label,
    and one whose rows contradict each other is rejected.
    file_column, label_column, patient_column: its columns; file names may have folders or lack them, and their case and
    extension do not matter. None: the table does not give it.
    """

    origin = "image_folder reads your own images: DIR/<class>/*.png, or DIR/*.png without labels"

    def __init__(
        self,
        root: str | Path,
        *,
        labels: str = "folders",
        table: str | None = None,
        file_column: str = "file",
        label_column: str | None = "label",
        patient_column: str | None = None,
    ) -> None:
        check_choice("source.labels", labels, ("folders", "none"))
        self.root, self.labels = Path(root), labels
        self.table = None
        if table is not None:
            self.table = FileTable(self.root, table, "data.source.table", file_column, label_column, patient_column)

    def files(self) -> list[Path]:
        """Every image, and the table."""
        table = [self.root / self.table.name] if self.table is not None else []
        return [path for path in walk_files(self.root) if is_image(path)] + table

    def records(self) -> Listing:
        """Every image, by path. Raises UserError for images beside class folders, and for a table that does not fit."""
        base = unwrap(self.root)
        folder = _folder if self.labels == "folders" else _no_folder
        images, masks = without_masks([path for path in walk_files(base) if is_image(path)])
        found = [Record(path, label=folder(path, base)) for path in images]
        notes = [f"{len(masks):,} masks beside their images (*_mask) are not read"] if masks else []
        if self.table is not None:
            return Listing(*self.table.split(found), notes=[*notes, *self.table.compare(found)])
        flat = [record for record in found if record.label is None]
        if flat and len(flat) < len(found):
            raise UserError(
                f"image_folder: {base} holds {len(flat):,} images beside folders with {len(found) - len(flat):,}; "
                "move the former into a class folder, or set data.source.labels=none"
            )
        return Listing(found, notes=notes)

    def groups(self, records: Sequence[Record], looks: Looks) -> Groups:
        """Patients as the table names them; without one, identical and near-identical images stay together."""
        names = [self.name(record.path) for record in records]
        if any(record.patient is not None for record in records):
            return group_patients([record.patient for record in records], names, looks)
        return group_duplicates(names, looks)


def _folder(path: Path, base: Path) -> str | None:
    parts = path.relative_to(base).parts
    return parts[0] if len(parts) > 1 else None


def _no_folder(path: Path, base: Path) -> None:
    return None
