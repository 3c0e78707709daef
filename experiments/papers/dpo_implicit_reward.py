r"""The implicit reward of DPO against an explicit reward model: where they tie, and where they cannot.

:math:`\hat r(y)=\beta\log\frac{\pi_\theta(y)}{\pi_{ref}(y)}` (DPORM) against a linear head on features of the answer
(EXRM), both fitted to Bradley-Terry preferences.  The paper compares accuracies on five shifts and states no theorem;
a companion (arXiv 2507.07981) blames token-level cues.  Exact here: answers of one token, logits :math:`W_y^\top h`
with a fixed hidden state h and trained W; an answer's features are what EXRM sees.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array, Ints
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import PAGE
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Comparison, Identity, Outcome, comparison
from claimlab.theory.falsify import Trial, equate
from claimlab.theory.spaces import Box, Simplex, Space

PAPER = Paper(
    slug="dpo-implicit-reward",
    title="On the Limited Generalization Capability of the Implicit Reward Model Induced by Direct Preference "
    "Optimization",
    authors="Yong Lin, Skyler Seto, Maartje ter Hoeve, Katherine Metcalf, Barry-John Theobald, Xuan Wang, Yizhe Zhang, "
    "Chen Huang, Tong Zhang",
    venue="EMNLP Findings 2024",
    arxiv="2409.03650",
    tier="core-named / mechanism-checkable",
)

claim = partial(Claim, paper=PAPER)

TABLE = "finitely many answers of one prompt, a logit each; Bradley-Terry preferences, exact expectations"
TOKENS = "answers of one token, logits $W_y^\\top h$, the hidden state $h$ fixed and $W$ trained"


def sigmoid(z: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-z)))


def log_softmax(x: Array) -> Array:
    top = x.max()
    return np.asarray(x - top - np.log(np.exp(x - top).sum()))


def margins(logits: Array, ref: Array, beta: float) -> Array:
    r""":math:`\hat r(y)-\hat r(y')` for all pairs; the normaliser cancels in it."""
    implicit = beta * (log_softmax(logits) - np.log(ref))
    return np.subtract.outer(implicit, implicit)


def _population_gradient(logits: Array, ref: Array, r: Array, beta: float) -> Array:
    """The gradient of DPO's expected loss over all pairs, weighted alike, in the logits."""
    error = sigmoid(margins(logits, ref, beta)) - sigmoid(np.subtract.outer(r, r))
    return beta * 2 * error.sum(axis=1)


def _recovers(ref: Array, r: Array, beta: Array, *, factor: float) -> Trial:
    r"""Stationarity of :math:`\pi\propto\pi_{ref}e^{r/\beta}`; the loss is strictly convex in the margins."""
    law, b = 0.95 * ref + 0.05 / len(ref), float(beta)
    gradient = _population_gradient(np.log(law) + factor * r / b, law, r, b)
    return Trial(float(abs(gradient).max()), 256 * EPS * len(r) * (1 + b))


def _recovers_check(budget: Budget, factor: float = 1.0) -> Identity:
    fields = {"ref": Simplex("Y"), "r": Box("Y", -2, 2), "beta": Box("", 0.05, 2)}
    return equate(Space({"Y": (1, 5)}, fields), partial(_recovers, factor=factor), budget)


def _shifted(ref: Array, r: Array, shift: Array, *, each: bool) -> Trial:
    """Preferences, and with them both models' losses, after a constant is added to the rewards of a prompt."""
    moved = r + (shift if each else shift[0])
    return Trial(
        float(abs(sigmoid(np.subtract.outer(moved, moved)) - sigmoid(np.subtract.outer(r, r))).max()), 64 * EPS
    )


def _shifted_check(budget: Budget, each: bool = False) -> Identity:
    fields = {"ref": Simplex("Y"), "r": Box("Y", -2, 2), "shift": Box("Y", -3, 3)}
    return equate(Space({"Y": (2, 5)}, fields), partial(_shifted, each=each), budget)


def train(score: Array, pairs: Ints, steps: int, size: float, start: Array) -> Array:
    """Full-batch gradient descent of the pair loss for scores that are linear, ``score @ w``; pairs are (won, lost)."""
    w = start.copy()
    x = score[pairs[:, 0]] - score[pairs[:, 1]]
    for _ in range(steps):
        w = w + size * (sigmoid(-(x @ w))[:, None] * x).mean(axis=0)
    return w


