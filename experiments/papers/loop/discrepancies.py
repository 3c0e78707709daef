"""Section 3: discrepancy functions, the decomposition of regret, and the eluder coefficient with constants."""

from __future__ import annotations

from functools import partial
from math import sqrt

import numpy as np

from claimlab.checks import Array
from claimlab.experiments.papers.loop.common import (
    CLASSES,
    FINITE,
    OPTIMALITY,
    OURS,
    REALIZABLE,
    claim,
    seed_of,
    watched,
)
from claimlab.mdps.agec import (
    Sequence,
    class_sequence,
    linear_adversary,
    linear_sequence,
    tabular_adversary,
    tabular_sequence,
)
from claimlab.mdps.hypotheses import model_discrepancy, value_discrepancy
from claimlab.theory.claims import Budget
from claimlab.theory.evidence import Identity, Inequality
from claimlab.theory.falsify import Trial, attack, equate
from claimlab.theory.loop import (
    class_dominance,
    class_transfer,
    linear_dominance,
    linear_transfer,
    tabular_dominance,
    tabular_transfer,
)
from claimlab.theory.spaces import Box, Case, Simplex, Space

EPS = float(np.finfo(float).eps)

# decomposability ------------------------------------------------------------------------------------------------------

MODELS = Space(
    {"S": (1, 4), "A": (1, 3)},
    {"P": Simplex("SAS"), "Pg": Simplex("SAS"), "r": Box("SA"), "rg": Box("SA"), "Q": Box("SA", -3, 3)},
)
VALUES = Space(
    {"S": (1, 4), "A": (1, 3)},
    {"P": Simplex("SAS"), "r": Box("SA"), "Q": Box("SA", -3, 3), "Qg": Box("SA", -3, 3), "J": Box("", -1, 1)},
)


def _decomposed(P: Array, l_g: Array, l_target: Array) -> Trial:
    """The largest distance of E[l(f, g, .) | s, a] from l(f, g, zeta) - l(f, Pf, zeta) over all (s, a, s')."""
    mean = (P * l_g).sum(axis=2, keepdims=True)
    terms = 4 * (P.shape[0] + 4)
    off = abs(P.sum(axis=2) - 1).max() + terms * EPS  # rows may not quite sum to one
    return Trial(float(abs(mean - (l_g - l_target)).max()), float(2 * off * (1 + abs(l_g).max() + abs(l_target).max())))


def _value_based(P: Array, r: Array, Q: Array, Qg: Array, J: Array, *, shift: float) -> Trial:
    v = Q.max(axis=1)
    target = r + P @ v - J + shift * v[:, None]
    return _decomposed(P, value_discrepancy(Qg, r, v, J), value_discrepancy(target, r, v, J))


def _model_based(P: Array, Pg: Array, r: Array, rg: Array, Q: Array, *, shift: float) -> Trial:
    v = Q.max(axis=1)
    return _decomposed(P, model_discrepancy(Pg, rg, r, v), model_discrepancy(P, r + shift * v[:, None], r, v))


def _decomposable(budget: Budget, based: str, shift: float = 0.0) -> Identity:
    if based == "model":
        return equate(MODELS, partial(_model_based, shift=shift), budget)
    return equate(VALUES, partial(_value_based, shift=shift), budget)


# the decomposition of regret ------------------------------------------------------------------------------------------


