"""Certificates re-verified in rational arithmetic: found in float64, proved for the stored numbers."""

from __future__ import annotations

from itertools import product
from math import inf
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from claimlab.checks import Ints
from claimlab.mdps.exact import rationals, solve_linear
from claimlab.mdps.tabular import EPS, TabularMDP
from claimlab.theory.stability import CliffRadius


def exact_radius(P: ArrayLike, r: ArrayLike, gamma: Any, policy: Ints) -> tuple[Any, tuple[int, int]]:
    """Supremum-norm cliff radius of the optimal `policy` and its nearest facet, in exact rationals.

    Dense ``P[S, A, S]``; a facet whose gap is negative makes the radius negative: then `policy` is not optimal.  S^3
    operations on big integers: for small MDPs.
    """
    facets = _exact_facets(P, r, gamma, policy)
    return min(((gap / norm, at) for at, (gap, norm) in facets.items()), default=(inf, (-1, -1)))


def _exact_facets(P: ArrayLike, r: ArrayLike, gamma: Any, policy: Ints) -> dict[tuple[int, int], tuple[Any, Any]]:
    """Gap and L1 norm of every facet (s, a) of the policy's cone, in exact rationals."""
    P, r, gamma = rationals(P), rationals(r), rationals(gamma).item()
    (S, A), pi = r.shape, np.asarray(policy)
    eye = rationals(np.eye(S, dtype=int))
    visits = solve_linear(eye - gamma * P[np.arange(S), pi], eye)
    v = visits @ r[np.arange(S), pi]
    return {
        (s, a): (
            v[s] - r[s, a] - gamma * (P[s, a] @ v),
            1 + sum(abs(x) for x in visits[s] - gamma * (P[s, a] @ visits)),
        )
        for s, a in product(range(S), range(A))
        if a != pi[s]
    }


def verify_exactly(mdp: TabularMDP, claimed: CliffRadius) -> bool:
    """Whether a supremum-norm certificate holds in exact rationals of the stored numbers.

    The policy must be optimal, the radius the exact one up to the claimed error, and so must be the distance of the
    facet that is named and the product of its exact gap and the multiplier.
    """
    if not mdp.actions.all() or mdp.terminal.any() or mdp.is_sparse:
        raise ValueError("verify_exactly takes dense MDPs in which every action exists and no state is terminal.")
    facets = _exact_facets(mdp.P, mdp.r, mdp.gamma, claimed.policy)
    if not facets:
        return claimed.radius == inf
    least = min(gap / norm for gap, norm in facets.values())
    if least < 0 or (claimed.state, claimed.action) not in facets:
        return False
    gap, norm = facets[claimed.state, claimed.action]
    same = (least, gap / norm, float(gap) * claimed.multiplier)
    return all(abs(float(x) - claimed.radius) <= claimed.error + 2 * EPS * claimed.radius for x in same)