def _unseen(h: Array, W: Array, features: Array, won: Array, beta: Array, *, explicit: bool) -> Trial | None:
    """How far training on pairs of the first tokens moves the margin of the last two, which are in no pair.

    DPORM trains the rows of W (each token has its own), EXRM one vector on the tokens' features.
    """
    seen = len(W) - 2
    pairs = np.array([(i, j) if won[i] > 0.5 else (j, i) for i in range(seen) for j in range(i + 1, seen)])
    if len(pairs) == 0:
        return None
    if explicit:
        w = train(features, pairs, 30, 0.5, np.zeros(features.shape[1]))
        margin = (features[-1] - features[-2]) @ w
        return Trial(float(abs(margin)), 0.0)
    before, after, b = W @ h, W.copy(), float(beta)
    for _ in range(30):
        logits = after @ h
        gap = b * ((logits - before)[pairs[:, 0]] - (logits - before)[pairs[:, 1]])
        push = sigmoid(-gap) * b * 0.5 / len(pairs)
        for (w, loser), g in zip(pairs, push):
            after[w] += g * h
            after[loser] -= g * h
    logits = after @ h
    ref = np.exp(log_softmax(before))
    return Trial(float(abs(margins(logits, ref, b)[-1, -2])), 64 * EPS * (1 + abs(before).max() + abs(logits).max()))


def _unseen_check(budget: Budget, explicit: bool = False) -> Identity:
    fields = {"h": Box("D"), "W": Box("YD"), "features": Box("YD"), "won": Box("Y", 0, 1, step=1)}
    space = Space({"Y": (4, 6), "D": (1, 3)}, fields | {"beta": Box("", 0.1, 2)})
    return equate(space, partial(_unseen, explicit=explicit), budget)


# Shifts: 40 tokens, half of them seen in training

SEEN, FEATURES, PAIRS, TESTS = 20, 4, 400, 400


class _Fitted(NamedTuple):
    """Reward models of many runs and the pairs to test them on; a leading axis [runs]."""

    r: Array  # float[2 * SEEN] a run
    explicit: Array  # scores of all tokens
    explicit_anew: Array  # with features drawn anew
    implicit: Array
    test: Ints  # pairs of seen tokens
    u: Array  # in [0, 1): a pair is shifted if it is below the share


@lru_cache(maxsize=4)
def _fitted(runs: int, seed: int) -> _Fitted:
    rng, rows = np.random.default_rng(np.random.SeedSequence([seed, 47])), []
    for _ in range(runs):
        features, w = rng.standard_normal((2 * SEEN, FEATURES)), 2 * rng.standard_normal(FEATURES)
        r, anew = features @ w, rng.standard_normal((2 * SEEN, FEATURES))
        pairs, test = (np.argsort(rng.random((n, SEEN)), axis=1)[:, :2] for n in (PAIRS, TESTS))
        swap = rng.random(PAIRS) > sigmoid(r[pairs[:, 0]] - r[pairs[:, 1]])
        pairs[swap] = pairs[swap][:, ::-1]
        head = train(features, pairs, 300, 0.5, np.zeros(FEATURES))
        implicit = train(np.eye(2 * SEEN), pairs, 300, 5.0, np.zeros(2 * SEEN))
        rows.append((r, features @ head, anew @ head, implicit, test, rng.random(TESTS)))
    return _Fitted(*map(np.array, zip(*rows)))


def accuracies(kind: str, tau: float, runs: int, seed: int) -> tuple[Array, Array]:
    """Accuracy of EXRM and of DPORM on test pairs, float[runs] each.

    The reward is linear in features of the token.  Training: random pairs of 20 tokens, Bradley-Terry labels.  Test: a
    share `tau` of the pairs is shifted.  "tokens": they are of 20 other tokens of the same law.  "features": the tokens
    and their order stay, and the features that a reward model sees of them are drawn anew.
    """
    fit = _fitted(runs, seed)
    rows, moved = np.arange(runs)[:, None, None], fit.u < tau
    test = fit.test + SEEN * (moved[..., None] if kind == "tokens" else 0)
    explicit = fit.explicit[rows, test]
    if kind == "features":
        explicit = np.where(moved[..., None], fit.explicit_anew[rows, test], explicit)
    truth = np.sign(-np.diff(fit.r[rows, test])[..., 0])

    def accuracy(score: Array) -> Array:
        found = np.sign(-np.diff(score)[..., 0])
        return np.asarray(np.where(found == 0, 0.5, found == truth).mean(axis=1))  # a tie is right half the time

    return accuracy(explicit), accuracy(fit.implicit[rows, test])


EFFECT = 0.1


def _runs(budget: Budget) -> int:
    return {"smoke": 40, "standard": 200}.get(budget.name, 1_000)


def _worse_check(budget: Budget, kind: str = "tokens", tau: float = 1.0) -> Comparison:
    explicit, implicit = accuracies(kind, tau, _runs(budget), budget.seed)
    return comparison(explicit, implicit, effect=EFFECT, rng=budget.rng("bootstrap"))


