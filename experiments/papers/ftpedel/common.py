"""What the sections share: the catalogue's entry and the premises that several claims have."""

from __future__ import annotations

from functools import partial

from claimlab.theory.claims import Claim, Paper

PAPER = Paper(
    slug="ftpedel",
    title="Leveraging Offline Data in Online Reinforcement Learning",
    authors="Andrew Wagenmaker, Aldo Pacchiano",
    venue="ICML 2023",
    arxiv="2211.04974",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

TABULAR = "finite states, actions and steps; rewards in [0, 1]; transitions unknown"
DETERMINISTIC = "the maximum over deterministic policies"
PAIRED = "in most of the runs, paired (sign test)"
RUNWISE = "the slope of most of the runs (sign test)"
