"""evaluate: a run against its pack, folders against each other, and every mistake in one line."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from composed import composed
from markupsafe import escape
from PIL import Image

from medsynth.errors import UserError
from medsynth.evaluate import evaluate
from medsynth.metrics.quality import train_detector
from medsynth.metrics.real import real_halves, real_sets
from medsynth.run_directory import names_of
from medsynth.subjects import load, run_subject

A_RUN = {"real": None, "fake": None, "run": "nowhere"}
CONFIG = composed("evaluate", "metrics.count=12", "usable=false", "path_pairs=16", "batch_size=8")


def write_images(folder, count, *, seed, size=(16, 16), mode="L"):
    folder.mkdir(parents=True, exist_ok=True)
    stream = np.random.default_rng(seed)
    width, height = size
    for number in range(count):
        pixels = stream.integers(0, 256, (height, width) if mode == "L" else (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"slice ({number}).png")
    return folder


def folders(tmp_path, *, real=30, fake=12, **options):
    return {
        **CONFIG,
        "real": str(write_images(tmp_path / "real" / "Cyst", real, seed=0, **options).parent),
        "fake": str(write_images(tmp_path / "fake" / "synthetic", fake, seed=1, **options).parent),
    }


class MemoryPack:
    """Stands in for a Pack: patients of four images each in memory."""

    name, resolution, content = "phantom", 16, "abc"

    def __init__(self, patients=12):
        stream = torch.Generator().manual_seed(0)
        self.images = torch.rand(4 * patients, 1, 16, 16, generator=stream) * 2 - 1
        self.patients = np.repeat([f"p{i}" for i in range(patients)], 4)
        self.labels = np.full(4 * patients, -1)
        cut = 4 * (patients - 2) if patients > 2 else 4 * patients
        rest = np.arange(cut, 4 * patients)
        self.splits = {"train": np.arange(cut), "val": rest[:4], "test": rest[4:]}

    def tensor(self, indices):
        return self.images[torch.as_tensor(np.asarray(indices))]

    def batches(self, indices):
        return [self.tensor(part) for part in np.array_split(indices, 3)]


def test_folders_are_judged_and_written(tmp_path):
    config = folders(tmp_path)
    answer = evaluate(config)
    assert answer["swd_12"]["value"] > 0
    assert answer["images"]["n_real"] == answer["images"]["n_fake"] == answer["images"]["n_held_out"] == 12
    stored = json.loads((tmp_path / "fake-evaluation" / "metrics.json").read_text())
    assert stored == {key: value for key, value in answer.items() if key not in ("metrics_json", "report")}
    assert answer["report"] == str(tmp_path / "fake-evaluation" / "report.html")
    assert json.dumps(answer)


def test_judging_folders_twice_gives_the_same(tmp_path):
    config = folders(tmp_path)
    assert evaluate(config) == evaluate(config)


def test_a_planted_copy_is_found_among_all_real_images(tmp_path):
    config = folders(tmp_path, real=40)
    shutil.copy(tmp_path / "real" / "Cyst" / "slice (37).png", tmp_path / "fake" / "synthetic" / "slice (3).png")
    answer = evaluate(config)["nearest_train_12"]
    assert answer["copies"] == 1
    assert answer["n_train"] == 40
    assert answer["pairs"][0]["distance"] == 0


def test_a_mirrored_copy_is_flagged_and_shown_first(tmp_path):
    config = folders(tmp_path, real=40)
    original = np.asarray(Image.open(tmp_path / "real" / "Cyst" / "slice (37).png"))
    Image.fromarray(original[:, ::-1].copy()).save(tmp_path / "fake" / "synthetic" / "slice (3).png")
    answer = evaluate({**config, "unseen": str(write_images(tmp_path / "unseen", 9, seed=3))})
    assert answer["nearest_train_12"]["copies"] == 0
    assert answer["duplicates_12"]["copies"] == 1
    page = (tmp_path / "fake-evaluation" / "report.html").read_text()
    gallery = page[page.index('class="pairs') :]
    assert gallery.index("slice (3).png") < gallery.index('class="tag copy"') < gallery.index("</figure>")
    assert "Do not share these images" in page


def test_warnings_are_printed_stored_and_shown(tmp_path, capsys):
    answer = evaluate({**folders(tmp_path), "metrics": {**CONFIG["metrics"], "count": 100}})
    told = capsys.readouterr().err
    page = (tmp_path / "fake-evaluation" / "report.html").read_text()
    assert len(answer["warnings"]) >= 2
    for line in answer["warnings"]:
        assert told.count(f"warning: {line}\n") == 1
        assert escape(line) in page
    assert "From too few images to be sure" in told


def test_features_are_charted_though_real_images_are_withheld(tmp_path):
    evaluate(folders(tmp_path))
    page = (tmp_path / "fake-evaluation" / "report.html").read_text()
    assert "rotatable" in page
    assert "real images: " not in page
    assert "synthetic images: outlines" in page


def test_reports_outside_a_run_show_no_real_image_unless_asked(tmp_path):
    config = folders(tmp_path)
    page = tmp_path / "fake-evaluation" / "report.html"
    evaluate(config)
    assert "side by side" in page.read_text()
    assert "real images, side by side" not in page.read_text()
    evaluate({**config, "real_images": True})
    assert "real images, side by side" in page.read_text()


def test_unreadable_images_are_left_out_and_named(tmp_path, capsys):
    config = folders(tmp_path)
    (tmp_path / "fake" / "synthetic" / "broken.png").write_bytes(b"no image")
    answer = evaluate(config)
    assert any("broken.png was left out: not an image" in line for line in answer["warnings"])
    assert "broken.png" in capsys.readouterr().err


def test_sizes_may_differ_when_a_resolution_is_given(tmp_path):
    config = folders(tmp_path)
    write_images(tmp_path / "fake" / "synthetic", 3, seed=5, size=(24, 20), mode="RGB")
    with pytest.raises(UserError, match=r"16x16.*24x20; set resolution=N"):
        evaluate(config)
    assert evaluate({**config, "resolution": 32})["images"]["height"] == 32


def test_a_map_of_neighbours_is_shown_when_asked_for(tmp_path):
    pytest.importorskip("sklearn")
    answer = evaluate({**CONFIG, **folders(tmp_path), "embedding": "tsne"})
    assert "t-SNE keeps neighbours together" in Path(answer["report"]).read_text()


def test_a_folder_of_unseen_patients_calibrates_closeness(tmp_path):
    config = folders(tmp_path)
    unseen = write_images(tmp_path / "unseen", 9, seed=3)
    assert "near" not in evaluate(config)["nearest_train_12"]
    assert evaluate({**config, "unseen": str(unseen)})["nearest_train_12"]["n_unseen"] == 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"real": None, "fake": None}, "give either run=RUN, or runs="),
        ({"run": "runs/x"}, "give either run=RUN, or runs="),
        ({"runs": ["a", "b"]}, "give either run=RUN, or runs="),
        ({"real": None, "fake": None, "runs": "a"}, r"runs=a must be a list: runs=\[a\]"),
        ({"real": None, "fake": None, "runs": ["a"]}, r"runs=\[a\]: give two run directories or more; run=RUN judges"),
        ({"real": None, "fake": None, "runs": ["a", "./a"]}, "names a run twice"),
        ({"real": None, "fake": None, "run": "a", "pairs": True}, "pairs=true needs real=DIR and fake=DIR"),
        ({"truncations": [0.5]}, r"truncations=\[0.5\] needs run=RUN"),
        ({"truncations": 0.5}, r"truncations=0.5 must be a list"),
        ({"real_images": "no"}, "real_images=no must be true or false"),
        ({"usable": "perhaps"}, "usable=perhaps must be true or false"),
        ({"pairs": 2}, "pairs=2 must be true or false"),
        ({"truncations": ["a"]}, "truncations=a must be a number of at least 0"),
        (
            {"truncations": [2], "truncation_mode": "psi"},
            "truncations=2 must be a factor from 0 to 1 with truncation_mode",
        ),
        ({"truncations": [0.5], "truncation_mode": "clip"}, "truncation_mode=clip is unknown; choices: resample, psi"),
        ({"truncation_mode": "psi"}, r"truncation_mode=psi says how to truncate, and truncations=\[\] does not"),
        ({"checkpoint": "best"}, r"checkpoint=best needs run=RUN or runs=\[A,B\]: folders have none"),
        ({"data": {"root": "x"}}, r"data.root=x needs run=RUN or runs=\[A,B\]"),
        (
            {**A_RUN, "unseen": "x"},
            "unseen=x needs real=DIR and fake=DIR: a run's unseen patients are those of its val",
        ),
        ({**A_RUN, "window": [0, 1]}, r"window=\[0, 1\] needs real=DIR and fake=DIR: a run's images are judged as"),
        ({**A_RUN, "resolution": 32}, "resolution=32 needs real=DIR and fake=DIR"),
        ({**A_RUN, "channels": 3}, "channels=3 needs real=DIR and fake=DIR"),
        ({**A_RUN, "run": None, "runs": ["a", "b"], "channels": 3}, "channels=3 needs real=DIR and fake=DIR"),
        ({**A_RUN, "run": None, "runs": ["a", "b"], "truncations": [0.5]}, r"truncations=\[0.5\] needs run=RUN"),
        (
            {**A_RUN, "run": None, "runs": ["a", "b"], "real_images": True},
            "real_images=true needs run=RUN, or real=DIR",
        ),
        (A_RUN, "run=nowhere is no run directory: it has no config.yaml"),
        ({**A_RUN, "run": None, "runs": ["a", "b"]}, "runs=a is no run directory: it has no config.yaml"),
        ({"resolution": 99_999}, "resolution=99999 must be at most 4096"),
        ({"real": 5, "fake": 6}, "real=5 is not a folder"),
        ({"embedding": "lle"}, "embedding=lle is unknown; choices: pca, tsne, umap"),
        (
            {"embedding": "tsne", "metrics": {**CONFIG["metrics"], "extractors": []}},
            r"embedding=tsne places features, and metrics.extractors=\[\] asks for none",
        ),
        ({**A_RUN, "run": None, "runs": ["a", "b"], "embedding": "tsne"}, "embedding=tsne needs run=RUN, or real=DIR"),
        ({"path_pairs": -1}, "path_pairs=-1 must be a whole number of at least 0"),
        ({"fake": None}, "fake= is missing"),
        ({"real": "/absent"}, "real=/absent is not a folder"),
        ({"channels": 2}, "channels=2 must be 1 or 3"),
        ({"resolution": 8}, "resolution=8 must be a whole number of at least 16"),
        ({"batch_size": 0}, "batch_size=0 must be a whole number of at least 1"),
        ({"out": "/proc/nowhere"}, "out=/proc/nowhere cannot be made"),
        ({"metrics": {"count": 0, "extractors": []}}, r"metrics.count=0 \(metrics=none\) judges nothing"),
    ],
)
def test_a_mistake_is_answered_in_words(change, message, tmp_path):
    with pytest.raises(UserError, match=message):
        evaluate({**folders(tmp_path), **change})


@pytest.mark.parametrize(
    ("extractor", "message"),
    [
        ({"own": {"file": "weights"}}, r"own.file=.*weights is no TorchScript file: .{1,160}; for weights alone set"),
        ({"weights": "weights"}, r"metrics.extractor.weights=.*weights is not torch-fidelity's .*: .*Missing key\(s\)"),
        ({"lpips": "weights"}, r"metrics.extractor.lpips=.*weights is not torchvision's alexnet.*: .*Missing key\(s\)"),
    ],
)
def test_weights_of_something_else_are_one_line_and_leave_no_folder(extractor, message, tmp_path):
    torch.save({"something": torch.zeros(1)}, tmp_path / "weights")
    named = {"own": "own", "weights": "inception", "lpips": "random"}[next(iter(extractor))]
    metrics = {**CONFIG["metrics"], "extractors": [named], "extractor": extractor}
    config = folders(tmp_path, size=(32, 32)) | {"metrics": metrics, "out": str(tmp_path / "new" / "out")}
    with pytest.raises(UserError, match=message) as found:
        evaluate(config)
    assert len(str(found.value).splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_lpips_without_weights_is_null_beside_the_distance_that_needs_none(run, tmp_path):
    answer = evaluate(folders(tmp_path, size=(32, 32)))
    found = answer["diversity_lpips_alex_12"]
    assert found["value"] is None
    assert "metrics.extractor.lpips=FILE" in found["reason"]
    assert found["fill"].endswith("alexnet-owt-7be5be79.pth")
    assert answer["diversity_random_12"]["value"] > 0
    assert not [line for line in answer["warnings"] if "lpips" in line]
    absent = {**CONFIG["metrics"], "extractor": {"lpips": "absent.pth"}}
    run("trained")
    answer = evaluate({**CONFIG, "run": str(tmp_path / "trained"), "metrics": absent})
    assert "LPIPS needs 1 or 3 channels of 32 pixels" in answer["ppl_lpips_alex_12"]["reason"]
    assert [line for line in answer["warnings"] if "lpips" in line]


def test_a_single_image_cannot_be_judged(tmp_path):
    with pytest.raises(UserError, match=r"fake=.* holds 1 image; judging needs at least 2"):
        evaluate(folders(tmp_path, fake=1))


def test_few_real_images_leave_no_second_half(tmp_path):
    answer = evaluate(folders(tmp_path, real=3))
    assert answer["insufficient"]["swd_12"]["n_real"] == 3
    assert answer["insufficient"]["swd_12"]["real_against_real"] is None


def test_halves_of_a_pack_share_no_patient_and_are_of_one_size():
    pack = MemoryPack()
    first, second = real_halves(pack, count=12)
    assert len(first) == len(second) == 12
    assert not set(pack.patients[first]) & set(pack.patients[second])
    assert set(first) | set(second) <= set(pack.splits["train"])


def test_a_pack_of_one_patient_has_no_second_half():
    sets = real_sets(MemoryPack(patients=1), count=12)
    assert sets.held_out is None
    assert sets.unseen is None


def test_a_run_is_judged_where_it_lies(run, tmp_path):
    run("trained")
    answer = evaluate({**CONFIG, "run": str(tmp_path / "trained")})
    folder = tmp_path / "trained" / "evaluation"
    assert answer["report"] == str(folder / "report.html")
    assert answer["images"]["n_fake"] == 12
    assert answer["nearest_train_12"]["n_train"] > 12
    assert answer["nearest_train_12"]["n_unseen"] > 0
    page = (folder / "report.html").read_text()
    assert "real images, side by side" in page
    assert "train/critic/wasserstein" in page
    outside = evaluate({**CONFIG, "run": str(tmp_path / "trained"), "out": str(tmp_path / "elsewhere")})
    assert "real images, side by side" not in (tmp_path / "elsewhere" / "report.html").read_text()
    assert outside["swd_12"] == answer["swd_12"]


def test_a_run_is_asked_what_only_a_model_can_tell(run, tmp_path):
    run("trained")
    answer = evaluate({**CONFIG, "run": str(tmp_path / "trained"), "truncations": [0.5], "usable": True})
    assert 0 <= answer["membership_12"]["value"] <= 1
    assert answer["membership_12"]["n_unseen"] > 0
    assert answer["ppl_random_12"]["value"] > 0
    assert answer["ppl_random_12"]["n_fake"] == 32
    assert answer["diversity_random_12"]["real_against_real"] > 0
    assert "a quality detector needs" in answer["usable_12"]["reason"]  # of 60 tiny images
    whole, half = answer["truncation"]["rows"]
    assert (whole["truncation"], half["truncation"], half["mode"]) == (None, 0.5, "resample")
    assert whole["frechet"] == pytest.approx(answer["frechet_random_12"]["value"])
    assert half["frechet"] != whole["frechet"]
    page = (tmp_path / "trained" / "evaluation" / "report.html").read_text()
    assert "Precision against recall" in page


def test_runs_of_one_set_of_images_are_compared(run, tmp_path, capsys):
    run("a")
    run("b", "seed=1")
    runs = [str(tmp_path / name) for name in "ab"]
    answer = evaluate({**CONFIG, "runs": runs})
    alone = [evaluate({**CONFIG, "run": path}) for path in runs]
    assert list(answer["runs"]) == ["a", "b"]
    assert answer["runs"]["a"]["swd_12"] == alone[0]["swd_12"]
    assert answer["runs"]["b"]["swd_12"]["value"] == alone[1]["swd_12"]["value"]
    for key in ("membership_12", "ppl_random_12", "diversity_random_12"):
        assert answer["runs"]["a"][key] == alone[0][key]
        assert answer["runs"]["b"][key]["value"] == alone[1][key]["value"]
    for key in ("ppl_random_12", "membership_12", "diversity_random_12", "swd_12"):
        (row,) = answer["differences"][key]
        assert row["value"] == alone[0][key]["value"] - alone[1][key]["value"]
        assert row["interval"][0] <= row["value"] <= row["interval"][1]
    assert answer["metrics_json"] == str(tmp_path / "comparison" / "metrics.json")
    stored = json.loads((tmp_path / "comparison" / "metrics.json").read_text())
    assert stored == {key: value for key, value in answer.items() if key not in ("metrics_json", "report")}
    assert "a against b" in (tmp_path / "comparison" / "comparison.html").read_text()
    told = capsys.readouterr().err
    for line in answer["warnings"]:
        assert f"warning: {line}\n" in told


def test_compared_runs_meet_one_quality_detector(run, tmp_path, monkeypatch):
    from medsynth import findings

    asked = []
    images = torch.rand(20, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    detector = replace(train_detector(images, images, steps=2), auc=0.9)
    monkeypatch.setattr(findings, "detector_of", lambda runs, pack: asked.append(runs) or detector)
    run("a")
    run("b", "seed=1")
    runs = [tmp_path / name for name in "ab"]
    answer = evaluate({**CONFIG, "runs": [str(path) for path in runs], "usable": True})
    assert asked == [runs]
    assert all(0 <= answer["runs"][name]["usable_12"]["value"] <= 1 for name in "ab")
    (row,) = answer["differences"]["usable_12"]
    assert row["interval"][0] <= row["value"] <= row["interval"][1]
    page = (tmp_path / "comparison" / "comparison.html").read_text()
    assert "Usable images" in page
    assert "Membership by the critic" in page


def test_runs_of_one_name_are_told_apart_by_their_folders():
    found = names_of([Path("x/run"), Path("y/run"), Path("y/other")])
    assert list(found) == ["x/run", "y/run", "y/other"]
    assert list(names_of([Path("x/a"), Path("y/b")])) == ["a", "b"]


def test_runs_of_different_images_are_refused(run, tmp_path):
    run("a")
    run("b", "resolution=32")
    with pytest.raises(UserError, match="runs: a was trained on image_folder at 16 x 16, b on image_folder at 32 x 32"):
        evaluate({**CONFIG, "runs": [str(tmp_path / name) for name in "ab"]})


def test_a_subject_shows_the_images_that_its_figures_name(run, tmp_path):
    run("trained")
    loaded, pack = load(tmp_path / "trained", checkpoint="last", root=None)
    subject = run_subject(loaded, pack, count=12, seed=0, batch_size=5)
    assert torch.equal(subject.show_fake(7), torch.cat(list(subject.fake))[7])
    assert torch.equal(subject.show_train(9), torch.cat(list(subject.train))[9])
    (warning,) = subject.warnings
    assert "training knows 48 patients or series" in warning
    other = run_subject(replace(loaded, pack_content="other"), pack, count=12, seed=0, batch_size=5)
    assert "their content differs" in other.warnings[0]


def test_a_run_judged_by_other_images_keeps_the_report_by_its_own(run, tmp_path):
    run("trained")
    other = write_images(tmp_path / "other" / "Cyst", 60, seed=9).parent
    answer = evaluate({**CONFIG, "run": str(tmp_path / "trained"), "data": {"root": str(other)}})
    assert answer["report"] == str(tmp_path / "trained" / "evaluation-by-other-images" / "report.html")
    assert any("their content differs" in line for line in answer["warnings"])


def test_a_report_on_folders_names_no_path_of_real_images(tmp_path, monkeypatch):
    config = folders(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evaluate", f"real={config['real']}", f"fake={config['fake']}"])
    evaluate(config)
    page = (tmp_path / "fake-evaluation" / "report.html").read_text()
    assert config["real"] not in page
    assert "real=DIR" in page


def test_an_extractor_without_weights_is_warned_of(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MEDSYNTH_CACHE", str(tmp_path / "cache"))
    answer = evaluate({**folders(tmp_path), "metrics": {**CONFIG["metrics"], "extractors": ["random", "inception"]}})
    assert answer["fid_12"]["value"] is None
    assert "warning: inception: " in capsys.readouterr().err


def test_what_chooses_checkpoints_in_training_does_not_bind_evaluate(tmp_path):
    encoders = {**CONFIG["metrics"], "extractors": ["inception"], "monitor": "frechet_random"}
    assert evaluate({**folders(tmp_path), "metrics": encoders})["swd_12"]["value"] > 0


def test_a_run_whose_images_have_moved_says_where_they_were(run, tmp_path):
    run("trained")
    shutil.move(tmp_path / "images", tmp_path / "moved")
    config = {**CONFIG, "run": str(tmp_path / "trained")}
    with pytest.raises(UserError, match=r"images"):
        evaluate(config)
    assert evaluate({**config, "data": {"root": str(tmp_path / "moved")}})["swd_12"]["value"] > 0


def test_mirrored_copies_are_not_denied_where_nobody_looked_for_them(tmp_path):
    evaluate(folders(tmp_path))
    page = (tmp_path / "fake-evaluation" / "report.html").read_text()
    assert "No exact copy of one of 30 training images; mirrored or recoloured ones were not looked for" in page
    assert "other single images, whose patients nobody knows" in page


def test_a_folder_against_itself_is_all_copies_whatever_is_called_unseen(tmp_path, capsys):
    config = folders(tmp_path)
    same = dict.fromkeys(("real", "fake", "unseen"), config["real"])
    evaluate({**config, **same, "out": str(tmp_path / "out")})
    page = (tmp_path / "out" / "report.html").read_text()
    assert "12 of 12 synthetic images copy one of 30 training images" in page
    assert "Do not share these images" in page
    assert "30 of 30 unseen images are among the training images too" in capsys.readouterr().err


def test_a_denoiser_is_no_leak(tmp_path):
    config = folders(tmp_path)
    for path in (tmp_path / "real" / "Cyst").glob("*.png"):
        shutil.copy(path, tmp_path / "fake" / "synthetic" / path.name)
    shutil.move(tmp_path / "fake" / "synthetic", tmp_path / "fake" / "Cyst")
    evaluate({**config, "pairs": True})
    page = (tmp_path / "fake-evaluation" / "report.html").read_text()
    assert "Do not share" not in page
    assert "Of 30 pairs: mean absolute error 0" in page
