"""Folders of DICOM as series: what belongs together, in which order, where it lies, and what is told of it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import dicom, series
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless

from medsynth.data.decode import strict_pillow
from medsynth.data.intensity import ByModality, FileWindow, Grey, Intensity, Percentile, Window
from medsynth.data.picture import BadImage, Picture
from medsynth.data.prepare_pack import prepare_pack
from medsynth.data.sources.dicom import Dicom
from medsynth.errors import UserError

RNG = np.random.default_rng(1)
CT = ByModality("CT", "soft_tissue")
SMALL = RNG.integers(0, 4000, (16, 20)).astype(np.uint16)


def pictures(source: Dicom, *, intensity: Intensity = CT, number: int = 0) -> list[Picture]:
    with strict_pillow():
        return [load() for load in source.read(source.records().records[number], intensity)]


def reasons(source: Dicom) -> dict[str, str]:
    return {entry.path.name: entry.reason for entry in source.records().rejected}


# -------------------------------------------------------------------------------------------- what belongs together


def test_series_are_found_in_any_folders_and_are_of_one_patient(tmp_path: Path) -> None:
    series(tmp_path / "a" / "b", seed=1)
    series(tmp_path, seed=2, slices=2)
    series(tmp_path / "elsewhere", seed=1, slices=2, first=4)
    records = Dicom(tmp_path).records().records
    assert [len(record.detail.shots) for record in records] == [2, 6]
    assert len({record.patient for record in records}) == 2
    assert all(record.patient.startswith("p-") and "PAT" not in record.patient for record in records)


def test_slices_are_in_order_of_place_whatever_their_names_and_numbers(tmp_path: Path) -> None:
    heights = [6.0, 0.0, 4.0, 2.0]
    for k, height in enumerate(heights):
        pixels = np.full((16, 16), int(height), dtype=np.int16)
        dicom(tmp_path / f"{k}", pixels, ImagePositionPatient=[0, 0, height], InstanceNumber=9 - k)
    shown = pictures(Dicom(tmp_path))
    assert [picture.values[0, 0] for picture in shown] == sorted(heights)
    assert [picture.geometry.number for picture in shown if picture.geometry] == [0, 1, 2, 3]


def test_without_positions_instance_numbers_are_the_order(tmp_path: Path) -> None:
    for k in range(4):
        pixels = np.full((16, 16), k, dtype=np.int16)
        dicom(tmp_path / f"{9 - k}", pixels, ImagePositionPatient=None, InstanceNumber=k)
    assert [picture.values[0, 0] for picture in pictures(Dicom(tmp_path))] == [0, 1, 2, 3]


def test_a_localiser_is_a_series_of_its_own(tmp_path: Path) -> None:
    series(tmp_path, seed=1)
    dicom(tmp_path / "scout", SMALL, PatientID="PAT-1", SeriesInstanceUID="1.2.3.1.1",
          ImageOrientationPatient=[1, 0, 0, 0, 0, -1])  # fmt: skip
    dicom(tmp_path / "other_size", SMALL[:10], PatientID="PAT-1", SeriesInstanceUID="1.2.3.1.1")
    records = Dicom(tmp_path).records().records
    assert sorted(len(record.detail.shots) for record in records) == [1, 1, 4]
    assert len({record.patient for record in records}) == 1


def test_files_without_a_series_belong_to_their_folder(tmp_path: Path) -> None:
    for folder in "ab":
        series(tmp_path / folder, slices=3, SeriesInstanceUID=None, SOPInstanceUID=None)
    assert [len(record.detail.shots) for record in Dicom(tmp_path).records().records] == [3, 3]


def test_patients_are_told_by_id_then_study_then_folder(tmp_path: Path) -> None:
    for name, elements in {
        "a/1": {}, "b/2": {"SeriesInstanceUID": "1.9"}, "c/3": {"PatientID": "", "SeriesInstanceUID": "1.8"},
        "d/4": {"PatientID": None, "StudyInstanceUID": None, "SeriesInstanceUID": "1.7"},
        "5": {"PatientID": None, "StudyInstanceUID": None, "SeriesInstanceUID": "1.6"},
    }.items():  # fmt: skip
        dicom(tmp_path / name, SMALL, **elements)
    patients = {r.path.name: r.patient for r in Dicom(tmp_path).records().records}
    assert patients["1"] == patients["2"] != patients["3"]
    assert str(patients["3"]).startswith("p-")
    assert patients["4"] == "d"
    assert patients["5"] is None


def test_a_copy_of_an_object_is_named_and_the_uncompressed_one_kept(tmp_path: Path) -> None:
    dicom(tmp_path / "a", SMALL, syntax=JPEGLSLossless, SOPInstanceUID="1.5")
    dicom(tmp_path / "b", SMALL, SOPInstanceUID="1.5")
    source = Dicom(tmp_path)
    assert reasons(source) == {"a": "the same object as b"}
    assert len(pictures(source)) == 1


def test_of_copies_the_one_that_can_be_read_is_kept(tmp_path: Path) -> None:
    for name in "ab":
        dicom(tmp_path / name, SMALL, syntax=JPEGLSLossless, SOPInstanceUID="1.5")
    content = bytearray((tmp_path / "a").read_bytes())
    place = content.index(b"\xff\xd8\xff\xf7")
    content[place : place + 4] = bytes(4)
    (tmp_path / "a").write_bytes(content)
    assert reasons(Dicom(tmp_path)) == {"a": "the same object as b"}


def test_radiographs_of_one_series_are_records_of_their_own(tmp_path: Path) -> None:
    for name, size in {"pa": 20, "lateral": 24}.items():
        pixels = RNG.integers(0, 4000, (size, 20)).astype(np.uint16)
        dicom(tmp_path / name, pixels, Modality="DX", ImagePositionPatient=None, ImageOrientationPatient=None)
    assert len(Dicom(tmp_path, modality="xray").records().records) == 2


def test_all_frames_of_an_object_belong_together(tmp_path: Path) -> None:
    frames = RNG.integers(0, 256, (5, 16, 16)).astype(np.uint8)
    for syntax in ("1.2.840.10008.1.2.1", JPEGLSLossless, DeflatedExplicitVRLittleEndian):
        dicom(tmp_path / "cine", frames, Modality="US", syntax=syntax)
        source = Dicom(tmp_path, modality="US")
        found = pictures(source, intensity=Grey())
        np.testing.assert_allclose(np.stack([picture.values for picture in found]), frames / 255, atol=1e-6)


# ------------------------------------------------------------------------------------------------------- where it lies

AXES = {
    "as usual": ([1, 0, 0, 0, 1, 0], "axial"), "rows run up": ([1, 0, 0, 0, -1, 0], "axial"),
    "prone": ([-1, 0, 0, 0, -1, 0], "axial"), "on its side": ([0, 1, 0, 1, 0, 0], "axial"),
    "coronal": ([1, 0, 0, 0, 0, -1], "coronal"), "coronal upside down": ([-1, 0, 0, 0, 0, 1], "coronal"),
    "sagittal": ([0, 1, 0, 0, 0, -1], "sagittal"), "sagittal turned": ([0, 0, 1, 0, -1, 0], "sagittal"),
    "oblique": ([0.96, 0.28, 0, -0.28, 0.96, 0], "axial"),
}  # fmt: skip
# What columns and rows of an upright picture run towards, RAS: left, back and feet are the lower ends.
TOWARDS = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}


@pytest.mark.parametrize(("axes", "plane"), AXES.values(), ids=AXES)
def test_pictures_stand_upright_and_every_pixel_keeps_its_place(axes: list[float], plane: str, tmp_path: Path) -> None:
    x, y = np.array(axes, dtype=float).reshape(2, 3)
    steps = [0.0, 2.5, 5.0]
    pixels = RNG.integers(0, 4000, (3, 16, 20)).astype(np.uint16)
    for k, step in enumerate(steps):
        position = (np.array([10.0, -20.0, 30.0]) + step * np.cross(x, y)).round(6)
        dicom(tmp_path / f"{k}", pixels[k], ImageOrientationPatient=axes, PixelSpacing=[0.5, 0.75],
              ImagePositionPatient=position.tolist())  # fmt: skip
    for k, picture in enumerate(pictures(Dicom(tmp_path))):
        geometry = picture.geometry
        assert geometry is not None
        across, down = TOWARDS[plane]
        assert np.argmin(geometry.affine[:3, 0] / geometry.spacing[1]) == across
        assert np.argmin(geometry.affine[:3, 1] / geometry.spacing[0]) == down
        assert geometry.source_shape == (20, 16, 3)
        assert geometry.spacing[2] == pytest.approx(2.5)
        for column, row in ((0, 0), (3, 5), (picture.values.shape[1] - 1, 2)):
            place = geometry.affine @ [column, row, 0, 1]
            i, j, plane_number, _ = np.linalg.solve(geometry.source_affine, place).round(3)
            assert plane_number == k == geometry.number
            assert picture.values[row, column] == pixels[k, int(j), int(i)]
            lps = np.array([10, -20, 30]) + i * 0.75 * x + j * 0.5 * y + steps[k] * np.cross(x, y)
            np.testing.assert_allclose(place[:3], lps * [-1, -1, 1], atol=1e-4)


def test_gaps_and_uneven_steps_are_noted_and_places_stay_true(tmp_path: Path) -> None:
    for k, height in enumerate([0, 2, 4, 10, 12]):
        dicom(tmp_path / "gap" / f"{k}", SMALL, ImagePositionPatient=[0, 0, height])
    for k, height in enumerate([0, 2, 4.2, 6]):
        dicom(tmp_path / "uneven" / f"{k}", SMALL, ImagePositionPatient=[0, 0, height], SeriesInstanceUID="1.9")
    for k, height in enumerate([0, 0, 2, 2]):
        dicom(tmp_path / "echo" / f"{k}", SMALL, ImagePositionPatient=[0, 0, height], SeriesInstanceUID="1.8",
              InstanceNumber=4 - k)  # fmt: skip
    source = Dicom(tmp_path)
    notes = source.records().notes
    assert "1 of 3 series lack planes between others, 2 in all; for example that of gap/0" in notes
    assert "1 of 3 series have uneven steps between planes; for example that of uneven/0" in notes
    assert any("show planes several times" in note and "echo/" in note for note in notes)
    heights = [p.geometry.affine[2, 3] for p in pictures(source, number=1) if p.geometry]
    assert heights == [0, 2, 4, 10, 12]
    assert [p.geometry.number for p in pictures(source, number=0) if p.geometry] == [0, 0, 1, 1]


def test_radiographs_know_their_pixel_size_and_photographs_nothing(tmp_path: Path) -> None:
    bare = {"PixelSpacing": None, "ImagePositionPatient": None, "ImageOrientationPatient": None}
    dicom(tmp_path / "a", SMALL, Modality="DX", **bare, ImagerPixelSpacing=[0.2, 0.1])
    dicom(tmp_path / "b", SMALL, Modality="DX", **bare)
    source = Dicom(tmp_path, modality="xray")
    (radiograph,), (photograph,) = (pictures(source, intensity=Grey(), number=k) for k in range(2))
    assert radiograph.geometry is not None
    assert radiograph.geometry.spacing[:2] == (0.2, 0.1)
    assert photograph.geometry is None


# --------------------------------------------------------------------------------------------------- modality, codecs


def test_the_modality_is_chosen_and_others_are_named(tmp_path: Path) -> None:
    dicom(tmp_path / "ct", SMALL)
    dicom(tmp_path / "mr", SMALL, Modality="MR", SeriesInstanceUID="1.9")
    assert reasons(Dicom(tmp_path)) == {"mr": "modality MR; data.modality=CT"}
    assert [r.path.name for r in Dicom(tmp_path, modality="mr").records().records] == ["mr"]
    with pytest.raises(UserError, match=r"holds CT \(1 objects\), MR \(1 objects\); set data.modality=CT or another"):
        Dicom(tmp_path, modality=None).records()
    with pytest.raises(UserError, match=r"no xray in .*holds CT \(1 objects\), MR"):
        Dicom(tmp_path, modality="xray").records()
    with pytest.raises(UserError, match="not alike"):
        Dicom(tmp_path, modality=["CT", "US"])


def test_null_takes_the_only_modality_there_is(tmp_path: Path) -> None:
    dicom(tmp_path / "a", SMALL, Modality="MR")
    assert len(Dicom(tmp_path, modality=None).records().records) == 1


def test_objects_that_name_no_modality_are_taken_and_noted(tmp_path: Path) -> None:
    dicom(tmp_path / "a", SMALL, Modality=None, SOPClassUID=None)
    listing = Dicom(tmp_path).records()
    assert len(listing.records) == 1
    assert "1 objects do not say their modality and were taken as CT" in listing.notes


def test_a_modality_is_known_by_the_storage_class(tmp_path: Path) -> None:
    dicom(tmp_path / "a", SMALL, Modality=None)
    assert Dicom(tmp_path).records().notes == []
    with pytest.raises(UserError, match="no MR in"):
        Dicom(tmp_path, modality="MR").records()


def test_codecs_suit_the_modality() -> None:
    assert ByModality("CT", "lung").range() == Window(-600.0, 1500.0).range()
    assert ByModality("CT", [40, 400]).range() == (-160, 240)
    assert ByModality("xray", "lung") == Grey()
    assert ByModality("MR", "lung") == ByModality(None, "lung") == Percentile()
    assert ByModality("CT", "tags") == FileWindow()
    with pytest.raises(ValueError, match=r"data\.window=tags is read from DICOM headers"):
        FileWindow().range()


def test_mr_series_share_one_range_of_their_foreground(tmp_path: Path) -> None:
    for k in range(3):
        pixels = np.zeros((40, 40), dtype=np.uint16)
        pixels[10:30, 10:30] = RNG.integers(100 * (k + 1), 100 * (k + 2), (20, 20))
        dicom(tmp_path / f"{k}", pixels, Modality="MR", ImagePositionPatient=[0, 0, k])
    source = Dicom(tmp_path, modality="MR")
    codecs = {picture.codecs for picture in pictures(source, intensity=Percentile())}
    ((codec,),) = codecs
    values = np.stack([picture.values for picture in pictures(source, intensity=Percentile())])
    np.testing.assert_allclose(codec.range(), np.percentile(values[values > 0], (0.5, 99.5)), rtol=1e-3)


def test_the_window_of_the_file_is_its_codec(tmp_path: Path) -> None:
    dicom(tmp_path / "a", SMALL, WindowCenter=[40, 1], WindowWidth=[400, 1])
    dicom(tmp_path / "b", SMALL, SeriesInstanceUID="1.9")
    source = Dicom(tmp_path)
    (picture,) = pictures(source, intensity=FileWindow())
    assert picture.codecs[0].range() == (-160, 240)
    with pytest.raises(BadImage, match="states no window"):
        pictures(source, intensity=FileWindow(), number=1)


# -------------------------------------------------------------------------------------------------------------- labels


def test_labels_come_from_folders_modality_or_nowhere(tmp_path: Path) -> None:
    for seed, label in enumerate(("ill", "well")):
        series(tmp_path / "export" / label / "x", seed=seed, Modality="DX" if seed else "CR")
    for labels, expected in {"none": {None}, "folders": {"ill", "well"}, "modality": {"CR", "DX"}}.items():
        assert {r.label for r in Dicom(tmp_path, modality="xray", labels=labels).records().records} == expected
    dicom(tmp_path / "export" / "stray", SMALL, Modality="CR")
    with pytest.raises(UserError, match=r"1 series lie right in .*export"):
        Dicom(tmp_path, modality="xray", labels="folders").records()


@pytest.mark.parametrize(
    ("keys", "rows"),
    [
        ({"patient_column": "who"}, ["PAT-1,ill", "PAT-2,well"]),
        ({"series_column": "who"}, ["1.2.3.1.1,ill", "1.2.3.2.1,well"]),
        ({"file_column": "who"}, ["a,ill", "b/,well"]),
        ({"file_column": "who"}, ["a/IM0002,ill", "b/IM0000,well"]),
    ],
)
def test_labels_come_from_a_table(keys: dict[str, Any], rows: list[str], tmp_path: Path) -> None:
    for seed, folder in enumerate("abc", start=1):
        series(tmp_path / folder, seed=seed)
    (tmp_path / "labels.csv").write_text("\n".join(["who,label", *rows, "PAT-99,ill"]))
    source = Dicom(tmp_path, table="labels.csv", **keys)
    listing = source.records()
    assert [record.label for record in listing.records] == ["ill", "well", None]
    assert listing.notes == ["labels.csv: 3 rows, 1 of them without a series; 1 series without a label"]
    assert source.files()[-1] == tmp_path / "labels.csv"


def test_a_table_that_does_not_fit_is_refused_without_quoting_it(tmp_path: Path) -> None:
    series(tmp_path)
    (tmp_path / "labels.csv").write_text("who,label\nSECRET,ill\n")
    with pytest.raises(UserError, match=r"needs one of data\.file_column"):
        Dicom(tmp_path, table="labels.csv")
    with pytest.raises(UserError, match="no row names one of the 1 series"):
        Dicom(tmp_path, table="labels.csv", patient_column="who").records()
    with pytest.raises(UserError, match="has no column 'id'; its columns: who, label"):
        Dicom(tmp_path, table="labels.csv", patient_column="id").records()


def test_rows_that_repeat_are_counted_and_rows_that_contradict_are_refused_without_quoting_them(tmp_path: Path) -> None:
    series(tmp_path, seed=7)
    table = tmp_path / "labels.csv"
    table.write_text("who,label\nPAT-7,ill\nPAT-7,ill\n")
    assert (
        "labels.csv: 1 rows repeat the key of another"
        in Dicom(tmp_path, table="labels.csv", patient_column="who").records().notes
    )
    table.write_text("who,label\nPAT-7,ill\nPAT-7,well\n")
    with pytest.raises(UserError, match=r"labels\.csv has rows of different label for 1 series") as error:
        Dicom(tmp_path, table="labels.csv", patient_column="who").records()
    assert "PAT" not in str(error.value)


# ---------------------------------------------------------------------------------------------------- what is rejected


def test_unreadable_files_are_named_and_the_others_go_on(tmp_path: Path) -> None:
    series(tmp_path, slices=3)
    cut = series(tmp_path, slices=1, first=3)[0]
    cut.write_bytes(cut.read_bytes()[:-100])
    (tmp_path / "README").write_text("about this export")
    (tmp_path / "notes.txt").write_text("is not even looked at")
    (tmp_path / ".hidden").write_text("neither is this")
    os.symlink(tmp_path / "gone", tmp_path / "dangling")
    found = reasons(Dicom(tmp_path))
    assert set(found) == {cut.name, "README", "dangling"}
    assert found[cut.name].startswith("truncated")
    assert found["README"] == "no DICOM file"
    assert len(pictures(Dicom(tmp_path))) == 3


@pytest.mark.parametrize("content", [{}, {"a": b"text"}, {"a.png": b"x"}])
def test_a_folder_without_dicom_is_refused(content: dict[str, bytes], tmp_path: Path) -> None:
    for name, text in content.items():
        (tmp_path / name).write_bytes(text)
    with pytest.raises(UserError, match=r"no DICOM file among the \d files .*Set data.root=DIR, or data.phantom=true"):
        Dicom(tmp_path).records()


def test_names_are_enough_to_list_files(tmp_path: Path) -> None:
    for name in ("IM1", "1.2.840.10008.1", "a.dcm", "b.DICOM", "c.csv", "d.PNG", "e.nii.gz"):
        (tmp_path / name).touch(mode=0o000)
    assert {path.name for path in Dicom(tmp_path).files()} == {"IM1", "1.2.840.10008.1", "a.dcm", "b.DICOM"}


def test_damaged_compressed_pixels_reject_their_series_by_name(tmp_path: Path) -> None:
    series(tmp_path, seed=1, syntax=JPEGLSLossless)
    path = series(tmp_path / "b", seed=2, syntax=JPEGLSLossless)[2]
    content = bytearray(path.read_bytes())
    place = content.index(b"\xff\xd8\xff\xf7")
    content[place : place + 4] = bytes(4)
    path.write_bytes(content)
    config = _config(tmp_path)
    pack = prepare_pack(config, resolution=16, progress=lambda line: None)
    report = json.loads((pack.folder / "prepare.json").read_text())
    assert len(pack) == 4
    assert [entry["file"] for entry in report["rejected"]] == ["b/IM0000"]


def test_headers_that_pydicom_complains_about_are_read_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = series(tmp_path, slices=1)[0]
    content = path.read_bytes().replace(b"1.2.3.0.1\0", b"1.2.SECRET")
    path.write_bytes(content)
    with strict_pillow():
        assert len(pictures(Dicom(tmp_path))) == 1
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


# ---------------------------------------------------------------------------------------------------- through the core


def _config(root: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "dicom", "root": str(root), "source": {"_target_": "medsynth.data.sources.dicom.Dicom"},
        "phantom": False, "phantom_patients": 2, "phantom_size": 32, "phantom_seed": 0, "channels": 1, "bits": 8,
        "fit": "pad", "flips": "none", "white": None, "workers": 0, "balance": "none",
        "intensity": {"_target_": "medsynth.data.intensity.ByModality", "modality": "CT", "window": [0, 1000]},
        "split": {"train": 0.8, "val": 0.1, "test": 0.1, "seed": 0},
    } | changes  # fmt: skip


@pytest.mark.parametrize("bits", [8, 16])
def test_hounsfield_units_survive_the_pack(bits: int, tmp_path: Path) -> None:
    series(tmp_path / "data")
    pack = prepare_pack(_config(tmp_path / "data", bits=bits), resolution=16, progress=lambda line: None)
    stored = pydicom.dcmread(tmp_path / "data" / "IM0000").pixel_array
    values = pack.tensor([0])[0, 0].numpy() * 500
    assert np.abs(values - stored.clip(-500, 500)).max() <= (2 if bits == 8 else 0.07)
    assert pack.spacing == pytest.approx((1, 1, 2))


def test_a_patient_stands_in_one_split(tmp_path: Path) -> None:
    for seed in range(12):
        for study in range(2):
            series(tmp_path / f"{seed}_{study}", seed=100 * study + seed, PatientID=f"PAT-{seed}", slices=2)
    pack = prepare_pack(_config(tmp_path), resolution=16, progress=lambda line: None)
    of_split = {split: set(pack.patients[rows]) for split, rows in pack.splits.items()}
    assert sum(map(len, of_split.values())) == len(set(pack.patients)) == 12
    assert all(of_split.values())


def test_pydicoms_own_files_are_read_or_named(tmp_path: Path) -> None:
    folder = Path(str(get_testdata_file("CT_small.dcm", download=False))).parent
    source = Dicom(folder, modality="CT")
    listing = source.records()
    shots = {shot.stored.path for record in listing.records for shot in record.detail.shots}
    assert shots | {entry.path for entry in listing.rejected} == set(source.files())
    assert folder / "CT_small.dcm" in shots


# ------------------------------------------------------------------------------------------------------------ real data

REAL = {
    "ct_series_j2k_totalseg": ("CT", 12), "ct_3slice_with_seg_dcmqi": ("CT", 3),
    "ct_series_flipped_medimages": ("CT", 3), "mr_series_vs_seg": ("MR", 2), "mr_ge_epi_series": ("MR", 30),
    "mr_siemens_epi": ("MR", 4),
    "cr_chest_torchxrayvision": ("xray", 1),
}  # fmt: skip


@pytest.mark.parametrize(("folder", "modality", "count"), [(f, m, c) for f, (m, c) in REAL.items()])
def test_real_series_are_read(folder: str, modality: str, count: int) -> None:
    real = os.environ.get("MEDSYNTH_REAL_DATA")
    if not real:
        pytest.skip("MEDSYNTH_REAL_DATA names no folder of real data")
    source = Dicom(Path(real) / "dicom" / folder, modality=modality)
    codec = ByModality(modality, "soft_tissue")
    found: Callable[[int], list[Picture]] = lambda number: pictures(source, intensity=codec, number=number)  # noqa: E731
    assert sum(len(found(number)) for number in range(len(source.records().records))) == count
