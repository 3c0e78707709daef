r"""MiroMind-M1 and its Context-Aware Multi-stage Policy Optimization (CAMPO): loops are penalised, lengths are staged.

:math:`\hat A_i=(s_i-\mathrm{mean}(s))/\mathrm{std}(s)` with :math:`s_i=r_i-f_i`: the reward less the fraction
:math:`f\in[0,1]` of the answer that is a terminal loop.  Prompts whose answers are all right or all wrong are filtered
out, and training goes through stages of growing maximal length; what is longer gets reward 0.  The released code
detects loops by trying all periods and keeps the *last* valid one, the longest; it takes a constant 0.1 for f, and only
for truncated answers.  Rewards on benchmarks, token efficiency at equal accuracy and stability need models.
"""

from __future__ import annotations

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array, Bools, Ints
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import PAGE
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Space

PAPER = Paper(
    slug="campo",
    title="MiroMind-M1: An Open-Source Advancement in Mathematical Reasoning via Context-Aware Multi-Stage Policy "
    "Optimization",
    authors="Xingxuan Li, Yao Xiao, Dianwen Ng, Hai Ye, Yue Deng, Xiang Lin, Bin Wang, Zhanfeng Mo, Chong Zhang, "
    "Yueyi Zhang, et al.",
    venue="arXiv, 2025",
    arxiv="2507.14683",
    tier="core-named / mechanism-checkable",
)

claim = partial(Claim, paper=PAPER)

SCORES = r"$\hat A=(r-f-\mathrm{mean}(r-f))/\mathrm{std}(r-f)$, rewards in {0, 1}"
CONSTANT = 0.1  # the released penalty

# Loops


def coverage(tokens: Ints, period: int) -> float:
    """The fraction of `tokens` that repeats their last `period` tokens up to the end; 0 if it does so only once."""
    n, start = len(tokens), len(tokens) - period
    while start >= period and np.array_equal(tokens[start - period : start], tokens[start : start + period]):
        start -= period
    return (n - start) / n if start < n - period else 0.0


