"""Watching LOOP with knowledge of the truth: is it in the set, what are the errors, what is regret made of?"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.average_learning import AverageLearner
from claimlab.mdps.loop import FiniteLOOP, ModelLOOP, ModelState


class Watcher(AverageLearner):
    """Plays as `base` does and notes what it chooses; which errors are summed is left to the subclass.

    Its state has the fields `base`, `in_sample`, float[M], and `worst`, in the order of :class:`Watch`.
    """

    base: Any  # a FiniteLOOP, or one of its subclasses
    optimism: Array  # [M], J_f - J*

    def decide(self, state: Any, t: int, s: int, rng: Generator) -> int:
        chosen, before = state.base.chosen, state.base.chosen.used[1]
        a = self.base.decide(state.base, t, s, rng)
        f = chosen.used[0]
        state.worst[2] = max(state.worst[2], state.in_sample[f])
        if chosen.used[1] > before:
            state.worst[1] = max(state.worst[1], state.in_sample[f])
            state.worst[3] = min(state.worst[3], self.optimism[f])
        return a

    def switches(self, state: Any) -> int:
        return self.base.switches(state.base)


class AuditState(NamedTuple):
    base: ModelState
    in_sample: Array  # [M], sum of ((P_g - P*) V_{f_i})(s_i, a_i)^2
    worst: Array  # [4], as in Audit
    sums: Array  # [5], as in Audit


@dataclass(frozen=True, eq=False)
class Audited(Watcher):
    """A ModelLOOP that is watched by someone who knows the truth: it plays as `base` does, for :func:`audit`."""

    base: ModelLOOP
    truth: int = 0
    optimism: Array = field(init=False)  # [M]

    def __post_init__(self) -> None:
        truth, gain = checks.integer("truth", self.truth, 0, self.base.models.size - 1), self.base.models.optimal.gain
        self._settle(truth=truth, optimism=checks.array("optimism", gain - gain[truth], ndim=1))

    def fresh(self, r: Array, horizon: int) -> AuditState:
        worst = np.zeros(4)
        worst[3] = inf
        return AuditState(self.base.fresh(r, horizon), np.zeros(self.base.models.P.shape[0]), worst, np.zeros(5))

    def absorb(self, state: AuditState, t: int, s: int, a: int, successor: int) -> None:
        optimal, backed, f = self.base.models.optimal, state.base.backed, state.base.chosen.used[0]
        true = backed[s, a, self.truth]
        for g in range(state.in_sample.size):
            error = backed[s, a, g] - true
            state.in_sample[g] += error * error
        error, r = backed[s, a, f] - true, self.base.models.r[s, a]
        state.sums[0] += optimal.gain[f] - r
        state.sums[1] += error
        state.sums[2] += true - r - optimal.v[f, successor]
        state.sums[3] += optimal.v[f, successor] - optimal.v[f, s]
        state.sums[4] += error * error
        self.base.absorb(state.base, t, s, a, successor)
        state.worst[0] = max(state.worst[0], self.base.excess(state.base, self.truth))


class Audit(NamedTuple):
    """What happened in each run of an :class:`Audited` learner, arrays [runs]."""

    excess: Array  # largest L_t(f*) - min L_t: f* is in every confidence set iff it is at most beta
    planned: Array  # largest in-sample error of a hypothesis when it was chosen
    played: Array  # largest in-sample error of the hypothesis in use
    optimism: Array  # least J_f - J* of the hypotheses chosen
    claimed: Array  # sum of J_{f_t} - r_t
    bellman: Array  # sum of the Bellman errors E(f_t)(s_t, a_t)
    martingale: Array  # sum of P V_{f_t}(s_t, a_t) - V_{f_t}(s_{t+1})
    telescoping: Array  # sum of V_{f_t}(s_{t+1}) - V_{f_t}(s_t)
    squared: Array  # sum of the squared Bellman errors
    distinct: Ints  # hypotheses chosen


def audit(states: tuple[AuditState, ...]) -> Audit:
    """What the states of ``learn_average(Audited(...), ..., keep_states=True)`` tell."""
    worst, sums = np.array([s.worst for s in states]).T, np.array([s.sums for s in states]).T
    distinct = np.array([s.base.chosen.used[1] for s in states])
    return Audit(worst[0], worst[1], worst[2], worst[3], sums[0], sums[1], sums[2], sums[3], sums[4], distinct)


class WatchedState(NamedTuple):
    base: Any
    in_sample: Array  # [M], sum over the past of each hypothesis' squared errors
    worst: Array  # [5], as in Watch


@dataclass(frozen=True, eq=False)
class Watched(Watcher):
    """Any LOOP, watched with a table of the true errors: it plays as `base` does, for :func:`watch`.

    Parameters
    ----------
    base : FiniteLOOP
    errors : float[F, S, A, M]
        Error of each hypothesis at each pair while the F-th is in use; F = 1 where that does not matter, as for Bellman
        errors (value-based) and Hellinger distances (likelihood).
    optimism : float[M]
        :math:`J_f - J^*`.
    truth : int
    """

    base: FiniteLOOP
    errors: Array
    optimism: Array
    truth: int = 0

    def __post_init__(self) -> None:
        errors, optimism = checks.array("errors", self.errors, ndim=4), checks.array("optimism", self.optimism, ndim=1)
        if errors.shape[3] != len(optimism) or len(errors) not in (1, len(optimism)):
            raise ValueError(f"errors must have shape (1 or M, S, A, M) with M = {len(optimism)}, got {errors.shape}.")
        truth = checks.integer("truth", self.truth, 0, len(optimism) - 1)
        self._settle(errors=errors, optimism=optimism, truth=truth)

    def fresh(self, r: Array, horizon: int) -> WatchedState:
        worst = np.zeros(5)
        worst[3] = inf
        return WatchedState(self.base.fresh(r, horizon), np.zeros(self.optimism.size), worst)

    def absorb(self, state: WatchedState, t: int, s: int, a: int, successor: int) -> None:
        f = state.base.chosen.used[0]
        table = f if self.errors.shape[0] > 1 else 0
        for g in range(state.in_sample.size):
            error = self.errors[table, s, a, g]
            state.in_sample[g] += error * error
        state.worst[4] += self.errors[table, s, a, f] ** 2
        self.base.absorb(state.base, t, s, a, successor)
        state.worst[0] = max(state.worst[0], self.base.excess(state.base, self.truth))


class Watch(NamedTuple):
    """What happened in each run of a :class:`Watched` learner, arrays [runs], named as in :class:`Audit`."""

    excess: Array
    planned: Array
    played: Array
    optimism: Array
    squared: Array
    distinct: Ints


def watch(states: tuple[WatchedState, ...]) -> Watch:
    """What the states of ``learn_average(Watched(...), ..., keep_states=True)`` tell."""
    worst = np.array([s.worst for s in states]).T
    distinct = np.array([s.base.chosen.used[1] for s in states])
    return Watch(worst[0], worst[1], worst[2], worst[3], worst[4], distinct)
