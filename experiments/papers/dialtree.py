r"""Tree-based dialogue reinforced policy optimization (DialTree): format tokens, pruning and trees of dialogues.

Dialogues are sampled as a tree (four actions an active node) whose malformed or off-topic nodes are pruned; surviving
paths get group-normalised advantages, and tokens of the format with a negative advantage are masked out of the loss
("adaptive"; a "static" mask takes them all out).  The paper states no theorem.  Exact here is what these rules do to a
format token that all surviving paths share, and how often a tree finds a success: on dialogues whose outcomes are given
numbers, nothing of what is said matters.  Rates of success and transfer need models.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from itertools import product
from math import comb, sqrt

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import PAGE
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Simplex, Space

PAPER = Paper(
    slug="dialtree",
    title="Tree-based Dialogue Reinforced Policy Optimization for Red-Teaming Attacks",
    authors="Ruohao Guo, Afshin Oroojlooy, Roshan Sridhar, Miguel Ballesteros, Alan Ritter, Dan Roth",
    venue="arXiv, 2025",
    arxiv="2510.02286",
    tier="core-named / mechanism-checkable",
)

claim = partial(Claim, paper=PAPER)

SHARED = "all surviving paths share a format token at a shared state, malformed ones are pruned, rewards in {0, 1}"
NORMALISED = r"$\hat A=(r-\mathrm{mean})/\mathrm{std}$, 0 without spread"
WIDTH = 4  # actions an active node, as in the paper

# The shared format token


def advantages(r: Array, alone: str = "skip") -> Array:
    """Group-normalised, zeros without spread; with `alone` "raw" a group of one keeps its reward, as released."""
    if len(r) == 1 and alone == "raw":
        return r.copy()
    spread = r.std()
    return np.asarray((r - r.mean()) / spread if spread > 1e-12 else np.zeros(len(r)))


def push(r: Array, weight: Array, p: float, adaptive: bool) -> float:
    """The derivative of the surrogate in the format token's log-odds, the token having probability p."""
    A = advantages(r)
    kept = A >= 0 if adaptive else np.ones(len(A), dtype=bool)
    return float((A * weight * kept).mean() * (1 - p))


PATHS = {"r": Box("K", 0, 1, step=1), "length": Box("K", 1, 6, step=1), "p": Box("", 0.05, 0.95)}


def _silent(r: Array, length: Array, p: Array, *, adaptive: bool, lengths: bool) -> Trial:
    weight = 1 / length if lengths else np.ones(len(r))
    return Trial(abs(push(r, weight, float(p), adaptive)), 256 * EPS)


def _silent_check(budget: Budget, adaptive: bool = False, lengths: bool = False) -> Identity:
    return equate(Space({"K": (1, 8)}, PATHS), partial(_silent, adaptive=adaptive, lengths=lengths), budget)


def _upward(r: Array, length: Array, p: Array, *, adaptive: bool) -> Trial:
    return Trial(-push(r, 1 / length, float(p), adaptive), 0.0, 256 * EPS)


def _upward_check(budget: Budget, adaptive: bool = True) -> Inequality:
    return attack(Space({"K": (1, 8)}, PATHS), partial(_upward, adaptive=adaptive), budget)


def _alone(r: Array, count: Array, *, alone: str) -> Trial:
    """The largest advantage in groups that pruning left with one path, or with equal rewards."""
    return Trial(float(abs(advantages(np.full(int(count), float(r)), alone)).max()), 0.0)


def _alone_check(budget: Budget, alone: str = "skip") -> Identity:
    space = Space({}, {"r": Box("", 0, 1, step=1), "count": Box("", 1, 6, step=1)})
    return equate(space, partial(_alone, alone=alone), budget)


