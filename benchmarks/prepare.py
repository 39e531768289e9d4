"""Volumes to packed 256x256 slices against the plain route:   python benchmarks/prepare.py [--quick]

Both sides read the same files of made-up CT volumes (512x512, int16, with noise), turn every slice upright, resize it
by the same antialiased bicubic filter in float, apply the same window and write 8 bits. The plain route is what people
write: nibabel's get_fdata, or pydicom's dcmread and pixel_array, NumPy, Pillow, and a PNG a slice. Ours also keeps the
geometry, hashes every slice, looks for duplicates, splits by patient and writes prepare.json. Page cache warm.
Memory: the largest resident set of a fresh process that packs one volume, imports included.

Bars: .nii 3 times, .nii.gz 2 times, uncompressed DICOM 2 times, compressed DICOM 1.2 times as fast; memory below the
plain route's for both kinds of NIfTI.
"""

import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int16
from measure import alternate, compare, configuration, digits, finish, is_quick
from numpy import ndarray

SIDE, RESOLUTION = 512, 256
CENTER, WIDTH = 50.0, 400.0  # HU: the preset soft_tissue
BARS = {".nii": 3.0, ".nii.gz": 2.0, "uncompressed": 2.0, "rle": 1.2, "jpeg_2000": 1.2}
SYNTAXES = {
    "uncompressed": "1.2.840.10008.1.2.1",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg_2000": "1.2.840.10008.1.2.4.90",
}


# ------------------------------------------------------------------------------------------------- files


def volume(seed: int, slices: int) -> Int16[ndarray, "z y x"]:
    """A body of three kinds of tissue that changes from slice to slice, with 15 HU of noise, in air; upright slices."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    whole = np.empty((slices, SIDE, SIDE), dtype=np.int16)
    for z in range(slices):
        wide = 0.7 + 0.1 * np.sin(z / 20 + seed)
        body = (x / wide) ** 2 + (y / 0.6) ** 2 < 1
        liver = ((x + 0.3) / 0.3) ** 2 + ((y + 0.1) / 0.3) ** 2 < 1
        spine = (x / 0.1) ** 2 + ((y - 0.4) / 0.1) ** 2 < 1
        mean = np.select([spine, liver & body, body], [500.0, 60.0, -80.0], -1000.0)
        whole[z] = np.rint(mean + rng.normal(0, 15, mean.shape))
    return whole


def write_nifti(folder: Path, ending: str, *, volumes: int, slices: int) -> list[Path]:
    """Volumes in LiTS' naming, their first axis to the left and their second to the back, as scanners write them."""
    import nibabel

    folder.mkdir(parents=True)
    paths = []
    for number in range(volumes):
        image = nibabel.Nifti1Image(volume(number, slices).transpose(2, 1, 0), np.diag([-0.8, -0.8, 2.5, 1.0]))
        image.set_data_dtype(np.int16)
        raw, path = image.to_bytes(), folder / f"volume-{number}{ending}"
        path.write_bytes(gzip.compress(raw, 6) if ending.endswith(".gz") else raw)  # 6: what dcm2niix uses
        paths.append(path)
    return paths


def write_dicom(folder: Path, syntax: str, *, volumes: int, slices: int) -> list[Path]:
    """A folder of files a series: 16 bits, stored values HU + 1024."""
    paths = []
    for number in range(volumes):
        (folder / f"series {number}").mkdir(parents=True)
        for z, values in enumerate(volume(number, slices)):
            path = folder / f"series {number}" / f"{z:04}.dcm"
            dataset = _dicom((values + 1024).clip(0).astype(np.uint16), number=number, z=z)
            _compressed(dataset, syntax).save_as(path, enforce_file_format=True)
            paths.append(path)
    return paths


def _dicom(stored: ndarray, *, number: int, z: int) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

    root = "1.2.826.0.1.3680043.8.498"
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = UID(f"{root}.{number + 1}.{z + 1}")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = f"{root}.{number + 1}", f"{root}.{1000 + number}"
    dataset.Modality, dataset.PatientID, dataset.InstanceNumber = "CT", f"made up {number}", z + 1
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 2.5 * z], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.8, 0.8], 2.5
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.PixelData = stored.tobytes()
    return dataset


