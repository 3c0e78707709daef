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
        return _sha256(asdict(self))


@dataclass(frozen=True)
class Store:
    """A folder of results.  Several processes may write into it at once."""

    folder: Path

    def path(self, key: Key) -> Path:
        return self.folder / f"{key.name}.json"

    def get(self, key: Key) -> Result | None:
        """The result stored under `key`, None if there is none; Damaged if the file is not as it was written."""
        path = self.path(key)
        try:
            record = json.loads(path.read_bytes())
            body = {"key": record["key"], "result": record["result"]}
            if record["checksum"] != _sha256(body):
                raise Damaged(f"{path} fails its checksum.")
            if body["key"] != asdict(key):
                raise Damaged(f"{path} holds the result of {body['key']['claim']}, {body['key']['role']}.")
            result = Result(**body["result"])
            result.read()
        except FileNotFoundError:
            return None
        except Damaged:
            raise
        except (OSError, TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
            raise Damaged(f"{path} cannot be read ({type(error).__name__}: {error}).") from None
        return result

    def put(self, key: Key, result: Result) -> None:
        body = {"key": asdict(key), "result": asdict(result)}
        atomic.write_json(self.path(key), body | {"checksum": _sha256(body)})


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
