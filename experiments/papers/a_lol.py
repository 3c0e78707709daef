r"""Advantage-Leftover-Lunch (A-LoL): offline policy gradient with positive advantages, one answer as one action.

The update is :math:`E_{y\sim D}[A_+(y)\,w(y)\,\nabla\log\pi_\theta(y)]` with :math:`A=R-V^{ref}`, :math:`A_+=\max(A,0)`
and a weight: the importance ratio, the ratio clipped to :math:`1\pm\epsilon` and held fixed (A-LoL), or one
(A-LoL ref-free).  The paper states no theorem beyond the derivation; fixed points are ours.  Softmax over finitely many
answers, data from the reference policy.  A small model that learns from answers of its start is in the study `a-lol`
(``claimlab lm run a-lol``).
"""

from __future__ import annotations

from functools import partial

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
    slug="a-lol",
    title="Improving Language Models with Advantage-based Offline Policy Gradients",
    authors="Ashutosh Baheti, Ximing Lu, Faeze Brahman, Ronan Le Bras, Maarten Sap, Mark Riedl",
    venue="ICLR 2024",
    arxiv="2305.14718",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

TABLE = "one prompt, finitely many answers, softmax policy"
DATA = "data from the reference policy, exact expectations, exact value of the reference policy"
CLIP = 0.9  # the released epsilon

SPACE = Space({"Y": (1, 5)}, {"ref": Simplex("Y"), "pi": Simplex("Y"), "r": Box("Y", 0, 1), "beta": Box("", 0, 2)})
MIXED = 0.02  # policies are mixed with the uniform law: ratios and logarithms exist


def full(p: Array) -> Array:
    return (1 - MIXED) * p + MIXED / p.shape[-1]


def score_mean(weights: Array, pi: Array) -> Array:
    r""":math:`\sum_y w(y)\nabla\log\pi(y)` in the logits, :math:`w-\pi\sum w`."""
    mean: Array = weights - pi * weights.sum(axis=-1, keepdims=True)
    return mean


def positive(ref: Array, r: Array) -> Array:
    advantage = r - (ref * r).sum(axis=-1, keepdims=True)
    return np.maximum(advantage, 0.0)


def clipped_fixed_point(ref: Array, r: Array, clip: float, iterations: int = 4_000) -> Array:
    r"""Ours: :math:`\pi_\infty\propto\pi_{ref}A_+\,\mathrm{clip}(\pi_\infty/\pi_{ref},1-\epsilon,1+\epsilon)`, by
    iteration."""
    pi = ref
    for _ in range(iterations):
        new = ref * positive(ref, r) * np.clip(pi / ref, 1 - clip, 1 + clip)
        pi = 0.5 * pi + 0.5 * new / new.sum()
    return pi


def _importance(ref: Array, pi: Array, r: Array, beta: Array, *, filtered: bool) -> Trial:
    """The estimator with the exact ratio against the gradient of E_pi[R]."""
    ref, pi = full(ref), full(pi)
    advantage = positive(ref, r) if filtered else r - ref @ r
    found = score_mean(ref * advantage * (pi / ref), pi)
    return Trial(float(abs(found - pi * (r - pi @ r)).max()), 64 * EPS)


def _importance_check(budget: Budget, filtered: bool = False) -> Identity:
    return equate(SPACE, partial(_importance, filtered=filtered), budget)


def _fixed_point(ref: Array, pi: Array, r: Array, beta: Array, *, sampled: int, stated: int) -> Trial | None:
    """The residual of the ref-free update at the law proportional to ref A_+^stated; data are drawn with
    A_+^(sampled-1)."""
    ref = full(ref)
    gain = positive(ref, r)
    law = ref * gain**stated
    if gain.max() < 1e-6:
        return None
    residual = score_mean(ref * gain**sampled, law / law.sum())
    return Trial(float(abs(residual).max() / (ref * gain**sampled).sum()), 64 * EPS)


def _fixed_point_check(budget: Budget, sampled: int = 1, stated: int = 1) -> Identity:
    return equate(SPACE, partial(_fixed_point, sampled=sampled, stated=stated), budget)


def _improves(ref: Array, r: Array, *, sign: float) -> Trials:
    """The reward of the reference policy against that of the fixed point of ref-free training."""
    ref = full(ref)
    gain = np.maximum(sign * (r - (ref * r).sum(axis=1, keepdims=True)), 0.0)
    total = (ref * gain).sum(axis=1)
    holds = total > 1e-9
    law = ref * gain / np.where(holds, total, 1.0)[:, None]
    return Trials((ref * r).sum(axis=1), (law * r).sum(axis=1), 1e-6, holds=holds)


