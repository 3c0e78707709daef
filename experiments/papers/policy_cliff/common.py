"""What the sections of the paper share: its entry in the catalogue, spaces of instances, and tied rational MDPs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import cache, partial
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from scipy.optimize import linprog

from claimlab.checks import Array, Bools, Ints
from claimlab.mdps.batched import MDPBatch
from claimlab.mdps.convert import discounted, from_gymnasium
from claimlab.mdps.exact import Rationals, rationals, solve_exactly
from claimlab.mdps.instances import combination_lock, deep_sea, jao, river_swim
from claimlab.mdps.inverse import inverse_bellman
from claimlab.mdps.planning import gaps
from claimlab.mdps.tabular import TabularMDP
from claimlab.mdps.trees import token_tree
from claimlab.theory.cells import sweep
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Identity
from claimlab.theory.falsify import Trial
from claimlab.theory.inclusion import inclusion_radius
from claimlab.theory.spaces import Box, Case, Simplex, Space
from claimlab.theory.stability import cliff_radius, policy_gaps

PAPER = Paper(
    slug="policy-cliff",
    title="The Policy Cliff: A Theoretical Analysis of Reward-Policy Maps in Large Language Models",
    authors="Xingcheng Xu",
    venue="arXiv, 2025",
    arxiv="2507.20150",
    tier="theory-checkable",
)

claim = partial(Claim, paper=PAPER)

FINITE = "finite state and action spaces (the compact case reduces to them in the paper's own application)"
DISCOUNT = "discount factor in [0, 1) (Assumption 2.3)"
UNIQUE = "the optimal action is unique in every state at $R_0$"
TIED = "two optimal actions $a_1 \\ne a_2$ in some state $s_0$ at $R_0$"
WEIGHTS = "weights $w_k(s) \\ge 0$ with $\\sum_k w_k(s) = 1$, fixed while $R$ moves"
SOFT = "temperature $\\alpha > 0$"

GAMMA = Box("", 0.0, 0.99)
WHOLE = Box("SA", -2, 2, step=1)  # optimal action values with many ties
SIZES = {"S": (1, 4), "A": (1, 3)}
PERTURBED = Space(SIZES, {"P": Simplex("SAS"), "R": Box("SA"), "D": Box("SA"), "gamma": GAMMA})


@cache
def known_dynamics() -> tuple[tuple[Array, float], ...]:
    """Transitions float[S, A, S] and discounts of the field's hard instances, Gymnasium's FrozenLake among them.

    Missing actions (in terminal states) become copies of action 0, so that every pair exists.
    """
    lake = from_gymnasium("FrozenLake-v1", 0.95)
    hard = ((river_swim(4, 0.95), 0.95), (combination_lock(3), 0.9), (deep_sea(2), 0.9), (jao(3, 0.1, 0.05), 0.9))
    out = []
    for mdp, gamma in (*hard, (lake, 0.95)):
        P = np.array(mdp.P.toarray() if mdp.is_sparse else mdp.P).reshape(mdp.n_states, mdp.n_actions, -1)
        out.append((np.where(mdp.actions[..., None], P, P[:, :1]), gamma))
    return tuple(out)


def hard_cases(space: Space, rng: Generator, **given: Any) -> Iterator[Case]:
    """Hard dynamics with everything else of `space` drawn at random."""
    for P, gamma in known_dynamics():
        yield space.draw(rng, P=P, gamma=np.array(gamma), **given)


def bandit(gap: float = 1.0, gamma: float = 0.0) -> Case:
    """One state, two actions: where a bound's constant shows undisturbed."""
    return {"P": np.ones((1, 2, 1)), "R": np.array([[gap, 0.0]]), "gamma": np.array(gamma)}


def two_sinks(gamma: float, gap: float = 1.0) -> Case:
    """State 0 chooses between two absorbing states: futures that never meet, the other extreme of a bound."""
    P = np.zeros((3, 2, 3))
    P[0, 0, 1] = P[0, 1, 2] = P[1, :, 1] = P[2, :, 2] = 1
    R = np.array([[gap, 0.0], [0.0, -4.0], [0.0, -4.0]])  # the sinks' second actions are far from optimal
    return {"P": P, "R": R, "gamma": np.array(gamma)}


def discounted_tree(vocabulary: int, depth: int, reward: Any, gamma: float) -> TabularMDP:
    """A token tree in the paper's own setting, an infinite-horizon discounted MDP that ends in a terminal state."""
    return discounted(token_tree(vocabulary, depth, reward), gamma)


