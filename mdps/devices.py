"""The sweeps of the iterative solvers and their linear systems on a GPU, through torch (the extra ``gpu``).

In float64, so that results and certificates are those of the compiled sweeps: a backup there is the same number of
operations in another order, for which :func:`claimlab.mdps.tabular.rounding` holds too.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np

from claimlab.checks import Array, Ints, Sparse
from claimlab.mdps.sweeps import Change
from claimlab.mdps.tabular import SUBNORMAL, FiniteMDP, rounding_at
from claimlab.mdps.unions import SHORT

ROUNDS = 500  # of BiCGSTAB
Tensor = Any  # torch is optional
WORTH_A_GPU = 2_000_000  # entries of P
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, NVIDIA under Windows, AMD


def gpu() -> str | None:
    """The GPU that torch would use, or None.  Without a driver torch is not even imported, which takes seconds."""
    if "torch" not in sys.modules and not any(Path(driver).exists() for driver in DRIVERS):
        return None
    if find_spec("torch") is None:
        return None
    return "cuda" if import_module("torch").cuda.is_available() else None


def elsewhere(device: str | None, n_entries: int) -> str | None:
    """The device of torch that `device` names or, by default, the GPU where `P` is large; None for compiled code."""
    if device is None:
        return gpu() if n_entries > WORTH_A_GPU else None
    if device == "cpu":
        return None
    require_torch(device)
    return device


def require_torch(device: str) -> Any:
    """The torch module, once `device` is known to be usable."""
    if find_spec("torch") is None:
        raise ValueError(f"device = {device!r} needs torch: pip install 'claimlab[gpu]'.")
    torch = import_module("torch")
    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device = {device!r} cannot be used by torch: {str(error).splitlines()[0]}") from None
    return torch


class DeviceSweeps:
    """What :class:`claimlab.mdps.sweeps.Sweeps` offers to modified policy iteration, with vectors on `device`.

    Besides, sweeps of the soft operator.  Short rows are padded to one width and gathered; others are a sparse or dense
    matrix.
    """

    def __init__(self, mdp: FiniteMDP, gamma: float, device: str) -> None:
        self.torch = require_torch(device)
        self.mdp, self.gamma, self.device, self.slack = mdp, gamma, device, np.nan
        self.r = self.vector(np.where(mdp.actions, mdp.r, -np.inf))
        self.chosen = self.torch.full((mdp.n_states,), -1, dtype=self.torch.int64, device=device)
        self.states = self.torch.arange(mdp.n_states, device=device)
        self.padded = mdp.is_sparse and mdp.row_length <= SHORT
        if self.padded:
            self.successors, self.weights = map(self._tensor, _padded(mdp))
        elif mdp.is_sparse:
            self.P = _matrix(self.torch, mdp.P, device)
        else:
            self.P = self._tensor(mdp.P.reshape(-1, mdp.n_states))

    @property
    def policy(self) -> Ints:
        policy: Ints = self.chosen.cpu().numpy()
        return policy

    def vector(self, v: Array) -> Tensor:
        """A copy of `v` on the device."""
        return self._tensor(v)

    def host(self, v: Tensor) -> Array:
        out: Array = v.cpu().numpy()
        return out

    def improve(self, v: Tensor, out: Tensor) -> Change:
        """The optimality operator on `v`; the policy becomes greedy for `v`, the first of tied actions."""
        q = self.r + self.gamma * self._expect(v)
        chosen = q.argmax(dim=1)
        out.copy_(q.gather(1, chosen[:, None])[:, 0])
        changed = int((chosen != self.chosen).sum())
        self.slack = rounding_at(self.mdp, float(v.abs().max()), self.gamma)
        if changed:
            self.chosen, self.reward = chosen, self.r[self.states, chosen]
            if self.padded:
                self.rows = self.successors[self.states, chosen], self.weights[self.states, chosen]
            elif not self.mdp.is_sparse:
                self.matrix = self.P.view(*self.r.shape, -1)[self.states, chosen]
        return self._change(v, out, changed)

    def evaluate(self, v: Tensor, out: Tensor) -> Change:
        """One sweep of the policy."""
        if self.padded:
            successors, weights = self.rows
            mean = (weights * v[successors]).sum(dim=1)
        elif self.mdp.is_sparse:
            mean = self._expect(v)[self.states, self.chosen]
        else:
            mean = self.matrix @ v
        self.torch.add(self.reward, mean, alpha=self.gamma, out=out)
        return self._change(v, out, 0)

    def soften(self, v: Tensor, out: Tensor, alpha: float, log_b: Tensor, offset: Tensor) -> Change:
        """The soft operator of :mod:`claimlab.mdps.regularized` on `v`."""
        q = self.torch.where(log_b > -self.torch.inf, self.r + self.gamma * self._expect(v), -self.torch.inf)
        largest = q.amax(dim=1, keepdim=True)
        rise = alpha * self.torch.logsumexp((q - largest) / alpha + log_b, dim=1)
        self.torch.add(largest[:, 0] + offset, rise, out=out)
        self.slack = rounding_at(self.mdp, float(v.abs().max()), self.gamma)
        return self._change(v, out, 0)

    def _expect(self, v: Tensor) -> Tensor:
        mean = (self.weights * v[self.successors]).sum(dim=2) if self.padded else self.P @ v
        return mean.view(self.r.shape)

    def _change(self, v: Tensor, out: Tensor, changed: int) -> Change:
        low, high = self.torch.aminmax(out - v)  # NaN if an entry is
        finite = bool(self.torch.isfinite(low) & self.torch.isfinite(high))
        return Change(float(low), float(high), changed) if finite else Change(np.nan, np.nan, changed)

    def _tensor(self, x: Any) -> Tensor:
        return _tensor(self.torch, x, self.device)


def bicgstab(A: Sparse, b: Array, *, rtol: float, atol: float, device: str) -> tuple[Array, int]:
    """:func:`scipy.sparse.linalg.bicgstab` for CSR `A` from 0, with matrix and vectors on `device`; 0 for success.

    A breakdown shows in the residual, as there.
    """
    torch = require_torch(device)
    matrix, r = _matrix(torch, A, device), _tensor(torch, b, device)
    x, p, v, shadow = torch.zeros_like(r), r.clone(), torch.zeros_like(r), r.clone()
    enough, rho = max(rtol * float(torch.linalg.vector_norm(r)), atol), torch.dot(shadow, r)
    for _ in range(ROUNDS):
        v = matrix @ p
        alpha = rho / torch.dot(shadow, v)
        s = r - alpha * v
        t = matrix @ s
        omega = torch.dot(t, s) / torch.dot(t, t).clamp(min=SUBNORMAL)
        x += alpha * p + omega * s
        r = s - omega * t
        size = float(torch.linalg.vector_norm(r))
        if not size > enough:
            return x.cpu().numpy(), 0 if size <= enough else 1
        before, rho = rho, torch.dot(shadow, r)
        p = r + rho / before * (alpha / omega) * (p - omega * v)
    return x.cpu().numpy(), 1


def _tensor(torch: Any, x: Any, device: str) -> Tensor:
    return torch.tensor(np.ascontiguousarray(x), device=device)


def _matrix(torch: Any, P: Sparse, device: str) -> Tensor:
    parts = [_tensor(torch, x, device) for x in (P.indptr, P.indices, P.data)]
    with catch_warnings():
        simplefilter("ignore", UserWarning)  # that torch's sparse matrices are in beta state
        return torch.sparse_csr_tensor(*parts, size=P.shape, check_invariants=False)


def _padded(mdp: FiniteMDP) -> tuple[Ints, Array]:
    """Successors int[S, A, width] and weights float[S, A, width] of short CSR rows, filled up with weight 0."""
    P, width = mdp.P, mdp.row_length
    at = P.indptr[:-1, None].astype(np.int64) + np.arange(width)
    filled = at < P.indptr[1:, None]
    at = np.where(filled, at, 0)
    shape = (*mdp.r.shape, width)
    return P.indices[at].astype(np.int64).reshape(shape), np.where(filled, P.data[at], 0.0).reshape(shape)
