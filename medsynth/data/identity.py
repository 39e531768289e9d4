"""Names for patients that say nothing about them: salted hashes of the identifiers in headers."""

import hashlib
import os
import secrets
from pathlib import Path

from medsynth.data.pack import cache_folder
from medsynth.errors import UserError

DIGITS = 12  # 48 bits: two of a million patients share a name once in 560 datasets


def pseudonym(text: str) -> str:
    """ "p-" and 12 hex digits: keyed BLAKE2b (RFC 7693) of an identifier, with the salt as key.

    The salt is $MEDSYNTH_SALT, or else random, made once in cache_folder()/salt. The same salt gives the same names on
    every machine, so also the same splits: to share splits, share the salt and not the names of people. Whoever has the
    salt can test guesses of an identifier; without it nobody can undo a name. Raises UserError for a cache folder that
    cannot be written.
    """
    # A key has at most 64 bytes; hashing the salt first lets it have any length.
    key = hashlib.blake2b(_salt(), digest_size=32).digest()
    return "p-" + hashlib.blake2b(text.encode(), key=key, digest_size=DIGITS // 2).hexdigest()


def _salt() -> bytes:
    chosen = os.environ.get("MEDSYNTH_SALT")
    return chosen.encode() if chosen else _kept(cache_folder() / "salt")


def _kept(path: Path) -> bytes:
    """The content of the salt's file, which is made, whole, by the first process that asks."""
    try:
        if not path.exists():
            _make(path)
        salt = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot keep the salt of patient names in {path}: {error.strerror}; set MEDSYNTH_SALT or MEDSYNTH_CACHE"
        ) from error
    if not salt:
        raise UserError(f"the salt of patient names, {path}, is empty; delete it to have another one made")
    return salt


def _make(path: Path) -> None:
    """Write a random salt beside its place and link it there: of several processes one wins and all read its salt."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"salt.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(16))
        os.link(partial, path)
    except FileExistsError:
        pass  # another process was first
    finally:
        partial.unlink()
