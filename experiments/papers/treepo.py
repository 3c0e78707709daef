r"""TreePO: answers sampled as a tree of segments, and advantages averaged over the groups of all ancestors.

Eq. 5: :math:`\hat A_{ij}=R_i-\mathrm{mean}(R\text{ over the leaves below the ancestor at depth }j)`, averaged over the
depths of the ancestors; Eq. 6 weights by group size.  Full binary or b-ary trees, enumerated.  What trees are
worth to a small model, at equal generated tokens, is a question of the study `treepo` (``claimlab lm run treepo``).
"""

from __future__ import annotations

from functools import partial
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.lm import records
from claimlab.experiments.style import COLUMN
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.decision_trees import value
from claimlab.theory.evidence import Comparison, Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Simplex, Space

PAPER = Paper(
    slug="treepo",
    title="TreePO: Bridging the Gap of Policy Optimization and Efficacy and Inference Efficiency with Heuristic "
    "Tree-based Modeling",
    authors="Yizhi Li, Qingshui Gu, Zhoufutu Wen, Ziniu Li, Tianshun Xing, Shuyue Guo, Tianyu Zheng, Xin Zhou, et al.",
    venue="arXiv, 2025",
    arxiv="2508.17445",
    tier="core-named / mechanism-checkable",
)

claim = partial(Claim, paper=PAPER)

FULL = "full trees of sampled segments, two or three deep; before division by a standard deviation"


def advantages(R: Array, how: str = "average") -> Array:
    """Advantages of the leaves of a full tree, float[b_1, ..., b_D]; the root's group and every ancestor's but the
    leaf."""
    total, weights = np.zeros(R.shape), 0.0
    for depth in range(R.ndim):
        axes = tuple(range(depth, R.ndim))
        size = float(np.prod(R.shape[depth:])) if how == "size" else 1.0
        total, weights = total + size * (R - R.mean(axis=axes, keepdims=True)), weights + size
    return np.asarray(total / weights)


TREES = Space({"A": (1, 3), "B": (1, 3), "C": (1, 3)}, {"R": Box("ABC")})


def _one_baseline(R: Array, *, leaf: bool) -> Trial:
    """Eq. 5 is the reward less one number, the mean of the ancestors' means; `leaf` counts the leaf's own group too."""
    means = [R.mean(axis=tuple(range(d, R.ndim)), keepdims=True) + 0 * R for d in range(R.ndim)]
    stated = R - np.mean([*means, R] if leaf else means, axis=0)
    return Trial(float(abs(advantages(R) - stated).max()), 64 * EPS)


def _one_baseline_check(budget: Budget, leaf: bool = False) -> Identity:
    return equate(TREES, partial(_one_baseline, leaf=leaf), budget)


def _zero_sum(R: Array, weight: Array, *, pruned: bool, how: str) -> Trial | None:
    """The sum of the advantages; with pruned leaves, groups are of what is left."""
    if not pruned:
        return Trial(float(abs(advantages(R, how).sum())), 64 * EPS * R.size)
    kept = weight > 0.5
    if kept.sum() < 2:
        return None
    total = np.zeros(R.shape)
    for depth in range(R.ndim):
        axes = tuple(range(depth, R.ndim))
        count = kept.sum(axis=axes, keepdims=True)
        total += R - np.where(kept, R, 0).sum(axis=axes, keepdims=True) / np.maximum(count, 1)
    ancestors = total / R.ndim
    # the average over depths of sums that are each zero; leaves in pruned groups keep their weight of one
    rows = np.where(kept, ancestors * kept.sum(axis=2, keepdims=True), 0)
    return Trial(float(abs(rows.sum())), 64 * EPS * R.size)


def _zero_sum_check(budget: Budget, pruned: bool = False, how: str = "average") -> Identity:
    space = Space(TREES.sizes, {"R": Box("ABC"), "weight": Box("ABC", 0, 1, step=1)})
    return equate(space, partial(_zero_sum, pruned=pruned, how=how), budget)


def leaf_mean_variance(leaf: Array, policy: list[Array], b: int) -> Array:
    r"""The variance of the mean reward of the leaves of a b-ary sampled tree, a level at a time (ours):

    :math:`\mathrm{Var}(s)=\frac1b\left[\mathrm{Var}_aV(sa)+E_a\mathrm{Var}(sa)\right]`.
    """
    v, variance = leaf, np.zeros(leaf.shape)
    for law in reversed(policy):
        mean = (law * v).sum(axis=-1)
        spread = (law * (v - mean[..., None]) ** 2).sum(axis=-1)
        variance = (spread + (law * variance).sum(axis=-1)) / b
        v = mean
    return variance