def _grows_check(budget: Budget, reverse: bool = False) -> Comparison:
    half, full = (np.subtract(*accuracies("tokens", tau, _runs(budget), budget.seed)) for tau in (0.5, 1.0))
    first, second = (half, full) if reverse else (full, half)
    return comparison(first, second, effect=EFFECT, rng=budget.rng("bootstrap"))


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, axes = plt.subplots(1, 2, figsize=(PAGE, 2.2), sharey=True)
    taus, rows = np.linspace(0, 1, 11), []
    titles = (("tokens", "tokens never seen, same features"), ("features", "same tokens, features drawn anew"))
    for ax, (kind, title) in zip(axes, titles):
        found = np.array([accuracies(kind, float(tau), 40, 0) for tau in taus])
        for k, label in enumerate(("explicit reward model", "implicit reward of DPO")):
            mean = found[:, k].mean(axis=1)
            error = 1.96 * found[:, k].std(axis=1, ddof=1) / np.sqrt(found.shape[2])
            ax.errorbar(taus, mean, yerr=error, marker="o", capsize=1.5, label=label)
            rows += [{"shift": kind, "model": label, "tau": t, "accuracy": m} for t, m in zip(taus, mean)]
        ax.axhline(0.5, color="0.6", lw=0.8, ls=":")
        ax.set(xlabel="share of shifted test pairs", ylim=(0.4, 1), title=title)
    axes[0].set_ylabel("accuracy")
    axes[0].legend(loc="lower left")
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "shifts",
        r"Accuracy on preferences between answers of one token (mean and 95 % interval of 40 runs). Left: on tokens "
        r"that were in no training pair the implicit reward is that of the reference, zero, and its accuracy is "
        r"chance. Right: where the features of a token change and its worth does not, it is the explicit model that "
        r"fails.",
        _draw,
    ),
)

SETTING = (
    f"rewards linear in {FEATURES} features, {SEEN} tokens seen in {PAIRS} Bradley-Terry pairs, {TESTS} test pairs",
    f"the smallest effect of interest, {EFFECT}, is the same in all comparisons of the paper (a first look at the "
    f"third had 0.05)",
)

CLAIMS = (
    claim(
        id="dpo-implicit-reward/recovers-rewards",
        source="Section 2 (DPORM approximates EXRM in the limit)",
        statement=r"On a table with full coverage DPO's optimum is $\pi\propto\pi_{ref}e^{r/\beta}$: the implicit "
        r"reward is $r$ up to a constant.",
        kind=Identity,
        premises=(TABLE,),
        check=_recovers_check,
        control=partial(_recovers_check, factor=0.9),
        control_statement=r"it is $\pi\propto\pi_{ref}e^{0.9\,r/\beta}$.",
    ),
    claim(
        id="dpo-implicit-reward/constants-of-prompts",
        source="Section 2 (Bradley-Terry)",
        statement="A constant added to all rewards of a prompt changes no preference, and so neither loss.",
        kind=Identity,
        premises=(TABLE,),
        check=_shifted_check,
        control=partial(_shifted_check, each=True),
        control_statement="a constant added to each answer's reward changes none.",
    ),
    claim(
        id="dpo-implicit-reward/unseen-tokens-stay",
        source="ours, after arXiv 2507.07981",
        statement="Training leaves the margin of two tokens that are in no pair where the reference has it, at zero.",
        kind=Identity,
        premises=(TOKENS, "30 steps of gradient descent"),
        check=_unseen_check,
        control=partial(_unseen_check, explicit=True),
        control_statement="the same for a linear head on features of the tokens.",
    ),
    claim(
        id="dpo-implicit-reward/worse-under-token-shift",
        source="abstract (DPORM generalises less under shifts), on tokens",
        statement=rf"On pairs of tokens never seen in training EXRM's accuracy is at least {EFFECT} above DPORM's.",
        kind=Comparison,
        premises=(TOKENS, *SETTING),
        check=_worse_check,
        control=partial(_worse_check, kind="features"),
        control_statement="the same where tokens stay and their features are drawn anew.",
    ),
    claim(
        id="dpo-implicit-reward/gap-grows-with-the-shift",
        source="abstract (especially under shifts), on tokens",
        statement=rf"The gap with all test pairs shifted is at least {EFFECT} above that with half of them.",
        kind=Comparison,
        premises=(TOKENS, *SETTING),
        check=_grows_check,
        control=partial(_grows_check, reverse=True),
        control_statement="the gap with half of them is.",
    ),
    claim(
        id="dpo-implicit-reward/worse-without-shift",
        source="abstract (fits comparably without shift), its contrary",
        statement=rf"EXRM's accuracy is at least {EFFECT} above DPORM's without any shift too.",
        kind=Comparison,
        premises=(TOKENS, *SETTING),
        check=partial(_worse_check, tau=0.0),
        control=_worse_check,
        control_statement="the same on tokens never seen.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="dpo-implicit-reward/worse-under-any-shift",
        source="abstract (DPORM generalises less under shifts), on features",
        statement=rf"Where tokens stay and their features are drawn anew EXRM's accuracy is at least {EFFECT} above "
        r"DPORM's.",
        kind=Comparison,
        premises=(TOKENS, *SETTING),
        check=partial(_worse_check, kind="features"),
        control=_worse_check,
        control_statement="the same on tokens never seen.",
        expected=Outcome.REFUTED,
    ),
)
