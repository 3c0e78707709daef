r"""Section 4: several reward models, and entropy regularisation.

Remark 4.1, Lemma 4.2, Propositions 4.3, 4.5 and 4.6, Lemma 4.4, Proposition 4.7, Lemma C.2; and ours on the soft
policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import partial
from itertools import product
from math import inf
from typing import Any

import numpy as np
from numpy.random import Generator

from claimlab.checks import Array
from claimlab.experiments.papers.policy_cliff.common import (
    DISCOUNT,
    EPSILONS,
    FINITE,
    GAMMA,
    SIZES,
    TIED,
    UNIQUE,
    WEIGHTS,
    WHOLE,
    claim,
    decide,
    decided,
    describe,
    draw_tied,
    included,
    many,
    nearest,
    norm,
    optimal_in_0,
    tied_mdp,
    unchanged,
    uniform_jump,
)
from claimlab.mdps import batched
from claimlab.mdps.batched import MDPBatch
from claimlab.mdps.exact import rationals
from claimlab.mdps.tabular import EPS, TabularMDP
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.inclusion import inclusion_radius
from claimlab.theory.spaces import Box, Case, Simplex, Space
from claimlab.theory.stability import cliff_radius


def effective(w: Array, R: Array) -> Array:
    r""":math:`R_{eff}(s,a) = \sum_k w_k(s) R_k(s,a)` from weights float[..., S, N] and rewards float[..., N, S, A]."""
    return np.einsum("...sn,...nsa->...sa", w, R)


def tuple_norm(R: Array) -> Any:
    r""":math:`\max_k \|R_k\|_\infty` of rewards float[..., N, S, A]."""
    return abs(R).max(axis=(-3, -2, -1))


MIXED = Space(
    SIZES | {"N": (1, 4)},
    {"P": Simplex("SAS"), "w": Simplex("SN"), "R": Box("NSA"), "D": Box("NSA"), "gamma": GAMMA},
)

# Lemma 4.2, Proposition 4.3 -----------------------------------------------------------------------------------------


def _effective_lipschitz(P: Array, w: Array, R: Array, D: Array, gamma: Array, *, mass: float) -> Trials:
    moved = tuple_norm((R + D) - R)
    difference = abs(effective(mass * w, R + D) - effective(mass * w, R)).max(axis=(1, 2))
    return Trials(difference, moved, 16 * EPS * (1 + moved), trivial=2 * mass * np.maximum(1.0, moved))


def _effective_lipschitz_check(budget: Budget, mass: float = 1.0) -> Inequality:
    return attack(MIXED, partial(_effective_lipschitz, mass=mass), many(budget), batched=True)


def _effective_q(P: Array, w: Array, R: Array, D: Array, gamma: Array, *, factor: float) -> Trials:
    before, after = MDPBatch(P, effective(w, R), gamma), MDPBatch(P, effective(w, R + D), gamma)
    (q0, e0), (q1, e1) = batched.action_values(before), batched.action_values(after)
    size = before.value_bound + after.value_bound
    return Trials(
        abs(q1 - q0).max(axis=(1, 2)),
        factor * tuple_norm((R + D) - R) / (1 - gamma),
        e0 + e1 + 16 * EPS * (size + 1 / (1 - gamma)),
        trivial=size,
    )


def _effective_q_check(budget: Budget, factor: float = 1.0) -> Inequality:
    rng = budget.rng("hard")
    hard = [case | {"D": np.ones_like(case["D"])} for case in (MIXED.draw(rng) for _ in range(4))]
    return attack(MIXED, partial(_effective_q, factor=factor), many(budget), batched=True, hard=hard)


# Lemma 4.4, Proposition 4.5 -----------------------------------------------------------------------------------------

MIXED_TIES = Space(
    SIZES | {"N": (1, 4)},
    {"P": Simplex("SAS"), "w": Simplex("SN"), "q": WHOLE, "D": Box("NSA"), "gamma": GAMMA},
)


def _steepest_mixed(rng: Generator) -> Iterator[Case]:
    """Tied instances in which every reward model moves in the cheapest direction of the effective one."""
    for _ in range(12):
        case = MIXED_TIES.draw(rng)
        mdp, best = tied_mdp(case["P"], case["q"], float(case["gamma"]))
        D = inclusion_radius(mdp, optimal=best).perturbation
        if D.any():
            yield case | {"D": np.broadcast_to(D / abs(D).max(), case["D"].shape).copy()}


def _effective_uhc(P: Array, w: Array, q: Array, D: Array, gamma: Array, *, factor: float) -> Trial | None:
    mdp, best = tied_mdp(P, q, float(gamma))  # some tuple of rewards has this effective reward: all equal to it
    return included(mdp, best, effective(w, D), tuple_norm(D), factor)


def _effective_uhc_check(budget: Budget, factor: float = 1.0) -> Inequality:
    fewer = budget.with_instances(max(50, budget.instances // 3))
    hard = _steepest_mixed(budget.rng("hard"))
    return attack(MIXED_TIES, partial(_effective_uhc, factor=factor), fewer, hard=hard)


def _effective_continuity(P: Array, w: Array, q: Array, D: Array, gamma: Array, *, unique: bool) -> Trial | None:
    return unchanged(P, q, gamma, effective(w, D), tuple_norm(D), unique=unique)


def _effective_continuity_check(budget: Budget, unique: bool = True) -> Inequality:
    hard = _steepest_mixed(budget.rng("hard"))
    return attack(MIXED_TIES, partial(_effective_continuity, unique=unique), budget, hard=hard)


def _effective_radius(P: Array, w: Array, R: Array, D: Array, gamma: Array, *, factor: float) -> Trial | None:
    mdp = TabularMDP(P, effective(w, R), float(gamma))
    return nearest(mdp, effective(w, D), tuple_norm(D), factor)


def _effective_radius_check(budget: Budget, factor: float = 1.0) -> Inequality:
    rng, hard = budget.rng("hard"), []
    for _ in range(12):
        case = MIXED.draw(rng)
        c = cliff_radius(TabularMDP(case["P"], effective(case["w"], case["R"]), float(case["gamma"])))
        if c.unique and 0 < c.radius < inf:
            hard.append(case | {"D": np.broadcast_to(c.perturbation / c.radius, case["D"].shape).copy()})
    return attack(MIXED, partial(_effective_radius, factor=factor), budget, hard=hard)


# Proposition 4.6 ----------------------------------------------------------------------------------------------------


def _effective_jumps(rng: Generator, *, tie: bool) -> tuple[bool, Mapping[str, Any]]:
    """Rational reward tuples with a tied effective reward: every model moves by the same bump."""
    mdp, n = draw_tied(rng, tie=tie), int(rng.integers(1, 4))
    S, A = mdp.q.shape
    w = rationals(rng.multinomial(6, np.ones(n) / n, size=S)) / Fraction(6)
    spread = rationals(rng.integers(-2, 3, size=(n, S, A)))
    spread -= np.einsum("sn,nsa->sa", w, spread)[None]  # the models differ, their mixture does not move
    r0 = mdp.reward(mdp.q)
    models = r0[None] + spread
    before, holds = optimal_in_0(mdp, np.einsum("sn,nsa->sa", w, models)), True
    for eps in EPSILONS:
        moved = models + (mdp.bumped(eps)[1] - r0)[None]
        after = optimal_in_0(mdp, np.einsum("sn,nsa->sa", w, moved))
        jump = uniform_jump(before, after)
        near = norm(moved - models) <= (1 + mdp.gamma) * eps
        holds = holds and near and after == [mdp.a2] and jump == Fraction(mdp.ties - 1, mdp.ties) > 0
    return holds, describe(mdp, w=w, models=models)


def _effective_jump_check(budget: Budget, tie: bool = True) -> Identity:
    return decide(budget, partial(_effective_jumps, tie=tie))


# Remark 4.1 ---------------------------------------------------------------------------------------------------------

OBJECTIVE = Space(
    {"S": (1, 3), "A": (1, 3), "N": (2, 3)},
    {
        "P": Simplex("SAS"),
        "p": Simplex("N"),
        "start": Simplex("NS"),
        "R": Box("NSA"),
        "pi": Simplex("SA"),
        "gamma": Box("", 0.0, 0.95),
    },
)


def _objective(P: Array, p: Array, start: Array, R: Array, pi: Array, gamma: Array, *, same: bool) -> Trials:
    """J(pi) against the value under the effective reward with w_k = p_k, from one start law or from each its own."""
    laws = np.broadcast_to(start[:, :1], start.shape) if same else start
    values = [batched.policy_value(MDPBatch(P, model, gamma), pi) for model in R.swapaxes(0, 1)]
    J = np.einsum("nk,nks,kns->n", p, laws, [value.v for value in values])
    mean = batched.policy_value(MDPBatch(P, np.einsum("nk,nksa->nsa", p, R), gamma), pi)
    rounding = sum(value.error for value in (*values, mean)) + 64 * EPS / (1 - gamma)
    return Trials(abs(J - np.einsum("nk,nks,ns->n", p, laws, mean.v)), rounding)


def _objective_check(budget: Budget, same: bool = True) -> Identity:
    return equate(OBJECTIVE, partial(_objective, same=same), many(budget), batched=True)


def _history(rng: Generator, *, same: bool) -> tuple[bool, Mapping[str, Any]]:
    """Two tasks start in x or y and meet in z, where task k pays for action k: does remembering the start pay?

    Everything is enumerated: J is linear in the policy at z, so deterministic policies attain both optima.
    """
    p = Fraction(int(rng.integers(1, 10)), 10) if same else Fraction(1, 2)
    starts = [Fraction(int(rng.integers(0, 11)), 10) for _ in range(2)]  # probability of x under each task
    if same:
        starts[1] = starts[0]
    elif starts[0] == starts[1]:
        starts = [Fraction(1), Fraction(0)]
    gamma = Fraction(["1/2", "9/10", "99/100"][rng.integers(3)])
    weight = {(0, "x"): p * starts[0], (0, "y"): p * (1 - starts[0])}
    weight |= {(1, "x"): (1 - p) * starts[1], (1, "y"): (1 - p) * (1 - starts[1])}

    def J(action_after: Mapping[str, int]) -> Fraction:
        return sum((gamma * w for (task, start), w in weight.items() if action_after[start] == task), Fraction(0))

    remembering = max(J({"x": a, "y": b}) for a, b in product((0, 1), repeat=2))
    stationary = max(J({"x": a, "y": a}) for a in (0, 1))
    return remembering > stationary, {"p": p, "P(x | task)": starts, "gamma": gamma, "J": [remembering, stationary]}


CLAIMS = (
    claim(
        id="policy-cliff/effective-objective",
        source="Remark 4.1",
        statement=(
            "If all start laws $D_k$ coincide and $w_k = p_k$, the training objective is the value under the "
            r"effective reward, $J(\pi) = \mathbb E_{s_0\sim D}V^\pi_{R_{eff}}(s_0)$, for every policy."
        ),
        kind=Identity,
        premises=(FINITE, DISCOUNT, "equal start laws", "$w_k = p_k$"),
        check=_objective_check,
        control=partial(_objective_check, same=False),
        control_statement="the same with different start laws.",
    ),
    claim(
        id="policy-cliff/effective-memory",
        source="ours, on Remark 4.1 and Section 4.2",
        statement=(
            "With different start laws no stationary policy, so none derived from any $R_{eff}$, need maximise $J$: a "
            "policy that remembers where it started is strictly better."
        ),
        kind=Identity,
        premises=("two equally likely tasks that start apart and meet in a state where they want different actions",),
        check=decided(_history, same=False),
        control=decided(_history, same=True),
        control_statement="the same with equal start laws.",
    ),
    claim(
        id="policy-cliff/effective-lipschitz",
        source="Lemma 4.2",
        statement=(
            r"$\|R_{eff}(\cdot;\mathbf R) - R_{eff}(\cdot;\mathbf R')\|_\infty \le \max_k \|R_k - R'_k\|_\infty$."
        ),
        kind=Inequality,
        premises=(FINITE, WEIGHTS),
        check=_effective_lipschitz_check,
        control=partial(_effective_lipschitz_check, mass=1.1),
        control_statement=r"the same with weights that sum to 1.1.",
    ),
    claim(
        id="policy-cliff/effective-q-lipschitz",
        source="Proposition 4.3",
        statement=r"$\mathbf R \mapsto Q^*_{eff}$ is Lipschitz with constant $\frac{1}{1-\gamma}$.",
        kind=Inequality,
        premises=(FINITE, DISCOUNT, WEIGHTS),
        check=_effective_q_check,
        control=partial(_effective_q_check, factor=0.9),
        control_statement=r"the constant is $\frac{0.9}{1-\gamma}$.",
    ),
    claim(
        id="policy-cliff/effective-uhc",
        source="Lemma 4.4",
        statement=(
            r"$\mathbf R \mapsto A^*_{eff}(s;\mathbf R)$ is non-empty valued and upper hemicontinuous; attacked with "
            "the exact radius of the effective reward, below which no tuple change adds an optimal action."
        ),
        kind=Inequality,
        premises=(FINITE, DISCOUNT, WEIGHTS),
        check=_effective_uhc_check,
        control=partial(_effective_uhc_check, factor=1.1),
        control_statement="the inclusion holds up to 1.1 times that radius.",
    ),
    claim(
        id="policy-cliff/effective-continuity",
        source="Proposition 4.5",
        statement=(
            r"If the optimal action for $R_{eff}$ is unique near $\mathbf R_0$, the policy is continuous at "
            r"$\mathbf R_0$; attacked as: it does not change for $\max_k\|R_k-R_{0,k}\|_\infty < "
            r"(1-\gamma)\Delta_{\min}/2$."
        ),
        kind=Inequality,
        premises=(FINITE, DISCOUNT, WEIGHTS, UNIQUE),
        check=_effective_continuity_check,
        control=partial(_effective_continuity_check, unique=False),
        control_statement="the same with ties.",
    ),
    claim(
        id="policy-cliff/effective-radius",
        source="ours, makes Proposition 4.5 quantitative",
        statement=(
            r"The cliff radius of the effective reward is also that of the tuple $(R_1,\dots,R_N)$ in the maximum "
            "norm: several reward models are not more robust than their mixture, whatever the weights."
        ),
        kind=Inequality,
        premises=(FINITE, DISCOUNT, WEIGHTS, UNIQUE),
        check=_effective_radius_check,
        control=partial(_effective_radius_check, factor=1.05),
        control_statement="the tuple's radius is 5 % larger.",
    ),
    claim(
        id="policy-cliff/effective-discontinuity",
        source="Proposition 4.6",
        statement=(
            r"At a tie of $A^*_{eff}(s_0;\mathbf R_0)$ both the deterministic and the uniform selection are "
            r"discontinuous in $\mathbf R$: moving every model by the same bump of norm at most "
            r"$(1+\gamma)\varepsilon$ makes $a_2$ the only optimal action and the uniform policy jumps by $(m-1)/m$, "
            r"for $\varepsilon$ down to $10^{-300}$."
        ),
        kind=Identity,
        premises=(FINITE, DISCOUNT, WEIGHTS, TIED),
        check=_effective_jump_check,
        control=partial(_effective_jump_check, tie=False),
        control_statement="the same without a tie.",
    ),
)
