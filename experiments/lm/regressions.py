r"""Losses that fit log-ratios to rewards or preferences: SPPO, REFUEL, DPO, IPO, ROVER, and A-LoL.

`Batch.old` is the reference; :math:`h_i=\sum_t\log\rho_{it}` is the log-ratio of a whole answer.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from claimlab.checks import interval, nearest
from claimlab.experiments.lm import clipped, signals
from claimlab.experiments.lm.batch import Batch
from claimlab.experiments.lm.surrogates import log_ratio, pairwise

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


def siblings(logp: Tensor, batch: Batch, tau: float = 1.0) -> Tensor:
    r"""REFUEL on a tree: `surrogates.pairwise` of what goes on from every node, the sum over segments.

    Of children of one node, :math:`a=V-\tau h` with the log-ratio of the child's segment alone and the mean reward V
    below it, in place of one completion's.  The minimiser is the same, :math:`\pi\propto\pi_{old}e^{Q/\tau}` with the
    action values of the policy that answered; at that policy the gradient is 2 tau times that of `signals.segments`.
    """
    steps, total = signals.steps_of(batch), logp.new_zeros(())
    parents = [batch.groups, *steps.nodes.T]
    for k, nodes in enumerate(steps.nodes.T):
        own, groups = batch.tokens & (steps.of == k), torch.unique(parents[k], return_inverse=True)[1]
        part = replace(batch, rewards=signals.below(batch, nodes), groups=groups, tokens=own, steps=None)
        total = total + pairwise(logp, part, tau)
    return total


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


def labelled(batch: Batch, temperature: float = 1.0, generator: torch.Generator | None = None) -> Batch:
    r"""Preference pairs from a gold reward: 1 for the winner of every pair and 0 for the loser, drawn anew.

    The first wins with probability :math:`\sigma((r-r')/temperature)` (Bradley and Terry), at temperature 0 the better
    one, and either of two equals.
    """
    first, second = pairs(batch)
    p = chance_to_win(batch.rewards[first] - batch.rewards[second], temperature)
    wins = torch.rand(p.shape, dtype=p.dtype, generator=generator).to(p.device) < p
    rewards = batch.rewards.index_put((first,), wins.to(p.dtype)).index_put((second,), (~wins).to(p.dtype))
    return replace(batch, rewards=rewards)


def dpo(
    logp: Tensor,
    batch: Batch,
    beta: float = 0.1,
    temperature: float = 1.0,
    kind: Literal["dpo", "ipo", "hinge"] = "dpo",
    generator: torch.Generator | None = None,
) -> Tensor:
    """`preference` of pairs that gold rewards label by chance; offline (`Settings.sync` 0) the start is reference."""
    return preference(logp, labelled(batch, temperature, generator), beta, kind)


def bradley_terry(logp: Tensor, batch: Batch, beta: float = 0.1, temperature: float = 1.0) -> Tensor:
    r"""The mean of `dpo` over labels and over all pairs of different answers in a group, which may have any size.

    Pairs weigh :math:`v_iv_j`, normalised in every group; a group of one counts for nothing.  Where a policy with
    log-ratios :math:`r/(\beta\,temperature)` up to a constant exists it is the minimiser (Rafailov et al. 2023,
    Section 4), the optimum of the reward less :math:`\beta\,temperature` times the divergence from the reference.
    """
    beta, h = interval("beta", beta, 0, inf, "()"), log_ratio(logp, batch).sum(1)
    other = batch.groups[:, None] == batch.groups
    other = other & ~torch.eye(len(h), dtype=torch.bool, device=h.device)
    share = batch.weights[:, None] * batch.weights * other
    total = batch.total(share.sum(1)) / 2  # each pair stands there twice
    share = share * (batch.mass / torch.where(total > 0, total, 1.0))[batch.groups][:, None]
    p = chance_to_win(batch.rewards[:, None] - batch.rewards, temperature)
    return -(share * p * F.logsigmoid(beta * (h[:, None] - h))).sum()


def chance_to_win(gap: Tensor, temperature: float) -> Tensor:
    """Of the first of two answers, from the difference of their rewards."""
    if interval("temperature", temperature, 0, inf, "[)") == 0:
        return (gap.sign() + 1) / 2
    return (gap / temperature).sigmoid()


def rover(
    logp: Tensor,
    batch: Batch,
    following: Tensor,
    rho: float = 1.0,
    *,
    A: Tensor | None = None,
    over: clipped.Sum = "answer",
) -> Tensor:
    r"""ROVER: :math:`(\rho\log\rho_t-\hat r-\rho\,m_{t+1})^2` a token, targets constant (Algorithm 1).

    float[N, T] `following` holds :math:`m_{t+1}`, the mean over the vocabulary of the log-ratio at the next place, zero
    after the last; :math:`\hat r` is the centred reward, or float[N] `A`; see `clipped.add_up` for `over`.
    """
    rho = interval("rho", rho, 0, inf, "()")
    target = ((batch.advantages() if A is None else A)[:, None] + rho * following).detach()
    return clipped.add_up((rho * log_ratio(logp, batch) - target) ** 2, batch, over)


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
