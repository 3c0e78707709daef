"""Arms of the studies: losses of further papers as functions of the batch alone, at their published constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import exp
from typing import Any

import torch
from torch import Tensor

from claimlab.experiments.lm import clipped, regressions, signals, surrogates
from claimlab.experiments.lm.batch import Batch, sampled
from claimlab.experiments.lm.train import Surrogate
from claimlab.experiments.lm.vocabulary import Laws, OfLaws, Plain, TopP


def grpo(logp: Tensor, batch: Batch) -> Tensor:
    """GRPO: standardised advantages, clipped ratios, the mean over answers of their tokens' means."""
    return clipped.ppo(logp, batch, signals.standardised(batch))


def clip(signal: Callable[[Batch], Tensor], **options: Any) -> Plain:
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


# Of the whole vocabulary


def rover(
    rho: float = 1.0,
    *,
    bootstrap: float = 1.0,
    signal: Callable[[Batch], Tensor] = signals.centred,
    over: clipped.Sum = "answer",
) -> OfLaws:
    """ROVER as printed (Algorithm 1); `bootstrap` scales the mean over the vocabulary of the next place's log-ratios.

    As released it is summed over "token"s, and for mathematics its `signal` is `signals.standardised`.
    """

    def loss(laws: Laws, batch: Batch) -> Tensor:
        following = bootstrap * laws.following(batch.tokens)
        return regressions.rover(laws.chosen, batch, following, rho, A=signal(batch), over=over)

    return OfLaws(loss, needs=("old",))


def turn_weights(batch: Batch, turn_length: int | None = None) -> Tensor:
    """float[N, T], of tokens in EPO's mean: over answers, of that over their turns, of that over the turns' tokens.

    A turn starts at every multiple of `turn_length` places; None: there is one.
    """
    T = batch.tokens.shape[1]
    turn = torch.arange(T, device=batch.tokens.device) // (turn_length or T)
    own = torch.nn.functional.one_hot(turn).to(batch.weights.dtype)  # [T, K]
    lengths = batch.tokens.to(own.dtype) @ own
    turns = (lengths > 0).sum(1).clamp(min=1)
    return batch.weights[:, None] * batch.tokens / (lengths[:, turn].clamp(min=1) * turns[:, None])


def mean_entropy(laws: Laws, batch: Batch, turn_length: int | None = None) -> Tensor:
    """The entropy of the law at a token, in the mean of `turn_weights`."""
    return (turn_weights(batch, turn_length) * laws.entropy).sum()


def with_entropy(loss: Plain, weight: float, turn_length: int | None = None) -> OfLaws:
    """`loss` with a bonus of `weight` times the mean entropy."""

    def whole(laws: Laws, batch: Batch) -> Tensor:
        bonus = weight * mean_entropy(laws, batch, turn_length)
        return loss(laws.chosen, batch) - bonus  # in the order of `epo`: equal gradients are so to the last bit

    return OfLaws(whole)


def with_divergence(loss: Plain, weight: float) -> OfLaws:
    """`loss` with `weight` times the exact divergence from the start, the mean over answers of their tokens' mean."""

    def whole(laws: Laws, batch: Batch) -> Tensor:
        return loss(laws.chosen, batch) + weight * clipped.add_up(laws.divergence(), batch, "answer")

    return OfLaws(whole, needs=("start",))


def epo(
    loss: Plain,
    weight: float,
    steps: int,
    *,
    low: float = 0.5,
    high: float = 1.5,
    alpha: float = 0.1,
    decay: float = 1.0,
    turn_length: int | None = None,
    constant: bool = False,
) -> OfLaws:
    r"""EPO (Algorithm 1): `loss` :math:`-\lambda(L_H-\beta_kL_{smooth})`, with a corridor around past entropies.

    :math:`L_{smooth}` is the mean of :math:`\alpha([\kappa_l\bar H-H]_++[H-\kappa_r\bar H]_+)` over tokens, as
    :math:`L_H` is that of the entropies H; :math:`\bar H` is the mean of all earlier steps' mean entropies, and in the
    first step there is no penalty.  :math:`\beta_k=1+e^{-\gamma k/k_{mid}}` with `decay` :math:`\gamma` after k of
    `steps`.  As released the penalty is a `constant` outside the corridor, without a gradient.
    """

    def whole(laws: Laws, batch: Batch) -> Tensor:
        H, share, history = laws.entropy, turn_weights(batch, turn_length), laws.history
        smooth = H.new_zeros(())
        if history is not None and len(history):
            mean = history.mean()
            outside = (low * mean - H).clamp(min=0) + (H - high * mean).clamp(min=0)
            smooth = (share * ((outside > 0).to(H.dtype) if constant else outside)).sum()
        k = 0 if history is None else len(history)
        strength = alpha * (1 + exp(-decay * k / (steps // 2)))
        return loss(laws.chosen, batch) - weight * ((share * H).sum() - strength * smooth)

    return OfLaws(whole, noted=lambda laws, batch: mean_entropy(laws, batch, turn_length))


def nlpo(loss: Plain, p: float, every: int, *, answers: bool = True) -> OfLaws:
    """NLPO: `loss` on the law inside the top-p set of a copy that is `every` steps old at most; see `TopP`."""
    return OfLaws(lambda laws, batch: loss(laws.chosen, batch), mask=TopP(p, every, answers))


def outcome_and_progress(alpha: float, *, to_go: bool = False) -> Surrogate:
    """PAV in policy gradient: the centred reward and `alpha` times what the segment gained in the prover's eyes.

    With `to_go` a segment is credited with all later gains too: the reward less what the prefix was worth before it.
    """

    def loss(logp: Tensor, batch: Batch) -> Tensor:
        if to_go:
            steps = signals.steps_of(batch)
            gained = batch.rewards[:, None] - signals.worth_of(steps).gather(1, steps.of)
        else:
            gained = signals.progress(batch)
        return clipped.ppo(logp, batch, batch.advantages()[:, None] + alpha * gained, over="total")

    return loss


def rebel(tau: float) -> Surrogate:
    """REBEL on all pairs of whole answers in a group, over 2 tau as `refuel`."""
    return lambda logp, batch: surrogates.pairwise(logp, batch, tau) / (2 * tau)


def refuel(tau: float) -> Surrogate:
    """REFUEL on all pairs of siblings in a tree, over 2 tau: a scale that the optimiser would take out, see `sppo`."""
    return lambda logp, batch: regressions.siblings(logp, batch, tau) / (2 * tau)
