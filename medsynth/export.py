"""Synthetic images as files that a colleague can open: PNG, NIfTI or DICOM, each marked synthetic, with provenance."""

import csv
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt16
from numpy import ndarray
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
UNLABELLED = "synthetic"  # the folder, and the class in manifest.csv, of images without a class


class Exporter:
    """Writes `out/<class>/<number>.<format>`, a manifest.csv row an image, and provenance.json.

    Of a run with data.mask_channel the mask stands beside its image as `<number>_mask`, of one format with it and
    binarised at 0: 0 and 255 in a PNG, 0 and 1 in NIfTI, on the image's affine, and in DICOM. There it is a Secondary
    Capture object in a series of its own of the same study: a Segmentation object would have to refer to a frame of
    reference that synthetic slices do not have.

    Args:
        out: the folder; files of the same number are replaced, others are left alone.
        run: where the images come from; its intensity codec and spacing go into NIfTI and DICOM.
        bits: of a PNG, 8 or 16.
        label: the class, or "balanced", that was asked for; None for none. The provenance names those of all calls that
            wrote into the folder, for they may differ: the image of a class and number is the same in each.
        asked: what else than seed, number and class decides an image (truncation, covariates), for the provenance.
        keep: the share of images that is to be written; None: all are. A folder has one share.
        numbers: of the images that this call makes, with `keep`; of a range that the folder holds the best of already,
            no other best are added.
    """

    def __init__(
        self,
        out: Path,
        *,
        run: LoadedRun,
        seed: int,
        format: str,
        bits: int,
        label: str | None = None,
        asked: Mapping[str, Any] | None = None,
        keep: float | None = None,
        numbers: range = range(0),
    ) -> None:
        self.channels = len(run.ranges)
        if self.channels != 1 and (format == "dicom" or (format == "png" and (bits != 8 or self.channels != 3))):
            raise UserError(
                f"format={format} bits={bits} takes grey images; this run's have {self.channels} channels: use "
                + ("png with bits=8, or nifti" if self.channels == 3 else "nifti")
            )
        self.out, self.run, self.seed, self.bits = out, run, seed, bits
        self.asked = {name: value for name, value in (asked or {}).items() if value not in (None, {})}
        self.checkpoint = hashlib.sha256(run.checkpoint.read_bytes()).hexdigest()
        self.format, self._kind = format, FORMATS[format]
        self.ranges = np.array(run.ranges, dtype=np.float32)  # (c, 2)
        self.spacing = tuple(run.spacing or SPACING_MM)
        self.manifest, self.provenance = out / "manifest.csv", out / "provenance.json"
        self._folders = class_folders(run.class_names)
        self.keep, self.numbers, self.label = keep, numbers, label
        self.choices: list[dict[str, Any]] = []  # by a detector, one a call
        labels = [label]
        _check_place(out)
        if self.provenance.exists():
            before = self._stored()
            self._refuse_another_origin(before)
            self._refuse_another_choice(before)
            self.choices = before.get("chosen", [])
            labels = [*before.get("labels_asked", [None]), label]
        self.labels = list(dict.fromkeys(labels))
        self._rows = self._known_rows()

    def write(
        self,
        image: Float[Tensor, "c h w"],
        number: int,
        *,
        label: str = UNLABELLED,
        covariates: Mapping[str, float | int] | None = None,
        score: float | None = None,
    ) -> Path:
        """Write one image in [-1, 1], with its mask where it has one, under its number and class.

        covariates: what it was conditioned on, in their own units, for the manifest.
        score: what the quality detector said of it, for the manifest.
        """
        path = self.out / self._folders.get(label, UNLABELLED) / f"{number:06d}{self._kind.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._kind.write(self, image[: self.channels], path)
        row: dict[str, Any] = {"file": self._name(path), "number": number, "seed": self.seed, "class": label}
        row |= {name: f"{value:.6g}" for name, value in (covariates or {}).items()}
        row |= {} if score is None else {"score": f"{score:.6g}"}
        row["sha256"] = _sha256(path)
        if len(image) > self.channels:
            beside = path.with_name(f"{number:06d}_mask{self._kind.suffix}")
            self._kind.write_mask(self, image[-1].numpy() > 0, beside)
            row |= {"mask": self._name(beside), "mask_sha256": _sha256(beside)}
        self._rows[row["file"]] = row
        return path

    def choose(self, *, written: int, usable_ratio: float, detector: str) -> None:
        """State for the provenance how the images to be written were chosen.

        written: how many.  usable_ratio: the share of all made that is usable.  detector: digest of what judged them.
        """
        made = {"first": self.numbers.start, "made": len(self.numbers), "label": self.label}
        choice = {**made, "written": written, "usable_ratio": usable_ratio, "detector": detector}
        if any(self._overlaps(other) and other["detector"] != detector for other in self.choices):
            raise UserError(f"out={self.out} holds images that another quality detector chose; choose another folder")
        self.choices = [other for other in self.choices if not self._overlaps(other)] + [choice]

    def close(self) -> None:
        """Write the manifest and the provenance."""
        partial = self.manifest.with_suffix(".partial")
        columns = dict.fromkeys(column for row in self._rows.values() for column in row)
        with partial.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(columns))
            writer.writeheader()
            writer.writerows(self._rows[name] for name in sorted(self._rows))
        partial.replace(self.manifest)
        write_whole(self.provenance, json.dumps(self._facts(), indent=2) + "\n")

    def values(self, image: Float[Tensor, "c h w"]) -> Float[ndarray, "c h w"]:
        """The image in the units of its training data, each channel by its range."""
        low, high = self.ranges[:, 0, None, None], self.ranges[:, 1, None, None]
        return (image.clamp(-1, 1).numpy() + 1) / 2 * (high - low) + low

    def _facts(self) -> dict[str, Any]:
        """The content of provenance.json."""
        data = self.run.config["data"]
        return {
            "synthetic": True,
            "notice": NOTICE,
            "medsynth": __version__,
            "run": self.run.checkpoint.parent.parent.name,
            "checkpoint_sha256": self.checkpoint,
            "images_seen": self.run.images_seen,
            "seed": self.seed,
            **({} if self.labels == [None] else {"labels_asked": self.labels}),
            **self.asked,
            **({} if self.keep is None else {"keep": self.keep, "chosen": self.choices}),
            "format": self.format,
            "bits": self.bits,
            "training_data": {"name": data["name"], "content": self.run.pack_content},
            "classes": self._folders,
            "mask_labels": (data.get("mask_labels") or "all but 0") if data.get("mask_channel") else None,
            "intensity": self.run.intensity,
            "ranges": self.run.ranges,
            "spacing_mm": list(self.spacing),
            "model": self.run.config["model"],
        }

    def _name(self, path: Path) -> str:
        return path.relative_to(self.out).as_posix()

    def _refuse_another_origin(self, before: Mapping[str, Any]) -> None:
        """One folder, one origin and one format: else images would stand under another one's provenance, `before`."""
        if (before.get("checkpoint_sha256"), before.get("seed")) != (self.checkpoint, self.seed):
            raise UserError(f"out={self.out} holds images of another checkpoint or seed; choose another folder")
        stored = json.loads(json.dumps(self.asked))
        for name in ("truncation", "truncation_mode", "covariates"):
            if before.get(name) != stored.get(name):
                raise UserError(f"out={self.out} holds images of {name}={before.get(name)}; choose another folder")
        if before.get("format") != self.format or before.get("bits", self.bits) != self.bits:
            held = f"format={before.get('format')} bits={before.get('bits', self.bits)}"
            raise UserError(f"out={self.out} holds images of {held}; choose another folder, or that format")

    def _refuse_another_choice(self, before: Mapping[str, Any]) -> None:
        """One folder, one share, and one choice of any images: else nobody could say which images are left out."""
        if before.get("keep") != self.keep:
            raise UserError(f"out={self.out} holds images of keep={before.get('keep')}; choose another folder")
        for other in before.get("chosen", []):
            last = other["first"] + other["made"]
            if self._overlaps(other) and (other["first"], last) != (self.numbers.start, self.numbers.stop):
                held = f"the best of images {other['first']} to {last - 1}"
                raise UserError(f"out={self.out} holds {held}; choose another folder, or go on with first={last}")

    def _overlaps(self, other: Mapping[str, Any]) -> bool:
        """Has this call images in common with the `other` choice?"""
        begins, ends = other["first"], other["first"] + other["made"]
        return other["label"] == self.label and begins < self.numbers.stop and self.numbers.start < ends

    def _stored(self) -> dict[str, Any]:
        """The content of the provenance.json that lies there."""
        try:
            before = json.loads(self.provenance.read_text())
        except ValueError:
            before = None
        if not isinstance(before, dict):
            raise self._foreign(self.provenance)
        return before

    def _known_rows(self) -> dict[str, dict[str, Any]]:
        if not self.manifest.exists():
            return {}
        try:
            with self.manifest.open(newline="") as stream:
                rows = {row["file"]: dict(row) for row in csv.DictReader(stream)}
        except (KeyError, ValueError, csv.Error):
            raise self._foreign(self.manifest) from None
        if any(not isinstance(column, str) for row in rows.values() for column in row):  # a row longer than its header
            raise self._foreign(self.manifest)
        return rows

    def _foreign(self, path: Path) -> UserError:
        return UserError(f"out={self.out} holds a {path.name} that medsynth did not write; choose another folder")


