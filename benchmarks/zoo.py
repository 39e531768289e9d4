"""Every model on real images under one budget:   python benchmarks/zoo.py --out DIR --data kidney_ct --root DIR

Each model trains as conf/model says, on images of 64x64 in batches of 16, convolutions WIDTH channels wide, until it
has seen IMAGES real images, on one thread, from each seed; and is then judged by medsynth.evaluate on as many synthetic
images as half of the training images are. So slow models get more seconds, and models with several critic steps fewer
steps of the generator: the table says what the same look at the data gives, not what a model can reach.

Each training's record is a file in DIR, a record that is there is not made again, and a training that was stopped goes
on; its first eight synthetic images lie beside it, and those of all models in one picture, DATA.png. One JSON object at
the end: a row a training, with the kernel distance (random features) and its 95 % interval,
sliced Wasserstein distance, MS-SSIM of pairs, memorisation, the same of real images, and the CPU seconds.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from measure import configuration, digits, machine, narrow

SIDE, WIDTH, BATCH, IMAGES = 64, 16, 16, 32_000
COUNT = 1_000  # images judged at most
SHADES = 36  # of grey in the picture of all models, which halves its file
LABEL = 130  # pixels beside each row of it
KERNELS = ("kid_random", "kid_encoder")
FIGURES = (*KERNELS, "swd", "spectrum", "ms_ssim", "usable", "nearest_train")


def train_encoder(data: list[str]) -> None:
    """Put the encoder of the training images where judging looks for it, unless it is there."""
    from medsynth.data.prepare_pack import prepare_pack
    from medsynth.metrics.encoder.__main__ import encoder
    from medsynth.metrics.encoder.extractor import cached_encoder

    config = configuration(*data, f"resolution={SIDE}", verb="encoder")
    pack = prepare_pack(config["data"], resolution=SIDE)
    if not cached_encoder(pack.name, content=pack.content).exists():
        encoder(config)


def train(model: str, seed: int, folder: Path, data: list[str], *, images: int) -> float:
    """Train a model in `folder`; returns the CPU seconds of all its sittings."""
    from medsynth.train import train

    spent = folder.with_suffix(".seconds")
    before = float(spent.read_text()) if spent.exists() else 0.0
    overrides = [f"model={model}", f"resolution={SIDE}", f"batch_size={BATCH}", f"images={images}", f"seed={seed}"]
    quiet = ["trainer=cpu", "metrics=none", "sample_every=0"]
    config = configuration(*overrides, *data, *quiet, *narrow(model, WIDTH))
    start = time.process_time()
    try:
        choices = {"model": model, "data": config["data"]["name"]}
        train({**config, "run_dir": str(folder)}, choices=choices, overrides=[])
    finally:
        spent.write_text(str(before + time.process_time() - start))
    return float(spent.read_text())


def judge(folder: Path) -> dict[str, Any]:
    """The figures of a run: for each metric its value, and the same between real images."""
    from medsynth.evaluate import evaluate
    from medsynth.metrics.entries import find

    settings = (f"metrics.count={COUNT}", "metrics.extractors=[random,encoder]")
    found = evaluate(configuration(f"run={folder}", *settings, verb="evaluate"))
    entries = {name: find(found, name) or {} for name in FIGURES}
    near = entries["nearest_train"]
    return {
        **{name: [digits(entry["value"]), digits(entry["real_against_real"])] for name, entry in entries.items()},
        **{f"{name}_interval": list(map(digits, entries[name]["interval"])) for name in KERNELS},
        "copies": near["copies"],
        "nearer_than_unseen": digits(near["near"]),
        "n": near["n_fake"],
    }


def save_samples(folder: Path, path: Path) -> None:
    """Write the first eight synthetic images of a run, side by side."""
    import torch

    from medsynth.checkpoint import load_run
    from medsynth.sampling import synthesise
    from medsynth.viz.grid import grid

    run = load_run(folder)
    images = torch.cat(list(synthesise(run.model, n=8, seed=0, attributes=run.attributes)))
    grid(images, columns=8).save(path)


def sheet(pictures: dict[str, Path], path: Path) -> None:
    """Write the samples of several trainings as one picture, two columns of rows with their names."""
    from PIL import Image, ImageDraw

    rows = {name: Image.open(picture).convert("L") for name, picture in pictures.items()}
    width, height = next(iter(rows.values())).size
    half = (len(rows) + 1) // 2
    whole = Image.new("L", (2 * (LABEL + width), half * height), color=32)
    pen = ImageDraw.Draw(whole)
    for number, (name, row) in enumerate(rows.items()):
        x, y = number // half * (LABEL + width), number % half * height
        pen.text((x + 6, y + height // 2 - 6), name, fill=255)
        whole.paste(row, (x + LABEL, y))
    whole.quantize(SHADES).save(path, optimize=True)


def models() -> list[str]:
    """Every conf/model."""
    from medsynth.cli import conf_dir

    return sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml"))


def main() -> None:
    """Make the records that are asked for and not there, and print all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of records and runs")
    parser.add_argument("--data", required=True, help="kidney_ct, covidx, ...")
    parser.add_argument("--root", help="folder of its files; without it phantoms")
    parser.add_argument("--models", help="a,b; all")
    parser.add_argument("--seeds", default="0", help="0,1,2")
    parser.add_argument("--images", type=int, default=IMAGES, help=f"budget; {IMAGES:,}")
    parser.add_argument("overrides", nargs="*", help="further settings, as in data.on_bad=skip")
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    root = f"data.root={arguments.root}" if arguments.root else "data.phantom=true"
    data = [f"data={arguments.data}", root, *arguments.overrides]
    train_encoder([word for word in data if word.startswith("data")])
    rows, shown = [], {}
    for seed in map(int, arguments.seeds.split(",")):
        for model in arguments.models.split(",") if arguments.models else models():
            name = f"{arguments.data}-{model}-{arguments.images}-{seed}"
            path, folder = arguments.out / f"{name}.json", arguments.out / "runs" / name
            if not path.exists():
                folder.parent.mkdir(parents=True, exist_ok=True)
                seconds = train(model, seed, folder, data, images=arguments.images)
                save_samples(folder, path.with_suffix(".png"))
                facts = {"data": arguments.data, "model": model, "seed": seed, "images": arguments.images}
                facts["overrides"] = arguments.overrides
                row = {**facts, "cpu_seconds": digits(seconds), **judge(folder)}
                path.write_text(json.dumps(row, indent=1) + "\n")
            rows.append(json.loads(path.read_text()))
            shown[name.removeprefix(f"{arguments.data}-").removesuffix(f"-{IMAGES}-0")] = path.with_suffix(".png")
    if pictures := {name: path for name, path in shown.items() if path.exists()}:
        sheet(pictures, arguments.out / f"{arguments.data}.png")
    print(json.dumps({"benchmark": "zoo", "rows": rows, "machine": machine()}, indent=2))


if __name__ == "__main__":
    main()
