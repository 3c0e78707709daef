r"""HNPG: on-policy policy gradients that also learn from offline data, and what one weight between the two can promise.

With weight λ of the on-policy loss, Lemma 5 bounds the critic's errors by

.. math:: \Delta_{on}=\frac{12}{(1-\gamma)^2}\min\{1/\lambda,\varepsilon_{be}\}+\frac{12\,\varepsilon_{stat}}
   {\lambda(1-\gamma)},\qquad\Delta_{off}=\frac{40}{1-\gamma}\left(\frac{\lambda\varepsilon_{be}}{1-\gamma}
   +\varepsilon_{stat}\right),\qquad\varepsilon_{stat}=\frac{128(1+\lambda)}T,

and the regret is :math:`O(\sqrt T)` where :math:`T\sqrt{\Delta}` is.  The proof takes :math:`\lambda=1` if the
inherent Bellman error :math:`\varepsilon_{be}` is at most 1/T, and :math:`\lambda=T/2-1` if not; the learner does not
know which.  Constants are those of the text as a program converted it.  Runs of the algorithm could hardly exceed a
bound that says nothing below :math:`10^4` rounds; rates are judged on the bounds, and its experiments not at all.
"""

from __future__ import annotations

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from claimlab.checks import Array
from claimlab.experiments.figures import PaperFigure
from claimlab.experiments.style import COLUMN
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget, Claim, Paper
from claimlab.theory.evidence import Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack
from claimlab.theory.spaces import Box, Case, Simplex, Space

PAPER = Paper(
    slug="hnpg",
    title="Offline Data Enhanced On-Policy Policy Gradient with Provable Guarantees",
    authors="Yifei Zhou, Ayush Sekhari, Yuda Song, Wen Sun",
    venue="ICLR 2024",
    arxiv="2311.08384",
    tier="core-named / theory-checkable",
)

claim = partial(Claim, paper=PAPER)

CRITICS = "any critics in [0, 1/(1-γ)], one state at a time, step size as in the lemma"

PLAY = Space({"T": (3, 24), "A": (2, 3)}, {"f": Box("TA", 0, 1)})
STEADY: Case = {"f": np.tile([1.0, 0.0], (24, 1))}


def mirror_regret(f: Array, eta: float) -> float:
    """The most that an action has in sum over f[T, A], less what the exponential weights have."""
    weights = np.exp(eta * np.vstack([np.zeros(f.shape[1]), np.cumsum(f, axis=0)[:-1]]))
    policy = weights / weights.sum(axis=1, keepdims=True)
    return float(f.sum(axis=0).max() - (policy * f).sum())


def _mirror(f: Array, *, constant: float) -> Trial | None:
    r"""Values in [0, 1]: those in [0, 1/(1-γ)] and the step size in the lemma differ by that factor."""
    T, A = f.shape
    eta = np.sqrt(np.log(A) / T)
    if eta > 0.5:
        return None
    return Trial(mirror_regret(f, eta), constant * float(np.sqrt(T * np.log(A))), 1e-12, trivial=float(T))


def _mirror_check(budget: Budget, constant: float = 2.0) -> Inequality:
    return attack(PLAY, partial(_mirror, constant=constant), budget, hard=[STEADY])


COVER = Space({"K": (1, 5)}, {"d": Simplex("K"), "nu": Simplex("K"), "x": Box("K", -1, 1)})


def _coverage(d: Array, nu: Array, x: Array, *, share: float) -> Trials:
    r"""(E_d x)^2 / E_nu x^2 against a share of the largest ratio d / nu; x is a Bellman error."""
    seen = (nu * x**2).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(d > 0, d / nu, 0.0).max(axis=-1)
    holds = (seen > 1e-9) & np.isfinite(ratio)
    seen, ratio = np.where(holds, seen, 1), np.where(holds, ratio, 0)
    value = np.maximum((d * x).sum(axis=-1), 0) ** 2 / seen
    rounding = 64 * EPS * ((d * abs(x)).sum(axis=-1) ** 2 / seen + ratio)  # of sums of five terms, which may cancel
    return Trials(value, share * ratio, rounding, holds=holds)