def _check_place(out: Path) -> None:
    """Raise UserError unless `out` is a writable folder or can become one, before any work; it is not made."""
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"out={out} cannot be written: {there} is not a writable folder")


def class_folders(names: Sequence[str]) -> dict[str, str]:
    """A folder for each class: its name with what folders may not be called replaced, and no two alike in any case."""
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for number, name in enumerate(names):
        folder = re.sub(r"[^\w ()+.-]", "_", name).strip(". ") or "_"
        folder = folder if folder.lower() not in taken else f"{folder}-{number}"
        folders[name] = folder
        taken.add(folder.lower())
    return folders


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def to_uint16(image: Float[Tensor, "*c h w"]) -> UInt16[ndarray, "*c h w"]:
    """[-1, 1] -> 0 ... 65535, rounded to the nearest level."""
    return np.rint((image.clamp(-1, 1).double().numpy() + 1) * 32767.5).astype(np.uint16)


def _write_png(exporter: Exporter, image: Float[Tensor, "c h w"], path: Path) -> None:
    if exporter.bits == 16 and len(image) == 1:
        pixels = to_uint16(image[0])
    else:
        pixels = to_bytes(image).permute(1, 2, 0).numpy()  # (h, w, c)
        pixels = pixels[..., 0] if len(image) == 1 else pixels
    _save_png(pixels, path)


