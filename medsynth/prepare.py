"""Decode a dataset into a Pack and say what it is:   python -m medsynth.prepare data=kidney_ct resolution=64"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from medsynth.cli import verb
from medsynth.errors import say


def prepare(config: dict[str, Any]) -> dict[str, Any]:
    """Find or make the Pack of config["data"] at config["resolution"], print its table and draw its contact sheet;
    returns the verb's JSON."""
    from medsynth.data.contact_sheet import write_contact_sheet
    from medsynth.data.prepare_pack import prepare_pack
    from medsynth.networks import check_resolution

    check_resolution(config["resolution"])
    pack = prepare_pack(config["data"], resolution=config["resolution"], augment=config["augment"], warn=False)
    path = pack.folder / "prepare.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    sheet = write_contact_sheet(pack, pack.folder / "contact_sheet.png")
    for line in [*table(report), f"look at   {sheet}"]:
        say(line)
    return {
        "pack": str(pack.folder),
        "images": report["images"],
        "classes": report["classes"],
        "splits": {split: entry["images"] for split, entry in report["splits"].items()},
        "patients": report["patients"],
        "rejected": len(report["rejected"]),
        "prepare_json": str(path),
        "contact_sheet": str(sheet),
    }


def table(report: dict[str, Any]) -> list[str]:
    """The content of prepare.json that a person wants to see, as lines."""
    splits, kind = report["splits"], report["groups"]["kind"]
    left_out = Counter(entry["class"] for entry in report["excluded"])
    rows = [["class", "images", *splits, "left out", "groups", "images a group"]]
    for label, count in report["classes"].items():
        groups = report["groups"]["classes"][label]
        by_split = [f"{entry['classes'].get(label, 0):,}" for entry in splits.values()]
        lost = f"{left_out[label]:,}"
        rows.append([label, f"{count:,}", *by_split, lost, f"{groups['groups']:,}", _sizes(groups["sizes"])])
    totals = [f"{entry['images']:,}" for entry in splits.values()]
    lost = f"{left_out.total():,}"
    rows.append(["all", f"{report['images']:,}", *totals, lost, f"{report['patients']:,}", ""])
    in_splits = ", ".join(f"{split} {entry['patients']:,}" for split, entry in splits.items())
    facts = {
        "groups": f"{kind}: {in_splits}",
        "sizes": _counts(report["sizes"]),
        **_volumes(report),
        "modes": _counts(report["modes"]),
        "values": _values(report["intensities"]),
        **_masks(report),
        "files": _files(report),
    }
    named = [
        *facts.items(),
        *(("rejected", f"{count:,} x {reason}") for reason, count in report["integrity"]["reasons"].items()),
        *(("note", note) for note in report["notes"]),
        *(("joined", text) for text in report["groups"].get("joined", [])[:10]),
        *(("warning", text) for text in report["warnings"]),
        *(("advice", f"{key}={entry['value']}: {entry['reason']}") for key, entry in report["advice"].items()),
        ("pack", report["pack"]),
    ]
    side = report["resolution"]
    return [
        "",
        f"{report['name']} at {side}x{side}, from {Path(report['root'])}",
        *_aligned(rows),
        *(f"{name.ljust(9)} {text}" for name, text in named),
    ]


def _volumes(report: dict[str, Any]) -> dict[str, str]:
    """Spacings, orientations and slices of volumes; nothing for files that do not say them."""
    if not report["spacings_mm"]:
        return {}
    spacings = [f"{axis} {_spread(spread)}" for axis, spread in report["spacings_mm"].items()]
    return {
        "spacings": f"mm: {', '.join(spacings)}",
        "axes": _counts(report["orientations"]),
        "volumes": f"{report['integrity']['read']:,}, of {_spread(report['images_a_file'])} images",
    }


def _spread(spread: dict[str, Any]) -> str:
    """The median, and the extremes where they differ."""
    if spread["min"] == spread["max"]:
        return f"{spread['median']:g}"
    return f"{spread['median']:g} ({spread['min']:g} to {spread['max']:g})"


def _values(values: dict[str, Any]) -> str:
    unit = {"grey": "of white", "hu": "HU", "signal": "signal"}[values["unit"]]
    inner = values["percentiles"]
    return (
        f"{values['min']:g} to {values['max']:g} {unit}; 99% of them {inner['0.5']:g} to {inner['99.5']:g}, "
        f"median {inner['50']:g}"
    )


def _masks(report: dict[str, Any]) -> dict[str, str]:
    masks = report["masks"]
    if not masks:
        return {}
    shares = ", ".join(f"{label} in {share:.0%}" for label, share in masks["labels"].items())
    return {"masks": f"{masks['images']:,} of {report['images']:,} images; label {shares}"}


def _files(report: dict[str, Any]) -> str:
    found = report["integrity"]
    return (
        f"{found['files']:,} ({found['bytes'] / 1e6:,.1f} MB): {found['read']:,} images or series read, "
        f"{found['rejected']:,} rejected, left out of training {len(report['excluded']):,} images, "
        f"ignored {_counts(report['ignored']) or 0}, sets of identical images {len(report['duplicates']):,}"
    )


def _sizes(sizes: list[int]) -> str:
    """All sizes of a few groups, the largest of many."""
    shown = " ".join(f"{size:,}" for size in sizes[:14])
    return shown if len(sizes) <= 14 else f"{shown} ... {sizes[-1]:,}"


def _counts(counts: dict[str, int]) -> str:
    items = [f"{name} {count:,}" for name, count in list(counts.items())[:6]]
    return ", ".join(items) + (f" and {len(counts) - 6} more" if len(counts) > 6 else "")


def _aligned(rows: list[list[str]]) -> list[str]:
    """First column to the left, numbers to the right, the last column as it is."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    last = len(widths) - 1
    lines = []
    for row in rows:
        numbers = [cell.rjust(width) for cell, width in zip(row[1:last], widths[1:last], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *numbers, row[last]]).rstrip())
    return lines


if __name__ == "__main__":
    verb("prepare", prepare)()
