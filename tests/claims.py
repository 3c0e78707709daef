"""What the tests of every paper ask of its claims."""

import latex2mathml.converter

from claimlab.theory.evidence import judge

# Claims whose check takes long: `make verify`, which runs beside the tests, judges them instead.
DEAR = {
    "classic-bandits/kl-ucb-bound",
    "classic-bandits/tsallis-constrained",
    "classic-bandits/tsallis-logarithmic",
    "classic-bandits/tsallis-stochastic",
    "learning-to-relax/chebcb-beats-tsallis-cb",
    "learning-to-relax/cg-end-to-end",
    "learning-to-relax/chebcb-elsewhere",
    "learning-to-relax/chebcb-growth",
    "learning-to-relax/end-to-end",
    "learning-to-relax/heat-chebcb-beats-best-fixed",
    "learning-to-relax/heat-gain-in-work",
    "learning-to-relax/heat-optimum-moves",
    "learning-to-relax/heat-step-shown",
    "learning-to-relax/heat-varying-step",
    "learning-to-relax/policy-end-to-end",
    "learning-to-relax/released-regret",
    *(
        f"dynamical-linear-bandits/{name}"
        for name in (
            "figure-1-crossover",
            "figure-1-d-lin-ucb",
            "figure-1-lin-ucb",
            "overestimated-rho-bar",
            "rate-T",
            "regret-explicit",
            "waiting-needed",
        )
    ),
    "loop/beaten-by-uclk-c",
    "loop/regret-bound-likelihood",
    "loop/switches-logarithmic",
    "props/reinforce-strong",
    "props/reinforce-systematic",
    "loop/thousand-models",
    "stepmix/epsmix-safe-on-average",
}


def cheap(claims):
    return [claim for claim in claims if claim.id not in DEAR]


def assert_as_expected(claim, budget):
    """Claim and control are evidence of the stated kind, and come out as they must."""
    budget = budget.of(claim.id)
    evidence = {"check": claim.check(budget), "control": claim.control(budget)}
    assert all(type(piece) is claim.kind for piece in evidence.values())
    verdicts = judge(evidence)
    assert verdicts["check"].outcome is claim.expected, verdicts["check"].reason
    assert verdicts["control"].outcome is claim.control_expected, verdicts["control"].reason


def assert_typeset(claim):
    for text in (claim.statement, claim.control_statement, *claim.premises):
        assert text.isprintable(), "an escape sequence has eaten a backslash"
        assert text.count("$") % 2 == 0, text
        for formula in text.split("$")[1::2]:
            assert "merror" not in latex2mathml.converter.convert(formula), formula
