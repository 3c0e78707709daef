"""Sections 4 and 5: beam search, and the planted subsequence with exact gradients."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.pav.common import LAWS, PROVER, Levels, advantages, claim
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.decision_trees import action_values
from claimlab.theory.evidence import Inequality, Outcome
from claimlab.theory.falsify import Trial, attack
from claimlab.theory.spaces import Box, Space


def beam(q: Levels, score: Levels, width: int = 2) -> float:
    """How likely the policy finishes the best of the prefixes that a beam of two steps keeps; ties by index."""
    first = np.argsort(-score[0], kind="stable")[:width]
    pairs = [(a, b) for a in first for b in range(score[1].shape[1])]
    kept = sorted(pairs, key=lambda x: -score[1][x])[:width]
    return float(max(q[1][x] for x in kept))


def _beam(leaf: Array, *, better: str, worse: str, **laws: Array) -> Trial:
    """What the beam by one score reaches against what that by the other does; "best" looks a step ahead."""
    policy, prover = [laws[n][None] for n in LAWS], [laws[n][None] for n in PROVER]
    q, a = ([x[0] for x in levels] for levels in (action_values(leaf[None], policy), advantages(leaf[None], prover)))
    scores = {"outcome": q, "pav": [x + 5 * y for x, y in zip(q, a)], "best": [q[1].max(axis=1), q[1]]}
    return Trial(beam(q, scores[worse]), beam(q, scores[better]), 64 * EPS)


def _beam_check(budget: Budget, better: str, worse: str) -> Inequality:
    space = Space({"A": (3, 4), "B": (2, 3), "C": (2, 3)}, LAWS | PROVER | {"leaf": Box("ABC", 0, 1, step=1)})
    return attack(space, partial(_beam, better=better, worse=worse), budget.with_instances(5 * budget.instances))


# The planted subsequence, exactly


SYMBOLS, LENGTH, HORIZON, ALPHA, SIZE = 15, 5, 10, 3.0, 20.0


def _planted_values(right: Array) -> tuple[float, Array]:
    """Value of the start and how much better the next symbol of the plan is than another, float[time, matched]."""
    v, gap = np.append(np.zeros(LENGTH), 1.0), np.empty((HORIZON, LENGTH))
    for t in range(HORIZON - 1, -1, -1):
        gap[t] = v[1:] - v[:-1]
        v = np.append(v[:-1] + right[t] * gap[t], 1.0)
    return float(v[0]), gap


def planted_gradient(x: Array, bonus: Array) -> tuple[float, Array]:
    """Success, and the policy gradient in the right symbol's logits, `bonus` added to how much better it is."""
    right = 1 / (1 + np.exp(-x))
    success, gap = _planted_values(right)
    reached, direction = np.eye(LENGTH)[0], np.empty(x.shape)
    for t in range(HORIZON):
        direction[t] = reached * right[t] * (1 - right[t]) * (gap[t] + bonus[t])
        moved = reached * right[t]
        reached = reached - moved + np.append(0.0, moved[:-1])
    return success, direction


@lru_cache(maxsize=32)
def planted_steps(strength: float, alpha: float = ALPHA, most: int = 2_000) -> int:
    r"""Exact policy gradient steps until the planted subsequence is found with probability 0.95.

    The policy knows time and how much is matched, starts uniform over 15 symbols, and has one logit for the right one;
    the prover gives it with probability ``strength / 15``.  Each step is weighted by visits, with Q + alpha A^mu.
    """
    x = np.full((HORIZON, LENGTH), -np.log(SYMBOLS - 1.0))
    _, its = _planted_values(np.full((HORIZON, LENGTH), strength / SYMBOLS))
    for steps in range(most):
        success, direction = planted_gradient(x, alpha * its)
        if success >= 0.95:
            return steps
        x = x + SIZE * direction
    return most


def _planted_check(budget: Budget, first: tuple[float, float], second: tuple[float, float], share: float) -> Inequality:
    """One instance: steps with (strength, alpha) `first` against a share of those with `second`."""
    fast, slow = planted_steps(*first), planted_steps(*second)
    witness = {"steps": fast, "against": slow, "strength and alpha": [first, second]}
    return Inequality(fast / (share * slow), fast - share * slow, 0.0, 1, 1, 1, 1, witness)


CLAIMS = (
    claim(
        id="pav/beam-search-never-loses",
        source="Figure 2 and Section 4 (beam search)",
        statement=r"A beam of two by $Q^\pi+5A^\mu$ keeps a prefix at least as sure to be finished as one by $Q^\pi$.",
        kind=Inequality,
        premises=("three steps, outcomes 0 or 1", "any prover"),
        check=partial(_beam_check, better="pav", worse="outcome"),
        control=partial(_beam_check, better="best", worse="outcome"),
        control_statement=r"one whose first step is scored by the best second one does.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="pav/beam-search-never-gains",
        source="Figure 2 and Section 4 (beam search), the contrary of what is claimed",
        statement=r"A beam of two by $Q^\pi$ keeps a prefix at least as sure to be finished as one by $Q^\pi+5A^\mu$.",
        kind=Inequality,
        premises=("three steps, outcomes 0 or 1", "any prover"),
        check=partial(_beam_check, better="outcome", worse="pav"),
        control=partial(_beam_check, better="best", worse="pav"),
        control_statement=r"one whose first step is scored by the best second one does.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="pav/provers-save-steps",
        source="Section 5 (the didactic task), with exact gradients",
        statement="With a prover of strength 8 policy gradient finds the planted subsequence in half of the steps "
        "that the outcome alone takes.",
        kind=Inequality,
        premises=(
            f"{SYMBOLS} symbols, {LENGTH} planted in {HORIZON} steps, $\\alpha={ALPHA:g}$, steps of size {SIZE:g}",
            "exact gradients: nothing is sampled",
        ),
        check=partial(_planted_check, first=(8.0, ALPHA), second=(1.0, 0.0), share=0.5),
        control=partial(_planted_check, first=(1.0, ALPHA), second=(8.0, ALPHA), share=0.5),
        control_statement="with the uniform prover in half of those with strength 8.",
    ),
    claim(
        id="pav/perfect-provers-are-slower",
        source="Section 5 (provers of middling strength are best), with exact gradients",
        statement="A prover that is always right takes more steps than one of strength 8.",
        kind=Inequality,
        premises=(
            f"{SYMBOLS} symbols, {LENGTH} planted in {HORIZON} steps, $\\alpha={ALPHA:g}$, steps of size {SIZE:g}",
            "exact gradients: nothing is sampled, and late states, where time is short, are seen from the start",
        ),
        check=partial(_planted_check, first=(8.0, ALPHA), second=(15.0, ALPHA), share=1.0),
        control=partial(_planted_check, first=(8.0, ALPHA), second=(1.0, ALPHA), share=1.0),
        control_statement="the uniform prover does.",
        expected=Outcome.REFUTED,
    ),
)