def first_change(mdp: TabularMDP, D: Array, policy: Ints) -> tuple[float, float]:
    """The least t >= 0 such that `policy` is not optimal just beyond ``mdp.r + t D``, and its error.

    A sweep takes gaps that are small beside the values for ties; where such a gap is proved to be none, nothing is
    known about the change, and the error is infinite.
    """
    path = sweep(mdp, D, high=1e3)
    if not np.array_equal(path.policies[0], policy):
        gap, error = gaps(mdp)
        rivals = gap[np.arange(len(policy)), path.policies[0]]
        return 0.0, inf if rivals.max() > error else 0.0
    return (float(path.breakpoints[0]), float(path.errors[0])) if len(path.breakpoints) else (inf, 0.0)


def first_newcomer(mdp: TabularMDP, D: Array, optimal: Bools) -> tuple[float, float]:
    """The least t >= 0 such that an action outside `optimal` is optimal just beyond ``mdp.r + t D``, and its error."""
    path = sweep(mdp, D, high=1e3)
    starts = zip((0.0, *path.breakpoints), (0.0, *path.errors), path.policies)
    return next(
        ((float(t), float(error)) for t, error, policy in starts if not optimal[np.arange(len(policy)), policy].all()),
        (inf, 0.0),
    )


def tied_mdp(P: Array, q: Array, gamma: float) -> tuple[TabularMDP, Bools]:
    """The MDP whose optimal action values are `q`, whole numbers, and its optimal actions (exactly those)."""
    best = q == q.max(axis=1, keepdims=True)
    return TabularMDP(P, inverse_bellman(P, q, gamma), gamma), best


def expect(P: Array, v: Array) -> Array:
    r""":math:`\sum_t P(t|s,a)\,v(t)` for a block, float[n, S, A]."""
    return np.asarray(np.einsum("nsat,nt->nsa", P, v))


def tied_batch(P: Array, q: Array, gamma: Array) -> tuple[MDPBatch, Bools]:
    """:func:`tied_mdp` for a block of instances."""
    v = q.max(axis=2)
    return MDPBatch(P, q - gamma[:, None, None] * expect(P, v), gamma), q == v[..., None]


def many(budget: Budget) -> Budget:
    """Fifty times the instances: a batched measure makes them in about the time in which others make one fiftieth."""
    return budget.with_instances(50 * budget.instances)


def least_positive_gap(q: Array) -> float:
    """The least distance of a suboptimal action's value from the best in its state."""
    gap = q.max(axis=1, keepdims=True) - q
    return float(gap[gap > 0].min())


def included(mdp: TabularMDP, best: Bools, D: Array, size: float, factor: float) -> Trial | None:
    """`factor` times the inclusion radius against the distance, `size` a unit of `D`, of the first new action."""
    if size == 0:
        return None
    radius = inclusion_radius(mdp, optimal=best)
    broken_at, error = first_newcomer(mdp, D, best)
    return Trial(factor * radius.lower, broken_at * size, error * size)


def unchanged(P: Array, q: Array, gamma: Array, D: Array, size: float, *, unique: bool) -> Trial | None:
    """(1 - gamma) gap / 2 against the distance, `size` a unit of `D`, at which the selected policy first changes."""
    mdp, best = tied_mdp(P, q, float(gamma))
    if (unique and best.sum() > len(best)) or best.all() or size == 0:
        return None
    gap = least_positive_gap(q)
    changed_at, error = first_change(mdp, D, best.argmax(axis=1))
    return Trial((1 - mdp.gamma) * gap / 2, changed_at * size, error * size)


def nearest(mdp: TabularMDP, D: Array, size: float, factor: float, *, ord: float = inf) -> Trial | None:
    """`factor` times the cliff radius against the distance, `size` a unit of `D`, at which the policy changes."""
    c = cliff_radius(mdp, ord=ord)
    if not c.unique or not D.any() or c.radius == inf:
        return None
    changed_at, error = first_change(mdp, D, c.policy)
    return Trial(factor * c.radius, changed_at * size, c.error + error * size)


def least_gap(mdp: TabularMDP, policy: Ints) -> float:
    """The least gap of an action that `policy`, an optimal one, does not take."""
    other = np.arange(mdp.n_actions) != policy[:, None]
    return float(policy_gaps(mdp, policy, mdp.r[None])[0][other].min())


