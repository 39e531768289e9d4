"""Decode a dataset into a Pack and say what it is:   python -m medsynth.prepare data=kidney_ct resolution=64"""

import json
from pathlib import Path
from typing import Any

from medsynth.cli import verb
from medsynth.errors import say


def prepare(config: dict[str, Any]) -> dict[str, Any]:
    """Find or make the Pack of config["data"] at config["resolution"], print its table; returns the verb's JSON."""
    from medsynth.data.prepare_pack import prepare_pack
    from medsynth.networks import check_resolution

    check_resolution(config["resolution"])
    pack = prepare_pack(config["data"], resolution=config["resolution"])
    path = pack.folder / "prepare.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    for line in table(report):
        say(line)
    return {
        "pack": str(pack.folder),
        "images": report["images"],
        "classes": report["classes"],
        "splits": {split: entry["images"] for split, entry in report["splits"].items()},
        "patients": report["patients"],
        "rejected": len(report["rejected"]),
        "prepare_json": str(path),
    }


def table(report: dict[str, Any]) -> list[str]:
    """The content of prepare.json that a person wants to see, as lines."""
    splits, kind = report["splits"], report["groups"]["kind"]
    rows = [["class", "images", *splits, "groups", "images a group"]]
    for label, count in report["classes"].items():
        groups = report["groups"]["classes"][label]
        by_split = [f"{entry['classes'].get(label, 0):,}" for entry in splits.values()]
        rows.append([label, f"{count:,}", *by_split, f"{groups['groups']:,}", _sizes(groups["sizes"])])
    totals = [f"{entry['images']:,}" for entry in splits.values()]
    rows.append(["all", f"{report['images']:,}", *totals, f"{report['patients']:,}", ""])
    in_splits = ", ".join(f"{split} {entry['patients']:,}" for split, entry in splits.items())
    return [
        "",
        f"{report['name']} at {report['resolution']}x{report['resolution']}, from {Path(report['root'])}",
        *_aligned(rows),
        f"groups    {kind}: {in_splits}",
        f"sizes     {_counts(report['sizes'])}",
        f"modes     {_counts(report['modes'])}",
        f"rejected  {len(report['rejected']):,}   left out of training {len(report['excluded']):,}   "
        f"ignored {_counts(report['ignored']) or 0}   sets of identical images {len(report['duplicates']):,}",
        *(f"note      {note}" for note in report["notes"]),
        *(f"joined    {text}" for text in report["groups"].get("joined", [])[:10]),
        *(f"warning   {text}" for text in report["warnings"]),
        f"pack      {report['pack']}",
    ]


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