def _compressed(dataset: Any, syntax: str) -> Any:
    """The dataset in another transfer syntax; JPEG 2000 by Pillow, for pydicom cannot write it."""
    import io

    from PIL import Image
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

    uid = UID(SYNTAXES[syntax])
    if syntax == "rle":
        dataset.compress(uid, generate_instance_uid=False)
    elif syntax == "jpeg_2000":
        stored, stream = np.frombuffer(dataset.PixelData, np.uint16).reshape(SIDE, SIDE), io.BytesIO()
        Image.fromarray(stored).save(stream, format="JPEG2000", irreversible=False, no_jp2=True)
        dataset.PixelData = encapsulate([stream.getvalue()])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = uid
    return dataset


# ------------------------------------------------------------------------------------------------- both routes


def save_plainly(hu: Float[ndarray, "h w"], path: Path) -> None:
    """Resize, window, PNG."""
    from PIL import Image

    small = Image.fromarray(np.ascontiguousarray(hu, dtype=np.float32)).resize(
        (RESOLUTION, RESOLUTION), Image.Resampling.BICUBIC
    )
    share = (np.asarray(small) - (CENTER - WIDTH / 2)) / WIDTH
    Image.fromarray(np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)).save(path)


def plain_nifti(paths: list[Path], out: Path) -> None:
    """Each volume whole in memory, then slice by slice."""
    import nibabel

    for path in paths:
        image: Any = nibabel.load(path)
        values = image.get_fdata()
        for z in range(values.shape[2]):
            save_plainly(values[:, :, z].T, out / f"{path.name}-{z:04}.png")


def plain_dicom(paths: list[Path], out: Path) -> None:
    """File by file; a series in the order of its slices' positions."""
    import pydicom

    for folder in sorted({path.parent for path in paths}):
        series = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
        series.sort(key=lambda dataset: dataset.ImagePositionPatient[2])
        for z, dataset in enumerate(series):
            hu = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
            save_plainly(hu, out / f"{folder.name}-{z:04}.png")


def data_config(root: Path, source: str) -> dict[str, Any]:
    """The config of the `data` group for the files below `root`."""
    overrides = [f"data={source}", f"data.root={root}", "data.window=soft_tissue"]
    overrides += ["data.slices=all"] if source == "lits" else []
    return configuration(*overrides, verb="prepare")["data"]


def ours(data: dict[str, Any]) -> Any:
    """The Pack of all volumes, made in $MEDSYNTH_CACHE."""
    from medsynth.data.prepare_pack import prepare_pack

    return prepare_pack(data, resolution=RESOLUTION, progress=lambda text: None)


@dataclass(frozen=True)
class Case:
    """Files of one kind, and who reads them."""

    name: str
    source: str
    write: Callable[..., list[Path]]
    plain: Callable[[list[Path], Path], None]


CASES = [Case(name, "lits", write_nifti, plain_nifti) for name in (".nii", ".nii.gz")]
CASES += [Case(name, "dicom", write_dicom, plain_dicom) for name in SYNTAXES]


@contextmanager
def scratch() -> Iterator[Path]:
    """A new folder that is the cache too, removed in the end."""
    before = os.environ.get("MEDSYNTH_CACHE")
    with tempfile.TemporaryDirectory() as name:
        os.environ["MEDSYNTH_CACHE"] = name
        try:
            yield Path(name)
        finally:
            os.environ.pop("MEDSYNTH_CACHE")
            if before is not None:
                os.environ["MEDSYNTH_CACHE"] = before


# ------------------------------------------------------------------------------------------------- measuring


def seconds_of_ours(data: dict[str, Any]) -> float:
    """Seconds to make a pack in a new cache."""
    with scratch():
        start = time.perf_counter()
        ours(data)
        return time.perf_counter() - start


def seconds_of_plain(case: Case, paths: list[Path]) -> float:
    """Seconds to write all PNG into a new folder."""
    with scratch() as out:
        start = time.perf_counter()
        case.plain(paths, out)
        return time.perf_counter() - start


def difference(case: Case, paths: list[Path], data: dict[str, Any]) -> int:
    """Largest difference of a pixel between the two sides' slices, in levels of 255."""
    from PIL import Image

    with scratch() as out:
        case.plain(paths, out)
        pack = ours(data)
        pngs = np.stack([np.asarray(Image.open(path)) for path in sorted(out.glob("*.png"))])
        packed = np.asarray(pack.images)[:, 0]
        if pngs.shape != packed.shape:
            raise AssertionError(f"{case.name}: the plain route made {pngs.shape}, ours {packed.shape}")
        order = np.lexsort((pack.numbers, pack.files.astype(str)))
        return int(np.abs(packed[order].astype(int) - pngs.astype(int)).max())


