"""What every verb shares: Hydra composes the configuration, people read stderr, stdout carries one JSON object.

Exit status: 0; 2 for a user's mistake, in one line; 1 for a failure; 130 and 143 after SIGINT and SIGTERM.
"""

import difflib
import errno
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medsynth.errors import Failure, Interrupted, UserError, is_rank_zero, say

HELP = {"--help", "-h"}
INFORMATION = {*HELP, "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc"}
VALUED = {"--cfg", "-c", "--info", "-i", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn",
          "--config-dir", "-cd", "--experimental-rerun"}  # fmt: skip  # the next word is theirs
FLAGS = {*INFORMATION, *VALUED, "--multirun", "-m", "--run", "-r", "--resolve"}
Verb = Callable[[dict[str, Any]], dict[str, Any]]


def conf_dir() -> Path:
    """The folder of YAML files: inside the installed package, or at the top of a checkout.

    They may say ${count:x}: how many names x holds (a list, a single name, or null). It is defined here.
    """
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("count", _count, replace=True)
    package = Path(__file__).parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def _count(names: Any) -> int:
    return 0 if names is None else 1 if isinstance(names, str) else len(names)


def verb(name: str, function: Verb) -> Callable[[], None]:
    """Turn `function(configuration as plain Python) -> JSON-able dict` into the command `python -m medsynth.<name>`.

    The last part of a dotted name is its file in conf/.
    """

    def command() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        answer = print if INFORMATION & set(sys.argv[1:]) else _without_stdout()
        try:
            _check_words(sys.argv[1:])
            if HELP & set(sys.argv[1:]):
                return print(_help(name, [word for word in sys.argv[1:] if "=" in word and not word.startswith("-")]))
            result = _sweep(name, function) if _is_sweep() else _compose_and_call(name, function)
        except (UserError, Failure, Interrupted) as error:
            say(_line(name, error))
            sys.exit(_status(error))
        if result is not None:
            answer(json.dumps(result))
        if result and result.get("failed"):
            sys.exit(1)

    return command


def _file(name: str) -> str:
    """metrics.encoder -> encoder: the configuration of a verb."""
    return name.rpartition(".")[2]


def _check_words(words: Sequence[str]) -> None:
    """Raise UserError for a word that is neither KEY=VALUE (or ~KEY) nor a flag of Hydra's."""
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        flag, _, value = word.partition("=")
        is_option = not flag.startswith("-") and ("=" in word or flag.startswith("~"))
        if is_option or flag in FLAGS or before in VALUED:
            continue
        value = value or ("" if "=" in after or after.startswith("-") else after)
        meant = f"{flag.lstrip('-').replace('-', '_')}={value}" if flag.startswith("-") and value else "data=kidney_ct"
        raise UserError(f"{word}: options are key=value: {meant}")


def _stop(number: int, frame: Any) -> None:
    raise Interrupted(number, f"{signal.Signals(number).name}: stopped")


def _without_stdout() -> Callable[[str], None]:
    """Send all that anyone prints to stderr, child processes included; returns the way to the real stdout.

    A process of several (medsynth.launch) answers in the file that MEDSYNTH_ANSWER names.
    """
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)

    def answer(text: str) -> None:
        with open(os.environ.get("MEDSYNTH_ANSWER") or real, "w") as stream:
            stream.write(text + "\n")

    return answer


def _compose_and_call(name: str, function: Verb) -> dict[str, Any] | None:
    """Let Hydra compose the command line and call `function`; its errors become ours. Rank 0 alone has a result."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra prints a traceback itself and exits
    import hydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    results: list[dict[str, Any]] = []
    errors: list[Exception] = []

    def task(config: Any) -> None:
        try:
            results.append(function(OmegaConf.to_container(config, resolve=True, throw_on_missing=True)))  # type: ignore[arg-type]
        except Exception as error:
            errors.append(error)  # carried past Hydra, which would add lines of its own

    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=_file(name))(task)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: a group that is no word, data=5
        raise UserError(_explain(name, error)) from error
    if errors:
        raise _spoken(name, errors[0]) from errors[0]
    return results[0] if results and is_rank_zero() else None


def _spoken(name: str, error: Exception) -> Exception:
    """The error as one line for people where it is a mistake or the machine's fault, and itself where it is a bug."""
    from hydra.errors import HydraException, InstantiationException
    from omegaconf.errors import OmegaConfBaseException

    match error:
        case InstantiationException():
            return _caused_by_user(error) or UserError(" ".join(str(error).split()))
        case HydraException() | OmegaConfBaseException():
            return UserError(_explain(name, error))
        case PermissionError() | NotADirectoryError() | IsADirectoryError() | FileExistsError():
            return UserError(f"{error.filename}: {error.strerror}")
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            where = error.filename or "while writing"
            return Failure(f"{error.strerror} ({where}); what was saved before is whole")
    return error


