"""The search must find what is false, leave alone what is true, and shrink what it finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimlab.theory.claims import SMOKE
from claimlab.theory.evidence import Outcome, judge
from claimlab.theory.falsify import Trial, Trials, attack, equate, shrink
from claimlab.theory.spaces import Box, Simplex, Space, case_of
from claimlab.theory.strategies import seeds

SPACE = Space({"S": (1, 4), "A": (2, 3)}, {"P": Simplex("SAS"), "r": Box("SA", -1, 2), "gamma": Box("", 0, 0.9)})
BUDGET = SMOKE.of("test")


def valid(case):
    S, A = case["r"].shape
    assert case["P"].shape == (S, A, S)
    assert case["gamma"].shape == ()
    assert (case["P"] >= 0).all()
    np.testing.assert_allclose(case["P"].sum(axis=2), 1, rtol=0, atol=1e-12)
    assert -1 <= case["r"].min() <= case["r"].max() <= 2
    assert 0 <= case["gamma"] <= 0.9


@given(seed=seeds())
@settings(max_examples=50)
def test_every_case_is_an_instance(seed):
    """Drawn, changed, with an index less, simplified: always valid arrays of matching sizes."""
    rng = np.random.default_rng(seed)
    case = SPACE.draw(rng)
    valid(case)
    for _ in range(5):
        case = case_of(SPACE.change(rng, {name: x[None] for name, x in case.items()}), 0)
        valid(case)
    for other in [*SPACE.smaller(case), *SPACE.simpler(case)]:
        valid(other)


@given(seed=seeds())
@settings(max_examples=20)
def test_smaller_cases_lose_one_index(seed):
    case = SPACE.draw(np.random.default_rng(seed))
    S, A = case["r"].shape
    expected = [(S - 1, A)] * (S if S > 1 else 0) + [(S, A - 1)] * (A if A > 2 else 0)
    assert [other["r"].shape for other in SPACE.smaller(case)] == expected


def test_given_arrays_fix_the_sizes():
    case = SPACE.draw(np.random.default_rng(0), P=np.ones((1, 5, 1)))
    assert case["r"].shape == (1, 5)


def spread(P, r, gamma, *, bound):
    return Trial(np.ptp(r), bound)


def test_a_true_statement_survives_and_its_tightness_is_found():
    evidence = attack(SPACE, lambda **case: spread(**case, bound=3.0), BUDGET)
    assert evidence.rule(0.05)[0] is Outcome.SUPPORTED
    assert evidence.ratio == 1  # the box's ends are drawn often


def test_infinite_bounds_hide_no_violation():
    """They say nothing; infinity over infinity would be NaN, which no ranking survives."""
    space = Space({}, {"x": Box("", 0, 1)})

    def measure(x):
        if 0.50 < x < 0.52:
            return Trial(1.2, 1.0)
        return Trial(np.inf, np.inf) if x < 0.8 else Trial(float(x), 1.0)

    for seed in range(20):
        evidence = attack(space, measure, BUDGET.seeded(seed).with_instances(600))
        assert evidence.rule(0.05)[0] is Outcome.REFUTED
    nothing = attack(space, lambda x: Trial(np.inf, np.inf), BUDGET)
    assert nothing.rule(0.05)[0] is Outcome.VACUOUS


def test_a_measure_that_computes_no_number_is_an_error():
    with pytest.raises(ArithmeticError, match="test: the measure computed no number"):
        attack(SPACE, lambda **case: Trial(np.nan, 1.0), BUDGET)


def test_a_false_statement_is_refuted_by_a_minimal_instance():
    evidence = attack(SPACE, lambda **case: spread(**case, bound=2.5), BUDGET)
    assert evidence.rule(0.05)[0] is Outcome.REFUTED
    assert evidence.witness["r"].shape == (1, 2)
    assert set(evidence.witness["r"].ravel()) == {-1.0, 2.0}
    assert evidence.witness["gamma"] == 0


def test_the_guided_search_finds_what_random_instances_miss():
    """Of forty numbers nearly all must be near their upper ends: hopeless at random, easy uphill."""
    space = Space({"N": (40, 40)}, {"x": Box("N", 0, 1)})

    def measure(x):
        return Trial(x.sum(), 34.0)

    draws = np.random.default_rng(0)
    assert max(measure(**space.draw(draws)).value for _ in range(1_200)) < 34
    assert attack(space, measure, BUDGET.with_instances(1_200)).rule(0.05)[0] is Outcome.REFUTED


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"A": (1, 2)}, "has the axis 'S', which sizes does not name"),
        ({"S": (3, 2), "A": (1, 1)}, "1 <= least <= most"),
    ],
)
def test_bad_spaces_are_named(sizes, message):
    with pytest.raises(ValueError, match=message):
        Space(sizes, {"r": Box("SA")})


@pytest.mark.parametrize(
    ("measure", "outcome"),
    [
        (lambda **case: None, Outcome.VACUOUS),  # the premises never hold
        (lambda **case: Trial(0.0, 5.0, trivial=5.0), Outcome.VACUOUS),  # the bound says nothing new
        (lambda **case: Trial(1.0, 1.0 - 1e-9, error=1e-8), Outcome.SUPPORTED),  # within the certified error
        (lambda **case: Trial(1.0, 1.0 - 1e-9, error=1e-10), Outcome.REFUTED),
        (lambda **case: Trial(0.0, -1.0), Outcome.REFUTED),  # bounds need not be positive
    ],
)
def test_what_counts_as_a_violation(measure, outcome):
    assert attack(SPACE, measure, BUDGET).rule(0.05)[0] is outcome


def test_too_few_comparisons_decide_nothing():
    calls = iter(range(10**9))

    def rarely(**case):
        return Trial(0.5, 1.0) if next(calls) % 1000 == 0 else None

    assert attack(SPACE, rarely, BUDGET).rule(0.05)[0] is Outcome.INCONCLUSIVE


def test_a_violation_that_rationals_deny_is_an_error():
    with pytest.raises(ArithmeticError, match="not confirmed in rationals"):
        attack(SPACE, lambda **case: Trial(2.0, 1.0), BUDGET, recheck=lambda **case: (1, 1))


def test_the_search_depends_on_its_seed_alone():
    def measure(P, r, gamma):
        return Trial(r[0, 0] * gamma, 10.0)

    def run(budget):
        return attack(SPACE, measure, budget)

    once, again, other = run(BUDGET), run(BUDGET), run(SMOKE.of("another"))
    assert once.ratio == again.ratio
    np.testing.assert_array_equal(once.witness["r"], again.witness["r"])
    assert not np.array_equal(once.witness["r"], other.witness["r"])


def test_equalities_are_judged_by_their_rounding():
    equal = equate(SPACE, lambda **case: Trial(1e-16, 1e-15), BUDGET)
    apart = equate(SPACE, lambda **case: Trial(1e-14, 1e-15), BUDGET)
    verdicts = judge({"equal": equal, "apart": apart})
    assert [v.outcome for v in verdicts.values()] == [Outcome.SUPPORTED, Outcome.REFUTED]


@given(st.data())
@settings(max_examples=20)
def test_shrinking_keeps_the_violation(data):
    case = SPACE.draw(np.random.default_rng(data.draw(seeds())))
    limit = float(case["r"].sum()) - 0.5

    def measure(P, r, gamma):
        return Trial(r.sum(), limit)

    small = shrink(SPACE, measure, case)
    assert measure(**small).violated
    assert small["r"].size <= case["r"].size


def test_shrink_refuses_what_holds():
    with pytest.raises(ValueError, match="violates"):
        shrink(SPACE, lambda **case: Trial(0, 1), SPACE.draw(np.random.default_rng(0)))


def stacked(P, r, gamma, *, bound):
    """The batched form of `spread`, which holds where there is a discount."""
    return Trials(np.ptp(r, axis=(1, 2)), bound, holds=gamma > 0)


@given(seed=seeds(), n=st.integers(1, 20))
@settings(max_examples=50)
def test_blocks_are_instances_of_one_size(seed, n):
    """Drawn and changed: valid cases all, each neighbour with one of its arrays changed and no other instance's."""
    rng = np.random.default_rng(seed)
    block = SPACE.draw_block(rng, n)
    before = {name: x.copy() for name, x in block.items()}
    changed = SPACE.change(rng, block)
    for i in range(n):
        valid(case_of(block, i))
        valid(case_of(changed, i))
        assert sum((before[name][i] != changed[name][i]).any() for name in before) <= 1
    for name in before:
        np.testing.assert_array_equal(block[name], before[name])