def cheapest(mdp: TabularMDP, rows: Array, limits: Array, equalities: Array, values: Array) -> tuple[float, float]:
    """min ||D|| over (D, V, t) with ``rows @ (D, V, t) <= limits``, ``equalities @ (D, V, t) = values``, |D| <= t.

    Returns the value and the effect on it (by the multipliers) of the solver's feasibility tolerance and of the
    coefficients below 1e-9, which HiGHS takes for zeros.
    """
    S, n, tolerance = mdp.n_states, mdp.r.size, 1e-10
    box = np.vstack([np.hstack([sign * np.eye(n), np.zeros((n, S)), -np.ones((n, 1))]) for sign in (1, -1)])
    answer = linprog(
        np.r_[np.zeros(n + S), 1],
        A_ub=np.vstack([rows, box]),
        b_ub=np.r_[limits, np.zeros(2 * n)],
        A_eq=equalities,
        b_eq=values,
        bounds=[(None, None)] * (n + S) + [(0, None)],
        options={"primal_feasibility_tolerance": tolerance, "dual_feasibility_tolerance": tolerance},
    )
    weights = abs(np.r_[answer.ineqlin.marginals, answer.eqlin.marginals])
    matrix, x = abs(np.vstack([rows, box, equalities])), abs(answer.x)
    dropped = weights @ np.where(matrix <= 1e-9, matrix, 0.0) @ x
    return float(answer.fun), float(2 * dropped + tolerance * (1 + weights.sum() + x.sum()))


class Tied(NamedTuple):
    """An MDP in rationals with `ties` optimal actions in state 0, where action `a2` is one of them."""

    P: Rationals
    q: Rationals
    gamma: Fraction
    ties: int
    a2: int

    def reward(self, q: Rationals) -> Rationals:
        """The inverse Bellman map: the reward whose optimal action values are `q`."""
        return q - self.gamma * (self.P @ q.max(axis=1))

    def bumped(self, eps: Fraction) -> tuple[Rationals, Rationals]:
        """The proof's construction: q raised by eps at (0, a2), and the reward that belongs to it."""
        q = self.q.copy()
        q[0, self.a2] += eps
        return q, self.reward(q)


def draw_tied(rng: Generator, *, tie: bool = True) -> Tied:
    """A random `Tied` with 1-3 states and 2-4 actions; with ``tie=False``, a2 is suboptimal by one instead."""
    S, A = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    counts = rng.multinomial(4, np.ones(S) / S, size=(S, A))
    q = rng.integers(-2, 3, size=(S, A))
    m = int(rng.integers(2, A + 1)) if tie else 1
    order = rng.permutation(A)
    q[0] = 3
    q[0, order[m:]] = 2
    a2 = int(order[m - 1] if tie else order[1])
    gamma = Fraction(["0", "1/2", "9/10", "99/100"][rng.integers(4)])
    return Tied(rationals(counts) / Fraction(4), rationals(q), gamma, m, a2)


EPSILONS = tuple(Fraction(1, 10**k) for k in (1, 3, 6, 10, 300))


def norm(x: Rationals) -> Fraction:
    return max(abs(value) for value in np.ravel(x))


def optimal_in_0(mdp: Tied, r: Rationals) -> list[int]:
    """The optimal actions of state 0 under reward `r`, found by solving (not by the construction)."""
    return [int(a) for a in np.flatnonzero(solve_exactly(mdp.P, r, mdp.gamma).actions[0])]


def uniform_jump(before: list[int], after: list[int]) -> Fraction:
    """Total variation between the uniform laws on two sets of actions."""
    p, q = ({a: Fraction(1, len(best)) for a in best} for best in (before, after))
    return sum((abs(p.get(a, Fraction(0)) - q.get(a, Fraction(0))) for a in {*p, *q}), Fraction(0)) / 2


def decide(budget: Budget, holds: Callable[[Generator], tuple[bool, Mapping[str, Any]]]) -> Identity:
    """Exact evidence: `holds` draws an instance and decides the statement on it in rationals."""
    rng, failures, witness = budget.rng("instances"), 0, None
    count = max(40, budget.instances // 4)
    for _ in range(count):
        good, instance = holds(rng)
        if not good:
            failures += 1
            if witness is None or len(str(instance)) < len(str(witness)):
                witness = instance
    return Identity(float(failures), 0.0, count, "rational", witness)


def decided(holds: Callable[..., tuple[bool, Mapping[str, Any]]], **options: Any) -> Callable[[Budget], Identity]:
    """The check that decides ``holds(rng, **options)``."""
    return partial(decide, holds=partial(holds, **options))


def describe(mdp: Tied, **more: Any) -> dict[str, Any]:
    """A rational instance in printable form."""
    return {"P": mdp.P, "q": mdp.q, "gamma": mdp.gamma, "a2": mdp.a2, **more}
