"""Claims in pytest: collected from files of yours, named by a marker, or stated as a test function with a control.

Installed with the package; ``-p no:claimlab`` leaves it out.  Nothing of the library is imported before a claim is met.

*Files.*  ``pytest my_claims.py``, or any file called ``*_claims.py`` or ``claims_*.py`` (the ini option `claim_files`)
that imports claimlab and defines CLAIMS, gives two tests for each claim: the check and its control.

*A function.*  A test that takes `claim_budget` and returns evidence becomes a claim by a marker that says what the
control changes::

    @pytest.mark.claim(control={"constant": 1.0})
    def test_greedy_policies_lose_little(claim_budget, constant=2.0):
        return attack(SPACE, partial(loss, constant=constant), claim_budget)

*A published claim* that your code rests on; the test runs once for each that matches, after check and control have come
out as expected, and may look closer at the evidence::

    @pytest.mark.claim("policy-cliff/radius-*")
    def test_the_radius_is_tight(claim_evidence):
        assert claim_evidence.ratio > 0.99

``--claim-budget`` and ``--claim-seed`` say how hard to try.  A verdict must not depend on which tests were selected, so
statistical evidence is judged at a fixed level, `LEVEL`: with up to a thousand one-sided hypotheses (four a statistical
claim with its control) the probability that a suite errs at all is at most 5 %.  ``claimlab verify``, which corrects as
many as there are, reaches every verdict that is reached here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from claimlab.theory.claims import Budget, Claim
    from claimlab.theory.evidence import Evidence

LEVEL = 0.05 / 1_000
ROLES = ("check", "control")
ROLE = "claim_role"  # the parameter of a function that is a claim
DEFINES_CLAIMS = re.compile(r"^CLAIMS\s*[:=]", re.MULTILINE)
JUDGED = "claim as expected"  # the property of a report for each check or control that was judged


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("claimlab", "claims")
    group.addoption(
        "--claim-budget", choices=("smoke", "standard", "full"), default="smoke", help="How hard claims are attacked."
    )
    group.addoption("--claim-seed", type=int, default=0, metavar="N", help="Seed of all randomness of claims.")
    parser.addini("claim_files", "Names of files whose CLAIMS are tests.", "args", ["*_claims.py", "claims_*.py"])


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "claim(*patterns, control=None, expected='supported'): a test on published claims (slugs, ids, globs); or, "
        "with `control`, the arguments that it changes, a function that returns evidence.",
    )


# Files of claims ------------------------------------------------------------------------------------------------------


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    def named(option: str) -> bool:
        return any(fnmatch(file_path.name, glob) for glob in parent.config.getini(option))

    wanted = parent.session.isinitpath(file_path) or named("claim_files")
    if file_path.suffix != ".py" or not wanted or named("python_files"):  # the last are test modules
        return None
    text = file_path.read_text(encoding="utf-8", errors="replace")
    return ClaimFile.from_parent(parent, path=file_path) if "claimlab" in text and DEFINES_CLAIMS.search(text) else None


class ClaimFile(pytest.File):
    """A file that defines CLAIMS."""

    def collect(self) -> Iterator[pytest.Item]:
        from claimlab.experiments import catalogue
        from claimlab.experiments.errors import WrongUsage

        try:
            claims = catalogue.claims_of(self.path)
        except WrongUsage as error:
            raise self.CollectError(str(error)) from None
        for claim in claims:
            for role in ROLES:
                yield ClaimItem.from_parent(self, name=f"{claim.id}[{role}]", claim=claim, role=role)


class ClaimItem(pytest.Item):
    """The check of a claim, or its control."""

    def __init__(self, *, claim: Claim, role: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.claim, self.role = claim, role
        self.add_marker("claim")

    def runtest(self) -> None:
        """Judge it."""
        _attempt(self, self.claim, self.role, self.path)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where it is, for reports."""
        return self.path, None, self.name


# Functions with the marker --------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("claim")
    if marker is None:
        return
    if "control" in marker.kwargs:
        metafunc.fixturenames.append(ROLE)
        metafunc.parametrize(ROLE, ROLES)
        return
    if not marker.args:
        pytest.fail("the marker claim needs patterns of claims, or control={...}.", pytrace=False)
    from claimlab.experiments.catalogue import select
    from claimlab.experiments.errors import WrongUsage

    try:
        claims = select(list(marker.args)).claims
    except WrongUsage as error:
        pytest.fail(str(error), pytrace=False)
    if "claim_evidence" not in metafunc.fixturenames:
        metafunc.fixturenames.append("claim_evidence")
    metafunc.parametrize("claim_evidence", claims, ids=[claim.id for claim in claims], indirect=True)