def _decomposition(budget: Budget, telescoping: bool = True) -> Identity:
    """Both sides over whole runs, at widths that make the hypothesis change often."""
    horizon, runs, worst, witness = 4_000, max(20, budget.runs // 100), (-np.inf, 0.0, 0.0), {}
    for name, make in CLASSES.items():
        given = make()
        optimal = given.models.optimal
        at = np.arange(optimal.v.shape[1])
        backed = np.einsum("msat,mt->msa", given.models.P, optimal.v) + given.models.r
        greedy = np.take_along_axis(backed, optimal.policy[..., None], axis=2)[..., 0]
        off = float(abs(optimal.gain[:, None] + optimal.v[:, at] - greedy).max())
        for scale in (1.0, 0.003):
            a, _ = watched(given, horizon, runs, seed_of(budget, name, scale), scale=scale)
            third = a.telescoping if telescoping else np.zeros(runs)
            residual = abs(a.claimed - (a.bellman + a.martingale + third))
            rounding = horizon * (off + (horizon + 20) * EPS * (2 + 3 * given.span))
            i = int(residual.argmax())
            if residual[i] - rounding > worst[0]:
                worst = (float(residual[i] - rounding), float(residual[i]), rounding)
                witness = {"class": name, "scale": scale, "claimed": a.claimed[i], "errors": a.bellman[i]}
                witness |= {"martingale": a.martingale[i], "telescoping": a.telescoping[i]}
    return Identity(worst[1], worst[2], 2 * len(CLASSES) * runs, "float", witness)


NO_LOGS = "the same without the logarithm (the number of dimensions alone)."

# the eluder coefficient -----------------------------------------------------------------------------------------------

TABLES = Space({"T": (1, 40), "K": (1, 4)}, {"E": Box("TK"), "at": Box("T", 0, 0.999)})
FAMILIES = Space({"T": (1, 40), "M": (1, 4)}, {"D": Box("TM"), "f": Box("T", 0, 0.999)})  # the truth errs nowhere
DIRECTIONS = Space({"T": (1, 40), "D": (1, 4)}, {"w": Box("TD"), "x": Box("TD")})


def _dominance_trial(sequence: Sequence, bound: float, scale: float) -> Trial:
    total, T = float(abs(sequence.errors).sum()), len(sequence.errors)
    return Trial(total, bound, 16 * T * EPS * (1 + bound + total), trivial=scale * T)


def _transfer_trial(sequence: Sequence, bound: float, scale: float) -> Trial:
    total, T = float((sequence.errors**2).sum()), len(sequence.errors)
    return Trial(total, bound, 16 * T * EPS * (1 + bound + total), trivial=scale**2 * T)


def _tabular(E: Array, at: Array, *, part: str, logs: bool) -> Trial | None:
    """Tables scaled so that the errors are at most 1; without `logs`, the claim that SA alone is enough."""
    T, K = E.shape
    sequence = tabular_sequence(E, (at * K).astype(np.int64))
    inside, beta, k = float(sequence.in_sample.sum()), float(sequence.in_sample.max()), min(K, T)
    scale = float(abs(E).max())
    if scale == 0:
        return None
    if part == "dominance":
        bound = tabular_dominance(K, T, inside, scale) if logs else sqrt(k * inside) + k * scale
        return _dominance_trial(sequence, bound, scale)
    bound = tabular_transfer(K, T, beta, scale) if logs else k * (beta + scale**2)
    return _transfer_trial(sequence, bound, scale)


def _linear(w: Array, x: Array, *, part: str, logs: bool) -> Trial | None:
    """Features and weights scaled into the unit ball and a ball of radius W."""
    T, d = x.shape
    x = x / max(1.0, float(np.linalg.norm(x, axis=1).max()))
    sequence, scale = linear_sequence(w, x), float(np.linalg.norm(w, axis=1).max())
    inside, beta = float(sequence.in_sample.sum()), float(sequence.in_sample.max())
    if scale == 0:
        return None
    if part == "dominance":
        bound = linear_dominance(d, T, inside, scale) if logs else sqrt(d * inside) + d * scale
        return _dominance_trial(sequence, bound, scale)
    bound = linear_transfer(d, T, beta, scale) if logs else d * (beta + scale**2)
    return _transfer_trial(sequence, bound, scale)


def _class(D: Array, f: Array, *, part: str, logs: bool) -> Trial | None:
    """Errors of M wrong hypotheses at every step, unrelated to each other, and the one in use."""
    T, m = D.shape
    sequence, scale = class_sequence(D, (f * m).astype(np.int64)), float(abs(D).max())
    inside, beta = float(sequence.in_sample.sum()), float(sequence.in_sample.max())
    if scale == 0:
        return None
    if part == "dominance":
        bound = class_dominance(m + 1, T, inside, scale) if logs else sqrt(m * inside) + m * scale
        return _dominance_trial(sequence, bound, scale)
    return _transfer_trial(sequence, class_transfer(m + 1, beta, scale) if logs else m * beta, scale)


def _adversaries(kind: str) -> list[Case]:
    """The worst sequences in 2 to 20 dimensions, up to 3000 rounds (400 where each needs eigenvectors)."""
    cases = []
    for size, horizon in ((1, 300), (2, 1000), (5, 1000), (20, 3000)):
        for beta in (0.5, 5.0):
            if kind == "tabular":
                E, pairs = tabular_adversary(size, horizon, beta, 1.0)
                cases.append({"E": E, "at": (pairs + 0.5) / size})
            elif kind == "class":
                E, pairs = tabular_adversary(size, horizon, beta, 1.0)
                cases.append({"D": E, "f": (pairs + 0.5) / size})
                cases.append({"D": np.ones((horizon, size)), "f": (pairs + 0.5) / size})
            else:
                weights, features = linear_adversary(size, min(horizon, 400), beta, 1.0)
                cases.append({"w": weights, "x": features})
    return cases


def _coefficient(budget: Budget, kind: str, part: str, logs: bool = True) -> Inequality:
    space, measure = {"tabular": (TABLES, _tabular), "linear": (DIRECTIONS, _linear), "class": (FAMILIES, _class)}[kind]
    return attack(space, partial(measure, part=part, logs=logs), budget, hard=_adversaries(kind))


CLAIMS = (
    *(
        claim(
            id=f"loop/decomposable-{based}",
            source="Definition of discrepancy functions (Section 3)",
            statement=(
                rf"The {based}-based discrepancy is decomposable: $E[{l}(f,g,\zeta)\mid s,a] = {l}(f,g,\zeta) - "
                rf"{l}(f,\mathcal{{P}}f,\zeta)$ for every $\zeta$, with $\mathcal{{P}}f = {target}$."
            ),
            kind=Identity,
            premises=("a finite MDP",),
            check=partial(_decomposable, based=based),
            control=partial(_decomposable, based=based, shift=0.01),
            control_statement=r"the same with a $\mathcal{P}f$ whose reward is off by a hundredth of $V$.",
        )
        for based, l, target in (("value", "l", r"\mathcal{T}_{J_f}V_f"), ("model", r"l_{f'}", "f^*"))
    ),
    claim(
        id="loop/regret-decomposition",
        source="regret decomposition in the proof of the regret bound",
        statement=(
            r"$\sum_t (J_{f_t} - r_t) = \sum_t \mathcal{E}(f_t)(s_t,a_t) + \sum_t [PV_{f_t}(s_t,a_t) - "
            r"V_{f_t}(s_{t+1})] + \sum_t [V_{f_t}(s_{t+1}) - V_{f_t}(s_t)]$ on every run."
        ),
        kind=Identity,
        premises=(OPTIMALITY, REALIZABLE, FINITE),
        check=_decomposition,
        control=partial(_decomposition, telescoping=False),
        control_statement="the first two sums alone.",
    ),
    *(
        claim(
            id=f"loop/{kind}-{part}",
            source=f"Definition 3 ({name}), {OURS}",
            statement=statement,
            kind=Inequality,
            premises=premises,
            check=partial(_coefficient, kind=kind, part=part),
            control=partial(_coefficient, kind=kind, part=part, logs=False),
            control_statement=weaker,
        )
        for kind, part, name, statement, premises, weaker in (
            (
                "tabular",
                "dominance",
                "Bellman dominance",
                r"$\sum_t |\mathcal{E}_t| \le \sqrt{k(1+\log(T/k)) \sum_t A_t} + kB$, $k = \min\{SA, T\}$.",
                (r"$A_t = \sum_{i<t} \mathcal{E}_t(s_i,a_i)^2$", r"$|\mathcal{E}_t| \le B$"),
                NO_LOGS,
            ),
            (
                "tabular",
                "transfer",
                "transferability",
                r"$\sum_t \mathcal{E}_t^2 \le k(1+\log(T/k)) \beta + kB^2$, $k = \min\{SA, T\}$.",
                (r"$A_t = \sum_{i<t} \mathcal{E}_t(s_i,a_i)^2 \le \beta$", r"$|\mathcal{E}_t| \le B$"),
                NO_LOGS,
            ),
            (
                "linear",
                "dominance",
                "Bellman dominance",
                r"$\sum_t |\mathcal{E}_t| \le \sqrt{K(\sum_t A_t + W^2)} + KW$, $K = d\log_2(1+T^2/d)$.",
                (r"$\mathcal{E}_t = \langle w_t, x_t\rangle$, $\|x_t\| \le 1$, $\|w_t\| \le W$",),
                NO_LOGS,
            ),
            (
                "linear",
                "transfer",
                "transferability",
                r"$\sum_t \mathcal{E}_t^2 \le d\log_2(1+T/d)(\beta + W^2)$.",
                (r"$\mathcal{E}_t = \langle w_t, x_t\rangle$, $\|x_t\| \le 1$, $\|w_t\| \le W$, $A_t \le \beta$",),
                NO_LOGS,
            ),
            (
                "class",
                "dominance",
                "Bellman dominance",
                r"$\sum_t |d_t(f_t)| \le \sqrt{K(\sum_t D_{t-1}(f_t) + B^2)} + KB$, $K = m\log_2(1+T^2/m)$, "
                r"$m = |\mathcal{H}| - 1$.",
                (r"$D_t(f) = \sum_{i \le t} d_i(f)^2$, $|d_t(f)| \le B$, $d_t(f^*) = 0$; the class is any",),
                NO_LOGS,
            ),
            (
                "class",
                "transfer",
                "transferability",
                r"$\sum_t d_t(f_t)^2 \le (|\mathcal{H}| - 1)(\beta + B^2)$.",
                (r"$D_{t-1}(f_t) \le \beta$, $|d_t(f)| \le B$, $d_t(f^*) = 0$; the class is any",),
                r"the same without $B^2$.",
            ),
        )
    ),
)
