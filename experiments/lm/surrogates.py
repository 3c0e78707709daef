r"""Losses whose gradients are the updates of group-relative REINFORCE and its variants (Yao et al. 2025).

Every function takes the log-probabilities of the trained policy, float[N, T] with a gradient, and a `Batch`, and
returns one number to be *minimised*.  With weights v, advantages A and ratios
:math:`\rho=\pi_\theta/\pi_{old}` of each token all but `pairwise` have the gradient
:math:`-\sum_iv_i\sum_tg_{it}\nabla\log\pi_\theta(y_i^t)` of the paper: sums over tokens, a mean over answers; factors
g that are constants for the derivative.  Released code divides by the number of tokens instead, which weighs short
answers more.
"""

from __future__ import annotations

from math import inf
from typing import Literal

import torch
from torch import Tensor

from claimlab.checks import interval, nearest
from claimlab.experiments.lm.batch import Batch
from claimlab.theory.group_relative import masks

Mask = Literal["two-side", "ring", "one-side"]
MASKS = ("two-side", "ring", "one-side")  # in the order of `masks`
BASELINES = ("mean", "log-mean-exp")


def reinforce(logp: Tensor, batch: Batch) -> Tensor:
    """REINFORCE with the group's mean: g = A."""
    return _loss(logp, batch, batch.advantages()[:, None])


def rec(
    logp: Tensor,
    batch: Batch,
    *,
    mask: Mask = "one-side",
    importance: bool = False,
    low: float = 0.2,
    high: float = 0.2,
    far_low: float = 0.6,
    far_high: float = 2.0,
) -> Tensor:
    """REINFORCE with clipping: g = A on the mask (NoIS), or the ratio times that (IS; one-side is PPO's gradient).

    Args:
        logp: float[N, T].
        batch: the answers.
        mask: which tokens keep their gradient; see `masks`.
        importance: whether ratios are factors.
        low, high: the clip keeps ratios in [1 - low, 1 + high].
        far_low, far_high: the outer limits of the ring, not within the clip.
    """
    if mask not in MASKS:
        raise ValueError(f"mask must be one of {', '.join(MASKS)}{nearest(mask, list(MASKS))}; got {mask!r}.")
    low, high = interval("low", low, 0, 1), interval("high", high, 0, inf, "[)")
    if mask == "ring":
        far_low, far_high = interval("far_low", far_low, low, 1), interval("far_high", far_high, high, inf, "[)")
    ratio, A = log_ratio(logp, batch).detach().exp(), batch.advantages()[:, None]
    kept = masks(ratio, A, low, high, far_low, far_high)[MASKS.index(mask)]
    return _loss(logp, batch, A * kept * (ratio if importance else 1))


def opmd(logp: Tensor, batch: Batch, tau: float = 0.2) -> Tensor:
    r"""Kimi's OPMD: REINFORCE and the penalty :math:`\frac\tau2(\log\rho)^2` of each token, g = A - tau log(ratio)."""
    tau = interval("tau", tau, 0, inf, "[)")
    penalty = (batch.weights[:, None] * log_ratio(logp, batch) ** 2).sum()
    return reinforce(logp, batch) + tau / 2 * penalty


def asymre(logp: Tensor, batch: Batch, beta: float = 0.1) -> Tensor:
    """AsymRE: the baseline lowered by `beta`, g = A + beta."""
    return _loss(logp, batch, batch.advantages()[:, None] + interval("beta", beta, 0, inf, "[)"))


def red_weight(logp: Tensor, batch: Batch, temperature: float = 1.0) -> Tensor:
    """RED-Weight: g = exp(A / temperature) A."""
    A = batch.advantages()[:, None]
    return _loss(logp, batch, (A / interval("temperature", temperature, 0, inf, "()")).exp() * A)


def red_drop(logp: Tensor, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
    """RED-Drop: of every group with fewer answers at or above the mean than below, random ones below are dropped.

    As many are kept below as above; A is the reward less the mean of what is kept, and zero for what is dropped.  For
    sampled batches, in which all answers of a group weigh the same.
    """
    kept = balanced(batch, generator)
    share = batch.weights * kept
    mean = batch.total(share * batch.rewards) / batch.total(share)
    return _loss(logp, batch, ((batch.rewards - mean[batch.groups]) * kept)[:, None])


def balanced(batch: Batch, generator: torch.Generator | None = None) -> Tensor:
    """bool[N]: what RED-Drop keeps, drawn anew with every call."""
    A, kept = batch.advantages(), torch.ones_like(batch.rewards, dtype=torch.bool)
    for group in range(len(batch.mass)):
        members = (batch.groups == group).nonzero()[:, 0]
        rewards, weights = batch.rewards[members], batch.weights[members]
        if weights.max() - weights.min() > 1e-6 * weights.max():
            raise ValueError(f"red_drop needs answers of equal weight, group {group} has {weights.tolist()}.")
        rounding = 4 * len(members) * torch.finfo(rewards.dtype).eps * rewards.abs().max()  # of the mean
        below = members[A[members] < -rounding]
        excess = 2 * len(below) - len(members)
        if excess > 0:
            kept[below[torch.randperm(len(below), generator=generator)[:excess].to(below.device)]] = False
    return kept


def trinity(logp: Tensor, batch: Batch, tau: float = 1.0, baseline: str = "mean") -> Tensor:
    r"""Trinity's OPMD: :math:`g=(r-b)/(1+\tau)`, b the mean or :math:`\tau\log E[e^{r/\tau}]` of the group."""
    if baseline not in BASELINES:
        raise ValueError(f"baseline must be one of {', '.join(BASELINES)}; got {baseline!r}.")
    tau = interval("tau", tau, 0, inf, "()" if baseline == "log-mean-exp" else "[)")
    A = batch.advantages()
    if baseline == "log-mean-exp":
        top = batch.rewards.max()
        A = batch.rewards - top - tau * batch.mean(((batch.rewards - top) / tau).exp()).log()[batch.groups]
    return _loss(logp, batch, A[:, None] / (1 + tau))


def pairwise(logp: Tensor, batch: Batch, tau: float = 1.0) -> Tensor:
    r"""The surrogate of pairwise consistency, :math:`\sum_{i<j}v_iv_j(a_i-a_j)^2` in a group whose weights sum to one.

    Here :math:`a_i=r_i-\tau\log\rho_i` of whole answers, and the sum is the variance of a; groups are averaged by their
    mass.  At the policy that answered, its gradient is 2 tau times that of `reinforce`.
    """
    a = batch.rewards - interval("tau", tau, 0, inf, "()") * log_ratio(logp, batch).sum(dim=1)
    return (batch.weights * (a - batch.mean(a)[batch.groups]) ** 2).sum()


def log_ratio(logp: Tensor, batch: Batch) -> Tensor:
    """float[N, T], zero where there is no token."""
    if logp.shape != batch.old.shape:
        raise ValueError(f"logp must have shape {tuple(batch.old.shape)}, got {tuple(logp.shape)}.")
    return torch.where(batch.tokens, logp - batch.old, 0.0)


def _loss(logp: Tensor, batch: Batch, factor: Tensor) -> Tensor:
    """Minus the weighted sum of `factor`, a constant that broadcasts to (N, T), times the log-probabilities."""
    if logp.shape != batch.old.shape:
        raise ValueError(f"logp must have shape {tuple(batch.old.shape)}, got {tuple(logp.shape)}.")
    terms = torch.where(batch.tokens, logp, 0.0) * factor.detach()
    return -(batch.weights[:, None] * terms).sum()
