"""Brain Tumor MRI dataset: JPEG slices in Training and Testing folders, one class folder each below them."""

from collections.abc import Sequence
from pathlib import Path

from medsynth.data.series import Groups, Looks, group_duplicates
from medsynth.data.sources.source import SPLIT_FOLDERS, Listing, Record, Source, is_image, walk_files
from medsynth.errors import UserError


class BrainTumorMRI(Source):
    """The folders Training and Testing with class folders (glioma, meningioma, notumor, pituitary) inside.

    Testing stays the test split as published. No patients are named: exact and near duplicates are kept together, and
    a group on both sides is taken out of training.
    """

    origin = "brain_tumor_mri is the Kaggle dataset masoudnickparvar/brain-tumor-mri-dataset; unpack its archive there"

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def files(self) -> list[Path]:
        """Every image below the root."""
        return [path for path in walk_files(self.root) if is_image(path)]

    def records(self) -> Listing:
        """Every image in SIDE/CLASS/. Raises UserError when neither Training nor Testing is there."""
        found: list[Record] = []
        sides: set[str] = set()
        for path in walk_files(self.root):
            folders = [part.lower() for part in path.relative_to(self.root).parts[:-1]]
            at = next((i for i, folder in enumerate(folders[:-1]) if folder in SPLIT_FOLDERS), None)
            if at is None:
                continue
            side, label = SPLIT_FOLDERS[folders[at]], folders[at + 1]
            sides.add(side)
            if is_image(path):
                found.append(Record(path, label=label, official_split=side))
        if not sides:
            raise UserError(
                f"brain_tumor_mri: no folder Training or Testing with class folders under {self.root} "
                f"(data.root). {self.origin}. Set data.root=DIR, or data.phantom=true for procedural images"
            )
        return Listing(sorted(found, key=lambda r: (r.official_split != "train", r.label or "", str(r.path))))

    def groups(self, records: Sequence[Record], looks: Looks) -> Groups:
        """Exact and near duplicates, across classes and sides too."""
        return group_duplicates([self.name(r.path) for r in records], looks)
