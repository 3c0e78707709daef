r"""FTPedel and PEDEL: policy elimination in which offline data save online episodes.

Epoch :math:`\ell` estimates every active policy to within :math:`\epsilon_\ell` and drops those that are
:math:`2\epsilon_\ell` below the best.  For each step `h` it plays until

.. math:: \max_\pi \|\hat\phi_{\pi,h}\|^2_{\Lambda_h^{-1}} \le \epsilon_\ell^2 / \beta_\ell, \qquad
          \Lambda_h = \Lambda_{h,off} + \text{the episodes played for } h ,

and carries the expected features on with those data,
:math:`\hat\phi_{\pi,h+1} = \sum_\tau \phi_\pi(s_{\tau,h+1})\,\phi_{\tau,h}^\top \Lambda_h^{-1} \hat\phi_{\pi,h}`.
Without offline data it is PEDEL (Wagenmaker & Jamieson 2022).  Tabular features are one-hot, and everything is said for
linear MDPs at once.

**Error identity.**  :math:`\hat V^\pi - V^\pi = \sum_h \sum_\tau (\hat\phi_{\pi,h}^\top \Lambda_h^{-1} \phi_{\tau,h})\,
\xi_{\tau,h}` with :math:`\xi = r + V^\pi_{h+1}(s') - Q^\pi_h(s,a)` and the true values.  *Proof.*
:math:`\hat\phi_{h+1} \cdot \theta^\pi_{h+1} = \sum_\tau V^\pi_{h+1}(s'_\tau)\,\phi_\tau^\top \Lambda^{-1} \hat\phi_h`
and :math:`Q^\pi_h = \phi \cdot \theta^\pi_h`; telescope.

**Theorem (ours).**  Let the data of step h, given the pairs (s, a) visited and the data of the steps before, be
independent: a fixed logging policy, and exploration that looks at nothing but that.  With

.. math:: \beta_\ell = \tfrac18 H^2 (H+1)^2 \log\frac{4 H |\Pi| (\ell+1)^2}{\delta}, \qquad \ell = 0, 1, \dots

all :math:`|\hat V^\pi - V^\pi| \le \epsilon_\ell` of guarded policies hold at once with probability at least
:math:`1 - \delta`, and then the policy returned is :math:`\epsilon`-optimal.  *Proof.*  :math:`\xi` has mean zero and
lies in an interval of length :math:`H-h+1` (h from 1), so step h's sum is sub-Gaussian with variance
:math:`\tfrac14 (H-h+1)^2 \|\hat\phi\|^2_{\Lambda^{-1}}`.  It exceeds the share :math:`\epsilon_\ell (H-h+1) /
\tfrac12 H(H+1)` with probability at most :math:`2 e^{-8\beta_\ell / H^2 (H+1)^2}`; sum over h, :math:`\Pi`, and
:math:`\sum (\ell+1)^{-2} < 2`.  An optimal policy is never dropped, survivors are :math:`4\epsilon_\ell`-optimal,
and the last :math:`\epsilon_\ell` is at most :math:`\epsilon/4`.

Two remarks.  The published :math:`\beta = 36 H^4 \log(4 H^2 |\Pi| \ell^2/\delta)` is 72 to 288 times larger.  And the
same offline data serve all epochs, so an exploration that depends on which policies are left depends on the offline
noise; the theorem covers :class:`Oracle`, whose guard and plan depend on the true MDP alone, and not :class:`PlugIn`.

Source: Wagenmaker & Pacchiano (2023), Algorithm 2; the skeleton is Wagenmaker & Jamieson (2022), Algorithm 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from math import ceil, floor, log, log2
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array, Bools, Ints
from claimlab.mdps.certificates import NotConverged
from claimlab.mdps.coverage import HUGE, Rows, cover, geometry_of, needed, score
from claimlab.mdps.design import frank_wolfe
from claimlab.mdps.logs import Log, draw_log, empty_log
from claimlab.mdps.policy_classes import checked_policies, first_targets, next_targets, occupancies, values
from claimlab.mdps.staged import StagedMDP, staged_occupancy

Beta = Callable[[int, float, float, int], float]  # of the horizon, |Pi|, delta and the epoch from 0

SPARE = 1.02  # more episodes than expected to be enough, for counts are random
TOP_UPS = 100
DESIGNS, STEPS = 2, 100  # designs of Frank-Wolfe, each for the episodes that the last one needs, and their steps
LUCK = 5  # batches after which a plan that should have been enough is mended
FIRST_BATCH = 100.0  # episodes, where no number of them is expected to be enough


def derived_beta(horizon: int, policies: float, delta: float, epoch: int) -> float:
    r"""Ours, :math:`\tfrac18 H^2(H+1)^2 \log(4H|\Pi|(\ell+1)^2/\delta)`: see the module.

    >>> round(derived_beta(1, 10, 0.1, 0), 4)  # log(400) / 2
    2.9957
    """
    return horizon**2 * (horizon + 1) ** 2 / 8 * log(4 * horizon * policies * (epoch + 1) ** 2 / delta)


def published_beta(horizon: int, policies: float, delta: float, epoch: int) -> float:
    r"""PEDEL's, :math:`36 H^4 \log(4H^2|\Pi|\ell^2/\delta)`, with epochs counted from 1."""
    return 36 * horizon**4 * log(4 * horizon**2 * policies * (epoch + 1) ** 2 / delta)


