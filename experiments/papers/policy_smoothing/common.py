"""The paper, and how its certificate is compared with the best adversary of a game."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from claimlab.mdps.smoothed_games import SmoothedGame
from claimlab.mdps.staged import StagedMDP
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Claim, Paper
from claimlab.theory.smoothing import shifted

PAPER = Paper(
    slug="policy-smoothing",
    title="Policy Smoothing for Provably Robust Reinforcement Learning",
    authors="Aounon Kumar, Alexander Levine, Soheil Feizi",
    venue="ICLR 2022",
    arxiv="2106.11420",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

SMOOTHED = r"$a_t=\pi(o_t+\epsilon_t+\delta_t)$, $\delta_t\sim N(0,\sigma^2I)$ independent, fresh at every step"
ADAPTIVE = r"$\epsilon_t$ depends on the past, not on $\delta_t$; $\sum_t\|\epsilon_t\|_2^2\le B^2$ surely"
CERTIFICATE = r"\Phi(\Phi^{-1}(p)-B/\sigma)"


def certificate(p: Any, shift: Any, error: float) -> tuple[Any, Any]:
    """The certificate at `p`, which is known within `error`, and a bound on the certificate's own error.

    It grows with `p`, so its values at both ends enclose it; near 1 it is steep.
    """
    kept = shifted(np.clip(p, 0, 1), shift)
    up, down = shifted(np.minimum(p + error, 1), shift), shifted(np.maximum(p - error, 0), shift)
    return kept, np.maximum(up - kept, kept - down) + 64 * EPS


def surviving(game: SmoothedGame) -> SmoothedGame:
    """The same game with the last step's reward only: the event of getting there."""
    r = game.mdp.r.copy()
    r[:-1] = 0
    return SmoothedGame(StagedMDP(game.mdp.P, r, game.mdp.initial), game.cuts, game.sigma)
