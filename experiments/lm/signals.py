r"""Advantages: numbers for each answer, float[N], or token, float[N, T], that surrogates treat as constants.

Means are weighted by `Batch.weights`, so that on an enumerated batch they are expectations.
"""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from claimlab.checks import interval
from claimlab.experiments.lm.batch import Batch, Steps


def centred(batch: Batch) -> Tensor:
    """Dr. GRPO and group-relative REINFORCE: the reward less the mean of its group."""
    return batch.advantages()


def standardised(batch: Batch, *, ddof: int = 1, eps: float = 1e-4) -> Tensor:
    """GRPO: centred, over the group's standard deviation plus `eps` (TRL: ddof 1, eps 1e-4)."""
    return batch.advantages() / spread(batch, ddof=ddof, eps=eps)


def spread(batch: Batch, *, ddof: int = 1, eps: float = 1e-4) -> Tensor:
    """float[N], the standard deviation of the rewards of each answer's group, plus `eps`."""
    sizes = torch.bincount(batch.groups)
    variance = batch.mean(batch.advantages() ** 2) * sizes / (sizes - ddof).clamp(min=1)
    return (variance.sqrt() + interval("eps", eps, 0, inf, "[)"))[batch.groups]


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
    levels = [batch.rewards - below(batch, level) for level in ancestors.T]
    return torch.stack(levels).mean(0)


def tree(batch: Batch) -> Tensor:
    """TreePO's advantages (Eq. 5, simple average): `subtrees` of the prompt and every node but the leaves, over std."""
    nodes = steps_of(batch).nodes
    return subtrees(batch, torch.cat([batch.groups[:, None], nodes[:, :-1]], 1)) / spread(batch)


def below(batch: Batch, nodes: Tensor) -> Tensor:
    """float[N], the mean reward of all answers that pass the same of int64[N] `nodes`: the value of its prefix."""
    index = torch.unique(nodes, return_inverse=True)[1]
    mass = batch.weights.new_zeros(int(index.max()) + 1)
    total = mass.index_add(0, index, batch.weights * batch.rewards)
    return (total / mass.index_add(0, index, batch.weights))[index]


def segments(batch: Batch) -> Tensor:
    """SPO on a tree: of each token, the value of the node after its segment less that of the node before.

    On an enumerated batch the advantage of the segment, :math:`Q(s,a)-V(s)`, exactly.
    """
    steps = steps_of(batch)
    values = [below(batch, nodes) for nodes in (batch.groups, *steps.nodes.T)]
    return torch.stack(values, 1).diff(dim=1).gather(1, steps.of)


def progress(batch: Batch) -> Tensor:
    r"""Of each token, what the worth of the prefix gained by its segment; of no later one.

    PAV's advantage of a prover, :math:`A^\mu(s,a)`, if that judged; SPO's on a chain, if the policy itself did.
    """
    steps = steps_of(batch)
    return worth_of(steps).diff(dim=1).gather(1, steps.of)


def information(batch: Batch, *, joint: bool = False, weight: float = 1.0) -> Tensor:
    """IGPO: of each token, the returns of its turn; turns earn what the belief in the right answer gained, and the last
    the outcome.

    Gains (of all turns) and outcomes are standardised in every group: apart, or `joint`, as one set.  With `weight` 0
    of the gains it is `standardised`.
    """
    steps = steps_of(batch)
    gains = worth_of(steps)[:, :-1].diff(dim=1)
    if joint:
        earned = _standard(batch, torch.cat([gains, batch.rewards[:, None]], 1))
    else:
        earned = torch.cat([_standard(batch, gains), standardised(batch)[:, None]], 1)
    scale = earned.new_full((earned.shape[1],), interval("weight", weight, 0, inf, "[)"))
    scale[-1] = 1
    return turns(earned * scale, steps.of)


def _standard(batch: Batch, values: Tensor, eps: float = 1e-4) -> Tensor:
    """float[N, K] less their mean over answers and columns of a group, over the standard deviation of as many."""
    gap = values - batch.mean(values.mean(1))[batch.groups, None]
    count = torch.bincount(batch.groups) * values.shape[1]
    variance = batch.mean((gap**2).mean(1)) * count / (count - 1).clamp(min=1)
    return gap / (variance.sqrt() + eps)[batch.groups, None]


def steps_of(batch: Batch) -> Steps:
    if batch.steps is None:
        raise ValueError("steps must be given: this signal is for answers that were cut, see rollouts.Branching.")
    return batch.steps


def worth_of(steps: Steps) -> Tensor:
    if steps.worth is None:
        raise ValueError("steps.worth must be given: this signal needs a judge of prefixes, see rollouts.Branching.")
    return steps.worth


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