def loop_fraction(tokens: Ints, choice: str = "longest") -> float:
    """f by the longest period that repeats (as released), the shortest, or the one that covers most ("most")."""
    found = [c for period in range(1, len(tokens) // 2 + 1) if (c := coverage(tokens, period)) > 0]
    if not found:
        return 0.0
    return {"longest": found[-1], "shortest": found[0], "most": max(found)}[choice]


def _loop(word: Array, before: Array, repeats: Array, *, choice: str) -> Trial:
    """Tokens of other kinds, then `repeats` copies of a word: against the fraction that the copies are."""
    k, others = int(repeats), 10 + np.arange(int(before))
    tokens = np.concatenate([others, np.tile(word.astype(int), k)])
    stated = k * len(word) / len(tokens)
    return Trial(abs(loop_fraction(tokens, choice) - stated), 4 * EPS)


def _loop_check(budget: Budget, choice: str = "longest") -> Identity:
    fields = {"word": Box("L", 0, 1, step=1), "before": Box("", 0, 4, step=1), "repeats": Box("", 2, 6, step=1)}
    return equate(Space({"L": (1, 4)}, fields), partial(_loop, choice=choice), budget)


# Advantages

GROUPS = {"r": Box("G", 0, 1, step=1), "f": Box("G", 0, 0.999)}


def advantages(r: Array, f: Array) -> Array:
    """Over the last axis; a group without spread gets zeros."""
    s = r - f
    centred, spread = s - s.mean(axis=-1, keepdims=True), s.std(axis=-1, keepdims=True)
    return np.asarray(np.where(spread > 1e-12, centred / np.where(spread > 1e-12, spread, 1.0), 0.0))


def _ranked(r: Array, f: Array, *, weight: float) -> Trials:
    """The best wrong answer against the worst right one, in scores; advantages have the same order."""
    s = advantages(r, weight * f)
    wrong, right = np.where(r == 0, s, -np.inf).max(axis=1), np.where(r == 1, s, np.inf).min(axis=1)
    mixed = (r == 0).any(axis=1) & (r == 1).any(axis=1)
    shift = 4.0  # |A| is at most the root of G - 1
    return Trials(np.where(mixed, wrong, 0) + shift, np.where(mixed, right, 0) + shift, 1e-12, holds=mixed)


def _ranked_check(budget: Budget, weight: float = 1.0) -> Inequality:
    space = Space({"G": (2, 8)}, GROUPS)
    return attack(space, partial(_ranked, weight=weight), budget.with_instances(20 * budget.instances), batched=True)


def kept(r: Array) -> bool:
    """The filter by accuracy: some right and some wrong answers."""
    return 0 < int(r.sum()) < len(r)


def _inert(f: Array, right: Array, *, filtered: bool) -> Trial:
    """The largest advantage in a group of equal rewards, whatever loops; with the filter such groups do not count."""
    r = np.full(len(f), float(right))
    A = advantages(r, f) * (kept(r) or not filtered)
    return Trial(float(abs(A).max()), 0.0)


def _inert_check(budget: Budget, filtered: bool = True) -> Identity:
    space = Space({"G": (2, 8)}, {"f": Box("G", 0, 0.999), "right": Box("", 0, 1, step=1)})
    return equate(space, partial(_inert, filtered=filtered), budget)


def released_scores(r: Array, looped: Bools, *, view: bool) -> tuple[Array, Array]:
    """What the released loop over answers leaves in the array of scores, and the list that mean and deviation are of.

    ``tmp = scores[i]; tmp -= c`` changes the array where indexing gives a view, as in a tensor library; where it gives
    a number, as in this one, only the list sees the penalty.
    """
    scores, listed = r.copy(), []
    for i in range(len(r)):
        score = scores[i, ...] if view else scores[i]  # with the dots: an array without axes, a view
        if looped[i]:
            score -= CONSTANT
        listed.append(float(score))
    return scores, np.array(listed)


def _released(r: Array, loops: Array, *, view: bool) -> Trial | None:
    """The released advantages against the formula with the constant penalty."""
    scores, listed = released_scores(r, loops > 0.5, view=view)
    if listed.std() < 1e-3:
        return None
    found = (scores - listed.mean()) / listed.std()
    return Trial(float(abs(found - advantages(r, np.where(loops > 0.5, CONSTANT, 0.0))).max()), 1e-12)


def _released_check(budget: Budget, view: bool = True) -> Identity:
    space = Space({"G": (2, 6)}, {"r": Box("G", 0, 1, step=1), "loops": Box("G", 0, 1, step=1)})
    return equate(space, partial(_released, view=view), budget)


def _penalty(word: Array, before: Array, repeats: Array, cut: Array, *, paper: bool) -> Trial:
    """The released penalty against the printed f, or against what the code does: constant, on truncated loops."""
    tokens = np.concatenate([10 + np.arange(int(before)), np.tile(word.astype(int), int(repeats))])
    f = loop_fraction(tokens)
    truncated = float(cut) > 0.5
    code = CONSTANT if truncated and f > 0 else 0.0
    looped = int(repeats) >= 2 or any(coverage(word.astype(int), p) > 0 for p in range(1, len(word) // 2 + 1))
    stated = f if paper else CONSTANT * (truncated and looped)
    return Trial(abs(code - stated), 0.0)


def _penalty_check(budget: Budget, paper: bool = True) -> Identity:
    fields = {"word": Box("L", 0, 1, step=1), "before": Box("", 0, 4, step=1), "repeats": Box("", 1, 4, step=1)}
    space = Space({"L": (1, 4)}, fields | {"cut": Box("", 0, 1, step=1)})
    return equate(space, partial(_penalty, paper=paper), budget)


def _best(r: Array, f: Array, *, clean: bool) -> Trials:
    """The success of the best answer against that of the answer whose success less f is best; ties go the wrong way.

    `clean` takes the loop from the answers of best success.
    """
    top = r >= r.max(axis=1, keepdims=True)
    f = np.where(top & clean, 0.0, f)
    s = r - f
    chosen = np.where(s >= s.max(axis=1, keepdims=True), r, np.inf).min(axis=1)
    return Trials(r.max(axis=1), chosen, 0.0)


def _best_check(budget: Budget, clean: bool = False) -> Inequality:
    space = Space({"A": (2, 5)}, {"r": Box("A", 0, 1), "f": Box("A", 0, 0.999)})
    return attack(space, partial(_best, clean=clean), budget.with_instances(20 * budget.instances), batched=True)


# Stages


def staged(x: Array, success: Array, first: int, steps: int, size: float = 0.5) -> Array:
    """Logits after exact training: `first` steps in which the last (longest) answer counts as wrong, then the rest.

    `x` and `success` are float[n, A], the answers in order of length.
    """
    capped = success.copy()
    capped[:, -1] = 0.0
    for t in range(steps):
        law = np.exp(x - x.max(axis=1, keepdims=True))
        law /= law.sum(axis=1, keepdims=True)
        r = capped if t < first else success
        x = x + size * law * (r - (law * r).sum(axis=1, keepdims=True))
    return x


def success_of(x: Array, success: Array) -> Array:
    law = np.exp(x - x.max(axis=1, keepdims=True))
    out: Array = (law * success).sum(axis=1) / law.sum(axis=1)
    return out


STEPS, FIRST = 200, 100


def _stages(short: Array, longer: Array, x: Array, *, short_wins: bool) -> Trials:
    """One stage of the full length against two: success at the end of as many steps, two answers.

    *Ours:* the difference of the logits, short less long, moves by the step size times p(1 - p) times the difference of
    the rewards, so the first stage only ever raises it; success rises with it iff the short answer is at least as good.
    """
    low, high = np.minimum(short, longer), np.maximum(short, longer)
    success = np.stack([high, low] if short_wins else [short, longer], axis=1)
    start = np.stack([x, np.zeros_like(x)], axis=1)
    direct, two = (success_of(staged(start, success, n, STEPS), success) for n in (0, FIRST))
    return Trials(direct, two, 1e-12)


def _stages_check(budget: Budget, short_wins: bool = False) -> Inequality:
    space = Space({}, {"short": Box("", 0, 1), "longer": Box("", 0, 1), "x": Box("", -3, 3)})
    measure = partial(_stages, short_wins=short_wins)
    return attack(space, measure, budget.with_instances(3 * budget.instances), batched=True)


def _shorter(short: Array, longer: Array, x: Array, *, reverse: bool) -> Trials:
    """The probability of the longer answer with two stages against that with one."""
    success = np.stack([short, longer], axis=1)
    start = np.stack([x, np.zeros_like(x)], axis=1)
    two, direct = (success_of(staged(start, success, n, STEPS), np.array([[0.0, 1.0]])) for n in (FIRST, 0))
    value, bound = (direct, two) if reverse else (two, direct)
    return Trials(value, bound, 1e-12)


def _shorter_check(budget: Budget, reverse: bool = False) -> Inequality:
    space = Space({}, {"short": Box("", 0, 1), "longer": Box("", 0, 1), "x": Box("", -3, 3)})
    measure = partial(_shorter, reverse=reverse)
    return attack(space, measure, budget.with_instances(3 * budget.instances), batched=True)


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.3))
    counts, rows = np.arange(2, 25), []
    for choice, label, style in (
        ("most", "share of the loop in the answer", "-"),
        ("longest", "as released: the longest period", "--"),
    ):
        y = [loop_fraction(np.zeros(k, dtype=int), choice) for k in counts]
        left.plot(counts, y, style, marker=".", label=label)
        rows += [{"panel": "loops", "series": label, "x": k, "y": v} for k, v in zip(counts, y)]
    left.set(xlabel="copies of one token, nothing before", ylabel="f", ylim=(0.6, 1.03))
    left.legend(loc="lower right")
    shares = np.linspace(0, 0.9, 46)
    for success, label in ((0.6, "longer: 0.6"), (0.8, "longer: 0.8"), (1.0, "longer: 1")):
        pair = np.array([[0.5, success]])
        end = [success_of(staged(np.zeros((1, 2)), pair, int(s * STEPS), STEPS), pair)[0] for s in shares]
        right.plot(shares, end, label=label)
        rows += [{"panel": "stages", "series": label, "x": s, "y": v} for s, v in zip(shares, end)]
    right.axhline(0.5, color="0.6", lw=0.8, ls=":")
    right.set(xlabel="share of the steps with the short limit", ylabel="success at the end", ylim=(0.45, 1.03))
    right.set_title(f"short answer: 0.5; {STEPS} exact steps")
    right.legend()
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "loops-and-stages",
        r"Left: the fraction of an answer in its terminal loop; the released detector keeps the longest period that "
        r"fits, so five copies of a token count for four. Right: two answers, the longer one better and too long for "
        r"the first stage: the more of the steps it takes, the less of the longer answer's success is reached.",
        _draw,
    ),
)

