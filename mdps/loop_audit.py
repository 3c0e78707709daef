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
from claimlab.mdps.hypotheses import Models
from claimlab.mdps.loop import FiniteLOOP, back_up


class WatchedState(NamedTuple):
    base: Any
    in_sample: Array  # [M], sum over the past of each hypothesis' squared errors
    worst: Array  # [4], as in Watch
    sums: Array  # [5], as in Watch


@dataclass(frozen=True, eq=False)
class Watched(AverageLearner):
    """Any LOOP, watched by someone who knows the truth: it plays as `base` does, for :func:`watch`.

    Parameters
    ----------
    base : FiniteLOOP
    models : Models
        Its hypotheses, the truth among them.
    truth : int
    errors : float[F, S, A, M], optional
        Error of each hypothesis at each pair while the F-th is in use; F = 1 where that does not matter, as for Bellman
        errors (value-based) and Hellinger distances (likelihood).  By default the model-based :math:`(P_g - P_*) V_f`.
    """

    base: FiniteLOOP
    models: Models
    truth: int = 0
    errors: Any = None
    expected: Array = field(init=False)  # [M, S, A], r + P* V_f

    def __post_init__(self) -> None:
        truth, backed = checks.integer("truth", self.truth, 0, self.models.size - 1), _backed(self.models)
        expected = backed[..., truth].copy()
        table = backed - expected[..., None] if self.errors is None else self.errors
        errors, M = checks.array("errors", table, ndim=4), self.models.size
        if errors.shape[1:] != (*self.models.r.shape, M) or len(errors) not in (1, M):
            shape = f"(1 or M, S, A, M) with S, A, M = {(*self.models.r.shape, M)}"
            raise ValueError(f"errors must have shape {shape}, got {errors.shape}.")
        self._settle(truth=truth, errors=errors, expected=checks.array("expected", expected, ndim=3))

    def fresh(self, r: Array, horizon: int) -> WatchedState:
        worst = np.zeros(4)
        worst[3] = inf
        return WatchedState(self.base.fresh(r, horizon), np.zeros(self.models.P.shape[0]), worst, np.zeros(5))

    def decide(self, state: WatchedState, t: int, s: int, rng: Generator) -> int:
        chosen, before, gain = state.base.chosen, state.base.chosen.used[1], self.models.optimal.gain
        a = self.base.decide(state.base, t, s, rng)
        f = chosen.used[0]
        state.worst[2] = max(state.worst[2], state.in_sample[f])
        if chosen.used[1] > before:
            state.worst[1] = max(state.worst[1], state.in_sample[f])
            state.worst[3] = min(state.worst[3], gain[f] - gain[self.truth])
        return a

    def absorb(self, state: WatchedState, t: int, s: int, a: int, successor: int) -> None:
        optimal, f, r = self.models.optimal, state.base.chosen.used[0], self.models.r[s, a]
        errors = self.errors[f if self.errors.shape[0] > 1 else 0, s, a]
        for g in range(state.in_sample.size):
            state.in_sample[g] += errors[g] * errors[g]
        state.sums[0] += optimal.gain[f] - r
        state.sums[1] += errors[f]
        state.sums[2] += self.expected[f, s, a] - r - optimal.v[f, successor]
        state.sums[3] += optimal.v[f, successor] - optimal.v[f, s]
        state.sums[4] += errors[f] * errors[f]
        self.base.absorb(state.base, t, s, a, successor)
        state.worst[0] = max(state.worst[0], self.base.excess(state.base, self.truth))

    def switches(self, state: WatchedState) -> int:
        return self.base.switches(state.base)


def _backed(models: Models) -> Array:
    """r + P_g V_f, float[M, S, A, M] over f, pairs and g."""
    out = np.zeros((models.size, *models.r.shape, models.size))
    for f in range(models.size):
        back_up(models.P, models.r, models.optimal.v[f], out[f])
    return out


class Watch(NamedTuple):
    """What happened in each run of a :class:`Watched` learner, arrays [runs]."""

    excess: Array  # largest L_t(f*) - min L_t: f* is in every confidence set iff it is at most beta
    planned: Array  # largest in-sample error of a hypothesis when it was chosen
    played: Array  # largest in-sample error of the hypothesis in use
    optimism: Array  # least J_f - J* of the hypotheses chosen
    claimed: Array  # sum of J_{f_t} - r_t
    bellman: Array  # sum of the errors E(f_t)(s_t, a_t)
    martingale: Array  # sum of P V_{f_t}(s_t, a_t) - V_{f_t}(s_{t+1})
    telescoping: Array  # sum of V_{f_t}(s_{t+1}) - V_{f_t}(s_t)
    squared: Array  # sum of the squared errors
    distinct: Ints  # hypotheses chosen


def watch(states: tuple[WatchedState, ...]) -> Watch:
    """What the states of ``learn_average(Watched(...), ..., keep_states=True)`` tell."""
    worst, sums = np.array([s.worst for s in states]).T, np.array([s.sums for s in states]).T
    return Watch._make([*worst, *sums, np.array([s.base.chosen.used[1] for s in states])])