def epoch_widths(horizon: int, eps: float) -> Array:
    """The accuracies of the epochs: powers of two from the first of at least H / 8 to the first of at most eps / 4.

    >>> epoch_widths(2, 0.5)
    array([0.25 , 0.125])
    """
    eps = checks.interval("eps", eps, 0, np.inf, "()")
    first, last = floor(log2(8 / horizon)), ceil(log2(4 / eps))
    return np.asarray(2.0 ** -np.arange(first, max(first, last) + 1), dtype=np.float64)


class Task(NamedTuple):
    """What an exploration is asked for."""

    epoch: int
    step: int
    batch: int  # how many were played for it
    targets: Array  # [m, d], estimated expected features of the guarded policies
    level: float  # the largest squared norm that they may have
    offline: Log
    known: Log  # offline data, and what was played in this epoch


class Explorer(ABC):
    """Where the episodes of a step go."""

    spent: float = 0.0  # episodes that were played to find designs, and tell the estimates nothing

    def guarded(self, epoch: int, active: Bools) -> Bools:
        """Which of the policies are to be known to within the epoch's accuracy."""
        return active

    @abstractmethod
    def design(self, task: Task) -> tuple[Array, Array]:
        """A policy float[H, S, A] that covers the targets, and the occupancy float[S, A] that it should have."""


class Oracle(Explorer):
    r"""The design of someone who knows the MDP: for each epoch and step the optimal one of :mod:`coverage`.

    Guarded are the policies with a gap of at most :math:`8\epsilon_\ell`, a superset of the active ones on the event of
    the theorem; the plan is made once, for the offline data that are expected.  Where it does not cover what it should
    (counts are random, and off the event other policies may be active), half of the episodes become uniform play.

    Parameters
    ----------
    mdp : StagedMDP
    eps, delta : float
    offline : float[H, S, A], optional
        Expected visits of the offline data.
    features, policies, beta
        As for :func:`fine_tune`.
    """

    def __init__(
        self,
        mdp: StagedMDP,
        eps: float,
        delta: float,
        offline: ArrayLike | None = None,
        *,
        features: ArrayLike | None = None,
        policies: ArrayLike | None = None,
        beta: Beta = derived_beta,
    ) -> None:
        self.mdp, self.features, self.beta = mdp, features, beta
        self.delta = checks.interval("delta", delta, 0, 1, "()")
        self.widths = epoch_widths(mdp.horizon, eps)
        self.policies = checked_policies(mdp, policies)
        visits = np.zeros(mdp.r.shape) if offline is None else offline
        self.offline = checks.shaped("offline", visits, mdp.r.shape, "(H, S, A)")

    @cached_property
    def gaps(self) -> Array:
        v = values(self.mdp, self.policies)[0] @ self.mdp.initial
        return np.asarray(v.max() - v)

    @cached_property
    def plan(self) -> list[list[tuple[Array, float]]]:
        """Policy and episodes of each epoch and step."""
        w, plan = occupancies(self.mdp, self.policies), []
        for epoch, width in enumerate(self.widths):
            level = width**2 / self.beta(self.mdp.horizon, len(self.policies), self.delta, epoch)
            steps = []
            for h, visits in enumerate(self.offline):
                geometry = geometry_of(self.mdp, visits, self.features)
                targets = np.unique(geometry.expected(w[h][self.gaps <= 8 * width]).round(12), axis=0)
                design = cover(self.mdp, h, targets, level, geometry.offline_argument, features=self.features, tol=1e-4)
                steps.append((design.policy, design.value))
            plan.append(steps)
        return plan

    def guarded(self, epoch: int, active: Bools) -> Bools:
        return np.asarray((self.gaps <= 8 * self.widths[epoch]) | active)

    def design(self, task: Task) -> tuple[Array, Array]:
        policy = self.plan[task.epoch][task.step][0]
        if task.batch >= LUCK:
            policy = (policy + 1 / self.mdp.n_actions) / 2
        return policy, staged_occupancy(self.mdp, policy)[task.step]


