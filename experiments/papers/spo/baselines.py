"""Section 3: the baseline of least variance, normalisation over a batch, prioritised prompts."""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.spo.common import SOFTMAX, claim
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Simplex, Space


def _variances(logits: Array, r: Array) -> tuple[Array, Array, Array]:
    """Law of the answers, squared norm of their scores, and the value, float[n, K], float[n, K], float[n, 1]."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    pi = weights / weights.sum(axis=1, keepdims=True)
    score = 1 - 2 * pi + (pi**2).sum(axis=1, keepdims=True)  # |e_a - pi|^2
    return pi, score, (pi * r).sum(axis=1, keepdims=True)


def _second_moment(pi: Array, score: Array, r: Array, b: Array) -> Array:
    """E |(r - b) score|^2; the mean of the estimator is the same for every b, so this orders variances."""
    moment: Array = (pi * score * (r - b) ** 2).sum(axis=1)
    return moment


def _best_baseline(logits: Array, r: Array, b: Array, *, baseline: str) -> Trials:
    pi, score, v = _variances(logits, r)
    total = (pi * score).sum(axis=1, keepdims=True)
    best = (pi * score * r).sum(axis=1, keepdims=True) / np.where(total > 0, total, 1.0)
    chosen, other = (v, best) if baseline == "value" else (best, b[:, None])
    error = 64 * EPS * (1 + abs(b)) ** 2 + 1e-300
    return Trials(_second_moment(pi, score, r, chosen), _second_moment(pi, score, r, other), error)


def _best_baseline_check(budget: Budget, baseline: str) -> Inequality:
    space = Space({"K": (1, 4)}, {"logits": Box("K", -7, 7), "r": Box("K", 0, 1), "b": Box("", -1, 2)})
    sure = {"logits": np.array([7.0, -7.0]), "r": np.array([1.0, 0.0]), "b": np.array(0.0)}
    measure = partial(_best_baseline, baseline=baseline)
    return attack(space, measure, budget.with_instances(20 * budget.instances), batched=True, hard=[sure])


def _batch(pi: Array, r: Array, v: Array, B: Array, *, corrected: bool) -> Trial:
    """E of (1/B) sum_i (A_i - mean A) score_i over batches of uniform prompts with fixed baselines, float[X, K]."""
    X, K = pi.shape
    size, total = int(B), np.zeros(pi.shape)
    for batch in product(range(X * K), repeat=size):
        x, y = np.divmod(np.array(batch), K)
        A = r[x, y] - v[x]
        A = A - A.mean()
        weight = pi[x, y].prod() / X**size
        for i in range(size):
            total[x[i]] += weight * A[i] * (np.eye(K)[y[i]] - pi[x[i]]) / size
    gradient = pi * (r - (pi * r).sum(axis=1, keepdims=True)) / X
    return Trial(float(abs(total - (1 - 1 / size if corrected else 1) * gradient).max()), 4096 * EPS)


def _batch_check(budget: Budget, corrected: bool = True) -> Identity:
    fields = {"pi": Simplex("XK"), "r": Box("XK", 0, 1, step=1), "v": Box("X", 0, 1), "B": Box("", 1, 3, step=1)}
    measure = partial(_batch, corrected=corrected)
    return equate(Space({"X": (1, 2), "K": (1, 2)}, fields), measure, budget.with_instances(min(budget.instances, 200)))


def _priority(pi: Array, r: Array, v: Array, *, importance: bool, stated: str) -> Trial:
    """The expected gradient when prompts are drawn by sqrt(v(1 - v)) + 0.05, against that of sum w p or of mean p."""
    weight = np.sqrt(v * (1 - v)) + 0.05
    weight = weight / weight.sum()
    X = len(v)
    of_prompt = pi * (r - (pi * r).sum(axis=1, keepdims=True))
    correction = 1 / (X * weight) if importance else np.ones(X)
    found = (weight * correction)[:, None] * of_prompt
    target = (weight if stated == "weighted" else np.full(X, 1 / X))[:, None] * of_prompt
    return Trial(float(abs(found - target).max()), 64 * EPS)


def _priority_check(budget: Budget, importance: bool = False, stated: str = "uniform") -> Identity:
    space = Space({"X": (1, 4), "K": (1, 3)}, {"pi": Simplex("XK"), "r": Box("XK", 0, 1), "v": Box("X", 0, 1)})
    return equate(space, partial(_priority, importance=importance, stated=stated), budget)


CLAIMS = (
    claim(
        id="spo/value-is-the-best-baseline",
        source="Section 3",
        statement=r"Among baselines that do not depend on the answer, the value $V^\pi(x)$ minimises the variance of "
        r"the "
        r"policy gradient.",
        kind=Inequality,
        premises=(SOFTMAX, "rewards in [0, 1]"),
        check=partial(_best_baseline_check, baseline="value"),
        control=partial(_best_baseline_check, baseline="best"),
        control_statement=r"$E[\|\nabla\log\pi\|^2 r]/E\|\nabla\log\pi\|^2$ does.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="spo/best-baseline",
        source="ours, corrects Section 3",
        statement=r"$b^*=E[\|\nabla\log\pi\|^2 r]/E\|\nabla\log\pi\|^2$ minimises the variance of the policy gradient.",
        kind=Inequality,
        premises=(SOFTMAX, "rewards in [0, 1]"),
        check=partial(_best_baseline_check, baseline="best"),
        control=partial(_best_baseline_check, baseline="value"),
        control_statement=r"the value does.",
    ),
    claim(
        id="spo/batch-normalisation-shrinks",
        source="ours, on Section 3 (normalisation over the batch)",
        statement=r"Subtracting the mean of a batch of $B$ advantages leaves $(1-\frac1B)\nabla J$ of the gradient.",
        kind=Identity,
        premises=(SOFTMAX, "uniform prompts, fixed baselines, one answer each", "before division by the deviation"),
        check=_batch_check,
        control=partial(_batch_check, corrected=False),
        control_statement=r"it leaves $\nabla J$.",
    ),
    claim(
        id="spo/priorities-keep-the-objective",
        source="Section 3 (prioritised sampling)",
        statement=r"Drawing prompts by $\sqrt{\hat v(1-\hat v)}+0.05$ keeps the gradient that of the mean success.",
        kind=Identity,
        premises=(SOFTMAX, "no importance weights, as in paper and code"),
        check=_priority_check,
        control=partial(_priority_check, importance=True),
        control_statement=r"the same with importance weights $1/(N\,w(x))$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="spo/priorities-change-the-objective",
        source="ours, corrects the last",
        statement=r"It makes it that of $\sum_xw(x)p(x)$, the weights held fixed.",
        kind=Identity,
        premises=(SOFTMAX, "no importance weights, as in paper and code"),
        check=partial(_priority_check, stated="weighted"),
        control=_priority_check,
        control_statement="it keeps it that of the mean success.",
    ),
)
