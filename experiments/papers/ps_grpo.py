r"""Group similarity rewards for consistent answers (PS-GRPO): answers are paid for agreeing with other paraphrases'.

The reward of an answer is its mean similarity to the answers of the other paraphrases.  The formulas were not at hand
in full (reviews and summaries); what is tested follows from that definition with exact-match similarity and softmax
policies on finitely many answers.  Consistency over templates of a task needs a model.
"""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import COLUMN
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Simplex, Space

PAPER = Paper(
    slug="ps-grpo",
    title="Improving Consistency in Retrieval-Augmented Systems with Group Similarity Rewards",
    authors="Faisal Hamman, Chenyang Zhu, Anoop Kumar, Xujun Peng, Sanghamitra Dutta, Daben Liu, Alfy Samuel",
    venue="arXiv, 2025",
    arxiv="2510.04392",
    tier="core-named / mechanism-checkable",
)

claim = partial(Claim, paper=PAPER)

MATCH = "exact-match similarity, answers drawn independently from the softmax policies of the paraphrases"


def _subsample(sim: Array, k: Array, *, own: bool) -> Trial | None:
    """The mean over all choices of k other paraphrases of the subsampled reward, against the full one.

    `sim` holds the similarity of one answer to those of the other paraphrases; `own` counts its own (1) into the full.
    """
    size = int(k)
    if size > len(sim):
        return None
    means = [float(np.mean(sim[list(chosen)])) for chosen in combinations(range(len(sim)), size)]
    full = np.append(sim, 1.0) if own else sim
    return Trial(abs(float(np.mean(means)) - float(full.mean())), 64 * EPS * len(means))


def _subsample_check(budget: Budget, own: bool = False) -> Identity:
    space = Space({"N": (1, 6)}, {"sim": Box("N", 0, 1), "k": Box("", 1, 4, step=1)})
    return equate(space, partial(_subsample, own=own), budget)


def _factor(p: Array, *, factor: float) -> Trial:
    """Two paraphrases of one policy: the gradient of E[match] against what the rewards, taken as fixed, give."""
    law, step = 0.98 * p + 0.02 / len(p), 1e-30
    reward = law  # the chance that the other answer matches
    per_sample = law * (reward - law @ reward)

    def agreement(x: Any) -> Any:
        weights = np.exp(x)
        return ((weights / weights.sum()) ** 2).sum()

    exact = np.array([agreement(np.log(law) + 1j * step * e).imag / step for e in np.eye(len(law))])
    return Trial(float(abs(exact - factor * per_sample).max()), 64 * EPS)


def _factor_check(budget: Budget, factor: float = 2.0) -> Identity:
    space = Space({"Y": (1, 5)}, {"p": Simplex("Y")})
    return equate(space, partial(_factor, factor=factor), budget)


def limit(p: Array, steps: int = 500, size: float = 4.0) -> Array:
    """Where exact training on agreement ends, float[n, Y]."""
    logits, law = np.log(p), p
    for _ in range(steps):
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        law = weights / weights.sum(axis=1, keepdims=True)
        logits = logits + size * law * (law - (law * law).sum(axis=1, keepdims=True))
    return law


def _mode(p: Array, *, share: float) -> Trials:
    """The distance of the limit from the answer that was the most likely at the start."""
    law = 0.9 * p + 0.1 / p.shape[1]
    ordered = np.sort(law, axis=1)
    holds = ordered[:, -1] - ordered[:, -2] > 0.05 if p.shape[1] > 1 else np.zeros(len(p), dtype=bool)
    start = law if share == 1 else law[:, ::-1]
    end = limit(law)
    mode = np.eye(p.shape[1])[start.argmax(axis=1)]
    return Trials(abs(end - mode).sum(axis=1) / 2, 0.05, 1e-9, trivial=1.0, holds=holds)


def _mode_check(budget: Budget, share: float = 1.0) -> Inequality:
    space = Space({"Y": (2, 4)}, {"p": Simplex("Y")})
    return attack(space, partial(_mode, share=share), budget, batched=True)


def _accuracy(p: Array, *, plurality: bool) -> Trials:
    """Accuracy (of the first answer) before training on agreement against after it."""
    law = 0.9 * p + 0.1 / p.shape[1]
    before, after = law[:, 0], limit(law)[:, 0]
    right = law.argmax(axis=1) == 0
    return Trials(before, after + 1e-3, 1e-9, holds=right if plurality else np.ones(len(p), dtype=bool))


def _accuracy_check(budget: Budget, plurality: bool = False) -> Inequality:
    space = Space({"Y": (2, 4)}, {"p": Simplex("Y")})
    return attack(space, partial(_accuracy, plurality=plurality), budget, batched=True)


def separatrix(p: float, q: float, steps: int = 20_000, size: float = 0.2) -> tuple[float, float]:
    """Two paraphrases with policies of their own, two answers: logistic parameters follow the gradient of agreement."""
    x, y = np.log(p / (1 - p)), np.log(q / (1 - q))
    for _ in range(steps):
        a, b = 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(-y))
        x, y = x + size * a * (1 - a) * (2 * b - 1), y + size * b * (1 - b) * (2 * a - 1)
    return float(1 / (1 + np.exp(-x))), float(1 / (1 + np.exp(-y)))