class PlugIn(Explorer):
    """The optimal design for the MDP as it is known so far, mixed with uniform play: for those who do not know it.

    Unseen pairs are taken to lead anywhere with equal probability.  After every batch the design is made anew from what
    was seen, by Frank-Wolfe; that looks at transitions, so the theorem of the module does not cover it.

    Parameters
    ----------
    initial : float[S]
        Law of the first state.
    features : float[S, A, d], optional
    uniform : float
        Share of uniform play.
    """

    def __init__(self, initial: ArrayLike, *, features: ArrayLike | None = None, uniform: float = 0.1) -> None:
        self.initial = checks.distributions("initial", initial, ndim=1)
        self.features, self.uniform = features, checks.interval("uniform", uniform, 0, 1, "(]")

    def design(self, task: Task) -> tuple[Array, Array]:
        model = estimated(task.known, self.initial)
        even = np.full(model.r.shape, 1 / model.n_actions)
        policy = (1 - self.uniform) * self._designed(model, task, even) + self.uniform * even
        return policy, staged_occupancy(model, policy)[task.step]

    def _designed(self, model: StagedMDP, task: Task, even: Array) -> Array:
        """The design for as many episodes as it needs itself: what the log adds to each depends on their number."""
        geometry = geometry_of(model, task.offline.visits[task.step], self.features)
        wanted = np.unique(task.targets.round(9), axis=0)
        rows, best = Rows(wanted, np.ones(len(wanted))), even
        least = needed(geometry, rows, staged_occupancy(model, even)[task.step].ravel(), task.level, 0.01)
        for _ in range(DESIGNS if geometry.offline_argument.any() else 1):
            if not 0 < least <= HUGE:
                break
            try:
                found = frank_wolfe(
                    model, task.step, wanted, geometry.offline_argument / least, features=self.features,
                    iterations=STEPS,
                )  # fmt: skip
            except ValueError:  # estimates of features need not be features of any policy
                break
            episodes = needed(geometry, rows, found.occupancy.ravel(), task.level, 0.01)
            if episodes >= least:
                break
            least, best = episodes, found.policy
        return best


class FixedPolicy(Explorer):
    """The same policy for every step: uniform play, or the low-regret habit of playing the best policy known.

    Parameters
    ----------
    mdp : StagedMDP
        Only for the occupancies by which the first batches are sized.
    policy : float[H, S, A], optional
        Uniform by default.
    """

    def __init__(self, mdp: StagedMDP, policy: ArrayLike | None = None) -> None:
        self.policy = np.full(mdp.r.shape, 1 / mdp.n_actions) if policy is None else mdp.policy(policy)
        self.occupancy = staged_occupancy(mdp, self.policy)

    def design(self, task: Task) -> tuple[Array, Array]:
        return self.policy, self.occupancy[task.step]


class FineTuned(NamedTuple):
    """The policy returned and what it took."""

    policy: Ints  # [H, S], deterministic
    value: float  # its estimate
    episodes: float  # played online, those that the explorer spent on designs included
    played: Array  # [epochs, H], episodes of each epoch and step that the estimates use
    widths: Array  # [epochs]
    estimates: Array  # [epochs, n], of each policy; NaN where it was not guarded
    active: Bools  # [n], policies that were left


def estimated(log: Log, initial: Array) -> StagedMDP:
    """The empirical MDP of a log; pairs that were never seen lead anywhere, and pay nothing."""
    n = log.visits[..., None]
    P = np.where(n > 0, log.transitions / np.where(n > 0, n, 1.0), 1 / log.transitions.shape[3])
    r = np.clip(np.where(n[..., 0] > 0, log.rewards / np.where(n[..., 0] > 0, n[..., 0], 1.0), 0.0), 0.0, 1.0)
    return StagedMDP(P / P.sum(axis=3, keepdims=True), r, initial)


