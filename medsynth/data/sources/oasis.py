"""OASIS-1: one T1-weighted head per session in atlas space, with tissue masks and dementia ratings."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from medsynth.data.sources.source import Listing, Record, Rejected, check_choice, walk_files
from medsynth.data.sources.table import Keyed, read_rows, rows_by
from medsynth.data.sources.volumes import Reading, Volume, VolumeSource
from medsynth.errors import UserError

SESSION = re.compile(r"OAS1_\d{4}_MR\d+")
VOLUME = re.compile(
    r"OAS1_\d{4}_MR\d+_mpr_n\w+_anon_111_t88_(?P<image>masked_gfc|gfc)(?P<mask>_fseg)?\.(?:hdr|nii|nii\.gz)"
)
IMAGES = ("masked_gfc", "gfc")
TABLE = "oasis_cross-sectional.csv"
RATINGS = {"": "unrated", "0": "nondemented", "0.5": "very_mild", "1": "mild", "2": "moderate"}
"""Clinical Dementia Rating to class: Marcus et al. 2007 (doi:10.1162/jocn.2007.19.9.1498), table 1."""


class Oasis(VolumeSource):
    """Folders OAS1_0001_MR1 anywhere below `root`, with PROCESSED/MPRAGE/T88_111/*.hdr and FSL_SEG/*_fseg.hdr.

    image: "masked_gfc" (skull-stripped) or "gfc" (with skull), both gain-field corrected, 1 mm, in Talairach space.
    table: CSV file with the sessions in its column ID, relative to `root`.  label_column: its column that is the class;
    None: no labels. Of CDR the classes are nondemented, very_mild, mild, moderate, and unrated: people below 60 were
    not rated, and to call them nondemented would be a guess. Other columns are classes as written; sessions for which
    they say nothing are rejected by name.
    Labels of masks: 1 cerebrospinal fluid, 2 grey and 3 white matter.  Sessions of one subject are one patient.
    Analyze headers do not say where the axes point: they are read as LAS, as nibabel does.
    """

    origin = "OASIS-1: sites.wustl.edu/oasisbrains (oasis_cross-sectional_disc*.tar.gz and its table, saved as CSV)"
    unit = "signal"
    compares = False
    channels = (1,)

    def __init__(
        self,
        root: str | Path,
        *,
        image: str = "masked_gfc",
        table: str = TABLE,
        label_column: str | None = "CDR",
        **reading: Unpack[Reading],
    ) -> None:
        super().__init__(root, **reading)
        check_choice("source.image", image, IMAGES)
        self.image, self.table, self.label_column = image, table, label_column

    def files(self) -> list[Path]:
        """Headers and voxels of every atlas volume and tissue mask, and the table."""
        volumes = [p for p in walk_files(self.root) if VOLUME.fullmatch(p.with_suffix(_header(p)).name)]
        return volumes + ([self.root / self.table] if self.label_column is not None or self.columns else [])

    def records(self) -> Listing:
        """Every session that has the image, by path. Raises UserError without sessions, and for a missing table."""
        sessions = self._sessions()
        if not sessions:
            raise UserError(
                f"oasis: no folder named like OAS1_0001_MR1 under {self.root} (data.root). {self.origin}; "
                "OASIS-3 is read by data=bids. Set data.root=DIR, or data.phantom=true for procedural images"
            )
        table = self._table()
        results = [self._read_session(folder, files, table) for folder, files in sessions.items()]
        records = [result for result in results if isinstance(result, Record)]
        bare = sum(record.detail.mask is None for record in records)
        notes = [f"{bare:,} of {len(records):,} sessions have no tissue mask in FSL_SEG"] if bare else []
        if table is not None:
            absent = len(set(table.names) - {folder.name for folder in sessions})
            notes += [f"{self.table}: {len(table.names):,} sessions, {absent:,} of them without a folder", *table.notes]
        return Listing(records, [result for result in results if isinstance(result, Rejected)], notes)

    def _sessions(self) -> dict[Path, list[Path]]:
        """The files of each session's folder."""
        sessions: dict[Path, list[Path]] = defaultdict(list)
        for path in walk_files(self.root):
            folders = path.relative_to(self.root).parts[:-1]
            depth = next((k for k, name in enumerate(folders) if SESSION.fullmatch(name)), None)
            if depth is not None:
                sessions[self.root.joinpath(*folders[: depth + 1])].append(path)
        return sessions

    def _read_session(self, folder: Path, files: Sequence[Path], table: Keyed | None) -> Record | Rejected:
        named = {path: match for path in files if (match := VOLUME.fullmatch(path.name))}
        images = [path for path, match in named.items() if match["image"] == self.image and not match["mask"]]
        masks = [path for path, match in named.items() if match["mask"]]
        if len(images) != 1 or len(masks) > 1:
            counts = f"has {len(images)} volumes *_t88_{self.image} and {len(masks)} masks *_fseg"
            return Rejected(folder, f"{counts}; one of each is expected")
        for path in (*images, *masks):
            if path.suffix == ".hdr" and (voxels := path.with_suffix(".img")) not in files:
                return Rejected(path, f"its voxels, {voxels.name}, are missing")
        row = {} if table is None else table.rows.get(folder.name, {})
        label = row.get(self.label_column or "")
        if table is not None and self.label_column is not None and not label:
            unsaid = f"{self.table} gives no {self.label_column} for {folder.name}"
            fault = table.contradictions.get(folder.name, unsaid)
            return Rejected(images[0], f"{fault}; data.label_column=null reads images without labels")
        volume = Volume((images[0],), masks[0] if masks else None, ())
        return Record(images[0], label=label, patient=folder.name.rpartition("_")[0], row=row, detail=volume)

    def _table(self) -> Keyed | None:
        """The sessions' rows, with their class in label_column, "" where the table has none; None where nobody asks."""
        if self.label_column is None and not self.columns:
            return None
        path = self.root / self.table
        if not path.is_file():
            raise UserError(
                f"oasis: no {self.table} in {self.root} (data.table); save the table of the download there as CSV, or "
                "set data.label_column=null for images without labels"
            )
        says = [self.label_column] if self.label_column is not None else []
        rows = [row | {column: self._class(row[column]) for column in says} for row in read_rows(path, ["ID", *says])]
        return rows_by(lambda row: row["ID"], rows, says=says, table=self.table)

    def _class(self, value: str) -> str:
        if self.label_column != "CDR":
            return value
        rating = re.sub(r"\.0+$", "", value)
        if rating not in RATINGS:
            raise UserError(f"oasis: {self.table} has a CDR of {value}; known: {', '.join(filter(None, RATINGS))}")
        return RATINGS[rating]


def _header(path: Path) -> str:
    return ".hdr" if path.suffix.lower() == ".img" else path.suffix
