"""What every claim of every paper must be, whatever it comes out as: `make verify` judges them."""

import latex2mathml.converter
import pytest

from claimlab.experiments import catalogue


@pytest.mark.parametrize("paper", catalogue.papers(), ids=lambda paper: paper.PAPER.slug)
def test_claims_can_be_typeset(paper):
    for claim in paper.CLAIMS:
        for text in (claim.statement, claim.control_statement, *claim.premises):
            assert text.isprintable(), f"{claim.id}: an escape sequence has eaten a backslash"
            assert text.count("$") % 2 == 0, f"{claim.id}: {text}"
            for formula in text.split("$")[1::2]:
                assert "merror" not in latex2mathml.converter.convert(formula), f"{claim.id}: {formula}"
