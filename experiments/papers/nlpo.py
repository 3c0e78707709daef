r"""Is Reinforcement Learning (Not) for Natural Language Processing (NLPO): policy gradient inside a top-p mask.

A masking policy :math:`\pi_\psi`, a copy of :math:`\pi_\theta` taken every :math:`\mu` iterations, allows its top-p set
of tokens; actions are drawn, and their ratios computed, from :math:`\tilde\pi_\theta`, the policy renormalised inside
the set.  The paper states no theorem; what is exact is about one token, enumerated.  The released code has a second
mask builder for when no mask was stored (it takes the top ``k`` tokens with the probability 0.9 for k, which fails):
it is named here and not tested.  Whether a mask helps a small model is a question of the study `nlpo` (``claimlab lm
run nlpo``); that token-level discounts beat bandits, and every comparison of GRUE, needs larger ones.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array, Bools
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.lm import records
from claimlab.experiments.style import PAGE
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Comparison, Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, equate
from claimlab.theory.spaces import Box, Space

PAPER = Paper(
    slug="nlpo",
    title="Is Reinforcement Learning (Not) for Natural Language Processing: Benchmarks, Baselines, and Building Blocks "
    "for Natural Language Policy Optimization",
    authors="Rajkumar Ramamurthy, Prithviraj Ammanabrolu, Kianté Brantley, Jack Hessel, Rafet Sifa, Christian "
    "Bauckhage, Hannaneh Hajishirzi, Yejin Choi",
    venue="ICLR 2023",
    arxiv="2210.01241",
    tier="core-named / mechanism-checkable",
)

claim = partial(Claim, paper=PAPER)

TOKEN = "one token, softmax policy, mask: the top-p set of a masking policy, held fixed"
STEP = 1e-30  # of complex steps: derivatives exact to rounding
CLIP = 0.2


def top_p(law: Array, p: float) -> Bools:
    """The fewest tokens of highest probability that reach p together, ties in order of index; all of them at p = 1."""
    order = np.argsort(-law, kind="stable")
    before = np.concatenate([[0.0], law[order].cumsum()[:-1]])
    mask = np.zeros(len(law), dtype=bool)
    mask[order] = (before < p) | (p >= 1)
    return mask


def masked_law(x: Any, mask: Bools) -> Any:
    r""":math:`\tilde\pi`, the softmax of logits `x` renormalised inside the mask; also of complex logits."""
    weights = np.exp(x - x.real[mask].max()) * mask
    return weights / weights.sum()


FIELDS = {
    "x": Box("A", -3, 3),
    "old": Box("A", -3, 3),
    "psi": Box("A", -3, 3),
    "r": Box("A", 0, 1),
    "p": Box("", 0.05, 0.95),
}
SPACE = Space({"A": (2, 6)}, FIELDS)


def _surrogate(new: Array, old: Array, r: Array, mask: Bools) -> Array:
    """PPO's clipped objective of each token under the mask: 0 outside."""
    ratio = np.where(mask, new / np.where(mask, old, 1.0), 1.0)
    A = r - old @ r
    return np.where(mask, old * np.minimum(ratio * A, np.clip(ratio, 1 - CLIP, 1 + CLIP) * A), 0.0)


def _ppo(x: Array, old: Array, psi: Array, r: Array, p: Array, *, top: float) -> Trial:
    """NLPO's objective with the mask of probability `top` against PPO's, bit by bit."""
    everything = np.ones(len(x), dtype=bool)
    mask = top_p(masked_law(psi, everything), top)
    nlpo = _surrogate(masked_law(x, mask), masked_law(old, mask), r, mask)
    ppo = _surrogate(masked_law(x, everything), masked_law(old, everything), r, everything)
    return Trial(float(abs(nlpo - ppo).max()), 0.0)


def _ppo_check(budget: Budget, top: float = 1.0) -> Identity:
    return equate(SPACE, partial(_ppo, top=top), budget)


def _objective_gradient(x: Array, r: Array, mask: Bools) -> Array:
    """The gradient of the expected reward under the masked policy, in all logits, by complex steps."""
    return np.array([(masked_law(x + 1j * STEP * e, mask) @ r).imag / STEP for e in np.eye(len(x))])


def _outside(x: Array, old: Array, psi: Array, r: Array, p: Array, *, masked: bool) -> Trial | None:
    """The gradient in the logits of tokens outside the mask: of NLPO, or of policy gradient without a mask."""
    everything = np.ones(len(x), dtype=bool)
    mask = top_p(masked_law(psi, everything), float(p))
    if mask.all():
        return None
    gradient = _objective_gradient(x, r, mask if masked else everything)
    return Trial(float(abs(gradient[~mask]).max()), 0.0)


