"""The claims on papers that are one module each: that every verdict is as expected at another seed."""

from dataclasses import replace

import pytest

from claimlab.experiments.papers import (
    adversarial_policies,
    beer,
    c_morl,
    expo,
    hnpg,
    policy_guided_diffusion,
    prdc,
    scattering,
    submodular_rl,
)
from claimlab.theory.claims import SMOKE

PAPERS = (
    submodular_rl,
    beer,
    policy_guided_diffusion,
    adversarial_policies,
    c_morl,
    scattering,
    expo,
    prdc,
    hnpg,
)
CLAIMS = [claim for paper in PAPERS for claim in paper.CLAIMS]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_verdicts_at_another_seed(claim):
    budget = replace(SMOKE, seed=2_027)
    assert claim.check(budget).rule(0.05)[0] is claim.expected
    assert claim.control(budget).rule(0.05)[0] is claim.control_expected