def test_blocks_have_the_law_of_single_cases():
    """A third of the rows of P are vertices by style; all sizes occur; entries of a changed box move everywhere."""
    rng = np.random.default_rng(0)
    shapes = {SPACE.draw_block(rng, 1)["r"].shape[1:] for _ in range(200)}
    assert shapes == {(S, A) for S in range(1, 5) for A in (2, 3)}
    P = Simplex("NK").draw(rng, (6_000, 2, 5))
    vertices = (P.max(axis=2) == 1).all(axis=1).mean()
    assert abs(vertices - 1 / 3) < 0.05  # five standard deviations are 0.03; sparse rows are rarely exact vertices
    assert abs(P.mean(axis=(0, 1)) - 0.2).max() < 0.02
    r = Box("N", -1, 2).draw(rng, (6_000, 2))
    ends = np.isin(r, (-1, 0, 2)).all(axis=1).mean()
    assert abs(ends - 1 / 3) < 0.05
    x = np.full((6_000, 4), 0.5)
    moved = Box("N", -1, 2).change(rng, x) != x
    assert (moved.sum(axis=1) == 1).all()
    assert abs(moved.mean(axis=0) - 0.25).max() < 0.03
    for low in (Simplex("NK"), Box("NK", 0, 1)):
        assert (low.change(rng, P) != P).any(axis=0).all()


