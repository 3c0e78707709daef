"""What the tests of the solvers share: exact distances, and the instances on which float64 has a hard time."""

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from claimlab.mdps import TabularMDP
from claimlab.mdps.exact import exact, rational_mdp, rationals
from claimlab.theory.strategies import periodic_mdps, rewards, seeds, tabular_mdps, tied_mdps

SCALES = [1.0, 1e-12, 1e12]
MODERATE = st.sampled_from([0.0, 0.5, 0.9, 0.99])
CLOSE_TO_ONE = st.sampled_from([0.0, 0.5, 0.99, 0.9999])


def distance(v, true):
    """max |v - true| without rounding, for finite floats `v` and rationals `true`."""
    return max(abs(a - b) for a, b in zip(rationals(v).flat, true.flat, strict=True))


def within(v, true, error):
    return distance(v, true) <= Fraction(error)


def tolerance(mdp, relative=1e-7):
    return max(relative * mdp.value_bound, 1e-300)


@st.composite
def nearly_absorbing(draw, gammas):
    """Every action stays with probability 1 - 1e-9 or more, so chains mix slower than any horizon."""
    mdp = draw(tabular_mdps(gammas=gammas, sparse=False))
    leave = draw(st.sampled_from([1e-9, 1e-15]))
    P = (1 - leave) * np.eye(mdp.n_states)[:, None, :] + leave * mdp.P
    return TabularMDP(P, mdp.r, mdp.gamma)


@st.composite
def unnormalised(draw, gammas):
    """Rows of P sum to 1 only within the tolerance of the constructor."""
    mdp = draw(tabular_mdps(gammas=gammas, sparse=False))
    off = draw(st.sampled_from([1 + 9e-10, 1 - 9e-10]))
    return TabularMDP(off * mdp.P, mdp.r, mdp.gamma)


@st.composite
def random_mdps(draw, gammas):
    """Without any structure: every number differs, rows have some zeros, Hypothesis chooses the sizes and the seed."""
    S, A, rng = draw(st.integers(1, 5)), draw(st.integers(1, 3)), np.random.default_rng(draw(seeds()))
    weights = rng.random((S, A, S)) ** 3 * (rng.random((S, A, S)) < 0.7) + 1e-6 * np.eye(S)[:, None, :]
    r = draw(st.sampled_from(SCALES)) * rng.normal(size=(S, A))
    return TabularMDP(weights / weights.sum(axis=2, keepdims=True), r, draw(gammas))


def hard_mdps(gammas):
    """Dense and CSR, masked, terminal, rewards of every size, ties, periodic, nearly absorbing, rows off by 1e-9."""
    general = st.sampled_from(SCALES).flatmap(
        lambda scale: tabular_mdps(
            gammas=gammas, masked=True, terminal=True, rewards=lambda shape: rewards(shape, scale=scale)
        )
    )
    periodic = st.builds(lambda m, gamma: TabularMDP(m.P, m.r, gamma), periodic_mdps(), gammas)
    tied = tied_mdps(masked=True).map(lambda pair: pair[0])
    return st.one_of(general, periodic, tied, nearly_absorbing(gammas), unnormalised(gammas), random_mdps(gammas))


__all__ = ["CLOSE_TO_ONE", "MODERATE", "distance", "exact", "hard_mdps", "rational_mdp", "tolerance", "within"]
