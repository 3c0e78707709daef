r"""Experiment design where transitions are unknown: Frank-Wolfe whose linear oracle is a learner with low regret.

**FWRegret** (Wagenmaker & Jamieson 2022, Algorithm 3; Wagenmaker & Pacchiano 2023, Algorithm 3).  In round t of T a
fresh learner plays K episodes with the reward :math:`\nu_t(s,a) = \sum_\varphi p_\varphi(\phi(s,a)^\top A_t^{-1}
\varphi)^2` at step h (see :mod:`claimlab.mdps.design`), over its largest value, and what it visited joins the
covariance with weight 1 / t, so that all that was played counts alike.  :math:`A_t` holds the covariance per episode
and the offline data and a ridge of 1 over T K.

**OptCov** (Algorithm 4) doubles: :math:`T_i = 2^i, K_i = T_i^2` for i = 1, 2, ... until the covariates of stage i, with
the offline data and without the ridge, have

.. math:: \max_{\varphi\in\Phi} \|\varphi\|^2_{(\Lambda_i + \Lambda_{off})^{-1}} \le tol .

Stages grow by 8, so all together play at most 8/7 of the last one, and that is at most 8 times the first that would
do.  The published exponents of :math:`K_i` are not known to us; the guarantee
:math:`N \le 20 \inf_\Lambda\max\|\varphi\|^2_{(\Lambda+\Lambda_0)^{-1}}/tol + poly` is the published one.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array
from claimlab.mdps.certificates import NotConverged
from claimlab.mdps.coverage import Rows, geometry_of, score
from claimlab.mdps.design import Goals, design_goals, new_scratch, price
from claimlab.mdps.episodes import play_episodes
from claimlab.mdps.optimistic import UCBVI, KnownRewardBonus
from claimlab.mdps.staged import StagedMDP, staged_occupancy

LEARNER = UCBVI(KnownRewardBonus(span=1.0), monotone=False)


class Covariates(NamedTuple):
    """What was collected at a step, and what it took."""

    episodes: int  # of all stages
    visits: Array  # [S, A], of the last stage, which is the one that did
    value: float  # largest squared norm with them and the offline data
    stages: int


def regret_frank_wolfe(
    mdp: StagedMDP, step: int, goals: Goals, rounds: int, batch: int, rng: Generator, *, accuracy: float = 0.01,
    learner: UCBVI = LEARNER,
) -> Array:  # fmt: skip
    """Visits float[S, A] to the pairs of `step` in `rounds` times `batch` episodes of FWRegret.

    The learner sees `mdp` only by playing in it.  `goals` are those of :func:`~claimlab.mdps.design.design_goals`, with
    what is known beforehand in units of visits; `accuracy` is as in :func:`~claimlab.mdps.design.frank_wolfe`.
    """
    (S, A), total = mdp.r.shape[1:], rounds * batch
    ridge = np.ones_like(goals.offline) if goals.phi.shape[2] == 0 else np.eye(goals.offline.shape[0])
    known = Goals(goals.targets, goals.phi, (goals.offline + ridge) / total)
    visits, at, P = np.zeros((S, A)), new_scratch(known), mdp.P[: step + 1]
    for t in range(rounds):
        x = visits / max(t * batch, 1)
        largest = price(known, x, np.inf, at)
        price(known, x, log(len(goals.targets) + 1.0) / (accuracy * largest), at)
        r = np.zeros((step + 1, S, A))
        r[step] = at.prices / at.prices.max()
        paying = StagedMDP(P, r, mdp.initial)
        record = play_episodes(
            learner, paying, episodes=batch, runs=1, seed=int(rng.integers(2**63)), checkpoints=1, threads=1,
            keep_states=True,
        )  # fmt: skip
        visits = visits + record.states[0].visits.n[step]
    return np.asarray(visits)


def collect_covariates(
    mdp: StagedMDP, step: int, targets: ArrayLike, tol: float, rng: Generator, *, offline: ArrayLike | None = None,
    features: ArrayLike | None = None, accuracy: float = 0.01, learner: UCBVI = LEARNER, limit: float = 1e7,
) -> Covariates:  # fmt: skip
    """OptCov: play in `mdp`, whose transitions are not known, until `targets` are known to within `tol`.

    Parameters
    ----------
    mdp : StagedMDP
        Seen through episodes alone, but for which pairs can be reached.
    step : int
        0..H-1.
    targets : float[N, d]
        As for :func:`~claimlab.mdps.design.frank_wolfe`.
    tol : float
        Positive: the largest squared norm, of sums over episodes.
    offline : float[S, A], optional
        Visits of offline data to the pairs of the step.
    features : float[S, A, d], optional
    limit : float
        Of episodes; NotConverged beyond.

    Examples
    --------
    >>> bandit = StagedMDP(P=[[[[1.0]] * 3]], r=[[[0.9, 0.7, 0.4]]])
    >>> found = collect_covariates(bandit, 0, np.eye(3), 0.1, np.random.default_rng(0))
    >>> found.episodes, found.value <= 0.1  # 10 pulls of each arm do; stages of 8 and 64 episodes
    (72, True)
    """
    step, tol = checks.integer("step", step, 0, mdp.horizon - 1), checks.interval("tol", tol, 0, np.inf, "()")
    visits = checks.shaped("offline", np.zeros(mdp.r.shape[1:]) if offline is None else offline, mdp.r.shape[1:], "S A")
    reached = staged_occupancy(mdp, np.full(mdp.r.shape, 1 / mdp.n_actions))[step] > 0
    geometry = geometry_of(mdp, visits, features)
    goals = design_goals(reached, targets, geometry.offline_argument, features)
    rows = Rows(checks.array("targets", targets, ndim=2), np.ones(len(goals.targets)))
    played, stage = 0, 0
    while True:
        stage += 1
        rounds = 2**stage
        played += rounds**3
        if played > limit:
            raise NotConverged(f"step {step}: stage {stage} would need {played} episodes, more than {limit:.3g}.", None)
        online = regret_frank_wolfe(mdp, step, goals, rounds, rounds**2, rng, accuracy=accuracy, learner=learner)
        worst = score(geometry, rows, online.reshape(-1))
        if worst <= tol:
            return Covariates(played, online, worst, stage)
