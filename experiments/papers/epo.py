r"""Entropy-regularized Policy Optimization (EPO) for agents: an entropy bonus with a corridor around its history.

The loss adds :math:`-\lambda(L_H-\beta_kL_{smooth})`, with the entropy :math:`L_H=H` and the corridor penalty
:math:`L_{smooth}=\alpha P`, :math:`P=[\kappa_l\bar H-H]_++[H-\kappa_r\bar H]_+`.  Assumption A.4 asks for
:math:`\alpha\beta_k<1`.  The released code has a constant penalty outside the corridor instead.  Proposition 6.3 has
constants that are not given and is not tested.  What the corridor does for a small model is a question of the study
`epo` (``claimlab lm run epo``).
"""

from __future__ import annotations

from functools import partial
from math import log

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
    slug="epo",
    title="EPO: Entropy-regularized Policy Optimization for LLM Agents Reinforcement Learning",
    authors="Wujiang Xu, Wentian Zhao, Zhenting Wang, Yu-Jhe Li, Can Jin, Mingyu Jin, Kai Mei, Kun Wan, Dimitris N. "
    "Metaxas",
    venue="arXiv, 2025",
    arxiv="2509.22576",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

CORRIDOR = r"$0<\kappa_l\le1\le\kappa_r$, $\bar H>0$"
A4 = r"$\alpha\beta_k<1$ (Assumption A.4; the paper's $\alpha=0.1$, $\beta_k\le2$)"


def penalty(H: Array, mean: Array, low: Array, high: Array) -> Array:
    """How far the entropy is outside the corridor."""
    return np.maximum(low * mean - H, 0) + np.maximum(H - high * mean, 0)


def objective(H: Array, mean: Array, low: Array, high: Array, weight: Array, strength: Array) -> Array:
    r"""What EPO adds to the objective, :math:`\lambda(H-\alpha\beta P)`, with ``strength`` for alpha times beta."""
    return weight * (H - strength * penalty(H, mean, low, high))


FIELDS = {
    "mean": Box("", 0.1, 2),
    "low": Box("", 0.1, 1),
    "high": Box("", 1, 2),
    "weight": Box("", 0.01, 1),
    "at": Box("", 0.05, 0.95),
    "strength": Box("", 0, 0.99),
}


def _regions(mean: Array, low: Array, high: Array, at: Array) -> tuple[Array, Array, Array]:
    """An entropy below the corridor, one inside and one above."""
    return at * low * mean, (low + at * (high - low)) * mean, (high + at) * mean


def _force(
    mean: Array, low: Array, high: Array, weight: Array, at: Array, strength: Array, *, symmetric: bool
) -> Trial | None:
    """Slopes of the objective in H below, inside and above, against lambda times 1 + s, 1 and 1 - s (or 1 + s, 1,
    -s)."""
    if high - low < 0.05:
        return None
    h, worst = float(5e-5 * mean * low * min(at, 1 - at)), 0.0
    slopes = (1 + float(strength), 1.0, (0.0 if symmetric else 1.0) - float(strength))
    for H, stated in zip(_regions(mean, low, high, at), slopes):
        ends = [objective(H + d, mean, low, high, weight, strength) for d in (-h, h)]
        worst = max(worst, float(abs((ends[1] - ends[0]) / (2 * h) - weight * stated)))
    return Trial(worst, float(64 * EPS * 4 * weight * (high + 1) * mean / h))


def _force_check(budget: Budget, symmetric: bool = False) -> Identity:
    return equate(Space({}, FIELDS), partial(_force, symmetric=symmetric), budget)


def _top(mean: Array, low: Array, high: Array, weight: Array, at: Array, strength: Array, *, at_least: float) -> Trials:
    """The upward force above the corridor; it should not be positive if the corridor's top is to hold."""
    s = at_least + strength
    _, _, above = _regions(mean, low, high, at)
    h = 1e-3 * mean * at
    up = objective(above + h, mean, low, high, weight, s) - objective(above, mean, low, high, weight, s)
    return Trials(up / h, 0.0, 64 * EPS * 4 * weight * (high + 2) * mean * (1 + s) / h)


def _top_check(budget: Budget, at_least: float = 0.0) -> Inequality:
    measure = partial(_top, at_least=at_least)
    return attack(Space({}, FIELDS), measure, budget.with_instances(20 * budget.instances), batched=True)


