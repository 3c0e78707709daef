"""What the tests of the solvers share beside the public oracles: discounts, scales and a tolerance."""

from hypothesis import strategies as st

from claimlab.mdps.exact import exact, rational_mdp
from claimlab.theory.oracles import SCALES, distance, hard_mdps, within

MODERATE = st.sampled_from([0.0, 0.5, 0.9, 0.99])
CLOSE_TO_ONE = st.sampled_from([0.0, 0.5, 0.99, 0.9999])


def tolerance(mdp, relative=1e-7):
    return max(relative * mdp.value_bound, 1e-300)


__all__ = [
    "CLOSE_TO_ONE",
    "MODERATE",
    "SCALES",
    "distance",
    "exact",
    "hard_mdps",
    "rational_mdp",
    "tolerance",
    "within",
]
