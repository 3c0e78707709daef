r"""The planners' instances and their reference values.

An instance is `r` float[S, A], and `P` float[S, A, S] or CSR rows s*A + a as `indptr`, `indices`, `data`.

Every reference carries a bound of its own, computed in NumPy's longest float without any solver of ours: for stored
values `v`, :math:`\|v - v^*\|_\infty \le \|Tv - v\|_\infty / (1 - \gamma\sigma)` with the largest row sum
:math:`\sigma` of `P` (Puterman 2005, Section 6.3); for the gain, :math:`\min d \le g^* \le \max d`, :math:`d = Lv - v`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from claimlab.checks import Array
from claimlab.experiments.benchmarks.stored import Instance
from claimlab.mdps import (
    AverageMDP,
    NotConverged,
    TabularMDP,
    from_gymnasium,
    gridworld,
    relative_value_iteration,
    solve,
)

REFINEMENTS = 5_000  # sweeps of a reference; on a slow grid each takes a thousandth off
TARGET = 1e-9  # of a reference's bound
SAMPLE = 1000  # instances of a batch that the slower libraries are timed on
LONG = np.longdouble
SOURCES = tuple(Path(__file__).with_name(name) for name in ("instances.py", "mdps.py"))  # what their files depend on
TABLES: dict[str, tuple[str, dict[str, Any]]] = {
    "frozenlake4": ("FrozenLake-v1", {}),
    "frozenlake8": ("FrozenLake-v1", {"map_name": "8x8"}),
    "taxi": ("Taxi-v4", {}),
    "cliffwalking": ("CliffWalking-v1", {}),
    "blackjack": ("Blackjack-v1", {"sab": True}),
}


class Reference(NamedTuple):
    """Reference values with a proved bound on their error."""

    v: Array  # [S], the values of several instances one after the other; the gain alone is float[1]
    error: float
    plain_sweeps: tuple[int, int]  # bounds on the sweeps of value iteration with the sup-norm stop; (0, 0) if not told


def garnet(n_states: int, n_actions: int, draws: int, seed: int) -> Instance:
    """Each pair moves to `draws` uniform states, of which some may coincide; rewards uniform in [0, 1]."""
    rng, rows = np.random.default_rng(seed), n_states * n_actions
    columns, weights = rng.integers(0, n_states, (rows, draws)), rng.standard_exponential((rows, draws))
    weights /= weights.sum(axis=1, keepdims=True)
    P = csr_array((weights.ravel(), columns.ravel(), np.arange(0, rows * draws + 1, draws)), (rows, n_states))
    P.sum_duplicates()
    return _sparse(P, rng.random((n_states, n_actions)))


def frozen(n: int, holes: float, seed: int) -> Instance:
    """FrozenLake's slippery grid of `n` by `n` cells, from one corner to the other, with a share of `holes`."""
    cells = np.where(np.random.default_rng(seed).random((n, n)) < holes, "P", ".")
    cells[0, 0], cells[-1, -1] = "S", "G"
    return arrays(gridworld(["".join(row) for row in cells], 0.0, slip=2 / 3, goal=1.0, pit=0.0, sparse=True))


def maze(n: int) -> Instance:
    """The same grid without holes; every step costs 1 until the goal."""
    rows = ["." * n] * (n - 1) + ["." * (n - 1) + "G"]
    return arrays(gridworld(rows, 0.0, slip=2 / 3, step=-1.0, goal=-1.0, sparse=True))


def dense(n_states: int, n_actions: int, seed: int) -> Instance:
    """Rows of uniform weights over all states; rewards uniform in [0, 1]."""
    rng = np.random.default_rng(seed)
    P = rng.random((n_states, n_actions, n_states))
    return {"P": P / P.sum(axis=2, keepdims=True), "r": rng.random((n_states, n_actions))}