def _coverage_check(budget: Budget, share: float = 1.0) -> Inequality:
    many = budget.with_instances(10 * budget.instances)
    even = {"d": np.full(2, 0.5), "nu": np.full(2, 0.5), "x": np.ones(2)}
    return attack(COVER, partial(_coverage, share=share), many, batched=True, hard=[even])


def critic_errors(weight: Array, T: Array, gamma: Array, bellman: Array) -> tuple[Array, Array]:
    """The bounds of Lemma 5 on the critic's errors, on-policy and offline."""
    noise, rest = 128 * (1 + weight) / T, 1 - gamma
    on = 12 / rest**2 * np.minimum(1 / weight, bellman) + 12 * noise / (weight * rest)
    return np.asarray(on), np.asarray(40 / rest * (weight * bellman / rest + noise))


WEIGHTS = Space({}, {"log_weight": Box("", 0, 1), "log_T": Box("", 1, 8), "gamma": Box("", 0, 0.99)})


def _weights(log_weight: Array, log_T: Array, gamma: Array) -> tuple[Array, Array, Array]:
    """Weights from 1 to T, the on-policy error where no function fits, and the offline one where all do."""
    T = 10**log_T
    weight = T**log_weight
    return T, critic_errors(weight, T, gamma, np.array(1.0))[0], critic_errors(weight, T, gamma, 0 * T)[1]


def _one_weight(log_weight: Array, log_T: Array, gamma: Array, *, power: float) -> Trials:
    r"""A least product of the two errors, :math:`61440/((1-\gamma)^3T^{power})`, against theirs."""
    T, on, off = _weights(log_weight, log_T, gamma)
    least = 12 * 40 * 128 / ((1 - gamma) ** 3 * T**power)
    return Trials(least, on * off, 1e-12 * on * off)


def _one_weight_check(budget: Budget, power: float = 1.0) -> Inequality:
    many = budget.with_instances(10 * budget.instances)
    return attack(WEIGHTS, partial(_one_weight, power=power), many, batched=True)


def _root(log_weight: Array, log_T: Array, gamma: Array, *, exponent: float) -> Trials:
    r"""The larger of the errors, each with its own worst case, against ours: :math:`10\,280/((1-\gamma)^2\sqrt T)`.

    At :math:`\lambda=\sqrt T` the noise is at most :math:`256/\sqrt T`, so the errors are at most :math:`12(1+256)` and
    :math:`40(1+256)` over :math:`(1-\gamma)^2\sqrt T`, the latter with a Bellman error of 1/T.
    """
    T = 10**log_T
    weight = T**exponent
    on, off = critic_errors(weight, T, gamma, np.array(1.0))[0], critic_errors(weight, T, gamma, 1 / T)[1]
    bound = 40 * 257 / ((1 - gamma) ** 2 * np.sqrt(T))
    return Trials(np.maximum(on, off), bound, 1e-12 * bound)


def _root_check(budget: Budget, exponent: float = 0.5) -> Inequality:
    many = budget.with_instances(10 * budget.instances)
    return attack(WEIGHTS, partial(_root, exponent=exponent), many, batched=True)


SIZES = Space({}, {"log_T": Box("", 0, 4), "gamma": Box("", 0, 0.99), "C": Box("", 1, 10), "A": Box("", 2, 10, step=1)})


def _says(log_T: Array, gamma: Array, C: Array, A: Array, *, enough: bool) -> Trials:
    """The bound of Theorem 1 with its proof's constants, over T/(1-γ), which is known without it."""
    T = 10**log_T
    if enough:
        T = T * 25_600 * np.maximum(C, np.log(A)) / (1 - gamma) ** 2
    bound = (60 * np.sqrt(T * np.log(A)) + 100 * np.sqrt(T * C)) / (1 - gamma) ** 2
    return Trials(bound * (1 - gamma) / T, 1.0, 1e-9)


