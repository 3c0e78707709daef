r"""Policy-guided diffusion: trajectories of a behaviour model, moved towards a target policy; what law they have.

The law that is meant is :math:`q(\tau)\propto p_\beta(\tau)\prod_h\pi(a_h|s_h)^\lambda`.  On finite processes it is
enumerated.  How far guided sampling is from it is settled for one Gaussian action, :math:`N(0,1)` under behaviour and
:math:`N(\mu,s^2)` under the target, whose probability flow :math:`dx/d\sigma=-\sigma\,\nabla\log p_\sigma(x)` is linear
and has a closed form.  With :math:`\kappa=\lambda/s^2` the law that is meant has variance :math:`1/(1+\kappa)`;
guidance adds :math:`\lambda\nabla\log\pi` to the score of :math:`N(0,1+\sigma^2)`, and from :math:`N(0,1+\sigma_0^2)`
at the largest noise leads (ours, by integration of the linear equation) to the variance

* :math:`e^{-\kappa\sigma_0^2}`, where the gradient is taken at the noisy action;
* :math:`(1+\sigma_0^2)^{-\kappa}`, at the denoised action :math:`x/(1+\sigma^2)`;
* :math:`e^{-\kappa\sigma_0^2/(1+\sigma_0^2)}`, there and with the derivative of the denoiser.

The released program adds guidance at each step without the step's size, and unit vectors by default; what that samples
depends on the number of steps and is not judged.  Nor are the experiments of the paper.
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
from claimlab.theory.evidence import Identity, Inequality, Outcome
from claimlab.theory.falsify import Trial, Trials, attack, equate
from claimlab.theory.spaces import Box, Case, Simplex, Space

PAPER = Paper(
    slug="policy-guided-diffusion",
    title="Policy-Guided Diffusion",
    authors="Matthew T. Jackson, Michael T. Matthews, Cong Lu, Benjamin Ellis, Shimon Whiteson, Jakob N. Foerster",
    venue="arXiv, 2024",
    arxiv="2404.06356",
    tier="core-named / mechanism-checkable",
)

claim = partial(Claim, paper=PAPER)

PERFECT = "two decisions in a finite process, a perfect model of the behaviour's trajectories"
GAUSSIAN = "one Gaussian action, the exact score of its noisy law, the flow solved exactly from noise 80"

SPACE = Space(
    {"S": (1, 3), "A": (1, 2)},
    {
        "rho": Simplex("S"), "P": Simplex("SAS"), "behaviour": Simplex("SA"), "target": Simplex("SA"),
        "power": Box("", 0.1, 2),
    },
)  # fmt: skip


def guided_law(rho: Array, P: Array, behaviour: Array, target: Array, power: float) -> Array:
    """The law of (s, a, s', a') under q, float[S, A, S, A], by enumeration."""
    tilted = behaviour * target**power
    law = np.einsum("s,sa,sat,tb->satb", rho, tilted, P, tilted)
    return np.asarray(law / law.sum()) if law.sum() > 0 else law


MEET: Case = {  # the second state's action is the target's more often, so q prefers to come there
    "rho": np.array([1.0, 0.0]),
    "P": np.array([[[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [1.0, 0.0]]]),
    "behaviour": np.array([[0.5, 0.5], [0.5, 0.5]]),
    "target": np.array([[0.5, 0.5], [1.0, 0.0]]),
    "power": np.array(2.0),
}


def _dynamics(
    rho: Array, P: Array, behaviour: Array, target: Array, power: Array, *, certain: bool, tilted: bool
) -> Trial | None:
    """The largest distance of q(s'|s, a) from P, or from P tilted by the message of what comes after."""
    if certain:
        P = np.eye(len(rho))[P.argmax(axis=-1)]
    law = guided_law(rho, P, behaviour, target, float(power)).sum(axis=-1)
    met = law.sum(axis=-1) > 1e-9
    if not met.any():
        return None
    found = law[met] / law[met].sum(axis=-1, keepdims=True)
    stated = P * (behaviour * target ** float(power)).sum(axis=-1) if tilted else P
    stated = stated[met] / stated[met].sum(axis=-1, keepdims=True)
    return Trial(float(abs(found - stated).sum(axis=-1).max()) / 2, 1e-12)


def _dynamics_check(budget: Budget, certain: bool = False, tilted: bool = False) -> Identity:
    return equate(SPACE, partial(_dynamics, certain=certain, tilted=tilted), budget, hard=[MEET])


LOUD = 80.0  # the largest noise, as in the program's schedule
PULLS = Space({}, {"kappa": Box("", 0.05, 5)})


def guided_variance(kappa: Array, how: str) -> Array:
    """The variance of the guided action; ``"exact"`` has the score of the noisy tilted law."""
    if how == "exact":
        return np.asarray(1 / (1 + kappa))
    if how == "noisy":
        return np.exp(-kappa * LOUD**2)
    if how == "denoised":
        return np.asarray((1 + LOUD**2) ** -kappa)
    return np.exp(-kappa * LOUD**2 / (1 + LOUD**2))


def _law(kappa: Array, *, how: str) -> Trials:
    return Trials(abs(guided_variance(kappa, how) - 1 / (1 + kappa)), 64 * EPS)


def _law_check(budget: Budget, how: str = "noisy") -> Identity:
    return equate(PULLS, partial(_law, how=how), budget, batched=True)


def _narrow(kappa: Array, *, how: str, share: float) -> Trials:
    r"""The guided variance, against a share of :math:`1/(1+\kappa t)`, where t is the last exponent's factor."""
    return Trials(guided_variance(kappa, how), share / (1 + kappa * LOUD**2 / (1 + LOUD**2)), 64 * EPS, trivial=1.0)


def _narrow_check(budget: Budget, share: float = 1.0) -> Inequality:
    return attack(PULLS, partial(_narrow, how="derivative", share=share), budget, batched=True)


VARIANTS = (
    ("exact", "meant"),
    ("derivative", "denoised, with derivative"),
    ("denoised", "denoised action"),
    ("noisy", "noisy action"),
)


def _draw() -> tuple[Figure, pd.DataFrame]:
    fig, rows, kappa = plt.figure(figsize=(COLUMN, 2.4), layout="constrained"), [], np.linspace(0.01, 4, 200)
    ax = fig.subplots()
    for (how, name), style in zip(VARIANTS, ("-", "--", "-.", ":")):
        variance = guided_variance(kappa, how)
        ax.plot(kappa, variance, style, label=name)
        rows += [{"guidance": how, "kappa": x, "variance": y} for x, y in zip(kappa, variance)]
    ax.set(xlabel="λ / s²", ylabel="variance of the action", ylim=(0, 1))
    ax.legend(fontsize="small")
    return fig, pd.DataFrame(rows)


FIGURES = (
    PaperFigure(
        "variance",
        "Variance of one Gaussian action that is guided to a target policy of variance s² with weight λ: what is "
        "meant, and what the guided flow gives.",
        _draw,
    ),
)

CLAIMS = (
    claim(
        id="policy-guided-diffusion/keeps-dynamics",
        source="abstract: a regularised form of the target distribution that retains the dynamics",
        statement=r"Under $q(\tau)\propto p_\beta(\tau)\prod_h\pi(a_h|s_h)^\lambda$ successors have the law of the "
        r"environment: $q(s'|s,a)=P(s'|s,a)$.",
        kind=Identity,
        premises=(PERFECT,),
        check=_dynamics_check,
        control=partial(_dynamics_check, certain=True),
        control_statement="the same where transitions are certain.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="policy-guided-diffusion/dynamics-are-tilted",
        source="ours, corrects the last",
        statement=r"$q(s'|s,a)\propto P(s'|s,a)\sum_{a'}\beta(a'|s')\pi(a'|s')^\lambda$: states come up more where the "
        "target's actions are likely.",
        kind=Identity,
        premises=(PERFECT,),
        check=partial(_dynamics_check, tilted=True),
        control=_dynamics_check,
        control_statement=r"$q(s'|s,a)=P(s'|s,a)$.",
    ),
    claim(
        id="policy-guided-diffusion/guided-law",
        source="abstract: guided sampling models this law; guidance by the target's score at the noisy action",
        statement=r"The guided action has the variance $1/(1+\lambda/s^2)$ of $q$.",
        kind=Identity,
        premises=(GAUSSIAN,),
        check=_law_check,
        control=partial(_law_check, how="exact"),
        control_statement="the same with the score of the noisy law of q.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="policy-guided-diffusion/too-narrow",
        source="ours, corrects the last",
        statement=r"With the derivative of the denoiser its variance is $e^{-\kappa t}\le1/(1+\kappa t)$, where "
        r"$\kappa=\lambda/s^2$ and $t=\sigma_0^2/(1+\sigma_0^2)$; without, it is nearly 0.",
        kind=Inequality,
        premises=(GAUSSIAN,),
        check=_narrow_check,
        control=partial(_narrow_check, share=0.5),
        control_statement="it is at most half of that.",
    ),
)
