"""Policy iteration on a batch through torch (the extra ``gpu``): values that :mod:`claimlab.mdps.batched` certifies.

In float64, with the start and the switches of the compiled solver; only, improvements too small to prove are tried
while the span of the residual halves, where that looks at the certificate.  Nothing rests on it: what a device returns
is a guess until the compiled kernels have certified it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from claimlab.checks import Array, Ints
from claimlab.mdps.batched_kernels import IMPROVEMENTS
from claimlab.mdps.devices import Tensor, gpu, require_torch
from claimlab.mdps.tabular import EPS, SUBNORMAL

LARGE = 32  # states; below, copying P to a GPU takes about as long as solving on some cores
WORTH_A_GPU = 2_000_000_000  # N S^2 (S + A), above a second of one core; torch takes a second to wake
CHUNK = 50_000_000  # entries of P at once: 0.4 GB, and up to twice that of what is made from them


def worth_a_gpu(shape: tuple[int, int, int]) -> str | None:
    """The GPU that would solve a batch of `shape` (N, S, A) faster than the compiled kernels, or None."""
    N, S, A = shape
    return gpu() if S >= LARGE and N * S * S * (S + A) > WORTH_A_GPU else None


class _Live(NamedTuple):
    """Instances whose policies still improve, tensors with one row each."""

    index: Tensor  # [n], which they are
    P: Tensor  # [n, S, A, S]
    r: Tensor  # [n, S, A]; minus infinity for missing actions
    size: Tensor  # [n], the largest reward
    gamma: Tensor  # [n]
    more: Tensor  # [n], gamma times the largest row sum
    policy: Tensor  # [n, S]
    tried: Tensor  # [n], the span of the residual when last an improvement was tried without proof


def policy_iteration(batch: Any, device: str) -> tuple[Array, Ints, Ints]:
    """Values float[N, S] of the policies int[N, S] with which policy iteration ends, and its iterations int[N]."""
    torch, (N, S, A) = require_torch(device), batch.r.shape
    step = max(1, CHUNK // (S * S * A))
    parts = [_solve(torch, _begin(torch, batch, device, start, start + step)) for start in range(0, N, step)]
    v, policy, iterations = (torch.cat(part).cpu().numpy() for part in zip(*parts))
    return v, policy, iterations


def _begin(torch: Any, batch: Any, device: str, start: int, stop: int) -> _Live:
    """Instances from `start` to `stop - 1` with the policies that are best two steps ahead."""
    P, r, gamma, row_error, actions = (
        torch.tensor(x[start:stop], device=device)
        for x in (batch.P, batch.r, batch.gamma, batch.row_error, batch.actions)
    )
    index, size = torch.arange(len(r), device=device), r.abs().amax(dim=(1, 2))
    r, tried = torch.where(actions, r, -torch.inf), torch.full_like(size, torch.inf)
    policy = _ahead(P, r, gamma, r.amax(dim=2)).argmax(dim=2)
    return _Live(index, P, r, size, gamma, gamma * (1 + row_error), policy, tried)


def _ahead(P: Tensor, r: Tensor, gamma: Tensor, x: Tensor) -> Tensor:
    """Action values one step ahead of `x`, float[n, S, A]."""
    n, S, A = r.shape
    return r + gamma[:, None, None] * (P.reshape(n, S * A, S) @ x[:, :, None]).view(n, S, A)


def _solve(torch: Any, live: _Live) -> tuple[Tensor, Tensor, Tensor]:
    v, policy, iterations = torch.empty_like(live.r[:, :, 0]), live.policy.clone(), torch.empty_like(live.index)
    for iteration in range(1, IMPROVEMENTS + 1):
        x = _evaluate(torch, live)
        v[live.index], policy[live.index], iterations[live.index] = x, live.policy, iteration
        switch, live = _improve(torch, live, x)
        go_on = switch.any(dim=1)
        if not bool(go_on.any()):
            break
        if not bool(go_on.all()):
            live = _Live(*(part[go_on] for part in live))
    return v, policy, iterations


def _evaluate(torch: Any, live: _Live) -> Tensor:
    """Values of the policies, float[n, S]."""
    n, S, _ = live.r.shape
    chosen = torch.arange(n, device=live.r.device)[:, None], torch.arange(S, device=live.r.device), live.policy
    identity = torch.eye(S, dtype=live.r.dtype, device=live.r.device)
    x: Tensor = torch.linalg.solve_ex(identity - live.gamma[:, None, None] * live.P[chosen], live.r[chosen])[0]
    return x


def _improve(torch: Any, live: _Live, x: Tensor) -> tuple[Tensor, _Live]:
    """Where policies switch, bool[n, S], and the instances after that, given the values `x` of their policies."""
    q = _ahead(live.P, live.r, live.gamma, x)
    best, greedy, own = q.amax(dim=2), q.argmax(dim=2), q.gather(2, live.policy[:, :, None])[:, :, 0]
    gain, residual, span = best - own, (own - x).abs().amax(dim=1), (best - x).amax(dim=1) - (best - x).amin(dim=1)
    slack = (x.shape[1] + 4) * (EPS * (live.size + live.gamma * x.abs().amax(dim=1)) + SUBNORMAL)
    proved = gain > (2 * ((residual + 2 * slack) / (1 - live.more) + slack))[:, None]
    trial = ~proved.any(dim=1) & (span < live.tried / 2) & (live.gamma * span > 2 * slack)
    switch, tried = torch.where(trial[:, None], gain > 0, proved), torch.where(trial, span, live.tried)
    return switch, live._replace(policy=torch.where(switch, greedy, live.policy), tried=tried)