def fine_tune(
    mdp: StagedMDP,
    explorer: Explorer,
    eps: float,
    delta: float,
    rng: Generator,
    *,
    offline: Log | None = None,
    features: ArrayLike | None = None,
    policies: ArrayLike | None = None,
    beta: Beta = derived_beta,
    limit: float = 1e12,
) -> FineTuned:
    r"""Run FTPedel (PEDEL without `offline`) in a simulated `mdp`, whose rewards are Bernoulli.

    Only counts are drawn, from their exact joint law, so the cost does not depend on the number of episodes.

    Parameters
    ----------
    mdp : StagedMDP
        What is played in.  Algorithm and explorer see it through logs only, but for :class:`Oracle`.
    explorer : Explorer
    eps, delta : float
        Positive; the policy returned should be eps-optimal with probability 1 - delta.
    offline : Log, optional
    features : float[S, A, d], optional
        One-hot by default.
    policies : int[n, H, S], optional
        The class; all deterministic policies by default.
    beta : callable
        :func:`derived_beta` or :func:`published_beta`.
    limit : float
        Of episodes; NotConverged beyond.

    Examples
    --------
    >>> bandit = StagedMDP(P=[[[[1.0]] * 2]], r=[[[0.9, 0.1]]])
    >>> result = fine_tune(bandit, Oracle(bandit, 0.4, 0.1), 0.4, 0.1, np.random.default_rng(0))
    >>> result.policy.tolist(), len(result.widths)
    ([[0]], 2)
    """
    known = empty_log(mdp) if offline is None else offline
    if known.transitions.shape != mdp.P.shape:
        raise ValueError(f"offline must hold transitions of shape {mdp.P.shape}, got {known.transitions.shape}.")
    delta, limit = checks.interval("delta", delta, 0, 1, "()"), checks.interval("limit", limit, 0, np.inf, "(]")
    widths, class_ = epoch_widths(mdp.horizon, eps), checked_policies(mdp, policies)
    active, left, before = np.ones(len(class_), bool), limit, explorer.spent
    estimates, played = np.full((len(widths), len(class_)), np.nan), np.zeros((len(widths), mdp.horizon))
    for epoch, width in enumerate(widths):
        guarded = explorer.guarded(epoch, active)
        level = width**2 / beta(mdp.horizon, len(class_), delta, epoch)
        run = _Epoch(mdp, explorer, known, class_[guarded], features, level, epoch, left)
        estimates[epoch, guarded], played[epoch] = run.estimate(rng)
        left -= played[epoch].sum()
        v = estimates[epoch]
        active &= v >= np.nanmax(np.where(active, v, np.nan)) - 2 * width
    best = int(np.nanargmax(np.where(active, estimates[-1], np.nan)))
    episodes = float(played.sum()) + explorer.spent - before
    return FineTuned(class_[best], float(estimates[-1, best]), episodes, played, widths, estimates, active)


class _Epoch:
    """One epoch: plays for each step until the guarded policies are covered, and carries their features on."""

    def __init__(
        self,
        mdp: StagedMDP,
        explorer: Explorer,
        offline: Log,
        policies: Ints,
        features: ArrayLike | None,
        level: float,
        epoch: int,
        limit: float,
    ) -> None:
        self.mdp, self.explorer, self.offline, self.policies = mdp, explorer, offline, policies
        self.features, self.level, self.epoch, self.limit = features, level, epoch, limit
        self.seen = offline  # and what this epoch plays, for designs

    def estimate(self, rng: Generator) -> tuple[Array, Array]:
        """The value of each policy, and the episodes of each step."""
        mdp, A = self.mdp, self.mdp.n_actions
        targets = first_targets(mdp, self.policies, geometry_of(mdp, self.offline.visits[0], self.features))
        v, episodes = np.zeros(len(self.policies)), np.zeros(mdp.horizon)
        for h in range(mdp.horizon):
            data = self._cover(h, targets, rng)
            episodes[h] = data.episodes - self.offline.episodes
            geometry = geometry_of(mdp, data.visits[h], self.features)
            counted = geometry.weights(targets, geometry.metric(np.zeros(data.visits[h].size)))
            v += counted @ data.rewards[h].reshape(-1)
            if h + 1 < mdp.horizon:
                laws = counted @ data.transitions[h].reshape(-1, mdp.n_states)
                targets = next_targets(laws, self.policies, h + 1, A, geometry)
        return v, episodes

    def _cover(self, h: int, targets: Array, rng: Generator) -> Log:
        """Offline data and episodes played for step h until every target is within the level."""
        played, rows = empty_log(self.mdp), Rows(targets, np.ones(len(targets)))
        for batch in range(TOP_UPS):
            geometry = geometry_of(self.mdp, self.offline.visits[h] + played.visits[h], self.features)
            worst = score(geometry, rows, np.zeros(played.visits[h].size))
            if worst <= self.level:
                return self.offline + played
            task = Task(self.epoch, h, batch, targets, self.level, self.offline + played, self.seen)
            policy, occupancy = self.explorer.design(task)
            more = needed(geometry, rows, occupancy.reshape(-1), self.level, 1e-3)
            more = min(more, max(2.0 * (played.episodes + self.offline.episodes), FIRST_BATCH)) if more > HUGE else more
            if batch >= TOP_UPS // 2 and worst == np.inf:  # a pair was never seen, and part of a visit is enough
                more = max(more, played.episodes)
            if played.episodes + more > self.limit:
                raise NotConverged(f"epoch {self.epoch}, step {h}: more than {self.limit:.3g} episodes wanted.", played)
            new = draw_log(self.mdp, policy, ceil(SPARE * more) + 1, rng)
            played, self.seen = played + new, self.seen + new
        raise NotConverged(f"epoch {self.epoch}, step {h}: targets not covered after {TOP_UPS} batches.", played)
