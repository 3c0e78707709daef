"""Guided trajectories: by hand, and the closed forms against the flow's equation solved in steps."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from claimlab.experiments.papers import policy_guided_diffusion as pgd


def test_successors_come_up_where_the_target_likes_to_act_by_hand():
    """Both successors have probability 1/2; in one the target plays as the behaviour, in the other the first action.

    Tilted weights of the actions after them are (1/4 + 1/4) and (1/2 + 0): equal, so q keeps the law; with power 2 they
    are 1/8 + 1/8 and 1/2, so the second state comes up with probability 2/3.
    """
    case = dict(pgd.MEET)
    for power, share in ((1.0, 1 / 2), (2.0, 2 / 3)):
        law = pgd.guided_law(case["rho"], case["P"], case["behaviour"], case["target"], power).sum(axis=-1)
        found = law[0, 0] / law[0, 0].sum()
        assert found[1] == pytest.approx(share)


@pytest.mark.parametrize("how", ["noisy", "denoised", "derivative", "exact"])
@pytest.mark.parametrize("kappa", [0.1, 0.7])
def test_variances_are_those_of_the_flow(how, kappa, monkeypatch):
    monkeypatch.setattr(pgd, "LOUD", 3.0)  # so that no variance vanishes
    aim = {"noisy": lambda v: kappa, "denoised": lambda v: kappa / v, "derivative": lambda v: kappa / v**2}

    def slope(sigma, x):
        """The part of dx/dsigma that is linear in x: minus sigma times the score's."""
        if how == "exact":
            return sigma * x / (1 / (1 + kappa) + sigma**2)
        return sigma * x * (1 / (1 + sigma**2) + aim[how](1 + sigma**2))

    start = np.sqrt((1 / (1 + kappa) if how == "exact" else 1.0) + pgd.LOUD**2)
    found = solve_ivp(slope, (pgd.LOUD, 0.0), [start], rtol=1e-10, atol=1e-14).y[0, -1] ** 2
    assert found == pytest.approx(float(pgd.guided_variance(np.array(kappa), how)), rel=1e-6)