def _says_check(budget: Budget, enough: bool = False) -> Inequality:
    return attack(SIZES, partial(_says, enough=enough), budget.with_instances(10 * budget.instances), batched=True)


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, rows = plt.figure(figsize=(COLUMN, 2.4), layout="constrained"), []
    ax, T, gamma = fig.subplots(), np.geomspace(1e4, 1e12, 60), np.array(0.5)
    for name, weight in (("λ = 1", T**0), ("λ = √T (ours)", np.sqrt(T)), ("λ = T/2 − 1", T / 2 - 1)):
        on, off = critic_errors(weight, T, gamma, np.array(1.0))[0], critic_errors(weight, T, gamma, 1 / T)[1]
        worst = np.maximum(on, off)
        ax.loglog(T, worst, label=name)
        rows += [{"weight": name, "T": t, "error": x} for t, x in zip(T, worst)]
    ax.set(xlabel="rounds T", ylabel="larger of the two error bounds")
    ax.legend(fontsize="small")
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "weight",
        "The larger of the critic's two error bounds, each in the case that it is for, γ = 0.5: neither of the proof's "
        "weights makes both small.",
        _draw,
    ),
)

CLAIMS = (
    claim(
        id="hnpg/mirror-step",
        source="Lemma 6",
        statement=r"$\sum_t(f_t(a)-f_t(\pi_t))\le2\sqrt{T\log A}/(1-\gamma)$ for each action.",
        kind=Inequality,
        premises=(CRITICS, r"$\eta\le(1-\gamma)/2$"),
        check=_mirror_check,
        control=partial(_mirror_check, constant=0.8),
        control_statement="the same with 0.8 in place of 2.",
    ),
    claim(
        id="hnpg/mirror-step-sharper",
        source="ours, on Lemma 6: by Hoeffding's lemma",
        statement=r"$\sum_t(f_t(a)-f_t(\pi_t))\le\frac98\sqrt{T\log A}/(1-\gamma)$ for each action.",
        kind=Inequality,
        premises=(CRITICS, r"$\eta\le(1-\gamma)/2$"),
        check=partial(_mirror_check, constant=9 / 8),
        control=partial(_mirror_check, constant=0.8),
        control_statement="the same with 0.8 in place of 9/8.",
    ),
    claim(
        id="hnpg/coverage",
        source=r"ours, on the definition of $C_{off}$",
        statement=r"$C_{off}^2\le\|d^{\pi^e}/\nu\|_\infty$.",
        kind=Inequality,
        premises=("any Bellman errors, laws of up to five pairs",),
        check=_coverage_check,
        control=partial(_coverage_check, share=0.9),
        control_statement="the same with 90 % of it.",
    ),
    claim(
        id="hnpg/says-something",
        source="ours, on Theorem 1 with the constants of its proof",
        statement=r"For $T\le10^4$ the bound on the regret is at most $T/(1-\gamma)$, which is known without it.",
        kind=Inequality,
        premises=(r"$C\le10$, up to ten actions, $\gamma\le0.99$",),
        check=_says_check,
        control=partial(_says_check, enough=True),
        control_statement=r"for $T\ge25\,600\max\{C,\log A\}/(1-\gamma)^2$ it is.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="hnpg/no-weight-for-both",
        source="ours, on Lemma 5 and best of both worlds (abstract)",
        statement=r"For any λ, $\Delta_{on}\Delta_{off}\ge61\,440/((1-\gamma)^3T)$: not both are $O(1/T)$, which "
        r"the rate $\sqrt T$ takes.",
        kind=Inequality,
        premises=(r"$\varepsilon_{be}=1$ on-policy, 0 offline", r"λ from 1 to $T$"),
        check=_one_weight_check,
        control=partial(_one_weight_check, power=0.5),
        control_statement=r"the same with $\sqrt T$ for $T$.",
    ),
    claim(
        id="hnpg/root-weight",
        source="ours, on Lemma 5: a weight that knows nothing",
        statement=r"$\lambda=\sqrt T$ makes both at most $10\,280/((1-\gamma)^2\sqrt T)$: a regret of order $T^{3/4}$ "
        "in either case.",
        kind=Inequality,
        premises=(r"$\varepsilon_{be}=1$ on-policy, at most $1/T$ offline",),
        check=_root_check,
        control=partial(_root_check, exponent=1.0),
        control_statement=r"the same with $\lambda=T$.",
    ),
)