# ---------------------------------------------------------------------------------------------------- sweeps


def _is_sweep() -> bool:
    return bool({"-m", "--multirun"} & set(sys.argv[1:]))


def _sweep(name: str, function: Verb) -> dict[str, Any]:
    """Run every job of a `-m` sweep, whatever the launcher; jobs hand in their results as files.

    A launcher to other machines (SLURM) needs MEDSYNTH_SWEEP_DIR to name a folder that all of them see; the sweep's own
    folder in it is removed at the end.
    """
    folder = Path(tempfile.mkdtemp(prefix="medsynth-sweep-", dir=os.environ.get("MEDSYNTH_SWEEP_DIR")))
    os.environ["MEDSYNTH_SWEEP_DIR"] = str(folder)
    results = folder / "results"
    results.mkdir()

    def job(config: dict[str, Any]) -> dict[str, Any]:
        from hydra.core.hydra_config import HydraConfig

        hydra_config = HydraConfig.get()
        record: dict[str, Any] = {"overrides": list(hydra_config.overrides.task)}
        say(f"\n== job {hydra_config.job.num}: {' '.join(record['overrides'])}")
        try:
            record["result"] = function(config)
        except Exception as error:  # one job's bug must not cost the other jobs
            spoken = _spoken(name, error)
            record["error"] = str(spoken)
            if isinstance(spoken, UserError | Failure):
                say(_line(name, spoken))
            else:
                traceback.print_exception(error)
        (results / f"{hydra_config.job.num:06d}.json").write_text(json.dumps(record))
        return record

    try:
        _compose_and_call(name, job)
        records = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    runs = [{"overrides": r["overrides"], **r["result"]} for r in records if "result" in r]
    failed = [{"overrides": r["overrides"], "error": r["error"]} for r in records if "error" in r]
    _print_table(runs, failed)
    return {"runs": runs, "failed": failed}


