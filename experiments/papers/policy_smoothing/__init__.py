"""Policy Smoothing for Provably Robust Reinforcement Learning (Kumar, Levine & Feizi, ICLR 2022)."""

from __future__ import annotations

from claimlab.experiments.papers.policy_smoothing import cartpole, lemma, premises, returns
from claimlab.experiments.papers.policy_smoothing.common import PAPER
from claimlab.experiments.papers.policy_smoothing.figures import FIGURES

CLAIMS = (*lemma.CLAIMS, *premises.CLAIMS, *returns.CLAIMS, *cartpole.CLAIMS)

__all__ = ["CLAIMS", "FIGURES", "PAPER"]