def _improves_check(budget: Budget, sign: float = 1.0) -> Inequality:
    space = Space({"Y": (1, 5)}, {"ref": Simplex("Y"), "r": Box("Y", 0, 1)})
    return attack(space, partial(_improves, sign=sign), budget.with_instances(20 * budget.instances), batched=True)


EXAMPLE = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.0, 0.5, 0.8, 1.0])


def _best_check(budget: Budget, clip: float = CLIP) -> Inequality:
    """One instance: the shortfall of the fixed point from the best answer is below one percent."""
    ref, r = EXAMPLE
    pi = clipped_fixed_point(ref, r, clip)
    shortfall, allowed = float(r.max() - pi @ r), 0.01
    update = ref * positive(ref, r) * np.clip(pi / ref, 1 - clip, 1 + clip)
    error = float(abs(update / update.sum() - pi).max())  # what the iteration has left
    witness = {"ref": ref, "R": r, "clip": clip, "fixed point": pi, "reward": float(pi @ r)}
    return Inequality(shortfall / allowed, shortfall - allowed, error, 1, 1, 1, 1, witness)


def _shift(ref: Array, pi: Array, r: Array, beta: Array, *, divergence: bool) -> Trial:
    """The KL variant's update, whose penalty is averaged over *data*, against an advantage less beta, or a KL
    gradient."""
    ref, pi, b = full(ref), full(pi), float(beta)
    gain = positive(ref, r)
    update = score_mean(ref * gain, pi) - b * score_mean(ref, pi)  # the gradient of log pi - log ref on data
    log_ratio = np.log(pi / ref)
    kl_gradient = pi * (log_ratio - pi @ log_ratio)
    stated = score_mean(ref * gain, pi) - b * kl_gradient if divergence else score_mean(ref * (gain - b), pi)
    return Trial(float(abs(update - stated).max()), 64 * EPS * (1 + b))


def _shift_check(budget: Budget, divergence: bool = False) -> Identity:
    return equate(SPACE, partial(_shift, divergence=divergence), budget)


def _filtered(ref: Array, pi: Array, r: Array, beta: Array, *, of_reward: bool) -> Trial:
    """With exact ratios and the filter: against the gradient of E_pi[A_+], or of E_pi[R]."""
    ref, pi = full(ref), full(pi)
    gain = positive(ref, r)
    target = r if of_reward else gain
    found = score_mean(ref * gain * (pi / ref), pi)
    return Trial(float(abs(found - pi * (target - pi @ target)).max()), 64 * EPS)


def _filtered_check(budget: Budget, of_reward: bool = False) -> Identity:
    return equate(SPACE, partial(_filtered, of_reward=of_reward), budget)


def _flips(ref: Array, r: Array, error: Array, *, share: float) -> Trials:
    """Answers that the filter keeps or drops otherwise when the value is off by `error`, with |A| above its share."""
    ref = full(ref)
    A = r - (ref * r).sum(axis=1, keepdims=True)
    flipped = (A > 0) != (A - error[:, None] > 0)
    outside = flipped & (abs(A) > share * abs(error)[:, None] + 1e-12)
    return Trials(outside.sum(axis=1), 0.0, 0.5)


def _flips_check(budget: Budget, share: float = 1.0) -> Inequality:
    space = Space({"Y": (1, 5)}, {"ref": Simplex("Y"), "r": Box("Y", 0, 1), "error": Box("", -0.5, 0.5)})
    return attack(space, partial(_flips, share=share), budget.with_instances(20 * budget.instances), batched=True)


def _draw() -> tuple[Figure, pd.DataFrame]:
    ref, r = EXAMPLE
    gain = positive(ref, r)
    laws = {
        "reference": ref,
        "ref-free": ref * gain / (ref * gain).sum(),
        "priority sampling": ref * gain**2 / (ref * gain**2).sum(),
        "clipped ratio": clipped_fixed_point(ref, r, CLIP),
        "exact ratio": np.eye(4)[3],
    }
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.3))
    bottom = np.zeros(len(laws))
    for k in range(4):
        height = np.array([law[k] for law in laws.values()])
        left.bar(range(len(laws)), height, bottom=bottom, label=f"R = {r[k]:g}")
        bottom += height
    left.set_xticks(range(len(laws)), list(laws), rotation=25, ha="right")
    left.set(ylabel="probability", ylim=(0, 1.35), yticks=np.linspace(0, 1, 6))
    left.legend(ncols=4, loc="upper center", columnspacing=0.8, handlelength=1)
    left.set_title("where training ends")
    clips = np.linspace(0.05, 0.99, 60)
    rewards = [float(clipped_fixed_point(ref, r, float(c)) @ r) for c in clips]
    right.plot(clips, rewards, label="clipped ratio")
    right.axhline(float(laws["ref-free"] @ r), color="0.5", ls=":", label="ref-free")
    right.axhline(1, color="black", lw=0.8, ls="--", label="best answer")
    right.axhline(float(ref @ r), color="0.7", lw=0.8, label="reference")
    right.set(xlabel="clip ε", ylabel="expected reward at the end", ylim=(0.35, 1.05))
    right.legend()
    rows = [{"panel": "laws", "series": n, "x": r[k], "y": law[k]} for n, law in laws.items() for k in range(4)]
    rows += [{"panel": "clip", "series": "clipped ratio", "x": c, "y": y} for c, y in zip(clips, rewards)]
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "fixed-points",
        r"Where exact training ends on four answers with rewards 0, 0.5, 0.8, 1 and reference (0.4, 0.3, 0.2, 0.1): "
        r"all "
        r"variants but the exact importance ratio end inside the simplex. Right: over the clip.",
        _draw,
    ),
)