def _released(mean: Array, low: Array, high: Array, weight: Array, at: Array, strength: Array, *, code: bool) -> Trial:
    """The derivative in H of the penalty above the corridor: that of a constant, or of the printed one."""
    _, _, above = _regions(mean, low, high, at)
    h = 1e-3 * mean * at
    if code:
        ends = [np.where((low * mean <= H) & (high * mean >= H), 0.0, strength) for H in (above, above + h)]
    else:
        ends = [penalty(H, mean, low, high) for H in (above, above + h)]
    return Trial(float(abs(ends[1] - ends[0]) / h), 0.0)


def _released_check(budget: Budget, code: bool = True) -> Identity:
    return equate(Space({}, FIELDS), partial(_released, code=code), budget)


def _lemma(low: Array, high: Array, *, share: float) -> Trials:
    """max(1 - kappa_l, kappa_r - 1) against a share of the corridor's width."""
    return Trials(np.maximum(1 - low, high - 1), share * (high - low), 4 * EPS)


def _lemma_check(budget: Budget, share: float = 0.5) -> Inequality:
    space = Space({}, {"low": Box("", 0.1, 1), "high": Box("", 1, 2)})
    measure = partial(_lemma, share=share)
    return attack(space, measure, budget.with_instances(20 * budget.instances), batched=True)