def _print_table(runs: list[dict[str, Any]], failed: list[dict[str, Any]]) -> None:
    """A row a job: the overrides that tell it from the others, its judged figures or its error, and its directory."""
    jobs = [*runs, *failed]
    common = set.intersection(*(set(job["overrides"]) for job in jobs)) if len(jobs) > 1 else set()
    judged = sorted({key for run in runs for key in run if key.startswith("val/")})
    table = [["job", *judged, "where"]]
    for job in jobs:
        name = " ".join(word for word in job["overrides"] if word not in common) or "all the same"
        figures = [f"{job[key]:.4g}" if key in job else "" for key in judged]
        where = next((str(job[key]) for key in ("run_dir", "pack", "out") if key in job), "")
        table.append([name, *figures, f"failed: {job['error']}" if "error" in job else where])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    say(f"\nsweep: {len(runs)} runs, {len(failed)} failed")
    for row in table:
        say("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


# ---------------------------------------------------------------------------------------------------- help


def _help(name: str, overrides: list[str]) -> str:
    """The files that the command line chooses, with their comments, and what else there is to choose from."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        hydra = _composed(name, overrides).hydra
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_explain(name, error)) from error
    chosen = {g: str(o) for g, o in reversed(hydra.runtime.choices.items()) if "/" not in g}  # null becomes "None"
    lines = [hydra.help.header, "", f"== Knobs of {name} ==", _knobs(conf_dir() / f"{_file(name)}.yaml")]
    if chosen:
        lines += ["", "== Groups ==", *(_choice(group, option) for group, option in chosen.items())]
        lines += [f"The knobs of others:   python -m medsynth.{name} --help {_another(*next(iter(chosen.items())))}"]
    for group, option in chosen.items():
        path = conf_dir() / group / f"{option}.yaml"
        if path.is_file():
            whole = "@package _global_" in path.read_text(encoding="utf-8")
            lines += ["", f"== {group}={option}" + (" ==" if whole else f": {group}.KEY=VALUE ==")]
            lines += map(_knobs, _with_parents(path))
    return "\n".join(lines)


def _knobs(path: Path) -> str:
    """The text of a YAML file without what is for Hydra alone."""
    text = re.sub(r"^defaults:\n(?:[ \t]+.*\n|\n)*|^# @package.*\n", "", path.read_text(encoding="utf-8"), flags=re.M)
    return text.strip()


def _with_parents(path: Path) -> list[Path]:
    """The file behind those of its folder that it builds on."""
    names = re.findall(r"^  - (\w+)(?:@\S+)?$", path.read_text(encoding="utf-8"), flags=re.M)
    return [*(parent for name in names if (parent := path.with_name(f"{name}.yaml")).is_file()), path]


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def _choice(group: str, option: str) -> str:
    others = ", ".join(other for other in _options(group) if other != option)
    return f"{group}={'null' if option == 'None' else option}".ljust(26) + f" or {others}"


def _another(group: str, option: str) -> str:
    return f"{group}={next((other for other in _options(group) if other != option), option)}"


# ---------------------------------------------------------------------------------------------------- errors


def _line(name: str, error: BaseException) -> str:
    return f"medsynth.{name}: {' '.join(str(error).split())}"


def _status(error: BaseException) -> int:
    match error:
        case UserError():
            return 2
        case Interrupted():
            return 128 + error.signal_number
    return 1


def _explain(name: str, error: Exception) -> str:
    """One line of ours for an error of Hydra or OmegaConf."""
    text = str(error)
    group, options = getattr(error, "missing_cfg_file", None), getattr(error, "options", None)
    if group and options:
        key, _, value = str(group).rpartition("/")
        return f"{key}={value} is unknown; choices: {', '.join(sorted(options))}"
    if "Could not override" in text or "is not in struct" in text:
        key = text.split("'")[1] if "'" in text else text
        nearest = _nearest(key, _known_keys(name))
        return f"{key} is not a knob of {name}" + (f"; nearest: {nearest}" if nearest else "; --help lists them")
    if "You must specify" in text:
        key = text.split("'")[1]
        return f"{key}= is missing; choices: {', '.join(_options(key))}"
    if "Missing mandatory value" in text:
        return f"{text.split(':')[-1].split()[0]}= is missing; see --help"
    return " ".join(text.split())


def _caused_by_user(error: BaseException | None) -> UserError | None:
    """The user's mistake that a class raised while Hydra built it; None if the fault is ours."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def _nearest(key: str, known: Sequence[str]) -> str | None:
    """The known key most like `key`: of those that end in the same word, where there are any."""
    others = [other for other in known if other != key and not other.endswith("_target_")]
    same = [other for other in others if other.rpartition(".")[2] == key.rpartition(".")[2]]
    found = difflib.get_close_matches(key, same, n=1, cutoff=0.0) or difflib.get_close_matches(
        key, others, n=1, cutoff=0.5
    )
    return found[0] if found else None


def _known_keys(name: str) -> list[str]:
    """Every key of the configuration that the command line's group choices give."""
    from hydra.errors import HydraException

    choices = [word for word in sys.argv[1:] if (conf_dir() / word.partition("=")[0]).is_dir()]
    try:
        return [key for key in _flatten_keys(_composed(name, choices)) if not key.startswith("hydra")]
    except HydraException:  # a configuration folder of the user's own is not looked at
        return []


def _composed(name: str, overrides: list[str]) -> Any:
    """The configuration that a command line gives, Hydra's own included."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(_file(name), overrides=overrides, return_hydra_config=True)


def _flatten_keys(config: Any, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key in config:
        keys.append(f"{prefix}{key}")
        value = config._get_node(key)
        if hasattr(value, "keys"):
            keys += _flatten_keys(value, f"{prefix}{key}.")
    return keys
