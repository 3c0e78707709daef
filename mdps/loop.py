r"""LOOP: optimism over a finite class of hypotheses, updated only when the data have turned against the one in use.

At step t the confidence set holds the hypotheses whose loss, the sum of squared discrepancies along the played
:math:`f_1, \dots, f_{t-1}`, is least up to :math:`\beta`; the one with the largest gain is played until its own excess
loss reaches `trigger` times :math:`\beta`,

.. math:: f_t = \arg\max_{f \in C_t} J_f, \quad C_t = \{f : L_{t-1}(f,f) - \inf_{g \in G} L_{t-1}(f,g) \le \beta\},
          \qquad \Upsilon_t = L_t(f_t,f_t) - \inf_{g \in G} L_t(f_t,g) \ge 4\beta \text{ starts anew}.

Every step costs a loop over the class.  Constants for :math:`\beta` with proofs are in :mod:`claimlab.theory.loop`.

Source: He, Zhong & Yang (2024), Sample-efficient learning of infinite-horizon average-reward MDPs with general function
approximation, Algorithms 1 (LOOP) and 2 (MLE-LOOP).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.average_learning import AverageLearner
from claimlab.mdps.hypotheses import Hypotheses, Models
from claimlab.native import kernel

TRIGGER = 4.0  # excess, in units of beta, at which a new hypothesis is chosen


class Chosen(NamedTuple):
    """What every variant keeps of the hypothesis in use."""

    used: Ints  # [2], the hypothesis, and how often it has changed
    excess: Array  # [1], its excess loss


@kernel
def nobody() -> Chosen:
    """Nothing chosen yet: an infinite excess asks for a first choice."""
    return Chosen(np.array([-1, 0]), np.full(1, inf))


@kernel
def optimist(excess: Array, gain: Array, beta: float, rng: Generator) -> int:
    """A hypothesis of excess at most `beta` with the largest gain, ties at random; if there is none, one with the
    least excess."""
    best, tied, least = -1, 1, 0
    for f in range(gain.size):
        if excess[f] < excess[least]:
            least = f
        if excess[f] <= beta:
            if best < 0 or gain[f] > gain[best]:
                best, tied = f, 1
            elif gain[f] == gain[best]:
                tied += 1
                if tied * rng.random() < 1:
                    best = f
    return best if best >= 0 else least


@kernel
def above_least(loss: Array) -> Array:
    """Each loss minus the smallest; 0 for all if none is finite."""
    least, out = inf, np.zeros(loss.size)
    for f in range(loss.size):
        least = min(least, loss[f])
    for f in range(loss.size):
        out[f] = loss[f] - least if least < inf else 0.0
    return out


@kernel
def choose(chosen: Chosen, f: int) -> bool:
    """Whether `f` is another hypothesis than the one in use; if so, it is from now on."""
    if f == chosen.used[0]:
        return False
    chosen.used[0] = f
    chosen.used[1] += 1
    return True


@kernel
def same_reward(r: Array, claimed: Array) -> None:
    if r.shape != claimed.shape or not (r == claimed).all():
        raise ValueError("the hypotheses are about another reward than that of the MDP to be learned.")


class FiniteLOOP(AverageLearner):
    """A LOOP over finitely many hypotheses; its state has a field `chosen`."""

    beta: float  # width of the confidence set

    @abstractmethod
    def excess(self, state: Any, f: int) -> float:
        """Excess loss of hypothesis `f` on the data so far."""

    def switches(self, state: Any) -> int:
        return state.chosen.used[1]


class ModelState(NamedTuple):
    chosen: Chosen
    loss: Array  # [M]
    backed: Array  # [S, A, M], r + P_g V_f with f the hypothesis in use


@dataclass(frozen=True, eq=False)
class ModelLOOP(FiniteLOOP):
    """LOOP with the model-based discrepancy, H = G = `models`.

    Parameters
    ----------
    models : Models
    beta : float
        Width of the confidence set: ``theory.loop.model_width`` for the theorem, ``published_width`` as printed.
    trigger : float
        In units of `beta`; 4 in the paper, 0 chooses anew at every step.
    """

    models: Models
    beta: float
    trigger: float = TRIGGER

    def __post_init__(self) -> None:
        _settle_widths(self, self.beta, self.trigger)

    def fresh(self, r: Array, horizon: int) -> ModelState:
        same_reward(r, self.models.r)
        S, A = r.shape
        return ModelState(nobody(), np.zeros(self.models.P.shape[0]), np.zeros((S, A, self.models.P.shape[0])))

    def decide(self, state: ModelState, t: int, s: int, rng: Generator) -> int:
        if state.chosen.excess[0] >= self.trigger * self.beta:
            f = optimist(above_least(state.loss), self.models.optimal.gain, self.beta, rng)
            if choose(state.chosen, f):
                back_up(self.models.P, self.models.r, self.models.optimal.v[f], state.backed)
        return self.models.optimal.policy[state.chosen.used[0], s]

    def absorb(self, state: ModelState, t: int, s: int, a: int, successor: int) -> None:
        f, least = state.chosen.used[0], inf
        seen = self.models.r[s, a] + self.models.optimal.v[f, successor]
        for g in range(state.loss.size):
            miss = state.backed[s, a, g] - seen
            state.loss[g] += miss * miss
            least = min(least, state.loss[g])
        state.chosen.excess[0] = state.loss[f] - least

    def excess(self, state: ModelState, f: int) -> float:
        return state.loss[f] - least_of(state.loss)


@kernel
def back_up(P: Array, r: Array, v: Array, out: Array) -> None:
    """r + P_g v for every model, float[S, A, M]."""
    S, A, M = out.shape
    for g in range(M):
        for s in range(S):
            for a in range(A):
                total = r[s, a]
                for i in range(S):
                    total += P[g, s, a, i] * v[i]
                out[s, a, g] = total


class LikelihoodState(NamedTuple):
    chosen: Chosen
    loss: Array  # [M], minus the log-likelihood


@dataclass(frozen=True, eq=False)
class MLELOOP(FiniteLOOP):
    """MLE-LOOP: the loss of a model is minus its log-likelihood.

    Parameters
    ----------
    models : Models
    beta : float
        Width of the confidence set in nats: log(M/delta), see ``theory.loop.likelihood_width``.
    trigger : float
        In units of `beta`.
    """

    models: Models
    beta: float
    trigger: float = TRIGGER
    surprise: Array = field(init=False)  # [S, A, S, M], minus log P

    def __post_init__(self) -> None:
        _settle_widths(self, self.beta, self.trigger)
        with np.errstate(divide="ignore"):
            surprise = np.ascontiguousarray(np.moveaxis(-np.log(self.models.P), 0, -1))
        surprise.flags.writeable = False
        self._settle(surprise=surprise)

    def fresh(self, r: Array, horizon: int) -> LikelihoodState:
        same_reward(r, self.models.r)
        return LikelihoodState(nobody(), np.zeros(self.models.P.shape[0]))

    def decide(self, state: LikelihoodState, t: int, s: int, rng: Generator) -> int:
        if state.chosen.excess[0] >= self.trigger * self.beta:
            choose(state.chosen, optimist(above_least(state.loss), self.models.optimal.gain, self.beta, rng))
        return self.models.optimal.policy[state.chosen.used[0], s]

    def absorb(self, state: LikelihoodState, t: int, s: int, a: int, successor: int) -> None:
        least = inf
        for g in range(state.loss.size):
            state.loss[g] += self.surprise[s, a, successor, g]
            least = min(least, state.loss[g])
        state.chosen.excess[0] = state.loss[state.chosen.used[0]] - least if least < inf else 0.0

    def excess(self, state: LikelihoodState, f: int) -> float:
        least = least_of(state.loss)
        return state.loss[f] - least if least < inf else 0.0


class ValueState(NamedTuple):
    chosen: Chosen
    own: Array  # [M], L(f, f)
    others: Array  # [M, K], L(f, g)
    r: Array  # [S, A]


@dataclass(frozen=True, eq=False)
class ValueLOOP(FiniteLOOP):
    """LOOP with the value-based discrepancy.

    Parameters
    ----------
    hypotheses : Hypotheses
        H.
    targets : float[K, S, A]
        G, the functions with which a hypothesis is compared; complete if it holds T_{J_f} V_f for every f of H, see
        :func:`claimlab.mdps.hypotheses.closure`.
    beta : float
        Width of the confidence set: ``theory.loop.value_width``.
    trigger : float
        In units of `beta`; 0 chooses anew at every step.
    """

    hypotheses: Hypotheses
    targets: Array
    beta: float
    trigger: float = TRIGGER

    def __post_init__(self) -> None:
        targets = checks.array("targets", self.targets, ndim=3)
        if targets.shape[1:] != self.hypotheses.q.shape[1:] or not len(targets):
            raise ValueError(f"targets must have shape (K, S, A), got {targets.shape} for q {self.hypotheses.q.shape}.")
        self._settle(targets=targets)
        _settle_widths(self, self.beta, self.trigger)

    def fresh(self, r: Array, horizon: int) -> ValueState:
        M = self.hypotheses.gain.size
        return ValueState(nobody(), np.zeros(M), np.zeros((M, self.targets.shape[0])), r)

    def decide(self, state: ValueState, t: int, s: int, rng: Generator) -> int:
        if state.chosen.excess[0] >= self.trigger * self.beta:
            excess = np.zeros(state.own.size)
            for f in range(excess.size):
                excess[f] = self.excess(state, f)
            choose(state.chosen, optimist(excess, self.hypotheses.gain, self.beta, rng))
        return self.hypotheses.policy[state.chosen.used[0], s]

    def absorb(self, state: ValueState, t: int, s: int, a: int, successor: int) -> None:
        for f in range(state.own.size):
            seen = state.r[s, a] + self.hypotheses.v[f, successor] - self.hypotheses.gain[f]
            miss = self.hypotheses.q[f, s, a] - seen
            state.own[f] += miss * miss
            for k in range(self.targets.shape[0]):
                miss = self.targets[k, s, a] - seen
                state.others[f, k] += miss * miss
        state.chosen.excess[0] = self.excess(state, state.chosen.used[0])

    def excess(self, state: ValueState, f: int) -> float:
        return state.own[f] - least_of(state.others[f])


@kernel
def least_of(x: Array) -> float:
    least = inf
    for k in range(x.size):
        least = min(least, x[k])
    return least


def published_width(span: float, horizon: int, size: int, delta: float, *, c: float = 1.0, power: int = 2) -> float:
    r"""The paper's :math:`\beta = c\,\mathrm{sp}^{p} \log(T N^2/\delta)`, N the size (or covering number) of H and G.

    The constant `c` and the `power` of the span are not known to us: reviewers asked whether the span stands inside or
    outside.  Squared losses of range sp call for p = 2, and :mod:`claimlab.theory.loop` proves that; p = 1 is refuted
    in the claims.
    """
    span, c = checks.interval("span", span, 0, inf, "()"), checks.interval("c", c, 0, inf, "()")
    horizon, size = checks.integer("horizon", horizon, 1), checks.integer("size", size, 1)
    delta, power = checks.interval("delta", delta, 0, 1, "()"), checks.integer("power", power, 1, 2)
    return float(c * span**power * np.log(horizon * size**2 / delta))


def _settle_widths(learner: AverageLearner, beta: float, trigger: float) -> None:
    learner._settle(
        beta=checks.interval("beta", beta, 0, inf, "()"),
        trigger=checks.interval("trigger", trigger, 0, inf),
    )
