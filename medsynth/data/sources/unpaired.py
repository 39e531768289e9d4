"""Two folders of images for unpaired translation, as CycleGAN's datasets are laid out: A is turned into B."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medsynth.data.series import Groups, Looks, Union, group_duplicates
from medsynth.data.sources.image_folder import ImageFolder
from medsynth.data.sources.source import SPLIT_FOLDERS, Listing, Record, Source, unwrap
from medsynth.errors import UserError

PREFIXES = {"": None, **SPLIT_FOLDERS}
"""What may stand before a folder's name, and the published split that it says."""


@dataclass(frozen=True)
class Place:
    """Where an image lies: the set, what stands before its folder's name, and the path below that folder."""

    domain: str
    prefix: str
    below: Path


class Unpaired(Source):
    """Images of two sets, in two folders below `root`; no image belongs to one of the other set.

    target, condition: names of the folders: `condition` is turned into `target`. trainA, valA and testA beside each
    other are the published splits of A; those of a val folder count as train, from which val is drawn.
    table: CSV file, relative to `root`, that names patients; None for none.  file_column, patient_column: of it.
    Without a table the first folder below A or B is the patient. Images without a patient stay together when they are
    of one set and near-identical, or have one name in both sets; identical images always do.
    """

    origin = "unpaired reads two folders of images, DIR/A/*.png to be turned into DIR/B/*.png"

    def __init__(
        self,
        root: str | Path,
        *,
        target: str = "B",
        condition: str = "A",
        table: str | None = None,
        file_column: str = "file",
        patient_column: str = "patient",
    ) -> None:
        if target == condition:
            raise UserError(f"data.target={target} and data.condition={condition} must be two different folders")
        self.root, self.target, self.condition, self.table = Path(root), target, condition, table
        self.images = ImageFolder(
            root, labels="none", table=table, file_column=file_column, label_column=None, patient_column=patient_column
        )

    def files(self) -> list[Path]:
        """Every image below the root, and the table."""
        return self.images.files()

    def records(self) -> Listing:
        """Every image of both sets, by path. Raises UserError when a set has none and for a table that does not fit."""
        listing = self.images.records()
        places = self._places(listing.records)
        found = [self._record(r, p) for r, p in zip(listing.records, places, strict=True) if p is not None]
        counts = Counter(record.domain for record in found)
        for domain, folder in (("target", self.target), ("condition", self.condition)):
            if not counts[domain]:
                raise UserError(
                    f"unpaired: no image in a folder {folder} (data.{domain}) of {self.root} (data.root). "
                    f"{self.origin}. Set data.root=DIR, or data.phantom=true for procedural images"
                )
        pair = f"{counts['condition']:,} images of {self.condition}", f"{counts['target']:,} of {self.target}"
        notes = [" to be turned into ".join(pair), *listing.notes]
        if others := len(listing.records) - len(found):
            notes.append(f"{others:,} images lie in neither {self.condition} nor {self.target} and are not used")
        if held := sum(p is not None and p.prefix.startswith("val") for p in places):
            notes.append(f"{held:,} images of published val folders count as train, from which val is drawn")
        return Listing(found, listing.rejected, notes)

    def groups(self, records: Sequence[Record], looks: Looks) -> Groups:
        """Images that stay in one split; a group has the name of its first image's patient, or of that image."""
        union, first = Union(len(records)), dict[tuple[str, str], int]()
        names = self._names(records)
        for i, tie in _ties(records, names, looks):
            union.join(i, first.setdefault(tie, i))
        roots = union.roots().tolist()
        sizes = Counter(roots)
        largest = max(sizes.values())
        warnings = []
        if all(record.patient is None for record in records):
            warnings.append(
                "no patient is named, so slices of one may stand in two splits: put the images of each into a folder "
                "of its own below the sets, or name patients in a table (data.table)"
            )
        if len(sizes) > 1 and 2 * largest > len(records):
            warnings.append(f"{largest:,} of {len(records):,} images are one group, by equal names in both folders and "
                            "by likeness; name patients in a table (data.table)")  # fmt: skip
        return Groups(
            [names[root] if records[root].patient is None else str(records[root].patient) for root in roots],
            "images with their duplicates" if all(r.patient is None for r in records) else "patients",
            {"groups_of_more_than_one": sum(size > 1 for size in sizes.values()), "largest_group": largest},
            warnings,
        )

    def _record(self, record: Record, place: Place) -> Record:
        folder = place.below.parts[0] if len(place.below.parts) > 1 else None
        return replace(
            record,
            domain=place.domain,
            official_split=PREFIXES[place.prefix],
            patient=folder if self.table is None else record.patient,
        )

    def _names(self, records: Sequence[Record]) -> list[str]:
        """Each path below its set's folder without its extension, after the published split that the folder says."""
        places = [place for place in self._places(records) if place is not None]
        return [Path(place.prefix, place.below.with_suffix("")).as_posix() for place in places]

    def _places(self, records: Sequence[Record]) -> list[Place | None]:
        """The place of each record; None outside both sets."""
        base = unwrap(self.root)
        folders = {
            base / f"{prefix}{folder}": (domain, prefix)
            for domain, folder in (("target", self.target), ("condition", self.condition))
            for prefix in PREFIXES
        }
        inside = [next((f for f in folders if record.path.is_relative_to(f)), None) for record in records]
        return [
            None if folder is None else Place(*folders[folder], record.path.relative_to(folder))
            for record, folder in zip(records, inside, strict=True)
        ]


def _ties(records: Sequence[Record], names: Sequence[str], looks: Looks) -> Iterator[tuple[int, tuple[str, str]]]:
    """Numbers of images with what ties them to every other image of which the same is said."""
    for i, record in enumerate(records):
        yield i, ("name", names[i]) if record.patient is None else ("patient", record.patient)
        if not looks.flat[i]:
            yield i, ("digest", looks.digests[i])
    for domain in ("target", "condition"):
        mine = [i for i, record in enumerate(records) if record.domain == domain and record.patient is None]
        if mine:
            part = Looks(looks.thumbnails[mine], [looks.digests[i] for i in mine])
            alike = group_duplicates([names[i] for i in mine], part).patients
            yield from ((i, (domain, group)) for i, group in zip(mine, alike, strict=True))