def signal(p: Fraction, q: Fraction, G: int, pruned: bool) -> Fraction:
    """The expected derivative in the format's log-odds over all groups, rewards centred in the group (no deviation).

    An answer is well formed with probability p and then wins with probability q; malformed ones get 0, or are pruned.
    """
    outcomes = ((False, 0, 1 - p), (True, 0, p * (1 - q)), (True, 1, p * q))
    total = Fraction(0)
    for group in product(outcomes, repeat=G):
        chance = Fraction(1)
        for *_, weight in group:
            chance *= weight
        counted = [(ok, r) for ok, r, _ in group if ok or not pruned]
        if chance and counted:
            mean = Fraction(sum(r for _, r in counted), len(counted))
            total += chance * sum(((r - mean) * (ok - p) for ok, r in counted), Fraction(0)) / len(counted)
    return total


def _kept(p: Array, q: Array, G: Array, *, pruned: bool) -> Trial:
    well, win, size = (Fraction(float(v)).limit_denominator(100) for v in (p, q, G))
    stated = (1 - 1 / size) * win * well * (1 - well)
    return Trial(float(abs(signal(well, win, int(size), pruned) - stated)), 0.0)


def _kept_check(budget: Budget, pruned: bool = False) -> Identity:
    space = Space({}, {"p": Box("", 0, 1), "q": Box("", 0, 1), "G": Box("", 2, 4, step=1)})
    measure = partial(_kept, pruned=pruned)
    return equate(space, measure, budget.with_instances(min(budget.instances, 200)), proof="rational")


def format_probability(rule: str, p: float, q: float, updates: int, G: int = 8, size: float = 0.5) -> Array:
    """The format's probability after each expected update, float[updates + 1].

    With k wins among G well-formed paths the advantages of the winners sum to the root of k(G - k).  "adaptive" keeps
    them alone; "none" and "static" have no signal; "longer-wins" divides by lengths, winners' twice those of losers;
    "kept" leaves malformed answers in the group with reward 0, centred (see :func:`signal`).
    """
    law = [comb(G, k) * q**k * (1 - q) ** (G - k) for k in range(G + 1)]
    wins = sum(w * sqrt(k * (G - k)) for k, w in enumerate(law)) / G
    out, x = np.empty(updates + 1), np.log(p / (1 - p))
    for t in range(updates + 1):
        out[t] = 1 / (1 + np.exp(-x))
        share = {"adaptive": wins, "longer-wins": (0.5 - 1.0) * wins, "kept": (1 - 1 / G) * q * out[t]}.get(rule, 0.0)
        x += size * share * (1 - out[t])
    return out


def _forgets(p: Array, q: Array, *, rule: str) -> Trial:
    """The probability after 200 updates, and a hundredth, against that of the start."""
    path = format_probability(rule, float(p), float(q), 200)
    return Trial(float(path[-1]) + 0.01, float(path[0]), 256 * EPS)


def _forgets_check(budget: Budget, rule: str = "none") -> Inequality:
    space = Space({}, {"p": Box("", 0.5, 0.95), "q": Box("", 0.1, 0.9)})
    return attack(space, partial(_forgets, rule=rule), budget)


# Shared prefixes


def _prefixes(R: Array, *, once: bool) -> Trial:
    """The weight of each node's token in the sum over paths: paths below times their mean advantage, or the mean."""
    A = advantages(R.ravel()).reshape(R.shape)
    worst = 0.0
    for depth in range(1, R.ndim + 1):
        weight = np.zeros(R.shape[:depth])
        for path in np.ndindex(R.shape):
            weight[path[:depth]] += A[path]
        below = tuple(range(depth, R.ndim))
        count = 1 if once else int(np.prod(R.shape[depth:]))
        worst = max(worst, float(abs(weight - count * A.mean(axis=below)).max()))
    return Trial(worst, 256 * EPS * R.size)


def _prefixes_check(budget: Budget, once: bool = False) -> Identity:
    return equate(Space({"A": (1, 3), "B": (1, 3), "C": (1, 3)}, {"R": Box("ABC", 0, 1)}),
                  partial(_prefixes, once=once), budget)  # fmt: skip


# Finding a success in two turns


