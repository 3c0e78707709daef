"""From what a user types to claims: papers of this package, and files of the user's own."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from types import ModuleType

from claimlab import checks
from claimlab.experiments.environment import packages
from claimlab.experiments.errors import WrongUsage
from claimlab.experiments.figures import PaperFigure
from claimlab.native import source_hash
from claimlab.theory.claims import Claim, find


@dataclass(frozen=True)
class Selection:
    """Claims and figures, in the order of the papers.

    Parameters
    ----------
    claims : tuple of Claim
    figures : tuple of (str, PaperFigure)
        With the paper's slug.
    files : mapping from claim id to path
        Of the claims that come from a user's file.
    """

    claims: tuple[Claim, ...]
    figures: tuple[tuple[str, PaperFigure], ...]
    files: Mapping[str, Path]


def papers() -> tuple[ModuleType, ...]:
    """The modules of the papers."""
    from claimlab.experiments.papers import PAPERS  # they import this package, so they cannot be imported above

    return PAPERS


def select(patterns: Sequence[str]) -> Selection:
    """What `patterns` name: paper slugs, claim ids, globs over both, and paths of files that define CLAIMS.

    Without patterns, all papers.  A figure is selected as ``slug/name``, or with any claim of its paper.
    """
    known = {module: _contents(module) for module in papers()}
    paths = {pattern: Path(pattern).resolve() for pattern in patterns if pattern.endswith(".py")}
    own = {path: load_file(path) for path in dict.fromkeys(paths.values())}
    ours = {claim.id for contents in known.values() for claim in contents.claims}
    files = {claim.id: path for path, module in own.items() for claim in _contents(module).claims}
    for path, module in own.items():
        taken = sorted(id for id in _ids(_contents(module)) if id in ours or files[id] != path)
        if taken:
            raise WrongUsage(f"{path} defines {taken[0]!r}, which another module defines too; choose another id.")

    names = [pattern for pattern in patterns if pattern not in paths]
    everything = [name for contents in known.values() for name in contents.names]
    for name in names:
        if not any(fnmatchcase(candidate, name) for candidate in everything):
            raise WrongUsage(f"unknown paper, claim or figure {name!r}.{checks.nearest(name, everything)}")

    def wanted(name: str, slug: str) -> bool:
        return not patterns or any(fnmatchcase(name, pattern) or fnmatchcase(slug, pattern) for pattern in names)

    claims, figures = [], []
    for contents in known.values():
        chosen = [claim for claim in contents.claims if wanted(claim.id, contents.slug)]
        claims += chosen
        figures += [(contents.slug, f) for f in contents.figures if chosen or wanted(f"{contents.slug}/{f.name}", "")]
    for module in own.values():
        contents = _contents(module)
        claims += contents.claims
        figures += [(contents.slug, figure) for figure in contents.figures]
    return Selection(tuple(claims), tuple(figures), files)


@dataclass(frozen=True)
class _Contents:
    slug: str
    claims: tuple[Claim, ...]
    figures: tuple[PaperFigure, ...]

    @property
    def names(self) -> list[str]:
        return [self.slug, *_ids(self), *(f"{self.slug}/{figure.name}" for figure in self.figures)]


def _ids(contents: _Contents) -> list[str]:
    return [claim.id for claim in contents.claims]


def _contents(module: ModuleType) -> _Contents:
    """The claims and figures of a module, checked."""
    where = module.__file__ or module.__name__
    claims, figures = getattr(module, "CLAIMS", ()), getattr(module, "FIGURES", ())
    for name, value, kind in (("CLAIMS", claims, Claim), ("FIGURES", figures, PaperFigure)):
        if not isinstance(value, (tuple, list)) or not all(isinstance(entry, kind) for entry in value):
            raise WrongUsage(f"{name} of {where} must be a tuple of {kind.__name__}, got {value!r}.")
    if not claims:
        raise WrongUsage(f"{where} must define CLAIMS, a tuple of at least one Claim.")
    contents = _Contents(claims[0].paper.slug, tuple(claims), tuple(figures))
    seen: set[str] = set()
    for id in _ids(contents):
        if id in seen:
            raise WrongUsage(f"{where} defines {id!r} twice.")
        seen.add(id)
    return contents


def load_file(path: Path) -> ModuleType:
    """The module in a user's file, executed once per content; its hash is in its name."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise WrongUsage(f"cannot read {path}: {error.strerror}.") from None
    name = f"claimlab_file_{hashlib.sha256(bytes(path) + source).hexdigest()[:16]}"
    if name not in sys.modules:
        module = ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module  # dataclasses look their module up while they are made
        try:
            exec(compile(source, str(path), "exec"), module.__dict__)  # the very bytes that were hashed
        except BaseException as error:
            del sys.modules[name]
            if not isinstance(error, (Exception, SystemExit)):
                raise
            raise WrongUsage(f"cannot load {path}: {type(error).__name__}: {error}.") from error
    return sys.modules[name]


def claims_of(file: Path) -> tuple[Claim, ...]:
    """The claims that a user's file defines."""
    return _contents(load_file(file)).claims


def lookup(claim_id: str, file: Path | None) -> Claim:
    """The claim called `claim_id`, of a user's file or else of the papers."""
    claims = _by_id(papers() if file is None else (load_file(file),))
    return claims[claim_id] if claim_id in claims else find(claim_id, list(claims.values()))


@cache
def _by_id(modules: tuple[ModuleType, ...]) -> dict[str, Claim]:
    return {claim.id: claim for module in modules for claim in _contents(module).claims}


def registered(claim: Claim) -> bool:
    """Whether the papers hold this very claim, so that other processes find it by its id."""
    return any(claim in module.CLAIMS for module in papers())


def code_version(file: Path | None) -> str:
    """Hash of all code behind a claim: this package, those it computes with, and the user's file if it is from one."""
    parts = [source_hash(), *(f"{name} {version}" for name, version in packages().items())]
    if file is not None:
        parts.append(load_file(file).__name__)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
