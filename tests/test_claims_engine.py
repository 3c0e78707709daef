"""Claims, papers and budgets: what they refuse, and what their randomness depends on."""

from dataclasses import replace

import numpy as np
import pytest

from claimlab.theory.claims import BUDGETS, SMOKE, Paper, find
from claimlab.theory.evidence import Evidence, Identity, Outcome

from .sample_claims import CLAIMS, PAPER

CLAIM = CLAIMS[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "other/square"}, "id must be 'sample/short-name', got 'other/square'"),
        ({"id": "sample/"}, "id must be"),
        ({"id": "sample"}, "id must be"),
        ({"id": "sample/a b"}, "id must be"),
        ({"id": "sample/<script>"}, "id must be"),
        ({"kind": Evidence}, "kind of sample/square must be one of Identity, Inequality"),
        ({"kind": dict}, "kind of sample/square must be one of"),
        ({"expected": Outcome.VACUOUS}, "expected of sample/square must be supported, refuted or inconclusive"),
        ({"expected": "yes"}, "expected of sample/square"),
    ],
)
def test_a_claim_cannot_be_invalid(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CLAIM, **changes)


def test_a_slug_is_a_file_name():
    with pytest.raises(ValueError, match=r"slug must consist of .* got '\.\./up'"):
        Paper("../up", "", "", "", "", "")


@pytest.mark.parametrize(
    ("expected", "control"),
    [
        (Outcome.SUPPORTED, Outcome.REFUTED),
        (Outcome.REFUTED, Outcome.SUPPORTED),
        (Outcome.INCONCLUSIVE, Outcome.REFUTED),
    ],
)
def test_what_a_control_must_come_out_as(expected, control):
    assert replace(CLAIM, expected=expected).control_expected is control


def test_find_names_the_nearest():
    assert find("sample/norms", list(CLAIMS)) is CLAIMS[1]
    with pytest.raises(ValueError, match=r"unknown claim 'sample/norm'\. Did you mean sample/norms"):
        find("sample/norm", list(CLAIMS))


def draws(budget, *purpose):
    return budget.rng(*purpose).random(4).tolist()


def test_randomness_depends_on_seed_stream_and_purpose_alone():
    budget = SMOKE.of("sample/square")
    reference = draws(budget, "search", 3)
    draws(budget, "other")  # what was drawn before does not matter
    assert draws(budget, "search", 3) == reference
    assert draws(replace(budget, name="else", instances=7, runs=9), "search", 3) == reference
    others = [budget.seeded(1), budget.of("sample/norms")]
    others = [draws(other, "search", 3) for other in others] + [draws(budget, "search", 4), draws(budget)]
    assert reference not in others
    assert len({tuple(other) for other in others}) == len(others)


def test_a_check_and_its_control_see_the_same_instances():
    seen = []

    def check(budget):
        seen.append(budget.rng("instances").integers(0, 1 << 62))
        return Identity(0.0, 0.0, 1, "rational")

    claim = replace(CLAIM, check=check, control=check)
    claim.check(SMOKE.of(claim.id))
    claim.control(SMOKE.of(claim.id))
    assert seen[0] == seen[1]


def test_budgets_grow():
    assert list(BUDGETS) == ["smoke", "standard", "full"]
    sizes = np.array([[budget.instances, budget.runs] for budget in BUDGETS.values()])
    assert (np.diff(sizes, axis=0) > 0).all()


def test_a_seed_is_a_whole_number():
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        SMOKE.seeded(-1)


def test_papers_differ_by_content():
    assert replace(PAPER) == PAPER
    assert replace(PAPER, title="another") != PAPER