def _outside_check(budget: Budget, masked: bool = True) -> Identity:
    return equate(SPACE, partial(_outside, masked=masked), budget)


def _gradient(x: Array, old: Array, psi: Array, r: Array, p: Array, *, renormalised: bool) -> Trial | None:
    r"""The score-function form :math:`\tilde\pi(a)(R(a)-E_{\tilde\pi}R)` against the derivative; or without
    renormalising the policy."""
    everything = np.ones(len(x), dtype=bool)
    mask = top_p(masked_law(psi, everything), float(p))
    if mask.all():
        return None
    law = masked_law(x, mask) if renormalised else masked_law(x, everything) * mask
    return Trial(float(abs(law * (r - law @ r) - _objective_gradient(x, r, mask)).max()), 64 * EPS)


def _gradient_check(budget: Budget, renormalised: bool = True) -> Identity:
    return equate(SPACE, partial(_gradient, renormalised=renormalised), budget)


def _ratios(x: Array, old: Array, psi: Array, r: Array, p: Array, *, stored: bool) -> Trial:
    """The mean importance ratio of what was drawn under the old mask; the new one is that of `x` unless `stored`."""
    everything = np.ones(len(x), dtype=bool)
    mask = top_p(masked_law(psi, everything), float(p))
    drawn = masked_law(old, mask)
    new = masked_law(x, mask if stored else top_p(masked_law(x, everything), float(p)))
    mean = (drawn[mask] * (new[mask] / drawn[mask])).sum()
    return Trial(float(abs(mean - 1)), 64 * EPS)


def _ratios_check(budget: Budget, stored: bool = True) -> Identity:
    return equate(SPACE, partial(_ratios, stored=stored), budget)


# Five tokens whose best is rare

START, REWARD = np.array([0.5, 0.3, 0.15, 0.04, 0.01]), np.array([0.0, 0.1, 0.2, 0.3, 1.0])


def train(p: float, refresh: int | None, steps: int = 20_000, size: float = 1.0) -> Array:
    """Expected reward under the sampled (masked) policy after each exact gradient step, float[steps].

    The mask is that of the current policy every `refresh` steps; with None it is that of the start.
    """
    x, values, mask = np.log(START), np.empty(steps), top_p(START, p)
    for t in range(steps):
        if refresh is not None and t % refresh == 0:
            weights = np.exp(x - x.max())
            mask = top_p(weights / weights.sum(), p)
        law = masked_law(x, mask)
        values[t] = law @ REWARD
        x = x + size * law * (REWARD - values[t])
    return values


def _trap_check(budget: Budget, p: float = 0.9, inside: bool = False) -> Inequality:
    """One instance: is the better reward at the end within 0.05 of the best token's, or of the best in the first mask?

    By hand: 0.5 + 0.3 < 0.9 <= 0.5 + 0.3 + 0.15, so the mask keeps three tokens, whose best pays 0.2.
    """
    ends = {str(refresh): float(train(p, refresh)[-1]) for refresh in (50, None)}
    mask = top_p(START, p)
    wanted = float(REWARD[mask].max()) if inside else float(REWARD.max())
    shortfall = wanted - max(ends.values())
    witness = {"start": START, "R": REWARD, "p": p, "first mask": mask, "reward at the end by refresh": ends}
    return Inequality(shortfall / 0.05, shortfall - 0.05, 1e-9, 1, 1, 1, 1, witness)


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.3))
    times, rows = np.unique(np.geomspace(1, 5_000, 80).astype(int)), []
    for p, refresh, label, style in (
        (1.0, None, "no mask (PPO)", "-"),
        (0.98, 50, "p = 0.98, μ = 50", "-."),
        (0.9, 50, "p = 0.9, μ = 50", "--"),
        (0.9, None, "p = 0.9, fixed", ":"),
    ):
        y = train(p, refresh, 5_000)[times - 1]
        left.plot(times, y, style, label=label)
        rows += [{"panel": "training", "series": label, "x": t, "y": v} for t, v in zip(times, y)]
    left.set(xscale="log", xlabel="exact gradient steps", ylabel="expected reward", ylim=(0, 1.03))
    left.set_title("five tokens, the best has probability 0.01")
    left.legend(loc="upper left", fontsize=6)
    rng, ps = np.random.default_rng(0), np.linspace(0.5, 1, 26)
    for V, scale in ((50, 2.0), (1_000, 2.0), (1_000, 4.0)):
        logits = scale * rng.standard_normal((400, V))
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        laws = weights / weights.sum(axis=1, keepdims=True)
        share = [np.mean([~top_p(law, float(p))[0] for law in laws]) for p in ps]  # the first token is any token
        right.plot(ps, share, label=f"|V| = {V}, logits of deviation {scale:g}")
        series = f"{V} tokens, deviation {scale:g}"
        rows += [{"panel": "outside", "series": series, "x": p, "y": v} for p, v in zip(ps, share)]
    right.set(xlabel="p of the mask", ylabel="chance that a token is outside", ylim=(0, 1.03))
    right.legend(loc="lower left")
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "support-trap",
        r"Left: exact training on five tokens with rewards 0, 0.1, 0.2, 0.3, 1, start (0.5, 0.3, 0.15, 0.04, 0.01): "
        r"inside the released mask the best token is never tried, refreshed or not. Right: the chance that a given "
        r"token, say the best, is outside the mask of a random softmax policy.",
        _draw,
    ),
    PaperFigure(
        "small-model",
        "A small transformer with masks: the share right, mean over ten seeds with 95 % intervals.  PPO and NLPO with "
        "p = 1 are provably one.",
        partial(records.drawn, "nlpo"),
    ),
)