@pytest.fixture
def claim_budget(request: pytest.FixtureRequest) -> Budget:
    """The session's budget, with draws of its own for each test function; a check and its control see the same."""
    name = request.node.nodeid.partition("::")[2].partition("[")[0]
    return _budget(request.config).of(f"{request.node.path.name}::{name}")


@pytest.fixture
def claim_evidence(request: pytest.FixtureRequest) -> Any:
    """The evidence on a claim that the marker names, after its check and its control came out as expected."""
    if not hasattr(request, "param"):
        pytest.fail('claim_evidence needs a marker: @pytest.mark.claim("paper/claim").', pytrace=False)
    return request.param  # the claim; its evidence replaces it where the test is called, so that it fails there


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Judge the claims that a marked function is about, or the claim that it is."""
    marker = pyfuncitem.get_closest_marker("claim")
    if marker is None:
        return None
    if "control" in marker.kwargs:
        _call(pyfuncitem, marker.kwargs["control"], marker.kwargs.get("expected", "supported"))
        return True
    claim: Any = pyfuncitem.callspec.params["claim_evidence"]
    evidence, _ = (_attempt(pyfuncitem, claim, role, None) for role in ROLES)
    if "claim_evidence" in pyfuncitem.funcargs:
        pyfuncitem.funcargs["claim_evidence"] = evidence
    return None


def _call(function: pytest.Function, changes: dict[str, Any], expected: str) -> None:
    """Judge what a function returns: as it stands, or with the changes of its control."""
    from claimlab.theory.evidence import Evidence, Outcome

    words = " ".join((function.obj.__doc__ or function.originalname).split())
    if function.callspec.params[ROLE] == "check":
        changes, wanted = {}, Outcome(expected)
    else:
        words += f" Control: {', '.join(f'{name} = {value!r}' for name, value in changes.items())}."
        wanted = Outcome.SUPPORTED if expected == Outcome.REFUTED else Outcome.REFUTED
    given = {name: function.funcargs[name] for name in function._fixtureinfo.argnames}
    evidence = function.obj(**given | changes)
    if not isinstance(evidence, Evidence):
        raise TypeError(f"{function.originalname} must return evidence, got {type(evidence).__name__}.")
    _judge(function, evidence, wanted, words)


# Verdicts -------------------------------------------------------------------------------------------------------------


def _budget(config: pytest.Config) -> Budget:
    from claimlab.theory.claims import BUDGETS

    name, seed = str(config.getoption("--claim-budget")), config.getoption("--claim-seed")
    return BUDGETS[name].seeded(int(seed or 0))


def _attempt(item: pytest.Item, claim: Claim, role: str, file: Path | None) -> Evidence:
    """The evidence of a check or a control; the test fails if that raised or its verdict is not the expected one."""
    from claimlab.experiments import runner

    expected = claim.expected if role == "check" else claim.control_expected
    words = claim.statement if role == "check" else f"control: {claim.control_statement}"
    result = runner.attempt(claim, role, _budget(item.config), file)
    evidence = result.read()
    if evidence is None:
        item.user_properties.append((JUDGED, False))
        pytest.fail(f"{claim.id} ({claim.source}), {words}\n{result.error}", pytrace=False)
    _judge(item, evidence, expected, f"{claim.id} ({claim.source}), {words}")
    return evidence


def _judge(item: pytest.Item, evidence: Evidence, expected: str, statement: str) -> None:
    """Fail, and say all that one needs to see why, unless the verdict is the expected one."""
    from claimlab.experiments.report import pretty
    from claimlab.theory.evidence import to_json

    outcome, reason = evidence.rule(LEVEL)
    item.user_properties.append((JUDGED, outcome == expected))
    if outcome != expected:
        witness = to_json(evidence)["witness"]
        name = "counterexample" if outcome == "refuted" else "worst instance"
        shown = "" if witness is None else f"\n{name}: {pretty(witness)}"
        pytest.fail(f"{statement}\n{outcome}, expected {expected}: {reason}{shown}", pytrace=False)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    judged = [
        value for report in reports if report.when == "call" for name, value in report.user_properties if name == JUDGED
    ]
    if judged:
        how = f"budget {config.getoption('--claim-budget')}, seed {config.getoption('--claim-seed')}"
        terminalreporter.write_line(f"claims: {sum(judged)} of {len(judged)} checks and controls as expected ({how})")
