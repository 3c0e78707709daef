r"""The exact distance to the cliff, which the paper leaves open: ours.

Everything here sharpens Section 2: how large the neighbourhoods of Theorem 2.7 and Lemma 2.5 are, in closed form.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from math import inf
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.optimize import root_scalar

from claimlab.checks import Array, Ints
from claimlab.experiments.papers.policy_cliff.common import (
    DISCOUNT,
    FINITE,
    GAMMA,
    PERTURBED,
    SIZES,
    UNIQUE,
    bandit,
    cheapest,
    claim,
    discounted_tree,
    first_change,
    hard_cases,
    known_dynamics,
    many,
    nearest,
    two_sinks,
)
from claimlab.mdps.batched import MDPBatch
from claimlab.mdps.exact import exact, rationals
from claimlab.mdps.inverse import inverse_bellman
from claimlab.mdps.planning import solve
from claimlab.mdps.tabular import TabularMDP
from claimlab.theory.batched import cliff_radii
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Probability, probability
from claimlab.theory.exact import exact_radius, verify_exactly
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Case, Simplex, Space
from claimlab.theory.stability import (
    CliffRadius,
    cliff_radius,
    facet_distances,
    flip_probability,
    gap_rounding,
    policy_gaps,
    subspace_radius,
)

REWARDS = Space({"S": (1, 4), "A": (2, 3)}, {"P": Simplex("SAS"), "R": Box("SA"), "gamma": GAMMA})


def _unique(P: Array, R: Array, gamma: Array) -> tuple[TabularMDP, CliffRadius] | None:
    mdp = TabularMDP(P, R, float(gamma))
    radius = cliff_radius(mdp)
    return (mdp, radius) if radius.unique else None


# the sandwich --------------------------------------------------------------------------------------------------------


def _lower(P: Array, R: Array, gamma: Array, *, constant: float) -> Trials:
    c = cliff_radii(MDPBatch(P, R, gamma))
    return Trials(constant * (1 - gamma) * c.least_gap, c.radius, c.error + c.gap_error, holds=c.unique)


def _upper(P: Array, R: Array, gamma: Array, *, constant: float) -> Trials:
    c = cliff_radii(MDPBatch(P, R, gamma))
    return Trials(c.radius, constant * c.least_gap, c.error + c.gap_error, holds=c.unique)


def _exactly(P: Array, R: Array, gamma: Array, *, lower: float | None, upper: float | None) -> tuple[Any, Any]:
    """The two sides of the sandwich in rationals of the stored numbers."""
    mdp = TabularMDP(P, R, float(gamma))
    solution = exact(mdp)
    other = np.arange(mdp.n_actions) != solution.policy[:, None]
    least = (solution.v[:, None] - solution.q)[other].min()
    radius, _ = exact_radius(mdp.P, mdp.r, mdp.gamma, solution.policy)
    if lower is not None:
        return rationals(lower).item() * (1 - rationals(mdp.gamma).item()) * least, radius
    return radius, rationals(upper).item() * least


def _lower_check(budget: Budget, constant: float = 0.5) -> Inequality:
    hard = [two_sinks(0.9), two_sinks(0.99), bandit(), *hard_cases(REWARDS, budget.rng("hard"))]
    recheck = partial(_exactly, lower=constant, upper=None)
    measure = partial(_lower, constant=constant)
    return attack(REWARDS, measure, many(budget), batched=True, hard=hard, recheck=recheck)


def _upper_check(budget: Budget, constant: float = 0.5) -> Inequality:
    hard = [bandit(), bandit(gamma=0.9), two_sinks(0.9), *hard_cases(REWARDS, budget.rng("hard"))]
    recheck = partial(_exactly, lower=None, upper=constant)
    measure = partial(_upper, constant=constant)
    return attack(REWARDS, measure, many(budget), batched=True, hard=hard, recheck=recheck)


# closed form = linear program = bisection ----------------------------------------------------------------------------


def _by_programs(mdp: TabularMDP, pi: Ints) -> tuple[float, float]:
    """Least ||D|| with a facet closed, by a linear program a facet that knows nothing of occupancies; and its slack."""
    S, A = mdp.r.shape
    n, best, slack = S * A, inf, 0.0
    P_pi, r_pi = mdp.under(pi)
    take = np.zeros((S, n))
    take[np.arange(S), np.arange(S) * A + pi] = 1
    equalities = np.hstack([-take, np.eye(S) - mdp.gamma * P_pi, np.zeros((S, 1))])  # V = r_pi + D_pi + gamma P_pi V
    for s, a in product(range(S), range(A)):
        if a == pi[s]:
            continue
        row = np.zeros((1, n + S + 1))  # V(s) - D(s, a) - gamma P V <= r(s, a)
        row[0, s * A + a] = -1
        row[0, n : n + S] = np.eye(S)[s] - mdp.gamma * mdp.row(s, a)
        value, tolerance = cheapest(mdp, row, mdp.r[s, [a]], equalities, r_pi)
        best, slack = min(best, value), max(slack, tolerance)
    return best, slack


def _by_bisection(mdp: TabularMDP, c: CliffRadius) -> tuple[float, float]:
    """Largest step along the cheapest perturbation that leaves the policy optimal, found by solving again and again."""
    step = c.perturbation / c.radius
    low, high = 0.0, 2 * c.radius
    while high - low > 1e-10 * c.radius:
        middle = (low + high) / 2
        same = np.array_equal(solve(mdp.with_reward(mdp.r + middle * step)).policy, c.policy)
        low, high = (middle, high) if same else (low, middle)
    return (low + high) / 2, (high - low) / 2 + 16 * c.error


def _three_ways(P: Array, R: Array, gamma: Array, *, power: float) -> Trial | None:
    found = _unique(P, R, gamma)
    if found is None or found[1].radius < 1e-6:
        return None
    mdp, c = found
    radius = c.radius if power == 1 else cliff_radius(mdp, ord=2).radius
    lp, lp_error = _by_programs(mdp, c.policy)
    bisected, width = _by_bisection(mdp, c)
    worst = max((abs(radius - lp), lp_error), (abs(radius - bisected), width), key=lambda pair: pair[0] - pair[1])
    return Trial(worst[0], worst[1] + c.error)


def _three_ways_check(budget: Budget, power: float = 1) -> Identity:
    fewer = budget.with_instances(max(20, budget.instances // 20))
    return equate(REWARDS, partial(_three_ways, power=power), fewer, hard=[two_sinks(0.9), bandit()])


def _certificate(P: Array, R: Array, gamma: Array, *, inflate: float) -> Trial | None:
    found = _unique(P, R, gamma)
    if found is None:
        return None
    mdp, c = found
    return Trial(0.0 if verify_exactly(mdp, c._replace(radius=inflate * c.radius)) else 1.0, 0.0)


def _certificate_check(budget: Budget, inflate: float = 1.0) -> Identity:
    fewer = budget.with_instances(max(50, budget.instances // 10))
    hard = hard_cases(REWARDS, budget.rng("hard"))
    return equate(REWARDS, partial(_certificate, inflate=inflate), fewer, hard=hard, proof="rational")


# no nearer change along any direction, in three norms and in subspaces ----------------------------------------------


def _direction(P: Array, R: Array, D: Array, gamma: Array, *, ord: float, factor: float) -> Trial | None:
    mdp = TabularMDP(P, R, float(gamma))
    return nearest(mdp, D, float(np.linalg.norm(D.ravel(), ord)), factor, ord=ord)


def _steepest(rng: Generator, ord: float) -> Iterator[Case]:
    for P, gamma in known_dynamics():
        case = PERTURBED.draw(rng, P=P, gamma=np.array(gamma))
        c = cliff_radius(TabularMDP(P, case["R"], gamma), ord=ord)
        if c.unique and 0 < c.radius < inf:
            yield case | {"D": c.perturbation / abs(c.perturbation).max()}


def _direction_check(budget: Budget, ord: float, factor: float = 1.0) -> Inequality:
    measure = partial(_direction, ord=ord, factor=factor)
    return attack(PERTURBED, measure, budget, hard=_steepest(budget.rng("hard"), ord))


SUBSPACES = Space(
    SIZES | {"J": (1, 2)},
    {"P": Simplex("SAS"), "R": Box("SA"), "F": Box("JSA"), "x": Box("J"), "gamma": GAMMA},
)


def _subspace(P: Array, R: Array, F: Array, x: Array, gamma: Array, *, factor: float) -> Trial | None:
    found = _unique(P, R, gamma)
    if found is None or not x.any():
        return None
    mdp, c = found
    radius = subspace_radius(mdp, F)
    changed_at, error = first_change(mdp, np.einsum("j,jsa->sa", x, F), c.policy)
    if radius.radius == changed_at == inf:
        return None
    size = float(abs(x).max())
    return Trial(factor * radius.radius, changed_at * size, radius.error + error * size)


def _subspace_check(budget: Budget, factor: float = 1.0) -> Inequality:
    return attack(SUBSPACES, partial(_subspace, factor=factor), budget)


# the hard-max policy has no modulus of continuity -------------------------------------------------------------------


WIDEST = 1e-3  # gap


def _blow_up(P: Array, R: Array, gamma: Array, *, exponent: float) -> Trial:
    r"""How far a reward with another policy is, over gaps down to 1e-7, against :math:`\frac34\Delta` to the exponent.

    Both sides agree at the widest gap.  The policies are solved for before the cliff and half as far beyond it.  All
    other gaps are 1/4 at least and gamma at most 0.99, so up to that gap its action's facet is the nearest: it lies
    within half of the gap, no other within 0.01 / 8.  The gap's error is the radius's over their ratio.
    """
    q = np.round(R * 10) + np.arange(R.shape[1]) / 4  # no ties
    best, trials = q[0].argmax(), []
    for delta in np.logspace(-7, np.log10(WIDEST), 9):
        near = q.copy()
        near[0, best - 1] = q[0, best] - delta
        mdp = TabularMDP(P, near - gamma * P @ near.max(axis=1), float(gamma))
        c = cliff_radius(mdp)
        beyond = mdp.with_reward(mdp.r + 1.5 * c.perturbation)
        jumps = (solve(beyond).policy != c.policy).any()
        bound = 0.75 * c.gap * (c.gap / WIDEST) ** (exponent - 1)
        error = 1.5 * c.error + 0.75 * exponent * c.error / c.multiplier
        trials.append(Trial(float(abs(beyond.r - mdp.r).max()) if jumps else inf, bound, error))
    return max(trials, key=lambda trial: trial.ratio)


def _blow_up_check(budget: Budget, exponent: float = 1.0) -> Inequality:
    fewer = budget.with_instances(max(20, budget.instances // 20))
    return attack(REWARDS, partial(_blow_up, exponent=exponent), fewer, hard=[bandit(), two_sinks(0.9)])


# how likely a cliff is ----------------------------------------------------------------------------------------------


def _ties_happen(budget: Budget, outcome_rewards: bool = False) -> Probability:
    """How often a random reward has tied optimal actions somewhere."""
    rng, failures, runs = budget.rng("instances"), 0, max(2_000, budget.runs // 4)
    for _ in range(runs):
        if outcome_rewards:
            mdp = discounted_tree(2, 3, (rng.random(2**3) < 0.5).astype(float), 0.9)
        else:
            case = REWARDS.draw(rng)
            mdp = TabularMDP(case["P"], rng.normal(size=case["R"].shape), float(case["gamma"]))
        failures += not cliff_radius(mdp).unique
    return probability(failures, runs, 5e-3)


def _flip(budget: Budget, share: float = 1.0) -> Probability:
    """Gaussian errors on a reward over RiverSwim under which each state has one rival action, all with gap 1.

    The errors are as large as makes the bound a fifth: there it is no more than it must be.
    """
    P, gamma = known_dynamics()[0]
    mdp = TabularMDP(P, inverse_bellman(P, np.tile([-1.0, 0.0], (len(P), 1)), gamma), gamma)
    pi, runs = solve(mdp).policy, 25 * budget.runs
    sigma = root_scalar(lambda size: flip_probability(mdp, size) - 0.2, bracket=(1e-6, 1e3)).root
    noise = sigma * budget.rng("noise").normal(size=(runs, *mdp.r.shape))
    optimal = (policy_gaps(mdp, pi, mdp.r[None] + noise) >= -gap_rounding(mdp, float(abs(mdp.r).max()))).all(
        axis=(1, 2)
    )
    nearest = float(facet_distances(mdp, ord=2).min())
    witness = {"sigma": sigma, "nearest facet": nearest, "R": mdp.r}
    return probability(int((~optimal).sum()), runs, share * flip_probability(mdp, sigma), witness)


OURS = "ours, makes Theorem 2.7 quantitative"

CLAIMS = (
    claim(
        id="policy-cliff/radius-lower",
        source=OURS,
        statement=r"The cliff radius is at least $(1-\gamma)\Delta_{\min}/2$.",
        kind=Inequality,
        premises=(FINITE, DISCOUNT, UNIQUE),
        check=_lower_check,
        control=partial(_lower_check, constant=1.0),
        control_statement=r"it is at least $(1-\gamma)\Delta_{\min}$ (1 in place of 1/2).",
    ),
    claim(
        id="policy-cliff/radius-upper",
        source=OURS,
        statement=r"The cliff radius is at most $\Delta_{\min}/2$.",
        kind=Inequality,
        premises=(FINITE, DISCOUNT, UNIQUE),
        check=_upper_check,
        control=partial(_upper_check, constant=0.4),
        control_statement=r"it is at most $0.4\,\Delta_{\min}$.",
    ),
    claim(
        id="policy-cliff/radius-closed-form",
        source=OURS,
        statement=(
            r"$r(R) = \min_{s,a\ne\pi(s)} \Delta(s,a)/\|g_{s,a}\|_1$ equals the least change found by linear programs "
            "over rewards and values, and by bisection along the cheapest perturbation."
        ),
        kind=Identity,
        premises=(FINITE, DISCOUNT, UNIQUE),
        check=_three_ways_check,
        control=partial(_three_ways_check, power=2),
        control_statement=r"the same with $\|g_{s,a}\|_2$ in place of $\|g_{s,a}\|_1$.",
    ),
    claim(
        id="policy-cliff/radius-certificate",
        source=OURS,
        statement=(
            r"The facet and its multiplier $1/\|g\|_1$ prove the radius in exact rationals of the stored numbers."
        ),
        kind=Identity,
        premises=(FINITE, DISCOUNT, UNIQUE),
        check=_certificate_check,
        control=partial(_certificate_check, inflate=1.0 + 1e-6),
        control_statement="they prove a radius larger by one part in a million.",
    ),
    *(
        claim(
            id=f"policy-cliff/radius-{name}",
            source=OURS,
            statement=(
                rf"No reward change of {words} norm below $\min \Delta(s,a)/\|g_{{s,a}}\|_{{{dual}}}$ ends "
                rf"the policy's optimality."
            ),
            kind=Inequality,
            premises=(FINITE, DISCOUNT, UNIQUE),
            check=partial(_direction_check, ord=ord),
            control=partial(_direction_check, ord=ord, factor=1.05),
            control_statement="the same with a radius 5 % larger.",
        )
        for name, words, ord, dual in (
            ("sup", "supremum", inf, "1"),
            ("l2", "Euclidean", 2.0, "2"),
            ("l1", "L1", 1.0, r"\infty"),
        )
    ),
    claim(
        id="policy-cliff/radius-subspace",
        source=OURS,
        statement=(
            r"If the reward moves only by $\sum_j x_jF_j$, the policy stays optimal for "
            r"$\|x\|_\infty < \min_{s,a}\Delta(s,a)/\|(g_{s,a}\cdot F_j)_j\|_1$."
        ),
        kind=Inequality,
        premises=(FINITE, DISCOUNT, UNIQUE),
        check=_subspace_check,
        control=partial(_subspace_check, factor=1.05),
        control_statement="the same with a radius 5 % larger.",
    ),
    claim(
        id="policy-cliff/no-modulus",
        source="ours, the quantitative form of Section 2.5",
        statement=(
            r"The hard-max policy has no modulus of continuity: as a gap $\Delta$ closes, the policy flips at distance "
            r"$r \le \frac34\Delta$, so $\sup d_{TV}/\|R-R'\|_\infty \ge 1/r$ grows at least like $1/\Delta$."
        ),
        kind=Inequality,
        premises=(FINITE, DISCOUNT, r"$\Delta$ from $10^{-3}$ to $10^{-7}$"),
        check=_blow_up_check,
        control=partial(_blow_up_check, exponent=1.2),
        control_statement=r"from $\Delta = 10^{-3}$ on it grows at least like $\Delta^{-1.2}$.",
    ),
    claim(
        id="policy-cliff/ties-are-null",
        source="ours, on the hypothesis of Propositions 2.9 and 2.10",
        statement="A random reward with a density has tied optimal actions with probability 0 (tested: at most 0.005).",
        kind=Probability,
        premises=(FINITE, DISCOUNT, "rewards drawn from a normal law"),
        check=_ties_happen,
        control=partial(_ties_happen, outcome_rewards=True),
        control_statement="the same for random 0/1 outcome rewards on token trees.",
    ),
    claim(
        id="policy-cliff/flip-probability",
        source="ours, a finite-sample form of Theorem 2.7",
        statement=(
            r"Independent Gaussian errors of size $\sigma$ change the optimal policy with probability at most "
            r"$\sum_{s,a}\Phi(-\Delta(s,a)/(\sigma\|g_{s,a}\|_2))$."
        ),
        kind=Probability,
        premises=(FINITE, DISCOUNT, UNIQUE, "RiverSwim's dynamics, all gaps 1"),
        check=_flip,
        control=partial(_flip, share=0.1),
        control_statement="with probability at most a tenth of that.",
    ),
)