def batch(n: int, n_states: int, n_actions: int, seed: int) -> Instance:
    """`n` MDPs, rows uniform on the simplex and rewards on [0, 1]: P float[N, S, A, S], r float[N, S, A].

    The first of them do not depend on `n`.
    """
    shape, blocks = (SAMPLE, n_states, n_actions, n_states), range(-(-n // SAMPLE))
    P, r = np.empty((n, *shape[1:])), np.empty((n, n_states, n_actions))
    for block in blocks:
        rng, part = np.random.default_rng([seed, block]), slice(block * SAMPLE, (block + 1) * SAMPLE)
        weights = rng.standard_exponential(shape)
        weights /= weights.sum(axis=3, keepdims=True)
        kept = len(r[part])
        P[part], r[part] = weights[:kept], rng.random(shape[:3])[:kept]
    return {"P": P, "r": r}


def table(name: str) -> Instance:
    """One of Gymnasium's tables."""
    env, options = TABLES[name]
    return arrays(from_gymnasium(env, 0.0, **options))


def arrays(mdp: TabularMDP) -> Instance:
    """The arrays of `mdp`, with its missing actions as copies of the state's first: most libraries know no others."""
    S, A = mdp.r.shape
    first = np.where(mdp.actions, np.arange(A), mdp.actions.argmax(axis=1)[:, None])
    rows = (np.arange(S)[:, None] * A + first).ravel()
    r = mdp.r.ravel()[rows].reshape(S, A)
    return (
        _sparse(csr_array(mdp.P)[rows], r)
        if mdp.is_sparse
        else {"P": mdp.P.reshape(-1, S)[rows].reshape(S, A, S), "r": r}
    )


def _sparse(P: Any, r: Array) -> Instance:
    return {"indptr": P.indptr.astype(np.int32), "indices": P.indices.astype(np.int32), "data": P.data, "r": r}


def transitions(instance: Instance) -> Any:
    """`P` as our constructors take it: float[S, A, S], or CSR with row s*A + a."""
    S, A = instance["r"].shape[-2:]
    return (
        instance["P"]
        if "P" in instance
        else csr_array((instance["data"], instance["indices"], instance["indptr"]), shape=(S * A, S))
    )


def nbytes(instance: Instance) -> int:
    """Bytes of the arrays."""
    return sum(part.nbytes for part in instance.values())


def sweep_bytes(instance: Instance) -> int:
    """Bytes that one sweep must at least move: each array once, `v` in and out."""
    return nbytes(instance) + 2 * 8 * len(instance["r"])


def discounted_reference(instance: Instance, gamma: float, tol: float) -> Reference:
    """Optimal values by our solver, then sweeps in the longest float until their bound is small."""
    v = _even_if_short(solve, TabularMDP(transitions(instance), instance["r"], gamma)).v
    for _ in range(REFINEMENTS):
        tv = backup(instance, v, gamma)
        if (error := _bound(instance, v, tv, gamma)) <= TARGET:
            return Reference(v, error, plain_sweeps(instance, gamma, tol))
        d = tv - v
        v = (tv + gamma / (1 - gamma) * (d.min() + d.max()) / 2).astype(np.float64)
    raise ArithmeticError(f"{REFINEMENTS} sweeps did not bring the reference's bound down.")


def average_reference(instance: Instance) -> Reference:
    """The optimal gain; rows are divided by their sums, as in :mod:`claimlab.mdps.average`."""
    v = _even_if_short(relative_value_iteration, AverageMDP(transitions(instance), instance["r"])).bias
    d = backup(instance, v, 1.0, normalise=True) - v
    gain = float((d.min() + d.max()) / 2)
    error = float((d.max() - d.min()) / 2) + _slack(instance, v) + float(np.spacing(abs(gain)))
    return Reference(np.array([gain]), error, (0, 0))


def episodic_reference(instance: Instance, horizon: int) -> Reference:
    """The values of the first step, by sweeps in the longest float."""
    v: Any = np.zeros(len(instance["r"]), LONG)
    error = 0.0
    for _ in range(horizon):
        error += _slack(instance, v)
        v = backup(instance, v, 1.0)
    values = np.asarray(v, np.float64)
    return Reference(values, 2 * error + float(np.spacing(abs(values).max())), (0, 0))


def batch_reference(instance: Instance, gamma: float) -> Reference:
    """Howard's policy iteration on all instances at once with LAPACK, and the bound of their residuals."""
    P, r = instance["P"], instance["r"]
    S = r.shape[1]
    policy = r.argmax(axis=2)
    while True:
        P_pi = np.take_along_axis(P, policy[:, :, None, None], axis=2)[:, :, 0, :]
        r_pi = np.take_along_axis(r, policy[:, :, None], axis=2)
        v = np.linalg.solve(np.eye(S) - gamma * P_pi, r_pi)[:, :, 0]
        q = r + gamma * np.einsum("nsat,nt->nsa", P, v)
        gain = q.max(axis=2) - np.take_along_axis(q, policy[:, :, None], axis=2)[:, :, 0]
        if (gain <= 1e-11).all():
            break
        policy = np.where(gain > 1e-11, q.argmax(axis=2), policy)
    residual = float(abs(q.max(axis=2) - v).max()) + (S + 4) * 2.3e-16 * float(abs(v).max() + abs(r).max())
    return Reference(
        np.asarray(v.ravel(), np.float64), residual / (1 - gamma * float(P.sum(axis=3).max() + 1e-15 * S)), (0, 0)
    )


def backup(instance: Instance, v: Any, gamma: float, *, normalise: bool = False) -> Any:
    """The optimality operator in the longest float, longdouble[S]."""
    r, x = instance["r"], np.asarray(v, LONG)
    if "P" in instance:
        flat = instance["P"].reshape(-1, len(r))
        expected, sums = flat.astype(LONG) @ x, flat.sum(axis=1, dtype=LONG)
    else:
        starts = instance["indptr"][:-1]
        expected = np.add.reduceat(instance["data"] * x[instance["indices"]], starts)
        sums = np.add.reduceat(instance["data"].astype(LONG), starts)
    return (r + LONG(gamma) * (expected / sums if normalise else expected).reshape(r.shape)).max(axis=1)


def _bound(instance: Instance, v: Array, tv: Any, gamma: float) -> float:
    """Outward bound on ``max |v - v*|`` from the backup `tv` of `v`."""
    if "P" in instance:
        sums = instance["P"].sum(axis=2, dtype=LONG)
    else:
        sums = np.add.reduceat(instance["data"].astype(LONG), instance["indptr"][:-1])
    contraction = LONG(gamma) * (sums.max() + len(v) * np.finfo(LONG).eps)
    return float((abs(tv - v).max() + _slack(instance, v)) / (1 - contraction)) * (1 + 1e-12)


def _slack(instance: Instance, v: Any) -> float:
    """What the longest float may round off in one backup of `v`."""
    longest = len(v) if "P" in instance else int(np.diff(instance["indptr"]).max())
    return float((2 * longest + 8) * np.finfo(LONG).eps * (abs(instance["r"]).max() + abs(v).max()))


def plain_sweeps(instance: Instance, gamma: float, tol: float, most: int = 200) -> tuple[int, int]:
    r"""How many sweeps value iteration from 0 takes until :math:`\frac{\gamma}{1-\gamma}\|v_k - v_{k-1}\| \le` `tol`.

    Counted for `most` sweeps, then bounded: :math:`\gamma\min d_k \le d_{k+1} \le \gamma\max d_k` for the changes.
    """
    flat = transitions(instance) if "indptr" in instance else instance["P"].reshape(-1, len(instance["r"]))
    goal, v, d = tol * (1 - gamma) / gamma, np.zeros(len(instance["r"])), np.zeros(1)
    for done in range(1, most + 1):
        tv = (instance["r"] + gamma * (flat @ v).reshape(instance["r"].shape)).max(axis=1)
        d, v = tv - v, tv
        if abs(d).max() <= goal:
            return done, done

    def further(change: float) -> int:
        return max(0, int(np.ceil(np.log(goal / change) / np.log(gamma)))) if change > 0 else 0

    return most + further(max(d.min(), -d.max())), most + further(abs(d).max())


def _even_if_short(method: Callable[..., Any], mdp: Any) -> Any:
    """The answer of `method` at the target, or the best it has: the bound is computed anew in any case."""
    try:
        return method(mdp, TARGET)
    except NotConverged as error:
        return error.solution
