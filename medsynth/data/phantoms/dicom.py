"""Phantom of a DICOM archive: CT series of the abdomen, one file a slice, in the ways that scanners differ."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int16
from numpy import ndarray

from medsynth.data.phantoms.canvas import stream
from medsynth.data.phantoms.volumes import Abdomen

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

PATIENT, NOISE = 0, 1  # words of the random streams


@dataclass(frozen=True)
class Series:
    """How one series is stored.

    is_signed: HU as they are; otherwise 12 bits above -1024.  is_flipped: rows run from back to front.
    is_compressed: run-length encoded.  ends_in_dcm: files are 1-001.dcm, not IM0001.  is_upward: numbers begin at the
    feet.
    """

    seed: int
    patient: int
    number: int
    is_signed: bool
    is_flipped: bool
    is_compressed: bool
    ends_in_dcm: bool
    is_upward: bool

    @classmethod
    def of(cls, seed: int, patient: int, number: int) -> "Series":
        """The ways of series `number` of a patient: fixed, and mixed so that six patients show all."""
        return cls(
            seed, patient, number, is_signed=(patient + number) % 2 == 0, is_flipped=patient % 4 == 2,
            is_compressed=patient % 3 == 1, ends_in_dcm=patient % 2 == 1, is_upward=patient % 5 == 3,
        )  # fmt: skip

    def file(self, slice_number: int) -> str:
        return f"1-{slice_number:03d}.dcm" if self.ends_in_dcm else f"IM{slice_number:04d}"

    def uid(self, *words: object) -> "UID":
        """A fixed unique identifier of what the words name."""
        from pydicom.uid import generate_uid

        return generate_uid(entropy_srcs=["medsynth phantom", *map(str, (self.seed, self.patient, *words))])


def write(folder: Path, *, patients: int, size: int, seed: int) -> None:
    """Write PHANTOM-NNN/CT_n folders of `size` / 4 slices; every third patient was scanned twice at one visit."""
    for index in range(patients):
        patient = Abdomen.random(stream(seed, PATIENT, index), has_metastases=index % 2 == 0)
        for number in range(1, 3 if index % 3 == 2 else 2):
            noise = stream(seed, NOISE, index, number)
            volume = patient.volume(noise, size=size, slices=max(8, size // 4))
            home = folder / f"PHANTOM-{index + 1:03d}" / f"CT_{number}"
            home.mkdir(parents=True, exist_ok=True)
            _write_series(home, Series.of(seed, index, number), volume.images["ct"], volume.affine)


def _write_series(home: Path, series: Series, hu: Int16[ndarray, "x y z"], affine: Float[ndarray, "4 4"]) -> None:
    """Write the slices of a volume whose axes point to left, back and feet, as DICOM's own do but for the last."""
    from pydicom.uid import RLELossless

    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    count = hu.shape[2]
    for level in range(count):
        number = count - level if series.is_upward else level + 1
        rows, corner = hu[:, :, level].T, to_lps @ np.array([0, 0, level, 1.0])
        if series.is_flipped:
            rows, corner = rows[::-1], to_lps @ np.array([0, len(rows) - 1, level, 1.0])
        dataset = _described(series, number)
        dataset.ImageOrientationPatient = [1, 0, 0, 0, -1 if series.is_flipped else 1, 0]
        dataset.ImagePositionPatient = [round(float(value), 4) for value in corner[:3]]
        dataset.PixelSpacing = [round(float(np.abs(affine[axis, axis])), 6) for axis in (1, 0)]
        dataset.SliceThickness = round(float(-affine[2, 2]), 4)
        _put_pixels(dataset, series, rows)
        if series.is_compressed:
            dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        dataset.save_as(home / series.file(number), enforce_file_format=True)


def _described(series: Series, number: int) -> "Dataset":
    """Slice `number` without pixels and place: who and what it is."""
    from pydicom import Dataset
    from pydicom.uid import CTImageStorage

    dataset = Dataset()
    dataset.file_meta = _file_meta(series, number)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.StudyDate, dataset.StudyTime = "20000101", "120000"
    dataset.AccessionNumber, dataset.ReferringPhysicianName, dataset.StudyID = "", "", "1"
    dataset.Modality, dataset.Manufacturer, dataset.KVP = "CT", "medsynth phantom", "120"
    dataset.SeriesDescription = "synthetic abdomen"
    dataset.PatientID = f"PHANTOM-{series.patient + 1:03d}"
    dataset.PatientName = f"Phantom^{series.patient + 1:03d}"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientPosition = "", "O", "HFS"
    dataset.StudyInstanceUID = series.uid("study")
    dataset.SeriesInstanceUID = series.uid("series", series.number)
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = series.uid("frame"), ""
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.AcquisitionNumber = series.number, number, 1
    return dataset


def _file_meta(series: Series, number: int) -> "FileMetaDataset":
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = series.uid("series", series.number, "slice", number)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta


def _put_pixels(dataset: "Dataset", series: Series, hu: Int16[ndarray, "rows columns"]) -> None:
    """Store HU with slope 1 and the intercept, sign and bits of the series, and two windows to look at them."""
    stored = hu if series.is_signed else np.clip(hu.astype(np.int32) + 1024, 0, 4095).astype(np.uint16)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = hu.shape
    dataset.BitsAllocated, dataset.BitsStored = 16, 16 if series.is_signed else 12
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(series.is_signed)
    dataset.RescaleIntercept, dataset.RescaleSlope = 0 if series.is_signed else -1024, 1
    dataset.RescaleType = "HU"
    dataset.WindowCenter, dataset.WindowWidth = [40, -600], [400, 1500]
    dataset.PixelData = np.ascontiguousarray(stored).astype(stored.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OW"
