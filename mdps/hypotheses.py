r"""Hypotheses on an average-reward MDP, and the discrepancy functions by which data judge them.

A hypothesis f claims values :math:`Q_f, V_f = \max_a Q_f` and a gain :math:`J_f`; a model-based one a kernel
:math:`P_f` and a reward :math:`r_f` whose Bellman equation :math:`J_f + Q_f = r_f + P_f V_f` its values solve.  With
:math:`\zeta = (s, a, r, s')`, its discrepancy from the data is

.. math:: l(f, g, \zeta) = Q_g(s,a) - r - V_f(s') + J_f \quad\text{(value-based)}, \qquad
          l_{f'}(f, g, \zeta) = (r_g + P_g V_{f'})(s,a) - r - V_{f'}(s') \quad\text{(model-based)}.

Source: He, Zhong & Yang (2024), Sample-efficient learning of infinite-horizon average-reward MDPs with general function
approximation, Section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.average import gain_and_bias
from claimlab.mdps.average_learning import transitions
from claimlab.mdps.batched import MDPBatch, relative_value_iteration
from claimlab.mdps.tabular import AverageMDP
from claimlab.native import Native


@dataclass(frozen=True, eq=False)
class Hypotheses(Native):
    """Finitely many value-based hypotheses: `q`, float[M, S, A], and `gain`, float[M].

    Values are centred, max V = -min V: constants change no discrepancy by more than they change all of them.
    """

    q: Array
    gain: Array
    v: Array = field(init=False)  # [M, S]
    policy: Ints = field(init=False)  # [M, S], the first greedy action
    span: float = field(init=False)  # the largest of max V - min V

    def __post_init__(self) -> None:
        q = checks.array("q", self.q, ndim=3)
        if 0 in q.shape:
            raise ValueError(f"q has shape {q.shape}: at least one hypothesis, state and action are needed.")
        gain = checks.shaped("gain", self.gain, (len(q),), "(M,)")
        v = q.max(axis=2)
        middle = (v.max(axis=1) + v.min(axis=1)) / 2
        q, v = q - middle[:, None, None], v - middle[:, None]
        self._settle(q=checks.array("q", q, ndim=3), gain=gain, v=checks.array("v", v, ndim=2))
        self._settle(policy=q.argmax(axis=2), span=float(np.ptp(v, axis=1).max()))

    @property
    def size(self) -> int:
        return len(self.gain)

    @property
    def log_size(self) -> float:
        return float(np.log(self.size))


@dataclass(frozen=True, eq=False)
class Models(Native):
    """Finitely many model-based hypotheses with one known reward: `P`, float[M, S, A, S], and `r`, float[S, A].

    The optimal gain of each must not depend on the state, and its greedy policy must have one recurrent class.
    """

    P: Array
    r: Array
    optimal: Hypotheses = field(init=False)

    def __post_init__(self) -> None:
        P, r = checks.distributions("P", self.P, ndim=4), checks.array("r", self.r, ndim=2)
        if P.shape[1:] != (*r.shape, r.shape[0]) or not len(P):
            raise ValueError(f"P must have shape (M, S, A, S) for r of shape (S, A); got P {P.shape}, r {r.shape}.")
        found = relative_value_iteration(MDPBatch(P, np.repeat(r[None], len(P), axis=0), 0.0))
        if found.varies.any():
            raise ValueError(f"the optimal gain of model {int(found.varies.argmax())} depends on the state.")
        exact = [gain_and_bias(AverageMDP(p, r), policy) for p, policy in zip(P, found.policy)]
        gain, bias = np.array([e.gain for e in exact]), np.array([e.bias for e in exact])
        q = r + np.einsum("msat,mt->msa", P, bias) - gain[:, None, None]
        self._settle(P=P, r=r, optimal=Hypotheses(q, gain))

    @property
    def size(self) -> int:
        return len(self.P)

    def mdp(self, m: int) -> AverageMDP:
        """Model `m` as an MDP that starts in state 0."""
        return AverageMDP(self.P[m], self.r, initial=np.eye(self.r.shape[0])[0])

    def separation(self, truth: int) -> Array:
        r""":math:`\sup |(P_g - P_*) V_f|` over hypotheses f and pairs, float[M]: what one step can tell of g."""
        return np.abs(np.einsum("gsat,ft->gfsa", self.P - self.P[truth], self.optimal.v)).max(axis=(1, 2, 3))


def models(mdps: Sequence[AverageMDP]) -> Models:
    """The class that consists of these MDPs, which share a reward; the first is the truth where nothing is said."""
    if not mdps:
        raise ValueError("mdps must hold one MDP at least.")
    for m, mdp in enumerate(mdps):
        if mdp.r.shape != mdps[0].r.shape or not np.array_equal(mdp.r, mdps[0].r):
            raise ValueError(f"mdps[{m}] has another reward than mdps[0].")
    return Models(np.stack([transitions(mdp) for mdp in mdps]), mdps[0].r)


def closure(hypotheses: Hypotheses, mdp: AverageMDP) -> Array:
    r"""The functions :math:`\mathcal T_{J_f} V_f = r + P V_f - J_f` and :math:`Q_f`, float[2M, S, A]: complete
    for H."""
    backed = bellman_targets(transitions(mdp), mdp.r, hypotheses)
    return np.concatenate([hypotheses.q, backed])


def bellman_targets(P: Array, r: Array, hypotheses: Hypotheses) -> Array:
    r""":math:`\mathcal P f = r + P V_f - J_f` for every hypothesis, float[M, S, A]."""
    return np.asarray(r + np.einsum("sat,mt->msa", P, hypotheses.v) - hypotheses.gain[:, None, None])


def value_discrepancy(q_g: Array, r: Array, v_f: Array, gain_f: Any) -> Array:
    """The value-based l(f, g, .), float[S, A, S], of every transition (s, a, s')."""
    return np.asarray((q_g - r)[..., None] - v_f + gain_f)


def model_discrepancy(P_g: Array, r_g: Array, r: Array, v: Array) -> Array:
    """The model-based l_{f'}(f, g, .), float[S, A, S], of every transition; `v` is the value function of f'."""
    return np.asarray((r_g + P_g @ v - r)[..., None] - v)
