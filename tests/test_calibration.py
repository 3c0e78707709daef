"""The study of wrong verdicts: its statements have the truth that their cells say, and its record adds up."""

import json
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from claimlab.experiments import calibration
from claimlab.experiments.calibration import LAWS, Cell, cells, measured, recorded, replicates
from claimlab.experiments.figures import save
from claimlab.theory.claims import SMOKE
from claimlab.theory.evidence import LEVEL, Outcome, Verdict

CELLS = {cell.name: cell for cell in cells()}


def test_cells_have_streams_of_their_own():
    assert len(CELLS) == len(list(cells()))


@pytest.mark.parametrize("law", LAWS)
def test_laws_have_mean_0_and_deviation_1(law):
    """Within 5 standard errors; t with 3 degrees of freedom has no fourth moment, so its deviation is loose."""
    x = LAWS[law](np.random.default_rng(0), 400_000)
    assert abs(x.mean()) < 5 / sqrt(len(x))
    assert x.std() == pytest.approx(1, abs=0.05 if law == "heavy tails" else 0.02)


@pytest.mark.parametrize("name", ["coverage/0.1/0.5", "coverage/0.05/1", "coverage/0.001/2"])
def test_an_interval_misses_as_often_as_its_cell_says(name):
    cell = CELLS[name]
    delta = float(cell.law.removeprefix("delta = "))
    missed = sum(cell.draw(SMOKE.of(str(k)))["it"].failures for k in range(50))
    low, high = stats.binom.interval(1 - 1e-6, 50 * cell.runs, cell.size * delta)
    assert low <= missed <= high


@pytest.mark.parametrize("size", [0.0, 0.5])
def test_a_quadratic_statement_is_true_exactly_if_its_size_is_0(size):
    """At the top eigenvector the two sides differ by the size, whatever the matrix; the search is not asked."""
    found = calibration.quadratic_attack(SMOKE.of("it"), size)
    x = np.array(found.witness["x"])
    d = int(SMOKE.of("it").rng("dimension").integers(2, 7))
    factor = SMOKE.of("it").rng("matrix").normal(size=(d, d))
    values, vectors = np.linalg.eigh(factor @ factor.T)
    assert len(x) == d
    top = vectors[:, -1]
    assert top @ factor @ factor.T @ top > (1 - size) * values[-1] * (1 - 1e-12)
    assert found.rule(LEVEL)[0] == (Outcome.REFUTED if size else Outcome.SUPPORTED)


def test_the_certified_rounding_covers_what_rationals_find():
    """No replicate of the true identity is refuted, and one a thousand times coarser than rounding is."""
    for k in range(20):
        budget = SMOKE.of(str(k))
        assert calibration.quadratic_identity(budget, 0.0).rule(LEVEL)[0] is Outcome.SUPPORTED
        assert calibration.quadratic_identity(budget, 1e-10).rule(LEVEL)[0] is Outcome.REFUTED


@pytest.mark.parametrize(
    ("truth", "wrong"),
    [("true", {"refuted"}), ("false", {"supported"}), ("threshold", {"supported", "refuted"})],
)
def test_what_is_wrong(truth, wrong):
    cell = Cell("c", "Rate", "law", truth, 0.0, 10, LEVEL, lambda budget: {})
    for outcome in Outcome:
        assert cell.wrong({"it": Verdict(outcome, "", None)}) == (str(outcome) in wrong)
    assert cell.wrong({"a": Verdict(Outcome.VACUOUS, "", None), "b": Verdict(Outcome(min(wrong)), "", None)})


@pytest.mark.parametrize("name", ["needle/100/0.01", "quadratic/100/0.001", "identity/1e-14"])
def test_the_record_is_what_a_run_gives(name):
    rows = {row["name"]: row for row in json.loads(calibration.RECORD.read_text())["rows"]}
    assert measured(CELLS[name], replicates(CELLS[name])) == pytest.approx(rows[name])


def test_the_exact_rate_of_wrong_verdicts_on_coverage_is_within_the_recorded_interval():
    """The rule decides at a corrected p of LEVEL, which is a count; its binomial tails need no simulation."""
    rows = recorded().set_index("name")
    for name, delta, runs in (("coverage/0.1/1", 0.1, 200), ("coverage/0.05/1", 0.05, 2000)):
        k = np.arange(runs + 1)
        low, high = stats.binom.cdf(k, runs, delta), stats.binom.sf(k - 1, runs, delta)
        exact = stats.binom.pmf(k, runs, delta)[2 * np.minimum(low, high) <= LEVEL].sum()
        interval = stats.binomtest(int(rows.wrong[name]), int(rows.replicates[name])).proportion_ci(0.999)
        assert interval.low <= exact <= interval.high
        assert exact <= LEVEL


def test_the_record_adds_up():
    rows = recorded()
    assert list(rows.name) == list(CELLS)
    for row in rows.itertuples():
        cell = CELLS[row.name]
        assert row.replicates == replicates(cell)
        each = row.runs if cell.kind == "Ledger" else 1
        assert row.supported + row.refuted + row.inconclusive + row.vacuous == each * row.replicates
        low = stats.beta.ppf(0.025, row.wrong, row.replicates - row.wrong + 1) if row.wrong else 0.0
        high = stats.beta.ppf(0.975, row.wrong + 1, row.replicates - row.wrong) if row.wrong < row.replicates else 1.0
        assert (row.low, row.high) == pytest.approx((low, high), rel=1e-6)
    assert (rows[rows.promise == 0].wrong == 0).all()


def test_no_later_run_is_forgotten():
    """Cells that are measured again leave the run that they were last measured in."""
    first = calibration._later([], ["a", "b"])
    second = calibration._later(first, ["b", "c"])
    assert [run["cells"] for run in second] == [["a"], ["b", "c"]]
    assert [run["cells"] for run in calibration._later(second, ["a"])] == [["b", "c"], ["a"]]
    runs = [run["cells"] for run in json.loads(calibration.RECORD.read_text())["later"]]
    assert all(set(run) <= CELLS.keys() for run in runs)
    assert sum(map(len, runs)) == len({name for run in runs for name in run})


def test_the_figure_is_drawn_from_the_record(tmp_path):
    saved = save(calibration.FIGURE, tmp_path)
    assert saved.pdf.read_bytes().startswith(b"%PDF")
    assert len(saved.csv.read_text().splitlines()) == 1 + len(CELLS)