CLAIMS = (
    claim(
        id="campo/loop-fraction-as-released",
        source="Section on the repetition score, by the released code",
        statement=r"$f$ is the fraction of the answer that is inside its terminal loop.",
        kind=Identity,
        premises=("at least two copies of a word of up to four tokens, after tokens that are not in it",),
        check=_loop_check,
        control=partial(_loop_check, choice="most"),
        control_statement="the same with the period that covers most.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="campo/loop-fraction",
        source="ours, corrects the released code",
        statement=r"With the period that covers most, $f$ is the fraction inside the terminal loop.",
        kind=Identity,
        premises=("at least two copies of a word of up to four tokens, after tokens that are not in it",),
        check=partial(_loop_check, choice="most"),
        control=partial(_loop_check, choice="shortest"),
        control_statement="the same with the shortest period.",
    ),
    claim(
        id="campo/right-outranks-wrong",
        source="Eq. of the advantage (ordering ours)",
        statement="Whatever loops, every right answer has a larger advantage than every wrong one (not a smaller one).",
        kind=Inequality,
        premises=(SCORES, "$f<1$", "a group with right and wrong answers"),
        check=_ranked_check,
        control=partial(_ranked_check, weight=2.0),
        control_statement=r"the same with $2f$ for $f$.",
    ),
    claim(
        id="campo/filter-makes-the-penalty-inert",
        source="ours, on the filter by accuracy",
        statement="In groups of equal rewards, all wrong ones included, loops are not penalised at all.",
        kind=Identity,
        premises=(SCORES, "prompts are kept if some answers are right and some wrong"),
        check=_inert_check,
        control=partial(_inert_check, filtered=False),
        control_statement="the same without the filter.",
    ),
    claim(
        id="campo/released-penalty",
        source="Section on the repetition score, against the released code",
        statement=r"The penalty of the released code is $f$.",
        kind=Identity,
        premises=("one to four copies of a word, after other tokens; truncated or not",),
        check=_penalty_check,
        control=partial(_penalty_check, paper=False),
        control_statement=rf"it is {CONSTANT} if the answer was truncated and ends in a loop, and 0 otherwise.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="campo/released-penalty-is-constant",
        source="ours, on the released code",
        statement=rf"The released penalty is {CONSTANT} if the answer was truncated and ends in a loop, 0 otherwise.",
        kind=Identity,
        premises=("one to four copies of a word, after other tokens; truncated or not",),
        check=partial(_penalty_check, paper=False),
        control=_penalty_check,
        control_statement=r"it is $f$.",
    ),
    claim(
        id="campo/released-advantages",
        source="ours, on the released code",
        statement="The released loop over answers gives the normalised penalised scores.",
        kind=Identity,
        premises=("indexing gives a view, as in a tensor library", "scores that are not all equal"),
        check=_released_check,
        control=partial(_released_check, view=False),
        control_statement="the same where indexing gives a number: then only mean and deviation see the penalty.",
    ),
    claim(
        id="campo/penalty-keeps-the-best",
        source="abstract (the penalty stabilises), as invariance",
        statement=r"The answer with the best $r-f$ has the best success.",
        kind=Inequality,
        premises=("finitely many answers, success in [0, 1], $f<1$",),
        check=_best_check,
        control=partial(_best_check, clean=True),
        control_statement=r"the same where answers of the best success do not loop.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="campo/penalty-keeps-a-best-without-loops",
        source="ours, corrects the last",
        statement=r"Where answers of the best success do not loop, the best $r-f$ has the best success.",
        kind=Inequality,
        premises=("finitely many answers, success in [0, 1], $f<1$",),
        check=partial(_best_check, clean=True),
        control=_best_check,
        control_statement="the same whatever loops.",
    ),
    claim(
        id="campo/stages-cost-nothing",
        source="abstract (stages of growing length), on two answers",
        statement="A first stage with a shorter limit does not lower the success at the end.",
        kind=Inequality,
        premises=(f"a short and a longer answer, {FIRST} of {STEPS} exact steps in the first stage, equal steps",),
        check=_stages_check,
        control=partial(_stages_check, short_wins=True),
        control_statement="the same where the short answer is at least as good.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="campo/stages-where-short-wins",
        source="ours, corrects the last",
        statement="It does not where the short answer is at least as good.",
        kind=Inequality,
        premises=(f"a short and a longer answer, {FIRST} of {STEPS} exact steps in the first stage, equal steps",),
        check=partial(_stages_check, short_wins=True),
        control=_stages_check,
        control_statement="it does not in any case.",
    ),
    claim(
        id="campo/stages-shorten",
        source="abstract (shorter outputs), on two answers",
        statement="With a first stage of a shorter limit the longer answer is at most as likely at the end.",
        kind=Inequality,
        premises=(f"a short and a longer answer, {FIRST} of {STEPS} exact steps in the first stage, equal steps",),
        check=_shorter_check,
        control=partial(_shorter_check, reverse=True),
        control_statement="it is at least as likely.",
    ),
)
