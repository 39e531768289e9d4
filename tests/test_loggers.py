import csv
import json
from pathlib import Path

import pytest

from medsynth.errors import UserError
from medsynth.loggers import FileLogger, check_logger, read_rows


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_stand_in_both_files_and_new_columns_widen_the_table(tmp_path: Path):
    logger = FileLogger(tmp_path)
    logger.log_metrics({"a": 1.0}, step=64)
    logger.log_metrics({"a": 2.0}, step=128)
    logger.log_metrics({"val/b": 3.0}, step=128)
    assert read_rows(logger.jsonl) == [
        {"images_seen": 64, "a": 1.0},
        {"images_seen": 128, "a": 2.0},
        {"images_seen": 128, "val/b": 3.0},
    ]
    assert rows_of(logger.csv)[0] == {"images_seen": "64", "a": "1.0", "val/b": ""}
    assert rows_of(logger.csv)[2]["val/b"] == "3.0"


def test_rows_beyond_the_checkpoint_are_cut(tmp_path: Path):
    logger = FileLogger(tmp_path)
    for step in (64, 128, 192):
        logger.log_metrics({"a": 1.0}, step=step)
    FileLogger(tmp_path).cut(128)
    assert [row["images_seen"] for row in read_rows(logger.jsonl)] == [64, 128]
    assert len(rows_of(logger.csv)) == 2


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path: Path):
    logger = FileLogger(tmp_path)
    logger.log_metrics({"a": 1.0}, step=64)
    with logger.jsonl.open("a") as stream:
        stream.write('{"images_seen": 128, "a"')
    logger.cut(1000)
    logger.log_metrics({"a": 2.0}, step=128)
    assert [json.loads(line)["images_seen"] for line in logger.jsonl.read_text().splitlines()] == [64, 128]


def test_an_unknown_logger_is_named():
    with pytest.raises(UserError, match=r"logger.kind=mlflow is unknown; choices: files, wandb, tensorboard"):
        check_logger({"kind": "mlflow"})