def _accumulated(law: Array, reference: Array, *, with_log: bool) -> Trials:
    """The sum over T steps of |mean entropy so far - reference| against T times the largest either can be."""
    T, V = law.shape[1], law.shape[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        H = -np.where(law > 0, law * np.log(law), 0.0).sum(axis=2)
    running = H.cumsum(axis=1) / np.arange(1, T + 1)
    total = abs(running - reference[:, None]).sum(axis=1)
    largest = np.maximum(log(V), reference) if with_log else reference
    return Trials(total, T * largest, 64 * EPS * T * (V + log(V + 1) + reference))


def _accumulated_check(budget: Budget, with_log: bool = True) -> Inequality:
    space = Space({"T": (1, 6), "V": (1, 5)}, {"law": Simplex("TV"), "reference": Box("", 0, 3)})
    measure = partial(_accumulated, with_log=with_log)
    return attack(space, measure, budget.with_instances(20 * budget.instances), batched=True)


def _concave(x: Array, y: Array, r: Array, weight: Array, *, logits: bool) -> Trials:
    """E r + lambda H at the midpoint, in logits or in probabilities; shifted by 2, below which rewards cannot bring
    it."""

    def softmax(z: Array) -> Array:
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def objective_of(p: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            H = -np.where(p > 0, p * np.log(p), 0.0).sum(axis=1)
        return (p * r).sum(axis=1) + weight * H

    p, q = softmax(x), softmax(y)
    middle = objective_of(softmax((x + y) / 2)) if logits else objective_of((p + q) / 2)
    return Trials(2 + (objective_of(p) + objective_of(q)) / 2, 2 + middle, 256 * EPS)


def _concave_check(budget: Budget, logits: bool = True) -> Inequality:
    fields = {"x": Box("A", -4, 4), "y": Box("A", -4, 4), "r": Box("A", -1, 1), "weight": Box("", 0, 1)}
    measure = partial(_concave, logits=logits)
    return attack(Space({"A": (2, 4)}, fields), measure, budget.with_instances(20 * budget.instances), batched=True)


def soft_law(r: Array, temperature: float) -> Array:
    r"""The maximiser of :math:`E r+\tau H`."""
    e = np.exp((r - r.max()) / temperature)
    return np.asarray(e / e.sum())


def entropy(p: Array) -> float:
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())


def penalised_entropy(r: Array, weight: float, strength: float, top: float) -> float:
    r"""The entropy at the maximiser of :math:`E r+\lambda H-\lambda s[H-\mathrm{top}]_+` over laws (ours).

    Entropies of :func:`soft_law` grow with the temperature, and the objective is concave in the law: above the top it
    has temperature :math:`\lambda(1-s)`, so the optimum is there, or at the top, or, below it, at :math:`\lambda`.
    """
    free = entropy(soft_law(r, weight))
    return free if free <= top else max(top, entropy(soft_law(r, weight * (1 - strength))) if strength < 1 else top)


def _kept(r: Array, weight: Array, share: Array, strength: Array, *, at_least: float) -> Trial:
    """The entropy at the optimum against the top of the corridor, where the bonus alone would lie above it."""
    top = float(share) * log(len(r))
    found = penalised_entropy(r, float(weight), at_least + float(strength), top)
    return Trial(found, top, 256 * EPS * (1 + 1 / float(weight)))


def _kept_check(budget: Budget, at_least: float = 0.0) -> Inequality:
    fields = {"r": Box("A", 0, 1), "weight": Box("", 0.05, 1), "share": Box("", 0.1, 0.9), "strength": Box("", 0, 0.99)}
    return attack(Space({"A": (2, 4)}, fields), partial(_kept, at_least=at_least), budget)


def _lipschitz(H: Array, other: Array, mean: Array, low: Array, high: Array, *, factor: float) -> Trials:
    gap = abs(penalty(H, mean, low, high) - penalty(other, mean, low, high))
    return Trials(gap, factor * abs(H - other), 32 * EPS)


ENTROPIES = {"H": Box("", 0, 4), "mean": Box("", 0.1, 2), "low": Box("", 0.1, 1), "high": Box("", 1, 2)}


def _lipschitz_check(budget: Budget, factor: float = 1.0) -> Inequality:
    space = Space({}, ENTROPIES | {"other": Box("", 0, 4)})
    return attack(space, partial(_lipschitz, factor=factor), budget.with_instances(20 * budget.instances), batched=True)


def _inside(H: Array, mean: Array, low: Array, high: Array, *, top: bool) -> Trial:
    """Whether "no penalty" and "inside the corridor" differ; without `top`, only its lower end counts as an end."""
    inside = low * mean <= H and (high * mean >= H or not top)
    return Trial(float((float(penalty(H, mean, low, high)) == 0) != inside), 0.0)


def _inside_check(budget: Budget, top: bool = True) -> Identity:
    return equate(Space({}, ENTROPIES), partial(_inside, top=top), budget)


def strength(step: Array, middle: Array, decay: Array) -> Array:
    r"""Algorithm 1's :math:`\beta_k=1+e^{-\gamma k/k_{mid}}`."""
    return np.asarray(1 + np.exp(-decay * step / middle))


def _later(step: Array, later: Array, middle: Array, decay: Array, *, grows: bool) -> Trials:
    pair = strength(step, middle, decay), strength(step + later, middle, decay)
    value, bound = pair if grows else pair[::-1]
    return Trials(value, bound, 8 * EPS)


def _later_check(budget: Budget, grows: bool = True) -> Inequality:
    fields = {"step": Box("", 0, 100), "later": Box("", 1, 100), "middle": Box("", 10, 80), "decay": Box("", 0.1, 5)}
    return attack(Space({}, fields), partial(_later, grows=grows), budget, batched=True)


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.3))
    H, rows = np.linspace(0, 2.5, 251), []
    one = np.ones_like(H)
    for strength, label in ((0.2, "αβ = 0.2 (the paper)"), (0.9, "αβ = 0.9"), (1.5, "αβ = 1.5 (against A.4)")):
        y = objective(H, one, 0.5 * one, 1.5 * one, one, strength * one)
        left.plot(H, y, label=label)
        rows += [{"panel": "objective", "series": label, "x": h, "y": v} for h, v in zip(H, y)]
    left.axvspan(0.5, 1.5, color="0.9", zorder=0)
    left.set(xlabel="entropy, over its historical mean", ylabel="what EPO adds, over λ", xlim=(0, 2.5))
    left.legend(loc="upper left", fontsize=6)
    r = np.array([1.0, 0.5, 0.0, 0.0])
    strengths = np.linspace(0, 1.2, 121)
    for weight in (0.2, 0.5, 1.0):
        y = np.array([penalised_entropy(r, weight, float(s), 0.8) for s in strengths])
        right.plot(strengths, y, label=f"λ = {weight:g}")
        rows += [{"panel": "optimum", "series": f"lambda = {weight:g}", "x": s, "y": v} for s, v in zip(strengths, y)]
    right.axhline(0.8, color="black", lw=0.8, ls="--")
    right.annotate("top of the corridor", (0.02, 0.8), va="top", fontsize=6)
    right.axvspan(0, 0.2, color="0.9", zorder=0)
    right.annotate("the paper", (0.1, 0.3), rotation=90, ha="center", fontsize=6, color="0.3")
    right.set(xlabel="αβ", ylabel="entropy at the optimum", ylim=(0.2, 1.4))
    right.legend(loc="upper right")
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "corridor",
        r"Left: what EPO adds to the objective over the entropy; with $\alpha\beta<1$, as assumed, it still grows "
        r"above the "
        r"corridor (grey). Right: the entropy at the optimum of a bandit with four arms: the top holds only from "
        r"$\alpha\beta=1-\tau/\lambda$ on, where $\tau$ is the temperature whose entropy is the top.",
        _draw,
    ),
)

