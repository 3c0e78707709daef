"""Claims as pytest tests: files, functions and published claims, each with its control, in sessions of their own."""

import tomllib
from pathlib import Path

import pytest

from claimlab.experiments import verify
from claimlab.pytest_plugin import LEVEL
from claimlab.theory.claims import SMOKE
from claimlab.theory.evidence import LEVEL as OF_A_LEDGER

from . import sample_claims

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[1]
SAMPLE = (ROOT / "tests" / "sample_claims.py").read_text(encoding="utf-8")
FUNCTION = """
    from functools import partial
    import numpy as np
    import pytest
    from claimlab.theory import Box, Space, Trial, attack

    def square(x, constant):
        return Trial((1 - x) * x, constant, 1e-15)

    @pytest.mark.claim(control={"constant": 0.2}%s)
    def test_spread(claim_budget, constant=%s):
        "A variance in the unit interval is at most a quarter."
        return attack(Space({}, {"x": Box("", 0, 1)}), partial(square, constant=constant), claim_budget)
"""


@pytest.fixture
def run(kept_modules, pytester):
    """A session with this plugin, whether or not the package is installed, and its lines."""

    def session(*arguments):
        return pytester.runpytest("-p", "no:claimlab", "-p", "claimlab.pytest_plugin", "-p", "no:xdist", *arguments)

    return session


def test_the_package_announces_the_plugin():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"claimlab": "claimlab.pytest_plugin"}


def test_a_file_gives_two_tests_a_claim(pytester, run):
    pytester.makepyfile(my_claims=SAMPLE)
    result = run("-v")
    result.assert_outcomes(passed=2 * len(sample_claims.CLAIMS))
    for claim in sample_claims.CLAIMS:
        for role in ("check", "control"):
            result.stdout.fnmatch_lines_random(f"my_claims.py::{claim.id}[[]{role}] PASSED*")
    result.stdout.fnmatch_lines("claims: 12 of 12 checks and controls as expected (budget smoke, seed 0)")


def test_tests_are_selected_as_any_others(pytester, run):
    pytester.makepyfile(my_claims=SAMPLE, test_plain="def test_plain(): pass")
    run("-k", "norms and control").assert_outcomes(passed=1, deselected=12)
    run("-m", "claim").assert_outcomes(passed=12, deselected=1)
    run("my_claims.py::sample/half[check]").assert_outcomes(passed=1)


@pytest.mark.parametrize(("name", "found"), [("claims_of_mine", True), ("insurance_claims", False), ("plain", False)])
def test_only_files_of_claims_are_collected(pytester, run, name, found):
    text = SAMPLE if name != "insurance_claims" else "CLAIMS = {'ours': 1}\nraise RuntimeError('imported')"
    pytester.makepyfile(**{name: text})
    run().assert_outcomes(passed=12 if found else 0)


def test_a_file_may_have_any_name_if_it_is_named(pytester, run):
    pytester.makepyfile(theorem=SAMPLE)
    run("theorem.py").assert_outcomes(passed=12)
    pytester.makeini("[pytest]\nclaim_files = theorem*.py")
    run().assert_outcomes(passed=12)


def test_a_departure_shows_the_counterexample_and_no_traceback(pytester, run):
    pytester.makepyfile(
        my_claims=SAMPLE.replace(
            'triangle, partial(triangle, scale=0.5), "with half', 'partial(triangle, scale=0.5), triangle, "with half'
        )
    )
    result = run()
    result.assert_outcomes(passed=10, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*sample/norms (Lemma 2), *",
            "refuted, expected supported: value exceeds bound by *",
            "counterexample: {",
            "sample/norms (Lemma 2), control: *",
            "supported, expected refuted: *",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    assert "runtest" not in result.stdout.str()


def test_an_error_of_a_check_names_its_line(pytester, run):
    pytester.makepyfile(my_claims=SAMPLE.replace("x = budget.rng().integers", "x = budget.no_such().integers"))
    result = run()
    result.assert_outcomes(passed=10, failed=2)
    line = next(i for i, text in enumerate(SAMPLE.splitlines(), 1) if "budget.rng().integers" in text)
    result.stdout.fnmatch_lines(f"AttributeError: *no_such* (my_claims.py, line {line})")


def test_a_file_that_cannot_be_loaded_is_a_collection_error(pytester, run):
    pytester.makepyfile(my_claims="import claimlab\nCLAIMS = (1,)")
    result = run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("*CLAIMS of *my_claims.py must be a tuple of Claim*")


def test_budget_and_seed_are_those_of_the_command_line(pytester, run):
    pytester.makepyfile(
        test_it="""
        def test_it(claim_budget):
            assert (claim_budget.name, claim_budget.seed) == ("standard", 7)
            assert claim_budget.stream == "test_it.py::test_it"
        """
    )
    run("--claim-budget", "standard", "--claim-seed", "7").assert_outcomes(passed=1)


def test_a_function_is_checked_and_its_control_refuted(pytester, run):
    pytester.makepyfile(FUNCTION % ("", 0.25))
    result = run("-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*::test_spread[[]check] PASSED*", "*::test_spread[[]control] PASSED*"])