def finds(law: Array, q: Array, width: int) -> Array:
    r"""A tree of two turns: :math:`1-(\sum_ap_a(1-q_a)^w)^w`, over the last axis."""
    out: Array = 1 - ((law * (1 - q) ** width).sum(axis=-1)) ** width
    return out


def independent(law: Array, q: Array, dialogues: int) -> Array:
    out: Array = 1 - (1 - (law * q).sum(axis=-1)) ** dialogues
    return out


TURNS = WIDTH + WIDTH**2  # of a tree of two turns


def _search(law: Array, q: Array, *, dialogues: int, flat: bool, reverse: bool) -> Trials:
    """Independent dialogues against a tree; `flat` makes the first turn not matter."""
    chance = np.repeat(q[:, :1], q.shape[1], axis=1) if flat else q
    tree, alone = finds(law, chance, WIDTH), independent(law, chance, dialogues)
    return Trials(*((tree, alone) if reverse else (alone, tree)), 256 * EPS)


def _search_check(budget: Budget, dialogues: int = TURNS // 2, flat: bool = False, reverse: bool = False) -> Inequality:
    space = Space({"A": (1, 4)}, {"law": Simplex("A"), "q": Box("A", 0, 1)})
    measure = partial(_search, dialogues=dialogues, flat=flat, reverse=reverse)
    gate = {"law": np.array([0.5, 0.5]), "q": np.array([1.0, 0.0])}  # by hand: 1 - 1/2^4 against 1 - 1/2^10
    return attack(space, measure, budget.with_instances(20 * budget.instances), batched=True, hard=[gate])


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.4))
    updates, rows = np.arange(201), []
    for rule, label, style in (
        ("adaptive", "pruned, adaptive mask", "-"),
        ("none", "pruned, no mask (or static)", "--"),
        ("kept", "malformed kept, reward 0", "-."),
        ("longer-wins", "pruned, 1/length, winners longer", ":"),
    ):
        y = format_probability(rule, 0.95, 0.3, 200)
        left.plot(updates, y, style, label=label)
        rows += [{"panel": "format", "series": label, "x": t, "y": v} for t, v in zip(updates[::5], y[::5])]
    left.set(xlabel="expected updates", ylabel="probability of a well-formed answer", ylim=(0, 1.03))
    left.legend(loc="lower left")
    spread = np.linspace(0, 1, 51)
    law, mean = np.array([0.1, 0.9]), 0.1
    q = np.stack([mean * (1 + 9 * spread), mean * (1 - spread)], axis=1)
    for y, label, style in (
        (finds(law, q, WIDTH), "tree: 16 leaves, 20 turns", "-"),
        (independent(law, q, TURNS // 2), "10 dialogues, 20 turns", "--"),
        (independent(law, q, WIDTH**2), "16 dialogues, 32 turns", ":"),
    ):
        right.plot(spread, y, style, label=label)
        rows += [{"panel": "search", "series": label, "x": d, "y": v} for d, v in zip(spread, y)]
    right.set(xlabel="how much the first turn decides", ylabel="chance to find a success", ylim=(0.3, 1.1))
    right.set_title("one first turn in ten is promising")
    right.legend(loc="upper right")
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "format-and-search",
        r"Left: expected training of a format token that all surviving paths share. Pruning alone never unlearns it: "
        r"its signal is exactly zero; the mask is a one-sided bonus, and weighting by length is what can unlearn it. "
        r"Right: the chance that a tree of two turns finds a success, against independent dialogues.",
        _draw,
    ),
)