CLAIMS = (
    claim(
        id="nlpo/contains-ppo",
        source="Section 4 (NLPO), at p = 1",
        statement=r"With $p=1$ the clipped objective of every token is PPO's, bit by bit.",
        kind=Identity,
        premises=(TOKEN, rf"clip {CLIP}, exact advantages"),
        check=_ppo_check,
        control=partial(_ppo_check, top=0.9),
        control_statement=r"the same with $p=0.9$.",
    ),
    claim(
        id="nlpo/nothing-outside",
        source="ours, on Section 4",
        statement="The gradient in the logits of tokens outside the mask is exactly zero.",
        kind=Identity,
        premises=(TOKEN, "some token is outside"),
        check=_outside_check,
        control=partial(_outside_check, masked=False),
        control_statement="the same without a mask.",
    ),
    claim(
        id="nlpo/gradient",
        source="ours, on Section 4 (renormalised inside the mask)",
        statement=r"$\nabla E_{\tilde\pi}R$ has the entries $\tilde\pi(a)(R(a)-E_{\tilde\pi}R)$.",
        kind=Identity,
        premises=(TOKEN, "some token is outside"),
        check=_gradient_check,
        control=partial(_gradient_check, renormalised=False),
        control_statement="the same with the policy cut off at the mask and not renormalised.",
    ),
    claim(
        id="nlpo/ratio-of-the-stored-mask",
        source="ours, on the released code (masks are kept with the samples)",
        statement=r"Importance ratios have mean one: $E_{\tilde\pi_{old}}\frac{\tilde\pi_\theta}{\tilde\pi_{old}}=1$.",
        kind=Identity,
        premises=(TOKEN, "both policies under the mask that the tokens were drawn with"),
        check=_ratios_check,
        control=partial(_ratios_check, stored=False),
        control_statement="the same when the mask was refreshed between sampling and update.",
    ),
    claim(
        id="nlpo/finds-the-best-token",
        source="Section 4 (the mask removes irrelevant tokens), with the released p = 0.9",
        statement="Exact training inside the mask ends within 0.05 of the best token's reward, for one refresh or the "
        "other.",
        kind=Inequality,
        premises=(
            "five tokens, start (0.5, 0.3, 0.15, 0.04, 0.01), rewards (0, 0.1, 0.2, 0.3, 1)",
            r"$\mu=50$, or no refresh at all; 20000 steps of size 1",
        ),
        check=_trap_check,
        control=partial(_trap_check, p=1.0),
        control_statement=r"the same with $p=1$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="nlpo/finds-the-best-inside",
        source="ours, corrects the last",
        statement="It ends within 0.05 of the best reward inside the first mask.",
        kind=Inequality,
        premises=(
            "five tokens, start (0.5, 0.3, 0.15, 0.04, 0.01), rewards (0, 0.1, 0.2, 0.3, 1)",
            r"$\mu=50$, or no refresh at all; 20000 steps of size 1",
        ),
        check=partial(_trap_check, inside=True),
        control=_trap_check,
        control_statement="within 0.05 of the best reward.",
    ),
    claim(
        id="nlpo/small-model",
        source="abstract (more stable and performant than PPO), on a small model (recorded runs)",
        statement="NLPO, trained inside its mask, beats PPO that is scored in the same way.",
        kind=Comparison,
        premises=(
            *records.premises("sorts three digits, after demonstrations of which 15 % sort"),
            "p = 0.9, renewed every 20 steps; clipped, with group means for a critic",
        ),
        check=partial(records.judged, study="nlpo", data="fresh", better="NLPO", worse="PPO, scored inside"),
        control=partial(records.judged, study="nlpo", data="fresh", better="NLPO", worse="start"),
        control_statement="it beats the policy that it starts from.",
        expected=Outcome.REFUTED,
    ),
)
