r"""Losses that fit log-ratios to rewards or preferences: SPPO, REFUEL, DPO, IPO, ROVER, and A-LoL.

`Batch.old` is the reference; :math:`h_i=\sum_t\log\rho_{it}` is the log-ratio of a whole answer.
"""

from __future__ import annotations

from math import inf
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from claimlab.checks import interval, nearest
from claimlab.experiments.lm.batch import Batch
from claimlab.experiments.lm.surrogates import log_ratio

KINDS = ("dpo", "ipo", "hinge")


def sppo(logp: Tensor, batch: Batch, eta: float) -> Tensor:
    r"""SPPO: :math:`(h-\eta(\hat P-\frac12))^2`; rewards are estimated chances to win (Wu et al. 2024, Eq. 4.6)."""
    gap = log_ratio(logp, batch).sum(1) - interval("eta", eta, 0, inf, "()") * (batch.rewards - 0.5)
    return (batch.weights * gap**2).sum()


def refuel(logp: Tensor, batch: Batch, eta: float) -> Tensor:
    r"""REFUEL and REBEL: :math:`(\frac1\eta(h-h')-(R-R'))^2` of pairs (Gao et al. 2024)."""
    first, second = pairs(batch)
    h = log_ratio(logp, batch).sum(1) / interval("eta", eta, 0, inf, "()")
    gap = h[first] - h[second] - (batch.rewards[first] - batch.rewards[second])
    return (batch.mass * gap**2).sum()


def preference(logp: Tensor, batch: Batch, beta: float = 0.1, kind: Literal["dpo", "ipo", "hinge"] = "dpo") -> Tensor:
    r"""DPO :math:`-\log\sigma(\beta m)`, IPO :math:`(m-\frac1{2\beta})^2`, hinge :math:`(1-\beta m)_+`.

    Of every pair, the answer with the higher reward is the winner and m is its log-ratio less the loser's.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}{nearest(kind, list(KINDS))}; got {kind!r}.")
    beta, (first, second) = interval("beta", beta, 0, inf, "()"), pairs(batch)
    sign = (batch.rewards[first] - batch.rewards[second]).sign()
    if (sign == 0).any():
        raise ValueError(f"groups[{int((sign == 0).nonzero()[0])}] has two equal rewards and no winner.")
    h = log_ratio(logp, batch).sum(1)
    margin = sign * (h[first] - h[second])
    if kind == "ipo":
        return (batch.mass * (margin - 1 / (2 * beta)) ** 2).sum()
    loss = -F.logsigmoid(beta * margin) if kind == "dpo" else (1 - beta * margin).clamp(min=0)
    return (batch.mass * loss).sum()


def rover(logp: Tensor, batch: Batch, following: Tensor, rho: float = 1.0) -> Tensor:
    r"""ROVER: :math:`(\rho\log\rho_t-\hat r-\rho\,m_{t+1})^2` a token, targets constant (Algorithm 1).

    float[N, T] `following` holds :math:`m_{t+1}`, the mean over the vocabulary of the log-ratio at the next place, zero
    after the last; :math:`\hat r` is the centred reward.
    """
    rho = interval("rho", rho, 0, inf, "()")
    target = (batch.advantages()[:, None] + rho * following).detach()
    gap = torch.where(batch.tokens, rho * log_ratio(logp, batch) - target, 0.0)
    return (batch.weights * (gap**2).sum(1) / batch.tokens.sum(1).clamp(min=1)).sum()


def a_lol(logp: Tensor, batch: Batch, values: Tensor, clip: float = 0.9) -> Tensor:
    """A-LoL: likelihood weighted by the positive advantage and the answer's clipped ratio, constants (Eq. 4)."""
    clip = interval("clip", clip, 0, 1)
    ratio = log_ratio(logp, batch).sum(1).detach().exp().clamp(1 - clip, 1 + clip)
    factor = ratio * (batch.rewards - values).clamp(min=0).detach()
    return -(batch.weights * factor * torch.where(batch.tokens, logp, 0.0).sum(1)).sum()


def pairs(batch: Batch) -> tuple[Tensor, Tensor]:
    """int64[G], int64[G]: the first and the second answer of every group, each of which must have two."""
    sizes = torch.bincount(batch.groups)
    if (sizes != 2).any():
        group = int((sizes != 2).nonzero()[0])
        raise ValueError(f"groups[{group}] has {int(sizes[group])} answers; pairs need two in every group.")
    order = batch.groups.argsort(stable=True).view(-1, 2)
    return order[:, 0], order[:, 1]


def plackett_luce(scores: Tensor, order: Tensor) -> Tensor:
    r"""PG-RANK: log-probability, float[N], of taking items in `order`, int64[N, k], by float[N, n] `scores`."""
    taken = scores.gather(1, order)
    rest = scores
    total = torch.zeros_like(taken[:, 0])
    for place in range(order.shape[1]):
        total = total + taken[:, place] - rest.logsumexp(1)
        rest = rest.scatter(1, order[:, place : place + 1], -inf)
    return total
