"""Synthetic images as files that a colleague can open: PNG, NIfTI or DICOM, each marked synthetic, with provenance."""

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt16
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from medsynth import __version__
from medsynth.checkpoint import LoadedRun
from medsynth.errors import UserError
from medsynth.run_directory import write_whole
from medsynth.viz.grid import to_bytes

NOTICE = "SYNTHETIC image made by medsynth: shows no patient; not for diagnosis"
SPACING_MM = (1.0, 1.0, 1.0)  # row, column, slice, where the training data states none


class Exporter:
    """Writes `out/<class>/<number>.<format>`, a manifest.csv row an image, and provenance.json.

    Args:
        out: the folder; files of the same number are replaced, others are left alone.
        run: where the images come from; its intensity codec and spacing go into NIfTI and DICOM.
        bits: of a PNG, 8 or 16.
    """

    def __init__(self, out: Path, *, run: LoadedRun, seed: int, format: str, bits: int) -> None:
        channels = len(run.ranges)
        if channels != 1 and (format == "dicom" or (format == "png" and (bits != 8 or channels != 3))):
            raise UserError(
                f"format={format} bits={bits} takes grey images; this run's have {channels} channels: use "
                + ("png with bits=8, or nifti" if channels == 3 else "nifti")
            )
        self.out, self.run, self.seed, self.bits = out, run, seed, bits
        self.checkpoint = hashlib.sha256(run.checkpoint.read_bytes()).hexdigest()
        self.format = format
        self._write_file = FORMATS[format]
        self.ranges = np.array(run.ranges, dtype=np.float32)  # (c, 2)
        self.spacing = tuple(run.spacing or SPACING_MM)
        self.manifest, self.provenance = out / "manifest.csv", out / "provenance.json"
        self._refuse_another_origin()
        self._rows = self._known_rows()

    def write(self, image: Float[Tensor, "c h w"], number: int, *, label: str = "synthetic") -> Path:
        """Write one image in [-1, 1] under its number and class."""
        suffix = {"png": ".png", "nifti": ".nii.gz", "dicom": ".dcm"}[self.format]
        path = self.out / label / f"{number:06d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write_file(self, image, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        name = path.relative_to(self.out).as_posix()
        self._rows[name] = {"file": name, "number": number, "seed": self.seed, "class": label, "sha256": digest}
        return path

    def close(self) -> None:
        """Write the manifest and the provenance."""
        partial = self.manifest.with_suffix(".partial")
        with partial.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, ["file", "number", "seed", "class", "sha256"])
            writer.writeheader()
            writer.writerows(self._rows[name] for name in sorted(self._rows))
        partial.replace(self.manifest)
        facts = {
            "synthetic": True,
            "notice": NOTICE,
            "medsynth": __version__,
            "run": self.run.checkpoint.parent.parent.name,
            "checkpoint_sha256": self.checkpoint,
            "images_seen": self.run.images_seen,
            "seed": self.seed,
            "format": self.format,
            "training_data": {"name": self.run.config["data"]["name"], "content": self.run.pack_content},
            "intensity": self.run.intensity,
            "ranges": self.run.ranges,
            "spacing_mm": list(self.spacing),
            "model": self.run.config["model"],
        }
        write_whole(self.provenance, json.dumps(facts, indent=2) + "\n")

    def values(self, image: Float[Tensor, "c h w"]) -> Float[np.ndarray, "c h w"]:
        """The image in the units of its training data, each channel by its range."""
        low, high = self.ranges[:, 0, None, None], self.ranges[:, 1, None, None]
        return (image.clamp(-1, 1).numpy() + 1) / 2 * (high - low) + low

    def _refuse_another_origin(self) -> None:
        """One folder, one origin: images of another checkpoint or seed would stand under this one's provenance."""
        if self.provenance.exists():
            before = json.loads(self.provenance.read_text())
            if (before.get("checkpoint_sha256"), before.get("seed")) != (self.checkpoint, self.seed):
                raise UserError(f"out={self.out} holds images of another checkpoint or seed; choose another folder")

    def _known_rows(self) -> dict[str, dict[str, Any]]:
        if not self.manifest.exists():
            return {}
        with self.manifest.open(newline="") as stream:
            return {row["file"]: dict(row) for row in csv.DictReader(stream)}


def to_uint16(image: Float[Tensor, "*c h w"]) -> UInt16[np.ndarray, "*c h w"]:
    """[-1, 1] -> 0 ... 65535, rounded to the nearest level."""
    return np.rint((image.clamp(-1, 1).double().numpy() + 1) * 32767.5).astype(np.uint16)


def _write_png(exporter: Exporter, image: Tensor, path: Path) -> None:
    text = PngInfo()
    text.add_text("Description", NOTICE)
    if exporter.bits == 16 and len(image) == 1:
        picture = Image.fromarray(to_uint16(image[0]))
    else:
        pixels = to_bytes(image).permute(1, 2, 0).numpy()  # (h, w, c)
        picture = Image.fromarray(pixels[..., 0] if len(image) == 1 else pixels)
    picture.save(path, pnginfo=text)


def _write_nifti(exporter: Exporter, image: Tensor, path: Path) -> None:
    import nibabel

    # Columns run left to right of the picture and rows downwards: x to the right hand side of the page, y upwards.
    values = exporter.values(image).transpose(2, 1, 0)[:, ::-1]  # (w, h, c)
    values = values if len(image) == 1 else values[:, :, None]  # one slice thick; channels are the fourth axis
    row, column, between = exporter.spacing
    affine = np.diag([-column, row, between, 1.0])
    volume = nibabel.Nifti1Image(np.ascontiguousarray(values, dtype=np.float32), affine)
    volume.header["descrip"] = b"SYNTHETIC medsynth"
    volume.header.set_xyzt_units("mm")
    nibabel.save(volume, path)


def _write_dicom(exporter: Exporter, image: Tensor, path: Path) -> None:
    """A Secondary Capture object of 16 bits, with identifiers that say synthetic."""
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    words = [exporter.checkpoint, str(exporter.seed)]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[*words, path.stem])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    low, high = (float(value) for value in exporter.ranges[0])
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[*words, "study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[*words, "series"])
    dataset.PatientName = dataset.PatientID = "SYNTHETIC"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyDate = dataset.StudyTime = ""
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
    dataset.Modality, dataset.ConversionType = "OT", "SYN"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, int(path.stem)
    dataset.ImageType = ["DERIVED", "SECONDARY", "SYNTHETIC"]
    dataset.ImageComments = dataset.SeriesDescription = NOTICE[:64]
    dataset.BurnedInAnnotation, dataset.PatientIdentityRemoved = "NO", "YES"
    dataset.Rows, dataset.Columns = image.shape[1:]
    dataset.PixelSpacing = [f"{step:.9g}" for step in exporter.spacing[:2]]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.RescaleIntercept, dataset.RescaleSlope = f"{low:.9g}", f"{(high - low) / 65535:.9g}"
    dataset.WindowCenter, dataset.WindowWidth = f"{(low + high) / 2:.9g}", f"{high - low:.9g}"
    dataset.PixelData = to_uint16(image[0]).tobytes()
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


FORMATS: dict[str, Callable[[Exporter, Tensor, Path], None]] = {
    "png": _write_png,
    "nifti": _write_nifti,
    "dicom": _write_dicom,
}