def race(case: Case, *, volumes: int, slices: int, pairs: int) -> dict[str, Any]:
    """Both sides in turn on `volumes` volumes."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "data"
        paths = case.write(root, case.name, volumes=volumes, slices=slices)
        data = data_config(root, case.source)
        off = difference(case, paths, data)  # which warms both sides
        a, b = alternate(lambda: seconds_of_ours(data), lambda: seconds_of_plain(case, paths), pairs=pairs, warmup=0)
    result = {**compare(a, b), "slices": volumes * slices, "largest_difference": off, "bar": BARS[case.name]}
    result["ours_ms_a_slice"], result["other_ms_a_slice"] = (
        digits(1000 * result[side]["median"] / (volumes * slices)) for side in ("ours_seconds", "other_seconds")
    )
    return {**result, "pass": result["ratio"] >= BARS[case.name] and off <= 1}


def peak_mb() -> float:
    """Largest resident set of this process so far, MB. (ru_maxrss would count the parent's too, on Linux.)"""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1000
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def measure_alone(name: str, side: str, root: str) -> None:
    """Run one side in this process and print its peaks, after the imports and in the end, as JSON: what `memory` starts
    a fresh process for."""
    case = next(case for case in CASES if case.name == name)
    paths = sorted(path for path in Path(root).rglob("*") if path.is_file())
    with scratch() as out:
        if side == "ours":
            import nibabel
            import scipy.sparse.csgraph  # noqa: F401

            import medsynth.data.prepare_pack

            data = data_config(Path(root), case.source)
            medsynth.data.prepare_pack.build(data["intensity"], "data.intensity")  # what Hydra imports for itself
            begun = peak_mb()
            ours(data)
        else:
            import nibabel  # noqa: F401
            import PIL.Image  # noqa: F401

            begun = peak_mb()
            case.plain(paths, out)
    print(json.dumps([begun, peak_mb()]))


def memory(case: Case, *, slices: int) -> dict[str, Any]:
    """Peaks of both sides, each in a process of its own, for one volume; and of ours for two, which need no more.

    `*_start_mb` of each is what the imports took.
    """
    peaks = {}
    with tempfile.TemporaryDirectory() as name:
        one, two = Path(name) / "one", Path(name) / "two"
        (path,) = case.write(one, case.name, volumes=1, slices=slices)
        shutil.copytree(one, two)
        shutil.copy(path, two / path.name.replace("0", "1"))
        for key, side, root in (("ours", "ours", one), ("ours_of_two", "ours", two), ("other", "plain", one)):
            code = f"import prepare; prepare.measure_alone({case.name!r}, {side!r}, {str(root)!r})"
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
            )
            peaks[f"{key}_start_mb"], peaks[f"{key}_mb"] = map(digits, json.loads(done.stdout))
    stored = digits(slices * SIDE * SIDE * 2 / 1e6)
    return {**peaks, "volume_mb": stored, "slices": slices, "pass": peaks["ours_mb"] < peaks["other_mb"]}


def main() -> None:
    """Race all cases, and compare memory."""
    quick = is_quick(__doc__)
    size = {"volumes": 2, "slices": 24, "pairs": 3} if quick else {"volumes": 4, "slices": 64, "pairs": 15}
    cases = {case.name: race(case, **size) for case in CASES}
    peaks = {case.name: memory(case, slices=300 if quick else 400) for case in CASES[: 1 if quick else 2]}
    finish(
        {
            "benchmark": "prepare",
            "ours": "medsynth.data.prepare_pack, all of it",
            "other": "nibabel get_fdata or pydicom dcmread and pixel_array; NumPy; Pillow resize and PNG, in one loop",
            "ratio": min(case["ratio"] / case["bar"] for case in cases.values()),
            "bar": "ratio is the least of all cases' ratios over their bars: >= 1; memory below the plain route's",
            "cases": cases,
            "memory": peaks,
            "pass": all(part["pass"] for part in (*cases.values(), *peaks.values())),
        }
    )


if __name__ == "__main__":
    main()