def _basin(p: Array, q: Array, *, rule: str) -> Trial | None:
    r"""Which answer two paraphrases agree on: the first iff :math:`p+q>1` (ours), or iff the first one prefers it.

    *Proof.* The logits have :math:`\dot x=\tanh(y/2)/(4\cosh^2(x/2))` and the same with x and y exchanged, so
    :math:`\sinh(x)\,\dot x=\sinh(y)\,\dot y`: :math:`\cosh x-\cosh y` is conserved.  x + y cannot change its sign,
    since on x = -y both derivatives cancel; and p + q > 1 iff x + y > 0.
    """
    a, b = 0.05 + 0.9 * float(p), 0.05 + 0.9 * float(q)
    if abs(a + b - 1) < 0.05:
        return None
    first = a + b > 1 if rule == "sum" else a > 0.5
    end = separatrix(a, b)
    return Trial(float((end[0] + end[1] > 1) != first), 0.0)


def _basin_check(budget: Budget, rule: str = "sum") -> Identity:
    space = Space({}, {"p": Box("", 0, 1), "q": Box("", 0, 1)})
    return equate(space, partial(_basin, rule=rule), budget.with_instances(min(budget.instances, 40)))


def _unanimous(answers: Array, *, all_but_one: bool) -> Trial:
    """The largest advantage in the groups of n paraphrases with one answer each group agrees on (exact match).

    All answers of all paraphrases are the same; or one of them is not.
    """
    given = np.full(answers.shape, float(answers.flat[0]))
    if all_but_one:
        given[0, 0] += 1
    n = len(given)
    reward = np.array([
        [np.mean([(given[other] == x).mean() for other in range(n) if other != i]) for x in given[i]] for i in range(n)
    ])  # fmt: skip
    spread = reward.std(axis=1, keepdims=True)
    A = np.where(spread > 1e-12, (reward - reward.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1), 0)
    return Trial(float(abs(A).max()), 0.0)


def _unanimous_check(budget: Budget, all_but_one: bool = False) -> Identity:
    space = Space({"N": (2, 4), "G": (2, 4)}, {"answers": Box("NG", 0, 3, step=1)})
    return equate(space, partial(_unanimous, all_but_one=all_but_one), budget)


def _draw() -> tuple[Figure, pd.DataFrame]:
    grid, rows = np.linspace(0.05, 0.95, 19), []
    fig = plt.figure(figsize=(COLUMN, 2.6))
    ax = fig.subplots()
    for p in grid:
        for q in grid:
            end = separatrix(float(p), float(q), steps=3_000)
            rows.append({"p": p, "q": q, "first": end[0] + end[1] > 1})
    data = pd.DataFrame(rows)
    for value, colour, label in ((True, "#0072B2", "agree on the first answer"), (False, "#E69F00", "on the second")):
        part = data[data["first"] == value]
        ax.plot(part["p"], part["q"], "s", ms=3.5, color=colour, label=label, mew=0)
    ax.plot([0, 1], [1, 0], color="black", lw=1, label="p + q = 1")
    ax.set(xlabel="paraphrase 1: chance of the first answer", ylabel="paraphrase 2", xlim=(0, 1), ylim=(0, 1.35))
    ax.legend(loc="upper center", ncols=2, fontsize=6, columnspacing=0.8)
    return fig, data


FIGURES = (
    PaperFigure(
        "basins",
        r"Two paraphrases with policies of their own that are paid for agreeing, two answers: which one they end on, "
        r"by simulation, "
        r"and the exact boundary.",
        _draw,
    ),
)

CLAIMS = (
    claim(
        id="ps-grpo/subsampling-is-unbiased",
        source="Section on the approximation",
        statement="The reward against $k$ random other paraphrases has the full reward as its mean.",
        kind=Identity,
        premises=("before normalisation in the group",),
        check=_subsample_check,
        control=partial(_subsample_check, own=True),
        control_statement="the same where the full reward counts the answer's agreement with itself.",
    ),
    claim(
        id="ps-grpo/half-of-the-gradient",
        source="ours, on the reward",
        statement=r"The expected gradient of agreement is twice what the rewards, taken as fixed, give.",
        kind=Identity,
        premises=(MATCH, "two paraphrases that share a policy"),
        check=_factor_check,
        control=partial(_factor_check, factor=1.0),
        control_statement="it is what they give.",
    ),
    claim(
        id="ps-grpo/ends-on-the-mode",
        source="ours, on the reward",
        statement="Training on agreement alone ends on the answer that was the most likely at the start.",
        kind=Inequality,
        premises=(MATCH, "one policy, exact gradients, a lead of 0.05 at least; 500 steps of size 4"),
        check=_mode_check,
        control=partial(_mode_check, share=0.0),
        control_statement="on the mirror image of that answer.",
    ),
    claim(
        id="ps-grpo/accuracy-rises-without-truth",
        source="abstract (consistency and accuracy, even without ground truth)",
        statement="Training on agreement alone does not lower accuracy (by more than 0.001).",
        kind=Inequality,
        premises=(MATCH, "one policy, exact gradients"),
        check=_accuracy_check,
        control=partial(_accuracy_check, plurality=True),
        control_statement="the same where the right answer is the most likely one at the start.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="ps-grpo/basins",
        source="ours, on the reward",
        statement="Two paraphrases with policies of their own and two answers end on the first iff $p+q>1$.",
        kind=Identity,
        premises=(MATCH, "logistic parameters, exact gradients", "$|p+q-1|\\ge0.05$"),
        check=_basin_check,
        control=partial(_basin_check, rule="first"),
        control_statement="iff the first paraphrase prefers it.",
    ),
    claim(
        id="ps-grpo/unanimity-is-silent",
        source="ours, on the reward",
        statement="Where all answers agree, right or wrong, there is no signal.",
        kind=Identity,
        premises=("exact-match similarity, advantages normalised within a paraphrase",),
        check=_unanimous_check,
        control=partial(_unanimous_check, all_but_one=True),
        control_statement="the same where one answer differs.",
    ),
)
