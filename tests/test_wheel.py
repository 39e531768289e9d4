import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_a_wheel_carries_its_configuration_and_runs_in_another_folder(tmp_path: Path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, timeout=280)
    (wheel,) = tmp_path.glob("medsynth_gan-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    assert {"medsynth/conf/train.yaml", "medsynth/conf/model/wgan_gp.yaml"} <= names
    assert {f"medsynth/report/{name}" for name in ("template.html", "embedding.css", "rotate.js")} <= names
    assert not any(name.startswith(("tests/", "conf/", "benchmarks/")) for name in names)
    done = subprocess.run(
        [sys.executable, "-m", "medsynth.train", "--cfg", "job", "model=dcgan"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )
    assert done.returncode == 0, done.stderr
    assert "medsynth.models.gan.GAN" in done.stdout
