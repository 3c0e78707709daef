"""What to compare a solver of yours with: answers without rounding, and the instances on which float64 has a hard time.

An oracle takes the numbers that an instance stores as rationals, so it knows ties from near-ties and its answer has no
error.  Small instances only: the cost grows with the cube of the states and with the length of the numbers.

>>> import numpy as np
>>> from hypothesis import given, settings
>>> from hypothesis import strategies as st
>>> def my_solver(mdp):
...     v = np.zeros(mdp.n_states)
...     for _ in range(2_000):
...         v = (mdp.r + mdp.gamma * mdp.P @ v).max(axis=1)
...     return v
>>> @settings(deadline=None)
... @given(random_mdps(gammas=st.just(0.9)))
... def test_my_solver(mdp):
...     assert value_error(mdp, my_solver(mdp)) <= 1e-9 * mdp.value_bound
>>> test_my_solver()
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from claimlab.checks import Array
from claimlab.mdps.exact import Rationals, exact, policy_value_exactly, rational_mdp, rationals
from claimlab.mdps.tabular import TabularMDP
from claimlab.theory.strategies import DISCOUNTS, periodic_mdps, rewards, seeds, tabular_mdps, tied_mdps

SCALES = (1.0, 1e-12, 1e12)  # of rewards

# Oracles --------------------------------------------------------------------------------------------------------------


def distance(v: Array, true: Rationals) -> Fraction:
    """`max |v - true|` for finite floats `v` and rationals `true` of the same shape.

    >>> distance(np.array([0.5, 1.0]), rationals(["1/3", 1]))
    Fraction(1, 6)
    """
    return Fraction(abs(rationals(v) - true).max())


def within(v: Array, true: Rationals, error: float) -> bool:
    """Whether `v` is as near to `true` as a certificate says, float[...] and rationals of the same shape.

    >>> within(np.array([0.1]), rationals(["1/10"]), 1e-17), within(np.array([0.1]), rationals(["1/10"]), 0)
    (True, False)
    """
    return distance(v, true) <= Fraction(error)


def value_error(mdp: TabularMDP, v: Array) -> Fraction:
    """`max |v - v*|` of values float[S].

    >>> mdp = TabularMDP(P=[[[1.0], [1.0]]], r=[[0.0, 1.0]], gamma=0.5)
    >>> value_error(mdp, np.array([1.75]))
    Fraction(1, 4)
    """
    return distance(v, exact(mdp).v)


def policy_loss(mdp: TabularMDP, pi: ArrayLike) -> Fraction:
    """`max (v* - v_pi)` of a policy, int[S] or, with rows that sum to 1, float[S, A].

    >>> mdp = TabularMDP(P=[[[1.0], [1.0]]], r=[[0.0, 1.0]], gamma=0.5)
    >>> policy_loss(mdp, [0]), policy_loss(mdp, [[0.25, 0.75]])
    (Fraction(2, 1), Fraction(1, 2))
    """
    P, r, gamma, actions = rational_mdp(mdp)
    return Fraction(max(exact(mdp).v - policy_value_exactly(P, r, gamma, pi, actions)))


def is_optimal(mdp: TabularMDP, pi: ArrayLike) -> bool:
    """Whether a policy, int[S] or float[S, A], takes optimal actions alone; ties are decided exactly.

    >>> mdp = TabularMDP(P=[[[1.0], [1.0]]], r=[[1.0, 1.0]], gamma=0.5)
    >>> is_optimal(mdp, [[0.5, 0.5]]), is_optimal(mdp.with_reward([[1.0, 1.0 + 2**-52]]), [0])
    (True, False)
    """
    chosen, optimal = np.asarray(pi), exact(mdp).actions
    taken = chosen > 0 if chosen.ndim == 2 else np.eye(mdp.n_actions, dtype=bool)[chosen]
    return bool(optimal[taken].all())


# Hard instances -------------------------------------------------------------------------------------------------------


@st.composite
def random_mdps(draw: st.DrawFn, *, gammas: st.SearchStrategy[float] = DISCOUNTS) -> TabularMDP:
    """Without any structure: every number differs, rows have some zeros, Hypothesis chooses the sizes and the seed.

    >>> from hypothesis import find
    >>> find(random_mdps(), lambda mdp: True).P
    array([[[1.]]])
    """
    S, A, rng = draw(st.integers(1, 5)), draw(st.integers(1, 3)), np.random.default_rng(draw(seeds()))
    weights = rng.random((S, A, S)) ** 3 * (rng.random((S, A, S)) < 0.7) + 1e-6 * np.eye(S)[:, None, :]
    r = draw(st.sampled_from(SCALES)) * rng.normal(size=(S, A))
    return TabularMDP(weights / weights.sum(axis=2, keepdims=True), r, draw(gammas))


@st.composite
def nearly_absorbing_mdps(draw: st.DrawFn, *, gammas: st.SearchStrategy[float] = DISCOUNTS) -> TabularMDP:
    """Every action stays with probability 1 - 1e-9 or more, so chains mix slower than any horizon.

    >>> from hypothesis import find
    >>> find(nearly_absorbing_mdps(), lambda mdp: mdp.n_states == 2 and mdp.P[0, 0, 1] > 0).P[0]
    array([[1.e+00, 5.e-10]])
    """
    mdp = draw(tabular_mdps(gammas=gammas, sparse=False))
    leave = draw(st.sampled_from([1e-9, 1e-15]))
    P = (1 - leave) * np.eye(mdp.n_states)[:, None, :] + leave * mdp.P
    return TabularMDP(P, mdp.r, mdp.gamma)


@st.composite
def unnormalised_mdps(draw: st.DrawFn, *, gammas: st.SearchStrategy[float] = DISCOUNTS) -> TabularMDP:
    """Rows of P sum to 1 only within the tolerance of the constructor.

    >>> from hypothesis import find
    >>> bool(find(unnormalised_mdps(), lambda mdp: True).P.sum() > 1)
    True
    """
    mdp = draw(tabular_mdps(gammas=gammas, sparse=False))
    off = draw(st.sampled_from([1 + 9e-10, 1 - 9e-10]))
    return TabularMDP(off * mdp.P, mdp.r, mdp.gamma)


def hard_mdps(gammas: st.SearchStrategy[float] = DISCOUNTS) -> st.SearchStrategy[TabularMDP]:
    """Dense and CSR, masked, terminal, rewards of every size, ties, periodic, nearly absorbing, rows off by 1e-9.

    >>> from hypothesis import find
    >>> find(hard_mdps(), lambda mdp: mdp.terminal.any()).r
    array([[0.]])
    """
    general = st.sampled_from(SCALES).flatmap(
        lambda scale: tabular_mdps(
            gammas=gammas, masked=True, terminal=True, rewards=lambda shape: rewards(shape, scale=scale)
        )
    )
    periodic = st.builds(lambda m, gamma: TabularMDP(m.P, m.r, gamma), periodic_mdps(), gammas)
    tied = tied_mdps(masked=True).map(lambda pair: pair[0])
    others = (nearly_absorbing_mdps(gammas=gammas), unnormalised_mdps(gammas=gammas), random_mdps(gammas=gammas))
    return st.one_of(general, periodic, tied, *others)
