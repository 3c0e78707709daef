"""The sweeps of the iterative solvers on a GPU, through torch (the extra ``gpu``).

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

from claimlab.checks import Array, Ints
from claimlab.mdps.sweeps import SHORT, Change
from claimlab.mdps.tabular import FiniteMDP, rounding_at

Tensor = Any  # torch is optional
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, NVIDIA under Windows, AMD


def gpu() -> str | None:
    """The GPU that torch would use, or None.  Without a driver torch is not even imported, which takes seconds."""
    if "torch" not in sys.modules and not any(Path(driver).exists() for driver in DRIVERS):
        return None
    if find_spec("torch") is None:
        return None
    return "cuda" if import_module("torch").cuda.is_available() else None


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

    Short rows are padded to one width and gathered; others are a sparse or dense matrix.
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
            parts = [self._tensor(x) for x in (mdp.P.indptr, mdp.P.indices, mdp.P.data)]
            with catch_warnings():
                simplefilter("ignore", UserWarning)  # that torch's sparse matrices are in beta state
                self.P = self.torch.sparse_csr_tensor(*parts, size=mdp.P.shape, check_invariants=False)
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

    def _expect(self, v: Tensor) -> Tensor:
        mean = (self.weights * v[self.successors]).sum(dim=2) if self.padded else self.P @ v
        return mean.view(self.r.shape)

    def _change(self, v: Tensor, out: Tensor, changed: int) -> Change:
        low, high = self.torch.aminmax(out - v)  # NaN if an entry is
        finite = bool(self.torch.isfinite(low) & self.torch.isfinite(high))
        return Change(float(low), float(high), changed) if finite else Change(np.nan, np.nan, changed)

    def _tensor(self, x: Any) -> Tensor:
        return self.torch.tensor(np.ascontiguousarray(x), device=self.device)


def _padded(mdp: FiniteMDP) -> tuple[Ints, Array]:
    """Successors int[S, A, width] and weights float[S, A, width] of short CSR rows, filled up with weight 0."""
    P, width = mdp.P, mdp.row_length
    at = P.indptr[:-1, None].astype(np.int64) + np.arange(width)
    filled = at < P.indptr[1:, None]
    at = np.where(filled, at, 0)
    shape = (*mdp.r.shape, width)
    return P.indices[at].astype(np.int64).reshape(shape), np.where(filled, P.data[at], 0.0).reshape(shape)