CLAIMS = (
    claim(
        id="dialtree/no-signal-on-the-format",
        source="ours, on the pruned group (Section on adaptive masking)",
        statement="Without a mask the gradient on the shared format token is zero in every group.",
        kind=Identity,
        premises=(SHARED, NORMALISED, "paths weighted alike"),
        check=_silent_check,
        control=partial(_silent_check, adaptive=True),
        control_statement="the same with the adaptive mask.",
    ),
    claim(
        id="dialtree/mask-pushes-up",
        source="Section on adaptive masking (mechanism ours)",
        statement="With the adaptive mask no group lowers the probability of the shared format token.",
        kind=Inequality,
        premises=(SHARED, NORMALISED, "paths weighted by one over their length"),
        check=_upward_check,
        control=partial(_upward_check, adaptive=False),
        control_statement="the same without a mask.",
    ),
    claim(
        id="dialtree/no-signal-with-lengths",
        source="ours, on the pruned group with the mean over an answer's tokens",
        statement="It is zero as well where paths are weighted by one over their length.",
        kind=Identity,
        premises=(SHARED, NORMALISED),
        check=partial(_silent_check, lengths=True),
        control=_silent_check,
        control_statement="the same with paths weighted alike.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="dialtree/unmasked-training-unlearns-the-format",
        source="Figure on masking (unmasked training drifts to malformed outputs), on a table",
        statement="After 200 expected updates without a mask the format token has lost 0.01 of its probability.",
        kind=Inequality,
        premises=(SHARED, NORMALISED, "groups of 8 surviving paths, step size 0.5, start in [0.5, 0.95]"),
        check=_forgets_check,
        control=partial(_forgets_check, rule="longer-wins"),
        control_statement="the same with paths weighted by one over their length, winners twice as long as losers.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="dialtree/malformed-answers-teach",
        source="ours, the control that is missing in the figure on masking",
        statement=r"Kept in the group with reward 0, malformed answers teach the format: the expected gradient in its "
        r"log-odds is $(1-\frac1G)\,q\,p(1-p)$.",
        kind=Identity,
        premises=("well formed with probability $p$, then a win with probability $q$", "centred rewards, no deviation"),
        check=_kept_check,
        control=partial(_kept_check, pruned=True),
        control_statement="the same where they are pruned.",
    ),
    claim(
        id="dialtree/small-groups",
        source="ours, on pruning",
        statement="A group that pruning left with one path, or with equal rewards, gives no signal.",
        kind=Identity,
        premises=(NORMALISED,),
        check=_alone_check,
        control=partial(_alone_check, alone="raw"),
        control_statement="the same where a group of one has mean 0 and deviation 1, as in released trainers.",
    ),
    claim(
        id="dialtree/prefixes-count-by-path",
        source="ours, on the loss over paths of a tree",
        statement="The token of a node has the weight of its paths times their mean advantage.",
        kind=Identity,
        premises=("full trees of three turns", NORMALISED, "the loss sums over paths"),
        check=_prefixes_check,
        control=partial(_prefixes_check, once=True),
        control_statement="it has the weight of their mean advantage.",
    ),
    claim(
        id="dialtree/tree-finds-more",
        source="abstract (tree search finds more than linear dialogues), in two turns",
        statement=f"A tree finds a success at least as likely as {TURNS // 2} independent dialogues of as many turns.",
        kind=Inequality,
        premises=(f"two turns, {WIDTH} actions an active node, nothing pruned, {TURNS} turns in all",),
        check=_search_check,
        control=partial(_search_check, flat=True),
        control_statement="the same where the first turn does not matter.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="dialtree/tree-finds-more-at-the-last-turn",
        source="ours, corrects the last",
        statement="It does where the first turn does not matter.",
        kind=Inequality,
        premises=(f"two turns, {WIDTH} actions an active node, nothing pruned, {TURNS} turns in all",),
        check=partial(_search_check, flat=True),
        control=_search_check,
        control_statement="it does in any case.",
    ),
    claim(
        id="dialtree/tree-finds-less-by-leaves",
        source="ours, on tree rollouts",
        statement=r"With as many leaves as independent dialogues a tree is at most as likely to find a success: "
        r"$1-(\sum_ap_a(1-q_a)^w)^w\le1-(1-\sum_ap_aq_a)^{w^2}$.",
        kind=Inequality,
        premises=(f"two turns, $w={WIDTH}$, nothing pruned",),
        check=partial(_search_check, dialogues=WIDTH**2, reverse=True),
        control=partial(_search_check, dialogues=WIDTH**2),
        control_statement="it is at least as likely.",
    ),
)