def _write_png_mask(exporter: Exporter, mask: Bool[ndarray, "h w"], path: Path) -> None:
    _save_png(mask.astype(np.uint8) * 255, path)


def _save_png(pixels: ndarray, path: Path) -> None:
    text = PngInfo()
    text.add_text("Description", NOTICE)
    Image.fromarray(pixels).save(path, pnginfo=text)


def _write_nifti(exporter: Exporter, image: Float[Tensor, "c h w"], path: Path) -> None:
    _save_nifti(exporter.values(image).astype(np.float32), path, spacing=exporter.spacing)


def _write_nifti_mask(exporter: Exporter, mask: Bool[ndarray, "h w"], path: Path) -> None:
    _save_nifti(mask.astype(np.uint8)[None], path, spacing=exporter.spacing)


def _save_nifti(values: ndarray, path: Path, *, spacing: Sequence[float]) -> None:
    """Channels (c, h, w) as a volume that is one slice thick."""
    import nibabel

    # Columns run left to right of the picture and rows downwards: x to the right hand side of the page, y upwards.
    values = values.transpose(2, 1, 0)[:, ::-1]  # (w, h, c)
    values = values if values.shape[2] == 1 else values[:, :, None]  # channels are the fourth axis
    row, column, between = spacing
    volume = nibabel.Nifti1Image(np.ascontiguousarray(values), np.diag([-column, row, between, 1.0]))
    volume.header["descrip"] = b"SYNTHETIC medsynth"
    volume.header.set_xyzt_units("mm")
    nibabel.save(volume, path)


def _write_dicom(exporter: Exporter, image: Float[Tensor, "c h w"], path: Path) -> None:
    """16 bits, with what takes them to the values of the training data."""
    low, high = (float(value) for value in exporter.ranges[0])
    dataset = _secondary_capture(exporter, to_uint16(image[0]), path, series="series")
    dataset.RescaleIntercept, dataset.RescaleSlope = f"{low:.9g}", f"{(high - low) / 65535:.9g}"
    dataset.WindowCenter, dataset.WindowWidth = f"{(low + high) / 2:.9g}", f"{high - low:.9g}"
    _save_dicom(dataset, path)


def _write_dicom_mask(exporter: Exporter, mask: Bool[ndarray, "h w"], path: Path) -> None:
    """8 bits, 0 and 1."""
    dataset = _secondary_capture(exporter, mask.astype(np.uint8), path, series="masks")
    dataset.SeriesNumber, dataset.SeriesDescription = 2, "SYNTHETIC masks made by medsynth"
    dataset.WindowCenter, dataset.WindowWidth = "0.5", "1"
    _save_dicom(dataset, path)


def _secondary_capture(exporter: Exporter, pixels: ndarray, path: Path, *, series: str) -> Any:
    """A Secondary Capture object of grey pixels, with identifiers that say synthetic."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    words = [exporter.checkpoint, str(exporter.seed), json.dumps(exporter.asked, sort_keys=True)]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[*words, path.parent.name, path.stem])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[*words, "study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[*words, series])
    dataset.PatientName = dataset.PatientID = "SYNTHETIC"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyDate = dataset.StudyTime = ""
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.StudyID = ""
    dataset.Modality, dataset.ConversionType = "OT", "SYN"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, int(path.stem.removesuffix("_mask"))
    dataset.ImageType = ["DERIVED", "SECONDARY", "SYNTHETIC"]
    dataset.ImageComments = dataset.SeriesDescription = NOTICE[:64]
    dataset.BurnedInAnnotation, dataset.PatientIdentityRemoved = "NO", "YES"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelSpacing = [f"{step:.9g}" for step in exporter.spacing[:2]]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = 8 * pixels.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits, bits - 1, 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    return dataset


def _save_dicom(dataset: Any, path: Path) -> None:
    import pydicom

    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


@dataclass(frozen=True)
class Format:
    """How files of a format end and are written: `write` an image in [-1, 1], `write_mask` a mask."""

    suffix: str
    write: Callable[[Exporter, Tensor, Path], None]
    write_mask: Callable[[Exporter, ndarray, Path], None]


FORMATS = {
    "png": Format(".png", _write_png, _write_png_mask),
    "nifti": Format(".nii.gz", _write_nifti, _write_nifti_mask),
    "dicom": Format(".dcm", _write_dicom, _write_dicom_mask),
}
