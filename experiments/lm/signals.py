r"""Advantages: numbers for each answer (or token) that surrogates treat as constants.  Every function returns float[N].

Means are weighted by `Batch.weights`, so that on an enumerated batch they are expectations.
"""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from claimlab.checks import interval
from claimlab.experiments.lm.batch import Batch


def centred(batch: Batch) -> Tensor:
    """Dr. GRPO and group-relative REINFORCE: the reward less the mean of its group."""
    return batch.advantages()


def standardised(batch: Batch, *, ddof: int = 1, eps: float = 1e-4) -> Tensor:
    """GRPO: centred, over the group's standard deviation plus `eps` (TRL: ddof 1, eps 1e-4)."""
    A, sizes = batch.advantages(), torch.bincount(batch.groups)
    variance = batch.mean(A**2) * sizes / (sizes - ddof).clamp(min=1)
    return A / (variance.sqrt() + interval("eps", eps, 0, inf, "[)"))[batch.groups]


def leave_one_out(batch: Batch) -> Tensor:
    r"""RLOO: the reward less the mean of the *other* answers to the prompt, :math:`\frac K{K-1}` times `centred`."""
    sizes = torch.bincount(batch.groups)
    if (sizes < 2).any():
        raise ValueError(f"groups[{int((sizes < 2).nonzero()[0])}] has one answer; leave_one_out needs two.")
    return batch.advantages() * (sizes / (sizes - 1))[batch.groups]


def baseline(batch: Batch, values: Tensor) -> Tensor:
    """SPO and A-LoL: the reward less float[N] `values` known beforehand, as a tracker's or a value head's."""
    if values.shape != batch.rewards.shape:
        raise ValueError(f"values must have shape {tuple(batch.rewards.shape)}, got {tuple(values.shape)}.")
    return batch.rewards - values


def beta_normalised(batch: Batch, a: Tensor, b: Tensor) -> Tensor:
    r"""BNPO: centred 0/1 rewards over the density of Beta(1 + a/3, 1 + b/3) at the group's mean p.

    `a` and `b`, scalars, are the moment-matched parameters of the law of p over prompts.  A group whose rewards are all
    alike has advantages zero, whatever the density there.
    """
    p = batch.mean(batch.rewards)
    alpha, beta = 1 + a / 3, 1 + b / 3
    log_density = (alpha - 1) * p.log() + (beta - 1) * (1 - p).log()
    log_density = log_density - torch.lgamma(alpha) - torch.lgamma(beta) + torch.lgamma(alpha + beta)
    scale = torch.where((p > 0) & (p < 1), (-log_density).exp(), 0.0)
    return batch.advantages() * scale[batch.groups]


def subtrees(batch: Batch, ancestors: Tensor) -> Tensor:
    """TreePO: the mean over levels of the reward less the mean of its subtree.

    int64[N, J] `ancestors` names the node of each level that the answer passes, the root (the prompt) among them.
    """
    if ancestors.ndim != 2 or len(ancestors) != len(batch.rewards):
        raise ValueError(f"ancestors must have shape ({len(batch.rewards)}, J), got {tuple(ancestors.shape)}.")
    levels = [_less_mean(batch, torch.unique(level, return_inverse=True)[1]) for level in ancestors.T]
    return torch.stack(levels).mean(0)


def _less_mean(batch: Batch, nodes: Tensor) -> Tensor:
    mass = batch.weights.new_zeros(int(nodes.max()) + 1)
    total = mass.index_add(0, nodes, batch.weights * batch.rewards)
    return batch.rewards - (total / mass.index_add(0, nodes, batch.weights))[nodes]


def turns(rewards: Tensor, turn: Tensor, gamma: float = 1.0) -> Tensor:
    """Per-token returns of several turns (IGPO, EPO, PAV): float[N, T], the discounted sum of later turns' rewards.

    float[N, K] `rewards` of the turns; int64[N, T] `turn` of each token.
    """
    discount = interval("gamma", gamma, 0, 1)
    returns, after = [], torch.zeros_like(rewards[:, 0])
    for k in reversed(range(rewards.shape[1])):
        after = rewards[:, k] + discount * after
        returns.append(after)
    return torch.stack(returns[::-1], 1).gather(1, turn)
