r"""Section 2: the unrolled reward, the cumulative Markov parameter, and the optimality of constant actions."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import sympy

from claimlab.bandits.dynamical import (
    DynamicalLinear,
    expected_rewards,
    finite_horizon_optimum,
    markov_parameters,
    real_data,
    synthetic,
)
from claimlab.bandits.play import play
from claimlab.checks import Array
from claimlab.experiments.papers.dynamical_linear_bandits.common import (
    BOUNDED,
    SIZES,
    STABLE,
    SYSTEMS,
    claim,
    dynlin,
    rounding,
    scalar,
    system,
)
from claimlab.theory.claims import Budget
from claimlab.theory.dynamical import constant_action_slack, epoch_bias, horizon_gain, truncation_error
from claimlab.theory.evidence import Identity, Inequality
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.spaces import Box, Space

# identities, in rationals --------------------------------------------------------------------------------------------

HALVES = partial(Box, low=-1, high=1, step=0.5)
UNROLLED = Space(
    {"N": (1, 3), "D": (1, 2), "T": (2, 6)},
    {
        "A": HALVES("NN"),
        "B": HALVES("ND"),
        "omega": HALVES("N"),
        "theta": HALVES("D"),
        "u": HALVES("TD"),
        "eps": HALVES("TN"),
        "last": Box("", 0, 5, step=1),
    },
)


def _exact(x: Array) -> Any:
    """Multiples of one half as an array of fractions."""
    return np.vectorize(lambda value: Fraction(round(2 * value), 2), otypes=[object])(x)


def _unrolled(
    A: Array, B: Array, omega: Array, theta: Array, u: Array, eps: Array, last: Array, *, shift: int
) -> Trial | None:
    """The last reward by the recursion, and from `last` rounds earlier on; `shift` spoils the power of A."""
    H, T = int(last), len(u)
    if not 1 <= H < T:
        return None
    A, B, omega, theta, u, eps = map(_exact, (A, B, omega, theta, u, eps))
    states = [eps[0]]
    for t in range(T - 1):
        states.append(A @ states[-1] + B @ u[t] + eps[t])
    direct = omega @ states[-1] + theta @ u[-1]
    unrolled, w = theta @ u[-1], omega
    for s in range(1, H + 1):
        unrolled += w @ (B @ u[T - 1 - s] + eps[T - 1 - s])
        w = w @ A if s < H or not shift else w
    unrolled += w @ states[T - 1 - H]
    return Trial(float(abs(direct - unrolled)), 0.0)


def _unrolled_check(budget: Budget, shift: int = 0) -> Identity:
    return equate(UNROLLED, partial(_unrolled, shift=shift), budget, proof="rational")


CUMULATIVE = Space(
    {"N": (1, 3), "D": (1, 2)},
    {"A": HALVES("NN"), "B": HALVES("ND"), "w": HALVES("N"), "theta": HALVES("D"), "last": Box("", 1, 6, step=1)},
)


def _cumulative(A: Array, B: Array, w: Array, theta: Array, last: Array, *, transposed: bool) -> Trial:
    r"""With :math:`\omega = (I-A)^Tw`: :math:`\theta + B^Tw` against :math:`h^{[0,H]} + B^T(A^H)^Tw`."""
    A, B, w, theta = map(_exact, (A, B, w, theta))
    omega = w - A.T @ w
    partial_sum, power = theta.copy(), omega
    for _ in range(int(last)):
        partial_sum = partial_sum + B.T @ power
        power = (A.T if transposed else A) @ power
    tail = w
    for _ in range(int(last)):
        tail = A.T @ tail
    return Trial(float(abs(theta + B.T @ w - partial_sum - B.T @ tail).max()), 0.0)


def _cumulative_check(budget: Budget, transposed: bool = True) -> Identity:
    return equate(CUMULATIVE, partial(_cumulative, transposed=transposed), budget, proof="rational")


def _rational(x: Array) -> Any:
    """A matrix of the printed decimals; a vector becomes a column."""
    rows = np.asarray(x).reshape(len(x), -1)
    return sympy.Matrix([[sympy.Rational(str(round(float(value), 6))) for value in row] for row in rows])


def _optimum(env: DynamicalLinear, by: str) -> tuple[list[list[float]], Any]:
    """The actions that maximise <h, u>, or myopically <theta, u>, and their value."""
    A, B, omega, h = map(_rational, (env.A, env.B, env.omega, env.theta))
    if by == "h":
        h += B.T * (sympy.eye(A.rows) - A).T.LUsolve(omega)
    values = [(_rational(u).T * h)[0] for u in env.arms]
    return [env.arms[k].tolist() for k, value in enumerate(values) if value == max(values)], max(values)


def _optima_check(budget: Budget, by: str = "h") -> Identity:
    """On how many of the two systems the optimum is another than stated."""
    (first, value), (second, _) = (_optimum(env, by) for env in (synthetic(), real_data()))
    wrong = (first != [[1, 0.5, 0]] or value != sympy.Rational(13, 16)) + (second != [[1, 0, 0.5]])
    return Identity(float(wrong), 0.0, 2, "sympy", {"synthetic": first, "real data": second})


# the truncated sum ---------------------------------------------------------------------------------------------------

TRUNCATED = Space(SIZES, {**SYSTEMS, "last": Box("", 0, 40, step=1)})


def _nearly_defective(rho: float) -> dict[str, Array]:
    """Close to a Jordan block: Phi near 1000."""
    M = np.array([[1.0, 1.0], [0.0, 1.0 - 1e-3]])
    arms = np.array([[1.0], [-1.0]])
    return {
        "M": M,
        "rho": np.array(rho),
        "B": np.array([[0.0], [1.0]]),
        "omega": np.array([1.0, 0.0]),
        "theta": np.zeros(1),
        "arms": arms,
    }


def _truncated(last: Array, *, factor: float, **parts: Array) -> Trial | None:
    env = system(**parts)
    if env is None:
        return None
    partial_sum = markov_parameters(env, int(last)).sum(axis=0)
    bound = factor * truncation_error(env, int(last))
    return Trial(float(np.linalg.norm(env.h - partial_sum)), bound, rounding(env, truncation_error(env, 0)))


def _truncated_check(budget: Budget, factor: float = 1.0) -> Inequality:
    hard = [case | {"last": np.array(H)} for case in (scalar(0.9), _nearly_defective(0.9)) for H in (0, 5, 40)]
    return attack(
        TRUNCATED, partial(_truncated, factor=factor), budget.with_instances(budget.instances // 2), hard=hard
    )


# constant actions are optimal ----------------------------------------------------------------------------------------

FEEDBACK = Space(
    SIZES | {"T": (1, 60)},
    {**SYSTEMS, "F": Box("KN"), "f": Box("TK"), "eps": Box("TN"), "x": Box("N")},
)


def _gain(F: Array, f: Array, eps: Array, x: Array, *, power: int, **parts: Array) -> Trial | None:
    r"""What a policy that sees the state earns beyond :math:`TJ^*` and beyond what the noise alone would bring.

    The policy plays :math:`\arg\max_k (F x_t + f_t)_k`: any open-loop sequence, and any linear feedback.
    """
    env = system(**parts)
    if env is None:
        return None
    state, resting, gained, size = x.copy(), np.zeros(len(x)), 0.0, 1.0
    for t in range(len(f)):
        arm = int((F @ state + f[t]).argmax())
        gained += env.omega @ (state - resting) + env.direct[arm] - env.values.max()
        size += abs(env.omega) @ (abs(state) + abs(resting)) + abs(env.direct[arm]) + abs(env.values.max())
        state = env.A @ state + env.drive[arm] + eps[t]
        resting = env.A @ resting + eps[t]
    b, X = env.norms, float(np.linalg.norm(x))
    bound = b.omega * env.phi * (b.B * b.U / (1 - env.rho) ** power + X / (1 - env.rho))
    return Trial(float(gained), bound, rounding(env, size * env.phi))


def _patient(rho: float, b: float, theta: float, T: int = 60) -> dict[str, Array]:
    """Build the state up before, then cash in: the sequence that gains most on a scalar system."""
    case = scalar(rho, b, theta)
    reach = theta + b * (1 - rho ** np.arange(T)[::-1]) / (1 - rho)  # h^[0, T - s]
    f = np.stack([reach, -reach], axis=1)
    return case | {"F": np.zeros((2, 1)), "f": f, "eps": np.zeros((T, 1)), "x": np.ones(1)}


def _gain_check(budget: Budget, power: int = 2) -> Inequality:
    hard = [_patient(rho, 1.0, -theta / (1 - rho)) for rho in (0.5, 0.9) for theta in (0.5, 0.999)]
    return attack(FEEDBACK, partial(_gain, power=power), budget.with_instances(budget.instances // 2), hard=hard)


HORIZONS = Space(SIZES, {**SYSTEMS, "T": Box("", 1, 200, step=1)})


def _finite(T: Array, *, factor: float, **parts: Array) -> Trial | None:
    env = system(**parts)
    if env is None:
        return None
    horizon = int(T)
    optimum, _ = finite_horizon_optimum(env, horizon)
    constant = expected_rewards(env, np.full(horizon, env.best), horizon).sum()
    size = (
        float(abs(env.omega) @ (env.phi * np.ones(len(env.omega))))
        * horizon
        * (1 + abs(env.drive).max())
        / (1 - env.rho)
    )
    return Trial(optimum - constant, factor * horizon_gain(env), rounding(env, size) + horizon_gain(env) * 1e-9)


def _finite_check(budget: Budget, factor: float = 1.0) -> Inequality:
    hard = [scalar(rho, 1.0, -0.9999 / (1 - rho)) | {"T": np.array(200)} for rho in (0.5, 0.9, 0.95)]
    return attack(HORIZONS, partial(_finite, factor=factor), budget.with_instances(budget.instances // 2), hard=hard)


# epochs, and two regrets ---------------------------------------------------------------------------------------------

WAITING = Space(SIZES, {**SYSTEMS, "x": Box("N", -5, 5), "wait": Box("", 0, 20, step=1)})


def _bias(x: Array, wait: Array, *, transient: bool, **parts: Array) -> Trial | None:
    env = system(**parts)
    if env is None:
        return None
    H, X = int(wait), float(np.linalg.norm(x))
    y = expected_rewards(env, np.zeros(H + 1, dtype=np.int64), H + 1, x)[-1]
    bound = epoch_bias(env, X, H) / (1 if transient else env.phi)
    return Trial(float(abs(y - env.values[0])), bound, rounding(env, epoch_bias(env, X, 0)))


def _opposed(rho: float, wait: int) -> dict[str, Array]:
    """An epoch of action 1 that starts where action -1 has come to rest."""
    return scalar(rho) | {"x": np.array([-1 / (1 - rho)]), "wait": np.array(wait)}


def _bias_check(budget: Budget, transient: bool = True) -> Inequality:
    hard = [_opposed(0.9, 3), _nearly_defective(0.9) | {"x": np.array([0.0, 1.0]), "wait": np.array(8)}]
    measure = partial(_bias, transient=transient)
    return attack(WAITING, measure, budget.with_instances(budget.instances // 2), hard=hard)


LEARNERS = Space(SIZES, {**SYSTEMS, "T": Box("", 2, 400, step=1)})


def _two_regrets(T: Array, *, factor: float, **parts: Array) -> Trial | None:
    """Regret against pseudo-regret of DynLin-UCB without noise, where both are numbers."""
    env = system(**parts)
    if env is None:
        return None
    record = play(dynlin(env, int(T)), env, horizon=int(T), runs=1, seed=0, checkpoints=1, threads=1)
    regret, pseudo = T * env.values.max() - record.reward[0, -1], record.regret[0, -1]
    size = float(T * (abs(env.values).max() + abs(env.direct).max()) + abs(record.reward[0, -1]))
    bound = factor * constant_action_slack(env)
    return Trial(float(abs(regret - pseudo)), bound, rounding(env, size * env.phi))


def _two_regrets_check(budget: Budget, factor: float = 1.0) -> Inequality:
    hard = [scalar(rho) | {"T": np.array(400)} for rho in (0.5, 0.9, 0.95)]
    return attack(
        LEARNERS, partial(_two_regrets, factor=factor), budget.with_instances(budget.instances // 2), hard=hard
    )


CLAIMS = (
    claim(
        id="dynamical-linear-bandits/unrolled-reward",
        source="Section 2, Eq. 1 unrolled",
        statement=(
            r"$y_t = \sum_{s=0}^H\langle h^{(s)},u_{t-s}\rangle + \omega^TA^Hx_{t-H} + \eta_t + "
            r"\sum_{s=1}^H\omega^TA^{s-1}\epsilon_{t-s}$ for every $1 \le H < t$."
        ),
        kind=Identity,
        premises=(),
        check=_unrolled_check,
        control=partial(_unrolled_check, shift=1),
        control_statement=r"the same with $\omega^TA^{H-1}x_{t-H}$.",
    ),
    claim(
        id="dynamical-linear-bandits/cumulative-markov-parameter",
        source="Section 2, definition of $h$",
        statement=(
            r"$h = \theta + B^T(I-A)^{-T}\omega$ is the sum of all Markov parameters: "
            r"$h - h^{[0,H]} = B^T(A^H)^T(I-A)^{-T}\omega$."
        ),
        kind=Identity,
        premises=("$I - A$ invertible",),
        check=_cumulative_check,
        control=partial(_cumulative_check, transposed=False),
        control_statement=r"the same with $h^{(s)} = B^TA^{s-1}\omega$.",
    ),
    claim(
        id="dynamical-linear-bandits/truncation",
        source="ours, from Assumption 2.1",
        statement=r"$\|h - h^{[0,H]}\|_2 \le \Omega B\Phi\rho^H/(1-\rho)$.",
        kind=Inequality,
        premises=(STABLE,),
        check=_truncated_check,
        control=partial(_truncated_check, factor=0.99),
        control_statement=r"it is at most $0.99$ times that.",
    ),
    claim(
        id="dynamical-linear-bandits/constant-optimal",
        source="Theorem 2.1, with our constant",
        statement=(
            r"No policy, not even one that sees the state, earns more than "
            r"$TJ^* + \Omega\Phi(BU/(1-\rho)^2 + X/(1-\rho))$ in expectation, whatever $T$: the constant "
            r"$u^* \in \arg\max\langle h,u\rangle$ is optimal on average."
        ),
        kind=Inequality,
        premises=(STABLE, BOUNDED),
        check=_gain_check,
        control=partial(_gain_check, power=1),
        control_statement=r"none earns more than $TJ^* + \Omega\Phi(BU + X)/(1-\rho)$.",
    ),
    claim(
        id="dynamical-linear-bandits/finite-horizon",
        source="ours, sharpens Theorem 2.1",
        statement=(
            r"The optimum of a finite horizon plays $u_s \in \arg\max\langle h^{[0,T-s]},u\rangle$, which varies with "
            r"$s$, and gains at most $2U\Omega B\Phi/(1-\rho)^2$ on the constant $u^*$."
        ),
        kind=Inequality,
        premises=(STABLE, BOUNDED),
        check=_finite_check,
        control=partial(_finite_check, factor=0.95),
        control_statement=r"it gains at most $1.9\,U\Omega B\Phi/(1-\rho)^2$.",
    ),
    claim(
        id="dynamical-linear-bandits/epoch-bias",
        source="Theorem 3.1, its first step",
        statement=r"After $H$ waiting rounds, $|E[y] - \langle h,u\rangle| \le (c_1/U)\,\rho^H$ from every state.",
        kind=Inequality,
        premises=(STABLE, BOUNDED),
        check=_bias_check,
        control=partial(_bias_check, transient=False),
        control_statement=r"it is so with $\Phi = 1$.",
    ),
    claim(
        id="dynamical-linear-bandits/two-regrets",
        source="ours, on the regret of Section 2 and that of the figures",
        statement=(
            r"Regret $TJ^* - \sum Ey_t$ and the pseudo-regret that the figures show differ by at most "
            r"$\Omega\Phi BU/(1-\rho)^2$, however often the learner switches."
        ),
        kind=Inequality,
        premises=(STABLE, BOUNDED),
        check=_two_regrets_check,
        control=partial(_two_regrets_check, factor=0.3),
        control_statement="they differ by at most 0.3 times that.",
    ),
    claim(
        id="dynamical-linear-bandits/optimal-actions",
        source="Section 5, both systems",
        statement=(
            r"The optimal action is (1, 1/2, 0) with $J^* = 13/16$ on the synthetic system, and (1, 0, 1/2) on "
            "the real data."
        ),
        kind=Identity,
        premises=("the numbers of the authors' configuration files",),
        check=_optima_check,
        control=partial(_optima_check, by="theta"),
        control_statement=r"so it is for the myopic objective $\langle\theta,u\rangle$.",
    ),
)
