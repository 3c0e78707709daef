"""Algorithm 1: the practical loss, its gradient (Proposition 1) and its bootstrap."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.rover.common import claim
from claimlab.mdps.tabular import EPS
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Outcome
from claimlab.theory.falsify import Trial, equate
from claimlab.theory.spaces import Box, Space

LOGITS = {"x": Box("A", -2, 2), "y": Box("AB", -2, 2), "dx": Box("A", -1, 1), "dy": Box("AB", -1, 1)}
LOSSES = Space(
    {"A": (1, 3), "B": (1, 3), "N": (2, 4)},
    LOGITS | {"r": Box("N", 0, 1), "pick1": Box("N", 0, 0.999), "pick2": Box("N", 0, 0.999), "rho": Box("", 0.1, 3)},
)


def _log_softmax(x: Array) -> Array:
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


class _Sampled:
    """Two-token answers, their centred rewards, and log-probabilities under the old policy."""

    def __init__(self, x: Array, y: Array, r: Array, pick1: Array, pick2: Array) -> None:
        self.a, self.b = (pick1 * len(x)).astype(int), (pick2 * y.shape[1]).astype(int)
        self.old, self.centred = (_log_softmax(x), _log_softmax(y)), r - r.mean()

    def ratios(self, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """log pi_theta / pi_old of the first tokens, of the second, and its mean over the vocabulary in between."""
        one, two = _log_softmax(x) - self.old[0], _log_softmax(y) - self.old[1]
        return one[self.a], two[self.a, self.b], two[self.a].mean(axis=-1)

    def scores(self, x: Array, y: Array) -> tuple[Array, Array]:
        """The gradient of the log-probability of each token: float[N, A] in x, float[N, A, B] in y."""
        first = np.eye(len(x))[self.a] - np.exp(_log_softmax(x))
        second = np.zeros((len(self.a), *y.shape))
        own = np.eye(y.shape[1])[self.b] - np.exp(_log_softmax(y))[self.a]
        second[np.arange(len(self.a)), self.a] = own
        return first, second


def _loss_gradient(s: _Sampled, x: Array, y: Array, rho: float) -> Array:
    """The derivative of Algorithm 1's loss by complex steps, the target held fixed: exact to rounding."""
    _, _, bootstrap = s.ratios(x, y)
    targets = s.centred + rho * bootstrap, s.centred
    flat = np.concatenate([x, y.ravel()])

    def loss(theta: Any) -> Any:  # complex
        one, two, _ = s.ratios(theta[: len(x)], theta[len(x) :].reshape(y.shape))
        return (((rho * one - targets[0]) ** 2 + (rho * two - targets[1]) ** 2) / 2).mean()

    step = 1e-30
    return np.array([loss(flat + 1j * step * e).imag / step for e in np.eye(len(flat))])


def _weighted_scores(s: _Sampled, x: Array, y: Array, first: Array, second: Array) -> Array:
    """The mean over answers, and over their two tokens, of weight times score."""
    g1, g2 = s.scores(x, y)
    in_x, in_y = (first[:, None] * g1).mean(axis=0) / 2, (second[:, None, None] * g2).mean(axis=0) / 2
    return np.concatenate([in_x, in_y.ravel()])


def _gradient(
    x: Array, y: Array, dx: Array, dy: Array, r: Array, pick1: Array, pick2: Array, rho: Array, *, printed: bool
) -> Trial:
    s, temperature = _Sampled(x, y, r, pick1, pick2), float(rho)
    x, y = x + dx, y + dy
    one, two, bootstrap = s.ratios(x, y)
    scale = 1.0 if printed else temperature
    first, second = scale * one - s.centred - temperature * bootstrap, scale * two - s.centred
    factor = -1.0 if printed else 2 * temperature
    stated = factor * _weighted_scores(s, x, y, first, second)
    residual = abs(_loss_gradient(s, x, y, temperature) - stated).max()
    return Trial(float(residual), 1e3 * EPS * (1 + temperature) ** 2)


def _gradient_check(budget: Budget, printed: bool = False) -> Identity:
    return equate(LOSSES, partial(_gradient, printed=printed), budget)


