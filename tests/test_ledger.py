"""What a ledger says of each claim, field by field, from evidence that was made by hand; no check is run."""

import json
from dataclasses import replace
from math import inf

import pytest

from claimlab.experiments import ledger
from claimlab.experiments.errors import WrongUsage
from claimlab.experiments.ledger import Row, assemble, number, read
from claimlab.experiments.store import Result
from claimlab.theory.claims import SMOKE
from claimlab.theory.evidence import LEVEL, Comparison, Identity, Inequality, Outcome, Probability, to_json

from .sample_claims import CLAIMS

SQUARE, NORMS, HALF, _, RARE, _ = CLAIMS
WHERE = {
    "python": "3", "platform": "p", "machine": "m", "cpus": 2, "packages": {"numpy": "2"},
    "claimlab": None, "commit": None,
}  # fmt: skip
HOLDS = Inequality(0.5, -1.0, 0.0, 8, 2, 10, 8, {"x": 1})
BROKEN = Inequality(2.0, 1.0, 0.0, 3, 3, 3, 8, {"x": 2})


def results(*evidence):
    """Results of check and control by turns, one second for the first, two for the next and so on."""
    return [
        Result(None, e, i + 1.0, WHERE) if isinstance(e, str) else Result(to_json(e), None, i + 1.0, WHERE)
        for i, e in enumerate(evidence)
    ]


def judged(claims, *evidence, files=None):
    units = [(claim.id, role) for claim in claims for role in ("check", "control")]
    return assemble(claims, dict(zip(units, results(*evidence), strict=True)), SMOKE, WHERE, files or {})


def test_a_supported_inequality():
    (row,) = judged([NORMS], HOLDS, BROKEN).rows
    assert (row.verdict, row.control, row.expected, row.control_expected) == (
        "supported", "refuted", "supported", "refuted",
    )  # fmt: skip
    assert row.as_expected
    assert row.departure == ""
    assert (row.tightness, row.vacuous_share, row.instances, row.seconds, row.level) == (0.5, 0.8, 8, 3.0, None)
    assert (row.counterexample, row.worst_instance, row.control_instance) == (None, {"x": 1}, {"x": 2})
    assert (row.id, row.paper, row.source, row.kind) == ("sample/norms", "sample", "Lemma 2", "Inequality")
    assert (row.statement, row.control_statement, list(row.premises)) == (NORMS.statement, NORMS.control_statement, [])
    assert row.file is None
    assert "no violation on 8 instances" in row.reason
    assert "exceeds bound by 1" in row.control_reason


def test_a_refuted_one_has_a_counterexample():
    found = judged([HALF], BROKEN, HOLDS)
    (row,) = found.rows
    assert (row.verdict, row.control, row.control_expected) == ("refuted", "supported", "supported")
    assert found.as_expected
    assert (row.counterexample, row.worst_instance, row.control_instance) == ({"x": 2}, None, {"x": 1})


def test_an_infinite_ratio_is_a_text():
    (row,) = judged([NORMS], replace(BROKEN, ratio=inf), HOLDS).rows
    assert row.tightness == "inf"
    assert number(row.tightness) == "inf"


def test_evidence_of_other_kinds_has_no_tightness():
    claims = [SQUARE, RARE]
    identity, rare = judged(
        claims,
        *(Identity(0.0, 0.0, 5, "rational"), Identity(1.0, 0.0, 1, "rational")),
        *(Probability(1e-9, 1.0, 0, 40, 0.1, 0.0, 0.01), Probability(1.0, 1e-9, 9, 40, 0.1, 0.2, 0.5)),
        files={RARE.id: "mine.py"},
    ).rows
    assert (identity.tightness, identity.vacuous_share, identity.instances, identity.level) == (None, None, 5, None)
    assert (rare.tightness, rare.vacuous_share, rare.instances, rare.level) == (None, None, 40, LEVEL)
    assert (rare.file, rare.seconds) == ("mine.py", 7.0)


def test_an_error_stands_where_a_verdict_would():
    found = judged([NORMS], "ValueError: no", BROKEN)
    (row,) = found.rows
    assert (row.verdict, row.reason, row.control) == ("error", "ValueError: no", "refuted")
    assert (row.tightness, row.vacuous_share, row.instances, row.level, row.worst_instance) == (None,) * 5
    assert not row.as_expected
    assert not found.as_expected
    assert row.departure == "sample/norms: verdict error, expected supported (ValueError: no)."
    (row,) = judged([NORMS], HOLDS, "ValueError: no").rows
    assert (row.verdict, row.control, row.control_instance) == ("supported", "error", None)
    assert row.departure == "sample/norms: control error, expected refuted (ValueError: no)."


