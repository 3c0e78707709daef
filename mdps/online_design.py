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

:class:`RegretDesign` lets FTPedel explore by FWRegret.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array
from claimlab.mdps.certificates import NotConverged
from claimlab.mdps.coverage import Rows, geometry_of, needed, score
from claimlab.mdps.design import Goals, Scratch, design_goals, measure, new_scratch, price, read_only_goals, sharpness
from claimlab.mdps.episodes import Learner
from claimlab.mdps.fine_tuning import Explorer, Task, estimated
from claimlab.mdps.logs import Log
from claimlab.mdps.optimistic import UCBVI, KnownRewardBonus
from claimlab.mdps.staged import StagedMDP, draw, staged_occupancy
from claimlab.native import kernel

LEARNER = UCBVI(KnownRewardBonus(span=1.0), monotone=False)


class Covariates(NamedTuple):
    """What was collected at a step, and what it took."""

    episodes: int  # of all stages
    visits: Array  # [S, A], of the last stage, which is the one that did
    value: float  # largest squared norm with them and the offline data
    stages: int


def regret_frank_wolfe(
    mdp: StagedMDP, step: int, goals: Goals, rounds: int, batch: int, rng: Generator, *,
    learner: UCBVI = LEARNER,
) -> Array:  # fmt: skip
    """Transitions float[step + 1, S, A, S] seen in `rounds` times `batch` episodes of FWRegret, which end after `step`.

    The learner sees `mdp` only by playing in it.  `goals` are those of :func:`~claimlab.mdps.design.design_goals`, with
    what is known beforehand in units of visits.
    """
    ridge = np.ones_like(goals.offline) if goals.phi.shape[2] == 0 else np.eye(goals.offline.shape[0])
    known = read_only_goals(goals.targets, goals.phi, (goals.offline + ridge) / (rounds * batch))
    seen = np.zeros((step + 1, *mdp.P.shape[1:]))
    _play_rounds(learner, mdp, known, new_scratch(known), rounds, batch, rng, seen)
    return seen


@kernel
def _play_rounds(
    learner: Learner, mdp: StagedMDP, goals: Goals, at: Scratch, rounds: int, batch: int, rng: Generator, seen: Array
) -> None:
    """One loop for all rounds: they are short, and calling compiled code takes longer than playing one."""
    steps, S, A = seen.shape[:3]
    x, least, initial = np.zeros((S, A)), np.inf, mdp.initial
    for played in range(0, rounds * batch, batch):
        least = min(least, measure(goals, x, at))
        price(goals, sharpness(len(goals.targets), rounds, least), at)
        r, policy, top = np.zeros((steps, S, A)), np.zeros((steps, S, A)), 0.0
        for s in range(S):
            for a in range(A):
                top = max(top, at.prices[s, a])
        for s in range(S):
            for a in range(A):
                r[steps - 1, s, a] = at.prices[s, a] / top
        state = learner.ready(r, initial, batch)
        for k in range(batch):
            learner.plan(state, k, rng, policy)
            s = draw(initial, 0, S, rng)
            for h in range(steps):
                a = draw(policy[h, s], 0, A, rng)
                t = mdp.targets[h, s, a, draw(mdp.weights[h, s, a], 0, mdp.degree[h, s, a], rng)]
                learner.watch(state, h, s, a, t)
                seen[h, s, a, t] += 1
                s = t
        for s in range(S):
            for a in range(A):
                x[s, a] = 0.0
                for t in range(S):
                    x[s, a] += seen[steps - 1, s, a, t] / (played + batch)


def collect_covariates(
    mdp: StagedMDP, step: int, targets: ArrayLike, tol: float, rng: Generator, *, offline: ArrayLike | None = None,
    features: ArrayLike | None = None, learner: UCBVI = LEARNER, limit: float = 1e7,
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
        seen = regret_frank_wolfe(mdp, step, goals, rounds, rounds**2, rng, learner=learner)
        online = seen[step].sum(axis=2)
        worst = score(geometry, rows, online.reshape(-1))
        if worst <= tol:
            return Covariates(played, online, worst, stage)


class RegretDesign(Explorer):
    """FTPedel's exploration where transitions are unknown and nothing but play tells of them: FWRegret.

    For each epoch and step `rounds` times `batch` episodes of learners find a design; they are counted in `spent` and
    tell about nothing else.  The estimates come of fresh episodes with the frequencies of those, and some uniform play,
    so that given the design they are independent, as the theorem of :mod:`claimlab.mdps.fine_tuning` asks; that the
    policies guarded depend on offline data is beyond it, as for :class:`~claimlab.mdps.fine_tuning.PlugIn`.

    An explorer serves one run: it remembers its designs.

    Parameters
    ----------
    mdp : StagedMDP
        Seen through episodes alone, but for which pairs can be reached.
    rng : Generator
    features : float[S, A, d], optional
    rounds, batch : int
    uniform : float
        Share of uniform play.
    """

    def __init__(
        self, mdp: StagedMDP, rng: Generator, *, features: ArrayLike | None = None, rounds: int = 16, batch: int = 256,
        uniform: float = 0.1,
    ) -> None:  # fmt: skip
        self.mdp, self.rng, self.features = mdp, rng, features
        self.rounds, self.batch = checks.integer("rounds", rounds, 1), checks.integer("batch", batch, 1)
        self.uniform = checks.interval("uniform", uniform, 0, 1, "(]")
        self.spent = 0.0
        self._found: dict[tuple[int, int], tuple[Array, Array]] = {}

    def design(self, task: Task) -> tuple[Array, Array]:
        key = task.epoch, task.step
        if key not in self._found:
            self._found[key] = self._play(task)
        return self._found[key]

    def _play(self, task: Task) -> tuple[Array, Array]:
        mdp, h, total = self.mdp, task.step, self.rounds * self.batch
        even = np.full(mdp.r.shape, 1 / mdp.n_actions)
        geometry = geometry_of(mdp, task.offline.visits[h], self.features)
        wanted = np.unique(task.targets.round(9), axis=0)
        model = estimated(task.known, mdp.initial)
        plenty = needed(
            geometry, Rows(wanted, np.ones(len(wanted))), staged_occupancy(model, even)[h].ravel(), task.level, 0.01
        )
        known = geometry.offline_argument * min(total / plenty, 1.0)  # as large a share of it as of all that is played
        reached = staged_occupancy(mdp, even)[h] > 0
        goals = design_goals(reached, wanted, known, self.features)
        seen = regret_frank_wolfe(mdp, h, goals, self.rounds, self.batch, self.rng)
        self.spent += total
        hits = task.known.transitions.copy()
        hits[: h + 1] += seen
        visits, policy = seen.sum(axis=3), even.copy()
        there = visits.sum(axis=2) > 0
        policy[: h + 1][there] = visits[there] / visits[there].sum(axis=1, keepdims=True)
        policy = (1 - self.uniform) * policy + self.uniform * even
        model = estimated(Log(hits, np.zeros(mdp.r.shape)), mdp.initial)
        return policy, staged_occupancy(model, policy)[h]