CLAIMS = (
    claim(
        id="epo/force-on-entropy",
        source="ours, on Eq. 4 and Lemma A.11",
        statement=r"The added objective has slope $\lambda(1+\alpha\beta)$ in the entropy below the corridor, "
        r"$\lambda$ inside and "
        r"$\lambda(1-\alpha\beta)$ above.",
        kind=Identity,
        premises=(CORRIDOR,),
        check=_force_check,
        control=partial(_force_check, symmetric=True),
        control_statement=r"above it is $-\lambda\alpha\beta$.",
    ),
    claim(
        id="epo/top-pushes-down",
        source="Section 4.2 (entropy is kept within the historical band)",
        statement="Above the corridor the added objective does not grow with the entropy.",
        kind=Inequality,
        premises=(CORRIDOR, A4),
        check=_top_check,
        control=partial(_top_check, at_least=1.0),
        control_statement=r"the same with $\alpha\beta\ge1$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="epo/optimum-in-the-corridor",
        source="Proposition 6.2 (premise), on a bandit",
        statement="At the optimum of reward, bonus and penalty the entropy is at most the top of the corridor.",
        kind=Inequality,
        premises=("a bandit with two to four arms", A4),
        check=_kept_check,
        control=partial(_kept_check, at_least=1.0),
        control_statement=r"the same with $\alpha\beta\ge1$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="epo/released-penalty-has-no-gradient",
        source="ours, on the released code",
        statement="Outside the corridor the released penalty is constant: it has no gradient.",
        kind=Identity,
        premises=(CORRIDOR,),
        check=_released_check,
        control=partial(_released_check, code=False),
        control_statement="the printed penalty has none.",
    ),
    claim(
        id="epo/half-width",
        source="Proof of Proposition 6.2",
        statement=r"$\max(|1-\kappa_l|,|\kappa_r-1|)\le\frac{\kappa_r-\kappa_l}{2}$.",
        kind=Inequality,
        premises=(CORRIDOR,),
        check=_lemma_check,
        control=partial(_lemma_check, share=1.0),
        control_statement=r"$\max(|1-\kappa_l|,|\kappa_r-1|)\le\kappa_r-\kappa_l$.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="epo/deviation-is-linear-anyway",
        source="ours, on Proposition 6.2",
        statement=r"$\sum_{t\le T}|\bar H_t-H_{ref}|\le T\max(\log|V|,H_{ref})$ for every policy: the quadratic "
        r"growth that "
        r"the corridor is to prevent cannot last.",
        kind=Inequality,
        premises=("entropies of laws on $|V|$ tokens",),
        check=_accumulated_check,
        control=partial(_accumulated_check, with_log=False),
        control_statement=r"it is at most $T H_{ref}$.",
    ),
    claim(
        id="epo/concave-in-parameters",
        source="Proof of Proposition 6.3",
        statement="The objective, reward plus entropy, is concave in the parameters of a softmax policy.",
        kind=Inequality,
        premises=("a bandit with two to four arms",),
        check=_concave_check,
        control=partial(_concave_check, logits=False),
        control_statement="it is concave in the probabilities.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="epo/penalty-is-lipschitz",
        source="Lemma A.10",
        statement=r"$|P(H)-P(H')|\le|H-H'|$.",
        kind=Inequality,
        premises=(CORRIDOR,),
        check=_lipschitz_check,
        control=partial(_lipschitz_check, factor=0.9),
        control_statement=r"$|P(H)-P(H')|\le0.9\,|H-H'|$.",
    ),
    claim(
        id="epo/penalty-vanishes-inside",
        source="Lemma A.10",
        statement=r"$P(H)=0$ iff $\kappa_l\bar H\le H\le\kappa_r\bar H$.",
        kind=Identity,
        premises=(CORRIDOR,),
        check=_inside_check,
        control=partial(_inside_check, top=False),
        control_statement=r"$P(H)=0$ iff $\kappa_l\bar H\le H$.",
    ),
    claim(
        id="epo/smoothing-grows",
        source="Remark A.14 (weaker early, stronger later)",
        statement=r"The weight of the smoothing, $\beta_k=1+e^{-\gamma k/k_{mid}}$, grows over training.",
        kind=Inequality,
        premises=(r"$\gamma>0$ (Algorithm 1)",),
        check=_later_check,
        control=partial(_later_check, grows=False),
        control_statement=r"it falls, from 2 to 1, as Section 4.2 says.",
        expected=Outcome.REFUTED,
    ),
)
