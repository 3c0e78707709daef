"""Arms of the studies: losses of further papers as functions of the batch alone, at their published constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from claimlab.experiments.lm import clipped, regressions, signals, surrogates
from claimlab.experiments.lm.batch import Batch, sampled
from claimlab.experiments.lm.train import Surrogate


def grpo(logp: Tensor, batch: Batch) -> Tensor:
    """GRPO: standardised advantages, clipped ratios, the mean over answers of their tokens' means."""
    return clipped.ppo(logp, batch, signals.standardised(batch))


def clip(signal: Callable[[Batch], Tensor], **options: Any) -> Surrogate:
    """PPO's loss with the advantages of `signal`."""
    return lambda logp, batch: clipped.ppo(logp, batch, signal(batch), **options)


def bnpo(logp: Tensor, batch: Batch) -> Tensor:
    """BNPO as released: the law of a prompt's mean by its moments over the batch, plain where all means are alike."""
    p = batch.mean(batch.rewards)
    m, v = p.mean(), p.var()
    size = torch.where(v > 0, m * (1 - m) / v - 1, 0.0).clamp(min=0)  # a + b; the released clamp is at zero too
    return clipped.ppo(logp, batch, signals.beta_normalised(batch, size * m, size * (1 - m)), high=0.28, over="total")


def uniform(batch: Batch) -> Tensor:
    """BNPO's advantages where the law of a prompt's mean is not known: those of REINFORCE."""
    return signals.beta_normalised(batch, torch.zeros(()), torch.zeros(()))


def weighted_cloning(logp: Tensor, batch: Batch) -> Tensor:
    """The likelihood weighted by the reward: g = r."""
    return clipped.add_up(-batch.rewards[:, None] * logp, batch, "total")


def a_lol(clip: float) -> Surrogate:
    """A-LoL, whose value of a prompt is the mean of its answers in the batch; with `clip` 0 its form without ratios."""
    return lambda logp, batch: regressions.a_lol(logp, batch, batch.mean(batch.rewards)[batch.groups], clip)


def wins(batch: Batch, scale: float = 4.0) -> Batch:
    r"""The batch with the estimated chances to win as rewards, :math:`\hat P_i=\frac1K\sum_j\sigma(scale(r_i-r_j))`.

    The answer itself counts as one of its K opponents, as released; groups are neighbours of one size.
    """
    r = batch.rewards.view(len(batch.mass), -1)
    chance = (scale * (r[:, :, None] - r[:, None])).sigmoid().mean(2)
    return replace(batch, rewards=chance.reshape(-1))


def won(logp: Tensor, batch: Batch) -> Tensor:
    """REINFORCE on the chance to win."""
    return surrogates.reinforce(logp, wins(batch))


def clipped_won(logp: Tensor, batch: Batch) -> Tensor:
    """REINFORCE with a one-side clip on the chance to win."""
    return surrogates.rec(logp, wins(batch))


def sppo(eta: float) -> Surrogate:
    """SPPO on all answers, over 2 eta: a scale that the optimiser would take out but for its clip of the gradient."""
    return lambda logp, batch: regressions.sppo(logp, wins(batch), eta) / (2 * eta)


def of_best_and_worst(beta: float) -> Surrogate:
    """DPO on the best and the worst answer of every group; groups without one are left out."""

    def loss(logp: Tensor, batch: Batch) -> Tensor:
        r = batch.rewards.view(len(batch.mass), -1)
        first = torch.arange(len(r), device=r.device) * r.shape[1]
        chosen = torch.stack([first + r.argmax(1), first + r.argmin(1)], 1)[r.amax(1) > r.amin(1)].flatten()
        if not len(chosen):
            return 0 * logp.sum()
        pairs = torch.arange(len(chosen) // 2, device=r.device).repeat_interleave(2)
        part = sampled(batch.old[chosen], batch.rewards[chosen], pairs, batch.tokens[chosen])
        return regressions.preference(logp[chosen], part, beta)

    return loss


def outcome_and_progress(alpha: float, *, to_go: bool = False) -> Surrogate:
    """PAV in policy gradient: the centred reward and `alpha` times what the segment gained in the prover's eyes.

    With `to_go` a segment is credited with all later gains too: the reward less what the prefix was worth before it.
    """

    def loss(logp: Tensor, batch: Batch) -> Tensor:
        gained = signals.progress(batch)
        if to_go:
            worth, of = signals.worth_of(signals.steps_of(batch)), signals.steps_of(batch).of
            gained = batch.rewards[:, None] - worth.gather(1, of)
        return clipped.ppo(logp, batch, batch.advantages()[:, None] + alpha * gained, over="total")

    return loss


def rebel(tau: float) -> Surrogate:
    """REBEL on all pairs of whole answers in a group, over 2 tau as `refuel`."""
    return lambda logp, batch: surrogates.pairwise(logp, batch, tau) / (2 * tau)


def refuel(tau: float) -> Surrogate:
    """REFUEL on all pairs of siblings in a tree, over 2 tau: a scale that the optimiser would take out, see `sppo`."""
    return lambda logp, batch: regressions.siblings(logp, batch, tau) / (2 * tau)
