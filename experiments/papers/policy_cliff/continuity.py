r"""Section 2: from rewards to action values to optimal actions to policies.

Proposition 2.4, Lemma 2.5 with its remark, Theorem 2.7, Propositions 2.9 and 2.10, Lemma C.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
    PERTURBED,
    SIZES,
    TIED,
    UNIQUE,
    WHOLE,
    bandit,
    claim,
    decide,
    decided,
    describe,
    draw_tied,
    hard_cases,
    included,
    many,
    optimal_in_0,
    tied_batch,
    tied_mdp,
    two_sinks,
    unchanged,
    uniform_jump,
)
from claimlab.mdps import batched
from claimlab.mdps.batched import MDPBatch
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality
from claimlab.theory.falsify import Trial, Trials, attack
from claimlab.theory.inclusion import inclusion_by_milp, inclusion_radius
from claimlab.theory.spaces import Box, Case, Simplex, Space

# Proposition 2.4 -----------------------------------------------------------------------------------------------------


def _q_lipschitz(P: Array, R: Array, D: Array, gamma: Array, *, factor: float) -> Trials:
    before, after = MDPBatch(P, R, gamma), MDPBatch(P, R + D, gamma)
    (q0, e0), (q1, e1) = batched.action_values(before), batched.action_values(after)
    moved = abs(after.r - before.r).max(axis=(1, 2))
    size = before.value_bound + after.value_bound
    return Trials(
        abs(q1 - q0).max(axis=(1, 2)),
        factor * moved / (1 - gamma),
        e0 + e1 + 8 * EPS * size,
        trivial=size,  # |q1 - q0| <= |q1| + |q0|
    )


def _q_lipschitz_check(budget: Budget, factor: float = 1.0) -> Inequality:
    rng = budget.rng("hard")
    shift = bandit(gamma=0.9) | {"D": np.ones((1, 2))}  # a constant shift of the reward attains the bound
    hard = [shift, *hard_cases(PERTURBED, rng)]
    return attack(PERTURBED, partial(_q_lipschitz, factor=factor), many(budget), batched=True, hard=hard)


# Lemma 2.5 -----------------------------------------------------------------------------------------------------------

TIES = Space(SIZES, {"P": Simplex("SAS"), "q": WHOLE, "D": Box("SA"), "gamma": GAMMA})


def _uhc(P: Array, q: Array, D: Array, gamma: Array, *, factor: float) -> Trial | None:
    mdp, best = tied_mdp(P, q, float(gamma))
    return included(mdp, best, D, float(abs(D).max()), factor)


def _steepest_ties(rng: Generator) -> Iterator[Case]:
    """Tied instances, each with the reward changes that the linear programs and the integer program find cheapest."""
    for _ in range(12):
        case = TIES.draw(rng)
        mdp, best = tied_mdp(case["P"], case["q"], float(case["gamma"]))
        if not best.all():
            for found in (inclusion_radius(mdp, optimal=best), inclusion_by_milp(mdp, best)):
                yield case | {"D": found.perturbation / abs(found.perturbation).max()}


def _uhc_check(budget: Budget, factor: float = 1.0) -> Inequality:
    fewer = budget.with_instances(max(50, budget.instances // 3))
    return attack(TIES, partial(_uhc, factor=factor), fewer, hard=_steepest_ties(budget.rng("hard")))


def _lhc(rng: Generator, *, tie: bool) -> tuple[bool, Mapping[str, Any]]:
    """Whether arbitrarily small reward changes remove an optimal action (other than a2) of state 0."""
    mdp = draw_tied(rng, tie=tie)
    before = set(optimal_in_0(mdp, mdp.reward(mdp.q)))
    shrunk = all(set(optimal_in_0(mdp, mdp.bumped(eps)[1])) < before for eps in EPSILONS)
    return shrunk, describe(mdp)


# Theorem 2.7 ---------------------------------------------------------------------------------------------------------


def _continuity(P: Array, q: Array, D: Array, gamma: Array, *, unique: bool) -> Trial | None:
    return unchanged(P, q, gamma, D, float(abs(D).max()), unique=unique)


def _continuity_check(budget: Budget, unique: bool = True) -> Inequality:
    return attack(TIES, partial(_continuity, unique=unique), budget, hard=_steepest_ties(budget.rng("hard")))


def _gap_lipschitz(P: Array, R: Array, D: Array, gamma: Array, *, constant: float) -> Trials:
    if R.shape[2] == 1:
        return Trials(0.0, 0.0, holds=False)  # no gaps
    before, after = MDPBatch(P, R, gamma), MDPBatch(P, R + D, gamma)
    solutions = batched.solve(before, inf)
    (gap0, e0), (q1, e1) = batched.gaps(before, solutions), batched.action_values(after)
    other = np.arange(R.shape[2]) != solutions.policy[..., None]
    kept = np.take_along_axis(q1, solutions.policy[..., None], axis=2) - q1
    least0, least1 = (np.where(other, gap, inf).min(axis=(1, 2)) for gap in (gap0, kept))
    moved = abs(after.r - before.r).max(axis=(1, 2))
    return Trials(
        least0 - least1,
        constant * moved / (1 - gamma),
        e0 + 2 * e1 + 8 * EPS * (before.value_bound + after.value_bound),
        holds=least0 > e0,
    )


def _gap_lipschitz_check(budget: Budget, constant: float = 2.0) -> Inequality:
    tight = bandit() | {"D": np.array([[-0.5, 0.5]])}
    apart = two_sinks(0.9) | {"D": 0.05 * np.array([[-1.0, 1.0], [-1.0, -1.0], [1.0, 1.0]])}  # tight with a discount
    hard = [tight, apart, *hard_cases(PERTURBED, budget.rng("hard"))]
    return attack(PERTURBED, partial(_gap_lipschitz, constant=constant), many(budget), batched=True, hard=hard)


BOXES = Space(
    {"S": (1, 2), "N": (41, 41)},
    {"P": Simplex("SNS"), "D": Box("SN"), "c": Box("S", 0.25, 1), "size": Box("", 1e-6, 0.3), "gamma": GAMMA},
)


def _box(P: Array, D: Array, c: Array, size: Array, gamma: Array, *, wells: int) -> Trials:
    r"""Actions on a grid of [-1, 1] with q(s, a) = -(a - c_s)^2, or with a second maximum at -c_s."""
    grid = np.linspace(-1, 1, D.shape[2])
    centre = grid[abs(grid - c[..., None]).argmin(axis=2)][..., None]
    q = -((grid - centre) ** 2) if wells == 1 else -((grid**2 - centre**2) ** 2)
    largest = abs(D).max(axis=(1, 2))
    D = (size / np.where(largest > 0, largest, 1.0))[:, None, None] * D
    mdps = MDPBatch(P, tied_batch(P, q, gamma)[0].r + D, gamma)
    moved = abs(grid[batched.solve(mdps, inf).policy] - centre[..., 0]).max(axis=1)
    slack = 1e-12 / (1 - gamma)  # rounding of q may move a maximiser among values that equal up to it
    bound = np.sqrt((2 * size + slack) / (1 - gamma))
    return Trials(moved, bound, 4 * EPS, trivial=2.0, holds=largest > 0)


def _steepest_boxes() -> Iterator[Case]:
    r"""State 0 stays where it is, except that the action `k` grid points from the best leads to state 1, for ever.

    The rewards of state 1 and of that action rise, all others fall, by a hair more than it takes to move the maximiser:
    :math:`(kh)^2 = 2\|D\|/(1-\gamma)`.
    """
    grid = np.linspace(-1, 1, 41)
    centre = int(abs(grid - 0.5).argmin())
    for gamma, k in product((0.0, 0.5, 0.9), (4, 8)):
        P, D = np.zeros((2, 41, 2)), np.ones((2, 41))
        P[0, :, 0] = P[1, :, 1] = 1
        P[0, centre - k], D[0], D[0, centre - k] = (0, 1), -1, 1
        size = (1 + 1e-9) * (1 - gamma) * (grid[centre] - grid[centre - k]) ** 2 / 2
        yield {"P": P, "D": D, "c": np.array([0.5, 0.5]), "size": np.array(size), "gamma": np.array(gamma)}


def _box_check(budget: Budget, wells: int = 1) -> Inequality:
    return attack(BOXES, partial(_box, wells=wells), budget, batched=True, hard=_steepest_boxes())


# Propositions 2.9 and 2.10 -------------------------------------------------------------------------------------------

Range = tuple[Fraction, Fraction]  # of the entries of R' - R, in units of epsilon


def _jumps(rng: Generator, *, tie: bool, range_of: Callable[[Fraction], Range]) -> tuple[bool, Mapping[str, Any]]:
    """For every epsilon: a2 becomes the only optimal action although each reward moved by low to high epsilon."""
    mdp = draw_tied(rng, tie=tie)
    r0, switched, (low, high) = mdp.reward(mdp.q), True, range_of(mdp.gamma)
    for eps in EPSILONS:
        _, r = mdp.bumped(eps)
        moved = r - r0
        switched = switched and optimal_in_0(mdp, r) == [mdp.a2]
        switched = switched and low * eps <= moved.min() <= moved.max() <= high * eps
    return switched, describe(mdp)


def _of_the_proof(gamma: Fraction) -> Range:
    return -(1 + gamma), 1 + gamma


def _sharper(gamma: Fraction, *, fall: Fraction = Fraction(1), rise: Fraction = Fraction(1)) -> Range:
    return -fall * gamma, rise


def _jump_check(budget: Budget, tie: bool = True, range_of: Callable[[Fraction], Range] = _of_the_proof) -> Identity:
    return decide(budget, partial(_jumps, tie=tie, range_of=range_of))


def _uniform_jump(rng: Generator, *, jump_of: str) -> tuple[bool, Mapping[str, Any]]:
    mdp = draw_tied(rng)
    m = mdp.ties
    claimed = Fraction(m - 1, m) if jump_of == "m" else Fraction(1, 2)
    jumps = set()
    for eps in EPSILONS:
        before, after = optimal_in_0(mdp, mdp.reward(mdp.q)), optimal_in_0(mdp, mdp.bumped(eps)[1])
        jumps.add(uniform_jump(before, after))
    return jumps == {claimed}, describe(mdp, jumps=sorted(map(str, jumps)), claimed=claimed)


# Lemma C.1 -----------------------------------------------------------------------------------------------------------

POINTS = Space({}, {name: Box("", 0, 1) for name in ("s", "a", "s1", "a1", "s0", "a0")} | {"delta": Box("", 0.01, 1)})


def _bump(s: Array, a: Array, s1: Array, a1: Array, s0: Array, a0: Array, delta: Array, *, factor: float) -> Trials:
    """|phi(x) - phi(y)| against factor * d(x, y) / delta, with phi checked to lie in [0, 1] on the way."""
    x, y, centre = (np.stack(point, axis=1) for point in ((s, a), (s1, a1), (s0, a0)))
    phi = np.array([np.maximum(0.0, 1 - abs(z - centre).max(axis=1) / delta) for z in (x, y)])
    outside = ((phi < 0) | (phi > 1)).any(axis=0)
    bound = factor * abs(x - y).max(axis=1) / delta
    moved = np.where(outside, inf, abs(phi[0] - phi[1]))
    return Trials(moved, np.where(outside, 1.0, bound), 16 * EPS / delta, trivial=1.0)


def _bump_check(budget: Budget, factor: float = 1.0) -> Inequality:
    return attack(POINTS, partial(_bump, factor=factor), many(budget), batched=True)


CLAIMS = (
    claim(
        id="policy-cliff/q-lipschitz",
        source="Proposition 2.4",
        statement=r"$\|Q^*_{R_1} - Q^*_{R_2}\|_\infty \le \frac{1}{1-\gamma}\|R_1 - R_2\|_\infty$ for all rewards.",
        kind=Inequality,
        premises=(FINITE, DISCOUNT),
        check=_q_lipschitz_check,
        control=partial(_q_lipschitz_check, factor=0.9),
        control_statement=r"the constant is $\frac{0.9}{1-\gamma}$.",
    ),
    claim(
        id="policy-cliff/argmax-uhc",
        source="Lemma 2.5",
        statement=(
            r"$R \mapsto A^*(s;R)$ is non-empty valued and upper hemicontinuous. On finite spaces that means: every "
            r"$R_0$ has a radius $\rho > 0$ with $A^*(s;R_0+D) \subseteq A^*(s;R_0)$ for all $s$ and "
            r"$\|D\|_\infty < \rho$; it is attacked with the exact, largest such $\rho$, ties in $R_0$ included."
        ),
        kind=Inequality,
        premises=(FINITE, DISCOUNT),
        check=_uhc_check,
        control=partial(_uhc_check, factor=1.1),
        control_statement=r"the inclusion holds up to $1.1\,\rho$.",
    ),
    claim(
        id="policy-cliff/argmax-not-lhc",
        source="Remark 2.6",
        statement=(
            "Upper hemicontinuity does not give lower hemicontinuity: at a tie, rewards arbitrarily close to $R_0$ "
            r"remove optimal actions, $A^*(s_0;R) \subsetneq A^*(s_0;R_0)$."
        ),
        kind=Identity,
        premises=(FINITE, DISCOUNT, TIED),
        check=decided(_lhc, tie=True),
        control=decided(_lhc, tie=False),
        control_statement="the same without a tie.",
    ),
    claim(
        id="policy-cliff/continuity-uniqueness",
        source="Theorem 2.7",
        statement=(
            r"If the optimal action is unique for all rewards near $R_0$ and all states, $R \mapsto \pi_R$ is "
            "continuous at $R_0$. On finite spaces that means locally constant; attacked in the quantified form that "
            r"the selected policy does not change for $\|R-R_0\|_\infty < (1-\gamma)\Delta_{\min}/2$."
        ),
        kind=Inequality,
        premises=(FINITE, DISCOUNT, UNIQUE),
        check=_continuity_check,
        control=partial(_continuity_check, unique=False),
        control_statement=r"the same with ties at $R_0$ ($\Delta_{\min}$ the least positive gap).",
    ),
    claim(
        id="policy-cliff/uniqueness-at-a-point",
        source="ours, sharpens Theorem 2.7",
        statement=(
            r"Uniqueness at $R_0$ alone suffices: $\Delta_{\min}(R) \ge \Delta_{\min}(R_0) - "
            r"\frac{2}{1-\gamma}\|R-R_0\|_\infty$ for the gaps to the policy optimal at $R_0$, so uniqueness holds in "
            "a neighbourhood by itself."
        ),
        kind=Inequality,
        premises=(FINITE, DISCOUNT, UNIQUE),
        check=_gap_lipschitz_check,
        control=partial(_gap_lipschitz_check, constant=1.0),
        control_statement=r"the constant is $\frac{1}{1-\gamma}$ instead of $\frac{2}{1-\gamma}$.",
    ),
    claim(
        id="policy-cliff/continuity-box",
        source="Theorem 2.7 on a continuous action set",
        statement=(
            "With actions in $[-1,1]$ (a grid of 41) and $Q^*_{R_0}(s,a) = -(a-c_s)^2$, every optimal action of $R$ "
            r"lies within $\sqrt{2\|R-R_0\|_\infty/(1-\gamma)}$ of $c_s$ (modulus ours), which tends to 0 with "
            r"$\|R-R_0\|$."
        ),
        kind=Inequality,
        premises=("compact action set, discretised", DISCOUNT, UNIQUE),
        check=_box_check,
        control=partial(_box_check, wells=2),
        control_statement=r"the same for $Q^*_{R_0}(s,a) = -(a^2-c_s^2)^2$, which has two maxima.",
    ),
    claim(
        id="policy-cliff/discontinuity-deterministic",
        source="Proposition 2.9",
        statement=(
            r"At a tie every deterministic optimal selection is discontinuous: for each $\varepsilon > 0$ a reward "
            r"with $\|R_\varepsilon - R_0\|_\infty \le (1+\gamma)\varepsilon$ has $A^*(s_0;R_\varepsilon) = \{a_2\}$, "
            r"for any $a_2 \in A^*(s_0;R_0)$; checked down to $\varepsilon = 10^{-300}$ in rationals."
        ),
        kind=Identity,
        premises=(FINITE, DISCOUNT, TIED),
        check=_jump_check,
        control=partial(_jump_check, tie=False),
        control_statement=r"the same for an action $a_2$ with gap 1.",
    ),
    claim(
        id="policy-cliff/bump-norm",
        source="ours, sharpens the proofs of Propositions 2.9 and 3.2",
        statement=(
            r"The construction moves the reward by at most $\varepsilon$, not $(1+\gamma)\varepsilon$: "
            r"$R_\varepsilon - R_0$ has entries in $[-\gamma\varepsilon, \varepsilon]$."
        ),
        kind=Identity,
        premises=(FINITE, DISCOUNT, TIED),
        check=partial(_jump_check, range_of=_sharper),
        control=partial(_jump_check, range_of=partial(_sharper, rise=Fraction(9, 10))),
        control_statement=r"the entries lie in $[-\gamma\varepsilon, 0.9\,\varepsilon]$.",
    ),
    claim(
        id="policy-cliff/discontinuity-uniform",
        source="Proposition 2.10",
        statement=(
            "The policy uniform over $A^*(s;R)$ is discontinuous in total variation at a tie of $m$ actions; the jump "
            r"is exactly $(m-1)/m$ for every $\varepsilon > 0$ (from the proof)."
        ),
        kind=Identity,
        premises=(FINITE, DISCOUNT, TIED),
        check=decided(_uniform_jump, jump_of="m"),
        control=decided(_uniform_jump, jump_of="half"),
        control_statement=r"the jump is $1/2$ whatever $m$.",
    ),
    claim(
        id="policy-cliff/bump",
        source="Lemma C.1",
        statement=(
            r"$\varphi_\delta(s,a) = \max\{0, 1 - d((s,a),(s_0,a_2))/\delta\}$ lies in $[0,1]$ and is continuous: "
            r"$|\varphi_\delta(x)-\varphi_\delta(y)| \le d(x,y)/\delta$ (constant ours), on $[0,1]^2$ with the maximum "
            "metric."
        ),
        kind=Inequality,
        premises=("compact metric spaces, here unit intervals", r"$\delta > 0$"),
        check=_bump_check,
        control=partial(_bump_check, factor=0.5),
        control_statement=r"the constant is $\frac{1}{2\delta}$.",
    ),
)