def test_batched_measures_survive_and_are_refuted_like_others():
    true = attack(SPACE, lambda **block: stacked(**block, bound=3.0), BUDGET, batched=True)
    assert true.rule(0.05)[0] is Outcome.SUPPORTED
    assert true.ratio == 1
    assert true.instances < true.tried  # gamma = 0 is outside the premises
    false = attack(SPACE, lambda **block: stacked(**block, bound=2.5), BUDGET, batched=True)
    assert false.rule(0.05)[0] is Outcome.REFUTED
    assert false.witness["r"].shape == (1, 2)
    assert set(false.witness["r"].ravel()) == {-1.0, 2.0}
    assert false.witness["gamma"] > 0
    assert false.witness["value"] == 3
    equal = equate(SPACE, lambda r, **_: Trials(0 * r[:, 0, 0] + 1e-16, 1e-15), BUDGET, batched=True)
    apart = equate(SPACE, lambda r, **_: Trials(0 * r[:, 0, 0] + 1e-14, 1e-15), BUDGET, batched=True)
    verdicts = judge({"equal": equal, "apart": apart})
    assert [v.outcome for v in verdicts.values()] == [Outcome.SUPPORTED, Outcome.REFUTED]


@pytest.mark.parametrize("instances", [100, 1_000, 100_000])
def test_batched_searches_do_what_they_are_asked_for(instances):
    """At least the instances, a third of them in each of three climbs; many sizes; a witness of the largest ratio."""
    seen, ratios = [], []

    def measure(P, r, gamma):
        seen.append(r.shape)
        ratios.append(r.mean(axis=(1, 2)).max() / 2.1)
        return Trials(r.mean(axis=(1, 2)), 2.1, trivial=np.where(gamma > 0.5, 3.0, 1.0))

    evidence = attack(SPACE, measure, BUDGET.with_instances(instances), batched=True)
    assert 1.9 * instances <= evidence.instances == evidence.tried <= 2.2 * instances
    assert sum(shape[0] for shape in seen) == evidence.tried
    assert 0.1 < evidence.informative / evidence.tried < 0.9
    assert len({shape[1:] for shape in seen}) == 8
    assert evidence.ratio == max(ratios) == evidence.witness["r"].mean() / 2.1
    assert evidence.rule(0.05)[0] is Outcome.SUPPORTED


def test_batched_climbs_go_uphill():
    """As for one measure after the other: of forty numbers nearly all must be near their upper ends."""
    space = Space({"N": (40, 40)}, {"x": Box("N", 0, 1)})

    def measure(x):
        return Trials(x.sum(axis=1), 34.0)

    draws = np.random.default_rng(0)
    assert measure(**space.draw_block(draws, 6_000)).value.max() < 34
    evidence = attack(space, measure, BUDGET.with_instances(6_000), batched=True)
    assert evidence.rule(0.05)[0] is Outcome.REFUTED


def test_a_batched_search_depends_on_its_seed_alone():
    def run(budget):
        return attack(SPACE, lambda r, **_: Trials(r[:, 0, 0], 10.0), budget.with_instances(2_000), batched=True)

    once, again, other = run(BUDGET), run(BUDGET), run(SMOKE.of("another"))
    np.testing.assert_array_equal(once.witness["P"], again.witness["P"])
    assert once.tried == again.tried
    assert not np.array_equal(once.witness["P"], other.witness["P"])


def test_what_a_batched_measure_computes_outside_its_premises_is_not_read():
    evidence = attack(SPACE, lambda r, **_: Trials(np.nan * r[:, 0, 0], 1.0, holds=False), BUDGET, batched=True)
    assert evidence.rule(0.05)[0] is Outcome.VACUOUS
    with pytest.raises(ArithmeticError, match="test: the measure computed no number"):
        attack(SPACE, lambda r, **_: Trials(np.nan * r[:, 0, 0], 1.0), BUDGET, batched=True)
    with pytest.raises(ArithmeticError, match="test: the measure computed no number"):
        attack(SPACE, lambda r, **_: Trials(r[:, 0, 0], np.nan), BUDGET, batched=True)


@pytest.mark.parametrize(
    ("trial", "excess", "ratio", "violated"),
    [
        (Trial(1.0, 2.0), -1, 0.5, False),
        (Trial(1.0, 2.0, 0.5), -1, 0.25, False),
        (Trial(3.0, 2.0), 1, 1.5, True),
        (Trial(3.0, 2.0, 1.0), 1, 1.0, False),
        (Trial(0.0, 0.0), 0, 0.0, False),
        (Trial(1.0, 0.0), 1, np.inf, True),
        (Trial(-2.0, -1.0), -1, 0.0, False),
        (Trial(np.inf, np.inf), -np.inf, 0.0, False),
        (Trial(np.inf, 1.0), np.inf, np.inf, True),
        (Trial(-np.inf, 1.0), -np.inf, -np.inf, False),
        (Trial(1.0, 2.0, np.inf), -1, -np.inf, False),
    ],
)
def test_excess_ratio_and_violation(trial, excess, ratio, violated):
    assert (trial.excess, trial.ratio, trial.violated) == (excess, ratio, violated)
    block = Trials(*trial).arrays(3)
    np.testing.assert_array_equal(block.ratio, [ratio] * 3)
    np.testing.assert_array_equal(block.violated, [violated] * 3)
    assert block.at(1) == trial