def _one_step(
    x: Array, y: Array, dx: Array, dy: Array, r: Array, pick1: Array, pick2: Array, rho: Array, *, moved: bool
) -> Trial:
    s, temperature = _Sampled(x, y, r, pick1, pick2), float(rho)
    x, y = (x + dx, y + dy) if moved else (x, y)
    reinforce = _weighted_scores(s, x, y, s.centred, s.centred)
    residual = abs(_loss_gradient(s, x, y, temperature) + 2 * temperature * reinforce).max()
    return Trial(float(residual), 1e3 * EPS * (1 + temperature) ** 2)


def _one_step_check(budget: Budget, moved: bool = False) -> Identity:
    return equate(LOSSES, partial(_one_step, moved=moved), budget)


def _bootstrap(old: Array, new: Array, *, swapped: bool) -> Trial:
    one, other = _log_softmax(old), _log_softmax(new)
    u = 1 / len(old)
    kl_old, kl_new = float((u * (np.log(u) - one)).sum()), float((u * (np.log(u) - other)).sum())
    stated = kl_new - kl_old if swapped else kl_old - kl_new
    return Trial(abs(float((other - one).mean()) - stated), 256 * EPS)


def _bootstrap_check(budget: Budget, swapped: bool = False) -> Identity:
    space = Space({"A": (1, 6)}, {"old": Box("A", -5, 5), "new": Box("A", -5, 5)})
    return equate(space, partial(_bootstrap, swapped=swapped), budget)


CLAIMS = (
    claim(
        id="rover/bootstrap-is-a-divergence",
        source="Algorithm 1 (identity ours)",
        statement=r"The bootstrap of the practical loss is "
        r"$\frac{1}{|V|}\sum_a\log\frac{\pi_\theta(a|s')}{\pi_{old}(a|s')}="
        r"KL(u\|\pi_{old})-KL(u\|\pi_\theta)$: how much flatter the policy became, and nothing about the value of "
        r"$s'$.",
        kind=Identity,
        premises=("full support",),
        check=_bootstrap_check,
        control=partial(_bootstrap_check, swapped=True),
        control_statement="the same with the divergences exchanged.",
    ),
    claim(
        id="rover/gradient",
        source="Proposition 1, corrected",
        statement=r"The derivative of Algorithm 1's loss is $2\rho\,E[(\rho\log\frac{\pi_\theta}{\pi_{old}}-\tilde "
        r"r-Q')\nabla\log\pi_\theta]$.",
        kind=Identity,
        premises=("target held fixed", "two-token answers, any old and new policy"),
        check=_gradient_check,
        control=partial(_gradient_check, printed=True),
        control_statement=r"it is $E[(\tilde r+Q'-\log\frac{\pi_\theta}{\pi_{old}})\nabla\log\pi_\theta]$.",
    ),
    claim(
        id="rover/gradient-as-printed",
        source="Proposition 1",
        statement=r"$\nabla L=E[(\tilde r+Q'-\log\frac{\pi_\theta}{\pi_{old}})\nabla\log\pi_\theta]$.",
        kind=Identity,
        premises=("target held fixed", "two-token answers, any old and new policy"),
        check=partial(_gradient_check, printed=True),
        control=_gradient_check,
        control_statement=r"$\nabla L=2\rho\,E[(\rho\log\frac{\pi_\theta}{\pi_{old}}-\tilde "
        r"r-Q')\nabla\log\pi_\theta]$: "
        r"sign and factor are lost in print.",
        expected=Outcome.REFUTED,
    ),
    claim(
        id="rover/one-step-is-reinforce",
        source="Algorithm 1 (identity ours)",
        statement=r"At $\theta=\theta_{old}$ the gradient of the practical loss is $-2\rho$ times that of REINFORCE "
        r"with centred rewards "
        r"(Dr. GRPO): with one inner step the two algorithms are one.",
        kind=Identity,
        premises=("the same aggregation over tokens and answers",),
        check=_one_step_check,
        control=partial(_one_step_check, moved=True),
        control_statement="the same at any $\\theta$, after inner steps.",
    ),
)