CLAIMS = (
    claim(
        id="a-lol/importance-identity",
        source="Section 3 (derivation)",
        statement=r"With the exact ratio and all advantages the offline update is the on-policy gradient of $E_\pi R$.",
        kind=Identity,
        premises=(TABLE, DATA),
        check=_importance_check,
        control=partial(_importance_check, filtered=True),
        control_statement="the same with positive advantages only.",
    ),
    claim(
        id="a-lol/ref-free-fixed-point",
        source="ours, on A-LoL ref-free",
        statement=r"Ref-free training ends at $\pi_\infty\propto\pi_{ref}A_+$: weighted cloning, not the best answer.",
        kind=Identity,
        premises=(TABLE, DATA, "some answer beats the average"),
        check=_fixed_point_check,
        control=partial(_fixed_point_check, stated=2),
        control_statement=r"it ends at $\pi_{ref}A_+^2$.",
    ),
    claim(
        id="a-lol/priority-squares",
        source="ours, on the released code (priority sampling)",
        statement=r"Sampling in proportion to $A_+$ and multiplying by it again ends at $\pi_{ref}A_+^2$.",
        kind=Identity,
        premises=(TABLE, DATA, "some answer beats the average"),
        check=partial(_fixed_point_check, sampled=2, stated=2),
        control=partial(_fixed_point_check, sampled=2, stated=1),
        control_statement=r"it ends at $\pi_{ref}A_+$, as without priorities.",
    ),
    claim(
        id="a-lol/ref-free-improves",
        source="abstract (improves over the reference), for the fixed point",
        statement=r"The fixed point of ref-free training has at least the expected reward of the reference policy.",
        kind=Inequality,
        premises=(TABLE, DATA),
        check=_improves_check,
        control=partial(_improves_check, sign=-1.0),
        control_statement="the same when the answers below the average are kept.",
    ),
    claim(
        id="a-lol/clipped-finds-the-best",
        source="ours, on A-LoL with the released clip",
        statement=r"Exact training with the clipped ratio ends at the best answer (within 0.01 of its reward).",
        kind=Inequality,
        premises=("four answers, rewards 0, 0.5, 0.8, 1, reference (0.4, 0.3, 0.2, 0.1)", rf"$\epsilon={CLIP}$", DATA),
        check=_best_check,
        control=partial(_best_check, clip=1e9),
        control_statement="the same without a clip.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="a-lol/kl-variant-shifts-advantages",
        source="ours, on A-LoL with KL penalty",
        statement=r"The penalty $\beta\log\frac{\pi_\theta}{\pi_{ref}}$ on data only lowers every advantage by "
        r"$\beta$.",
        kind=Identity,
        premises=(TABLE, DATA),
        check=_shift_check,
        control=partial(_shift_check, divergence=True),
        control_statement=r"it is the gradient of $\beta\,KL(\pi_\theta\|\pi_{ref})$.",
    ),
    claim(
        id="a-lol/filter-changes-the-reward",
        source="ours, on Section 3 (positive advantages)",
        statement=r"With exact ratios and the filter the update is the gradient of $E_\pi A_+$.",
        kind=Identity,
        premises=(TABLE, DATA),
        check=_filtered_check,
        control=partial(_filtered_check, of_reward=True),
        control_statement=r"it is that of $E_\pi R$.",
    ),
    claim(
        id="a-lol/biased-value-flips-the-close",
        source="ours, on the value estimated by a head",
        statement=r"A value that is off by $\delta$ changes the filter only for answers with $|A|\le|\delta|$.",
        kind=Inequality,
        premises=(TABLE,),
        check=_flips_check,
        control=partial(_flips_check, share=0.5),
        control_statement=r"only for those with $|A|\le|\delta|/2$.",
    ),
)