LAWS = {"p1": Simplex("A"), "p2": Simplex("AB"), "p3": Simplex("ABC")}
SAMPLED = Space({"A": (1, 3), "B": (1, 3), "C": (1, 3)}, LAWS | {"leaf": Box("ABC", 0, 1)})


def _variance(leaf: Array, *, b: int, reverse: bool, **laws: Array) -> Trials:
    """b^3 independent answers against a b-ary tree with as many leaves."""
    policy = [laws[name] for name in LAWS]
    v = value(leaf, policy)
    independent = (value(leaf**2, policy) - v**2) / b**3
    tree = leaf_mean_variance(leaf, policy, b)
    return Trials(*((tree, independent) if reverse else (independent, tree)), 64 * EPS)


def _variance_check(budget: Budget, reverse: bool = False) -> Inequality:
    measure = partial(_variance, b=2, reverse=reverse)
    return attack(SAMPLED, measure, budget.with_instances(20 * budget.instances), batched=True)


def _recursion(p1: Array, p2: Array, leaf: Array, *, b: int) -> Trial:
    """The recursion against all trees of two levels with two children each: 2 first tokens, 4 second ones."""
    policy, mean, square = [p1, p2], 0.0, 0.0
    A, B = leaf.shape
    for first in product(range(A), repeat=2):
        for second in product(range(B), repeat=4):
            chance = float(np.prod(p1[list(first)]))
            pairs = [(first[i // 2], second[i]) for i in range(4)]
            chance *= float(np.prod([p2[a, c] for a, c in pairs]))
            x = np.mean([leaf[a, c] for a, c in pairs])
            mean, square = mean + chance * x, square + chance * x**2
    return Trial(float(abs(square - mean**2 - leaf_mean_variance(leaf, policy, b))), 4096 * EPS)


def _recursion_check(budget: Budget, b: int = 2) -> Identity:
    space = Space({"A": (1, 2), "B": (1, 3)}, {"p1": Simplex("A"), "p2": Simplex("AB"), "leaf": Box("AB", 0, 1)})
    return equate(space, partial(_recursion, b=b), budget.with_instances(min(budget.instances, 200)))


def _fallback(p: Array, r: Array, *, weighted: bool) -> Trial:
    """A tree that branches once more below answers of one kind: the plain mean of its leaves against E r.

    A token is sampled; if it is the first, its leaf is doubled (a second continuation), as branching by probability or
    falling back to living paths does; `weighted` gives each leaf one over the number of its copies.
    """
    others = product(range(len(p)), repeat=2)
    found = 0.0
    for answers in others:
        copies = np.array([2.0 if a == 0 else 1.0 for a in answers])
        weights = np.ones(2) / copies if weighted else np.ones(2)
        weights = weights * copies
        x = (weights * r[list(answers)]).sum() / (2 if weighted else weights.sum())
        found += float(np.prod(p[list(answers)])) * x
    return Trial(float(abs(found - p @ r)), 64 * EPS)


def _fallback_check(budget: Budget, weighted: bool = True) -> Identity:
    space = Space({"A": (1, 3)}, {"p": Simplex("A"), "r": Box("A", 0, 1)})
    return equate(space, partial(_fallback, weighted=weighted), budget)


def _per_segment(leaf: Array, *, gain: bool, last: bool, **laws: Array) -> Trials:
    """Variance times generated segments: 14 of a binary tree of three levels, 24 of as many independent answers.

    With `last`, only the third segment matters, and its law is the same everywhere.
    """
    policy = [laws[name] for name in LAWS]
    if last:
        policy[2] = np.broadcast_to(policy[2][:, :1, :1], policy[2].shape)
        leaf = np.broadcast_to(leaf[:, :1, :1], leaf.shape)
    independent = (value(leaf**2, policy) - value(leaf, policy) ** 2) / 8 * 24
    tree = leaf_mean_variance(leaf, policy, 2) * 14
    return Trials(*((tree, independent) if gain else (independent, tree)), 1e-12)


def _per_segment_check(budget: Budget, gain: bool = True, last: bool = False) -> Inequality:
    """By hand: if the first segment decides, with chance 1/2, the tree has 14/8 and independent answers 24/32."""
    first = {
        "p1": np.array([0.5, 0.5]), "p2": np.ones((2, 1)), "p3": np.ones((2, 1, 1)),
        "leaf": np.array([1.0, 0.0]).reshape(2, 1, 1),
    }  # fmt: skip
    third = {"p1": np.ones(1), "p2": np.ones((1, 1)), "p3": np.full((1, 1, 2), 0.5), "leaf": np.array([[[1.0, 0.0]]])}
    many = budget.with_instances(20 * budget.instances)
    return attack(SAMPLED, partial(_per_segment, gain=gain, last=last), many, batched=True, hard=[first, third])


def _segments(p: Array, q: Array, leaf: Array, *, others: bool) -> Trial:
    """Two sampled children with two leaves each: the mean of (value of the child less the parent's) times score.

    The parent's value is the mean of the *other* child's leaves, or of all four; against the gradient at the parent.
    """
    A, C = leaf.shape
    mean = (q * leaf).sum(axis=1)
    found = np.zeros(A)
    for first, second in product(range(A), repeat=2):
        for leaves in product(range(C), repeat=4):
            chance = p[first] * p[second] * np.prod([q[first, c] for c in leaves[:2]])
            chance *= np.prod([q[second, c] for c in leaves[2:]])
            children = leaf[first, list(leaves[:2])].mean(), leaf[second, list(leaves[2:])].mean()
            for child, own, other in ((first, *children), (second, *children[::-1])):
                parent = other if others else (own + other) / 2
                found += chance * (own - parent) * (np.eye(A)[child] - p) / 2
    return Trial(float(abs(found - p * (mean - p @ mean)).max()), 4096 * EPS)


def _segments_check(budget: Budget, others: bool = True) -> Identity:
    space = Space({"A": (1, 2), "C": (1, 2)}, {"p": Simplex("A"), "q": Simplex("AC"), "leaf": Box("AC", 0, 1)})
    return equate(space, partial(_segments, others=others), budget)


def _prefix(R: Array, *, segment: bool) -> Trial:
    r"""What the token of a node at depth d gets from the leaves below it, against ours:

    :math:`\frac{n}{D}\sum_{j<d}(\hat V(\text{node})-\hat V(\text{its ancestor at }j))`, n its leaves; or n times the
    difference to its parent, which a segment-level estimate would give.
    """
    A, D, worst = advantages(R), R.ndim, 0.0
    means = [R.mean(axis=tuple(range(d, D)), keepdims=True) for d in range(D)]
    for d in range(1, D):
        below = tuple(range(d, D))
        found, n = A.sum(axis=below, keepdims=True), float(np.prod(R.shape[d:]))
        stated = means[d] - means[d - 1] if segment else sum(means[d] - means[j] for j in range(d)) / D
        worst = max(worst, float(abs(found - n * stated).max()))
    return Trial(worst, 256 * EPS * R.size)


def _prefix_check(budget: Budget, segment: bool = False) -> Identity:
    return equate(TREES, partial(_prefix, segment=segment), budget)


def _draw() -> tuple[Figure, pd.DataFrame]:
    rng, fig = np.random.default_rng(0), plt.figure(figsize=(COLUMN, 2.4))
    ax, rows = fig.subplots(), []
    block = {name: field.draw(rng, (400, *(3,) * len(field.axes))) for name, field in SAMPLED.fields.items()}
    policy = [block[name] for name in LAWS]
    for b, marker in ((2, "."), (4, "x")):
        independent = (value(block["leaf"] ** 2, policy) - value(block["leaf"], policy) ** 2) / b**3
        tree = leaf_mean_variance(block["leaf"], policy, b)
        ax.plot(independent, tree, marker, ms=3, label=f"b = {b}, {b**3} leaves")
        rows += [{"b": b, "independent": x, "tree": y} for x, y in zip(independent, tree)]
    ends = np.array([0, max(row["independent"] for row in rows) * 1.05])
    ax.plot(ends, ends, color="black", lw=0.8, ls="--")
    ax.set(xlabel="variance with independent answers", ylabel="variance of the tree's mean")
    ax.legend()
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "shared-prefixes",
        r"The variance of the mean reward of sampled answers over random trees of three steps: sharing prefixes "
        r"saves tokens, "
        r"never variance, at an equal number of leaves.",
        _draw,
    ),
    PaperFigure(
        "small-model",
        "A small transformer whose answers are drawn as trees, at equal tokens: the share right, mean over ten seeds "
        "with 95 % intervals.  The first two arms are provably one.",
        partial(records.drawn, "treepo"),
    ),
)

CLAIMS = (
    claim(
        id="treepo/one-baseline",
        source="ours, on Eq. 5",
        statement="The averaged advantage is the reward less one number, the mean of its ancestors' means: it is the "
        "same for all "
        "tokens of the answer.",
        kind=Identity,
        premises=(FULL,),
        check=_one_baseline_check,
        control=partial(_one_baseline_check, leaf=True),
        control_statement="the same with the leaf counted among its ancestors.",
    ),
    claim(
        id="treepo/zero-sum",
        source="ours, on Eq. 5",
        statement="In a full tree averaged advantages sum to zero.",
        kind=Identity,
        premises=(FULL,),
        check=_zero_sum_check,
        control=partial(_zero_sum_check, pruned=True),
        control_statement="the same, weighted by what is left of the last group, after leaves were pruned.",
    ),
    claim(
        id="treepo/zero-sum-by-size",
        source="ours, on Eq. 6",
        statement="In a full tree advantages weighted by group size sum to zero.",
        kind=Identity,
        premises=(FULL,),
        check=partial(_zero_sum_check, how="size"),
        control=partial(_zero_sum_check, pruned=True),
        control_statement="the same, weighted by what is left of the last group, after leaves were pruned.",
    ),
    claim(
        id="treepo/variance-recursion",
        source="ours, on Section 3 (tree sampling)",
        statement=r"The mean reward of the leaves has variance $\frac1b[\mathrm{Var}_aV(sa)+E_a\mathrm{Var}(sa)]$, "
        r"level by level.",
        kind=Identity,
        premises=("two levels, two children each, all trees enumerated",),
        check=_recursion_check,
        control=partial(_recursion_check, b=3),
        control_statement=r"the same with $b=3$.",
    ),
    claim(
        id="treepo/sharing-saves-no-variance",
        source="ours, on Section 3 (tree sampling)",
        statement="With as many leaves, a tree's mean reward has at least the variance of independent answers.",
        kind=Inequality,
        premises=("binary trees of three levels", "branching that does not look at outcomes"),
        check=_variance_check,
        control=partial(_variance_check, reverse=True),
        control_statement="it has at most that variance.",
    ),
    claim(
        id="treepo/fallback-is-unbiased",
        source="Section 3 (probability-based branching, fallback)",
        statement="Where some paths are continued more often than others, the mean reward of the leaves is unbiased.",
        kind=Identity,
        premises=("two sampled tokens; the first token of the vocabulary doubles its leaf",),
        check=partial(_fallback_check, weighted=False),
        control=_fallback_check,
        control_statement="the same if each leaf counts for one over the number of its copies.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="treepo/sharing-saves-by-segment",
        source="Section 3 (efficiency of tree sampling), as variance per generated segment",
        statement="Per generated segment a binary tree's mean reward has at most the variance of independent answers.",
        kind=Inequality,
        premises=("three levels: 14 segments against 24 for eight leaves", "branching that does not look at outcomes"),
        check=_per_segment_check,
        control=partial(_per_segment_check, last=True),
        control_statement="the same where the last segment alone matters.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="treepo/sharing-saves-late-noise",
        source="ours, corrects the last",
        statement="It has where the last segment alone matters.",
        kind=Inequality,
        premises=("three levels: 14 segments against 24 for eight leaves",),
        check=partial(_per_segment_check, last=True),
        control=_per_segment_check,
        control_statement="it has in any case.",
    ),
    claim(
        id="treepo/prefixes-count-by-leaf",
        source="ours, on Eq. 5 summed over answers",
        statement=r"A shared token at depth $d$ with $n$ leaves below gets $\frac nD\sum_{j<d}(\hat V-\hat V_j)$, the "
        r"mean of its leaves less those of its ancestors.",
        kind=Identity,
        premises=(FULL,),
        check=_prefix_check,
        control=partial(_prefix_check, segment=True),
        control_statement=r"it gets $n$ times the difference to its parent.",
    ),
    claim(
        id="treepo/segment-estimate",
        source="ours, on the released segment-level estimator (child less parent)",
        statement="Child's value less the mean of the other children is unbiased for the gradient at the parent.",
        kind=Identity,
        premises=("two children of two leaves each, all trees enumerated",),
        check=_segments_check,
        control=partial(_segments_check, others=False),
        control_statement="child's value less the mean over all children is.",
    ),
    claim(
        id="treepo/small-model",
        source="Eq. 5 against group means, on a small model (recorded runs)",
        statement="In the same trees TreePO's advantages beat those of the whole group.",
        kind=Comparison,
        premises=records.premises(
            "sorts three digits, after demonstrations of which 15 % sort", size="8 prompts with 44 tokens each"
        ),
        check=partial(records.judged, study="treepo", data="fresh", better="TreePO", worse="tree"),
        control=partial(records.judged, study="treepo", data="fresh", better="TreePO", worse="start"),
        control_statement="they beat the policy that they start from.",
        expected=Outcome.REFUTED,
    ),
)