def test_one_departure_is_enough():
    found = judged([SQUARE, NORMS], Identity(0.0, 0.0, 1, "float"), Identity(1.0, 0.0, 1, "float"), HOLDS, HOLDS)
    assert [row.as_expected for row in found.rows] == [True, False]
    assert not found.as_expected
    assert found.to_json()["as_expected"] is False
    assert "control supported, expected refuted" in found.rows[1].departure
    assert judged([], *[]).as_expected


def test_all_statistical_evidence_is_one_family():
    """Two p-values of 0.02 stand alone at 5 %, but not among the eight of two claims with their controls."""
    strong, weak = Comparison(1e-9, 1.0), Comparison(0.02, 1.0)
    claim = CLAIMS[5]
    alone = judged([claim], weak, replace(weak, p_support=1.0, p_refute=1e-9))
    assert alone.rows[0].verdict == "inconclusive"  # Holm over four: 1e-9 first, then 0.02 * 3
    other = replace(claim, id="sample/other")
    both = judged(
        [claim, other], strong, Comparison(1.0, 1e-9), replace(strong, p_support=0.012), Comparison(1.0, 1e-9)
    )
    assert [row.verdict for row in both.rows] == ["supported", "inconclusive"]  # 0.012 * 5 > 0.05
    assert both.rows[0].level == LEVEL


def test_json_and_back(tmp_path):
    found = judged([NORMS, HALF], HOLDS, BROKEN, BROKEN, HOLDS)
    record = found.to_json()
    assert set(record) == {"environment", "budget", "level", "as_expected", "papers", "claims"}
    assert record["budget"] == {"name": "smoke", "instances": 100, "runs": 2000, "seed": 0}
    assert record["level"] == LEVEL
    assert [paper["slug"] for paper in record["papers"]] == ["sample"]  # once
    found.write(tmp_path / "ledger.json")
    assert read(tmp_path / "ledger.json") == found
    frame = found.to_frame()
    assert list(frame.index) == [NORMS.id, HALF.id]
    assert frame.as_expected.tolist() == [True, True]
    assert list(frame.columns) == [*[*record["claims"][0]][1:], "as_expected"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "true"}, "verdict of 'sample/norms' is 'true', which is no verdict"),
        ({"control_expected": ""}, "control_expected of"),
        ({"expected": "likely"}, "expected of"),
        ({"control": "maybe"}, "control of"),
        ({"id": 3}, "id must be a text, got 3"),
        ({"reason": None}, "reason must be a text, got None"),
        ({"premises": "one"}, r"premises\[0\] must be a text"),
        ({"premises": ["a", 1]}, r"premises\[1\] must be a text, got 1"),
        ({"file": 1}, "file must be a text"),
        ({"seconds": None}, "seconds of 'sample/norms' must be a number, got None"),
        ({"seconds": "1"}, "seconds of"),
        ({"instances": True}, "instances of"),
        ({"level": "low"}, "level of"),
        ({"tightness": "wide"}, "could not convert"),
    ],
)
def test_a_row_of_unknown_origin_is_checked(change, message, tmp_path):
    found = judged([NORMS], HOLDS, BROKEN)
    with pytest.raises((ValueError, TypeError), match=message):
        replace(found.rows[0], **change)
    record = found.to_json()
    record["claims"][0] |= change
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps(record))
    with pytest.raises(WrongUsage, match="does not hold a ledger"):
        read(path)


@pytest.mark.parametrize("name", [*WHERE, "packages.numpy"])
def test_an_environment_of_unknown_origin_is_checked(name, tmp_path):
    record = judged([NORMS], HOLDS, BROKEN).to_json()
    where = record["environment"]
    if name == "packages.numpy":
        where["packages"] = {"numpy": 2}
    else:
        where[name] = 1.5
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps(record))
    with pytest.raises(WrongUsage, match="does not hold a ledger"):
        read(path)


def test_numbers_and_the_notebook_view():
    assert (number(None), number(0.123456), number("inf"), number(1e9)) == ("–", "0.1235", "inf", "1e+09")
    found = judged([NORMS, HALF], HOLDS, HOLDS, BROKEN, HOLDS)
    shown = found._repr_html_()
    assert shown.count("<tr>") == 3
    assert shown.count("(expected refuted)") == 1
    assert f'<b style="color: {ledger.COLOURS["supported"]}">supported</b>' in shown
    assert "<td>3.0</td>" in shown
    assert isinstance(found.rows[0], Row)
    assert Outcome("vacuous") in ledger.COLOURS
