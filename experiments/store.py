"""Results on disk: one file each, named by the hash of all that the result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from claimlab.experiments import atomic
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Evidence, from_json


class Damaged(ValueError):
    """A stored file that cannot be trusted; the message names it."""


@dataclass(frozen=True)
class Result:
    """What came of one check or control.

    Parameters
    ----------
    evidence : mapping, optional
        In JSON values (`claimlab.theory.evidence.to_json`); None if the check raised.
    error : str, optional
        What it raised, and where.
    seconds : float
    environment : mapping
        Of the process that computed it.
    """

    evidence: Mapping[str, Any] | None
    error: str | None
    seconds: float
    environment: Mapping[str, Any]

    def read(self) -> Evidence | None:
        return None if self.evidence is None else from_json(self.evidence)


@dataclass(frozen=True)
class Key:
    """All that a result depends on.  The budget holds the seed; `code` is `catalogue.code_version`."""

    claim: str
    role: str  # "check" or "control"
    budget: Budget
    code: str

    @property
    def name(self) -> str:
        return sha256(asdict(self))


@dataclass(frozen=True)
class Store:
    """A folder of results.  Several processes may write into it at once."""

    folder: Path

    def path(self, key: Key) -> Path:
        return self.folder / f"{key.name}.json"

    def get(self, key: Key) -> Result | None:
        """The result stored under `key`, None if there is none; Damaged if the file is not as it was written."""
        path = self.path(key)
        found = unsealed(path, asdict(key))
        if found is None:
            return None
        try:
            result = Result(**found)
            result.read()
        except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
            raise _unreadable(path, error) from None
        return result

    def put(self, key: Key, result: Result) -> None:
        seal(self.path(key), asdict(key), asdict(result))


def seal(path: Path, key: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Write a result with its key and the checksum of both, in JSON values."""
    body = {"key": key, "result": result}
    atomic.write_json(path, body | {"checksum": sha256(body)})


def unsealed(path: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result that was sealed under `key`, None if there is no file; Damaged if it is not as it was written."""
    try:
        record = json.loads(path.read_bytes())
        body = {"key": record["key"], "result": record["result"]}
        if record["checksum"] != sha256(body):
            raise Damaged(f"{path} fails its checksum.")
        if body["key"] != key:
            raise Damaged(f"{path} holds the result of {', '.join(map(str, list(body['key'].values())[:2]))}.")
    except FileNotFoundError:
        return None
    except Damaged:
        raise
    except (OSError, TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from None
    result: dict[str, Any] = body["result"]
    return result


def _unreadable(path: Path, error: Exception) -> Damaged:
    return Damaged(f"{path} cannot be read ({type(error).__name__}: {error}).")


def sha256(value: Any) -> str:
    """Of the value's JSON, keys sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
