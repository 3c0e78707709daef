r"""FTPedel and PEDEL: policy elimination in which offline data save online episodes.

Epoch :math:`\ell` estimates every active policy to within :math:`\epsilon_\ell` and drops those that are
:math:`2\epsilon_\ell` below the best.  For each step `h` it plays until

.. math:: \max_\pi \|\hat\phi_{\pi,h}\|^2_{\Lambda_h^{-1}} \le \epsilon_\ell^2 / \beta_\ell, \qquad
          \Lambda_h = \Lambda_{h,off} + \text{the episodes played for } h ,

and carries the expected features on with those data, :math:`\hat\phi_{\pi,h+1} = \sum_\tau \phi_\pi(s_{\tau,h+1})\,
\phi_{\tau,h}^\top \Lambda_h^{-1} \hat\phi_{\pi,h}`.  Without offline data it is PEDEL (Wagenmaker & Jamieson 2022).
Tabular features are one-hot, and everything is said for linear MDPs at once.

**Error identity.**  :math:`\hat V^\pi - V^\pi = \sum_h \sum_\tau (\hat\phi_{\pi,h}^\top \Lambda_h^{-1} \phi_{\tau,h})\,
\xi_{\tau,h}` with :math:`\xi = r + V^\pi_{h+1}(s') - Q^\pi_h(s,a)` and the true values.  *Proof.*
:math:`\hat\phi_{h+1} \cdot \theta^\pi_{h+1} = \sum_\tau V^\pi_{h+1}(s'_\tau) \phi_\tau^\top \Lambda^{-1} \hat\phi_h`, and
:math:`Q^\pi_h = \phi \cdot \theta^\pi_h`; telescope.

**Theorem (ours).**  Let the data of step h, given the pairs (s, a) visited and the data of the steps before, be
independent: a fixed logging policy, and exploration that looks at nothing but that.  With

.. math:: \beta_\ell = \tfrac18 H^2 (H+1)^2 \log\frac{4 H |\Pi| (\ell+1)^2}{\delta}, \qquad \ell = 0, 1, \dots

all :math:`|\hat V^\pi - V^\pi| \le \epsilon_\ell` of guarded policies hold at once with probability at least
:math:`1 - \delta`, and then the policy returned is :math:`\epsilon`-optimal.  *Proof.*  :math:`\xi` has mean zero and
lies in an interval of length :math:`H-h+1` (h from 1), so step h's sum is sub-Gaussian with variance
:math:`\tfrac14 (H-h+1)^2 \|\hat\phi\|^2_{\Lambda^{-1}}`.  It exceeds the share :math:`\epsilon_\ell (H-h+1) /
\tfrac12 H(H+1)` with probability at most :math:`2 e^{-8\beta_\ell / H^2 (H+1)^2}`; sum over h, :math:`\Pi`, and
:math:`\sum (\ell+1)^{-2} < 2`.  An optimal policy is never dropped, survivors are :math:`4\epsilon_\ell`-optimal, and the
last :math:`\epsilon_\ell` is at most :math:`\epsilon/4`.

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
from claimlab.mdps.coverage import Rows, cover, geometry_of, needed, score
from claimlab.mdps.coverage_geometry import Geometry
from claimlab.mdps.logs import Log, draw_log, empty_log
from claimlab.mdps.policy_classes import checked_policies, first_targets, next_targets, occupancies, values
from claimlab.mdps.staged import StagedMDP, staged_occupancy

Beta = Callable[[int, float, float, int], float]  # of the horizon, |Pi|, delta and the epoch from 0

SPARE = 1.02  # more episodes than expected to be enough, for counts are random
TOP_UPS = 60


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
    return 2.0 ** -np.arange(first, max(first, last) + 1)


class Task(NamedTuple):
    """What an exploration is asked for."""

    epoch: int
    step: int
    targets: Array  # [m, d], estimated expected features of the guarded policies
    tolerated: float  # their squared norm
    known: Log  # offline data, and what was played in this epoch for the steps before


class Exploration(NamedTuple):
    """What is to be played, and what finding it has cost."""

    policy: Array  # [H, S, A]
    occupancy: Array  # [S * A] that it is expected to have at the step
    played: Log  # while finding it


class Explorer(ABC):
    """Where the episodes of a step go."""

    def guarded(self, epoch: int, active: Bools) -> Bools:
        """Which of the policies are to be known to within the epoch's accuracy."""
        return active

    @abstractmethod
    def explore(self, task: Task, rng: Generator) -> Exploration:
        """A policy that covers the targets, and what was played to find it."""


class Oracle(Explorer):
    r"""The design of someone who knows the MDP: for each epoch and step the optimal one of :mod:`coverage`.

    Guarded are the policies with a gap of at most :math:`8\epsilon_\ell`, a superset of the active ones on the event of
    the theorem; the plan is made once, for the offline data that are expected.

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
                design = cover(
                    self.mdp, h, targets, level, geometry.offline_argument, features=self.features, tol=1e-4
                )
                steps.append((design.policy, design.value))
            plan.append(steps)
        return plan

    def guarded(self, epoch: int, active: Bools) -> Bools:
        return np.asarray(self.gaps <= 8 * self.widths[epoch])

    def explore(self, task: Task, rng: Generator) -> Exploration:
        policy = self.plan[task.epoch][task.step][0]
        return Exploration(policy, staged_occupancy(self.mdp, policy)[task.step].reshape(-1), empty_log(self.mdp))