def test_a_false_function_fails_with_its_docstring(pytester, run):
    pytester.makepyfile(FUNCTION % ("", 0.24))
    result = run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["A variance in the unit interval is at most a quarter.", "refuted, expected supported: *"]
    )


def test_a_control_without_power_fails(pytester, run):
    pytester.makepyfile((FUNCTION % ("", 0.25)).replace('"constant": 0.2}', '"constant": 0.3}'))
    result = run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*Control: constant = 0.3.", "supported, expected refuted: *"])


def test_a_function_may_be_expected_to_be_refuted(pytester, run):
    text = (FUNCTION % (', expected="refuted"', 0.2)).replace('"constant": 0.2}', '"constant": 0.25}')
    pytester.makepyfile(text)
    run().assert_outcomes(passed=2)


def test_a_function_that_returns_no_evidence_is_told_so(pytester, run):
    pytester.makepyfile((FUNCTION % ("", 0.25)).replace("return attack", "attack"))
    run().stdout.fnmatch_lines("*TypeError: test_spread must return evidence, got NoneType.")


def test_published_claims_are_judged_before_the_test(pytester, run):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.claim("bnpo/contains-*", "spo/group-mean-variance")
        def test_runs_once_for_each(claim_evidence):
            assert claim_evidence.instances > 0

        @pytest.mark.claim("spo/group-mean-variance")
        def test_without_the_fixture():
            pass
        """
    )
    from claimlab.experiments.catalogue import select

    matching = select(["bnpo/contains-*", "spo/group-mean-variance"]).claims
    assert len(matching) > 1
    result = run("-v")
    result.assert_outcomes(passed=len(matching) + 1)
    result.stdout.fnmatch_lines("*::test_runs_once_for_each[[]spo/group-mean-variance] PASSED*")
    result.stdout.fnmatch_lines(f"claims: {2 * len(matching) + 2} of {2 * len(matching) + 2} checks and controls *")


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("@pytest.mark.claim('spo/no-such')", "unknown paper, claim or figure 'spo/no-such'.*"),
        ("@pytest.mark.claim", "the marker claim needs patterns of claims, or control={...}."),
    ],
)
def test_wrong_markers_are_errors_of_one_line(pytester, run, marker, message):
    pytester.makepyfile(f"import pytest\n{marker}\ndef test_it(): pass")
    result = run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(f"*{message}")


def test_the_fixture_needs_the_marker(pytester, run):
    pytester.makepyfile("def test_it(claim_evidence): pass")
    run().stdout.fnmatch_lines("*claim_evidence needs a marker: @pytest.mark.claim*")


def test_a_session_without_claims_imports_nothing(pytester):
    pytester.makepyfile(
        "import sys\ndef test_it():\n    assert not {'numba', 'scipy', 'matplotlib'} & set(sys.modules)"
    )
    result = pytester.runpytest_subprocess(
        "-p", "no:claimlab", "-p", "claimlab.pytest_plugin", "-p", "no:hypothesispytest"
    )
    result.assert_outcomes(passed=1)
    assert "claims:" not in result.stdout.str()


def test_pytest_says_no_more_than_the_ledger():
    """Holm's correction of at most a thousand hypotheses rejects all that the fixed level rejects."""
    assert LEVEL * 1_000 == OF_A_LEDGER
    for row in verify(sample_claims.CLAIMS, SMOKE).rows:
        assert row.as_expected
