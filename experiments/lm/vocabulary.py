r"""Surrogates of the whole vocabulary: laws at every token, their entropies, top-p masks, and what earlier steps noted.

A plain surrogate sees the log-probabilities of what was said.  One wrapped in `OfLaws` sees those of every token that
could have been said, from the same forward pass, and asks for what else it needs: the laws of the policy that answered
or of the start, answers from inside a mask, a number of each earlier step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claimlab.checks import integer, interval, nearest
from claimlab.experiments.lm.batch import Batch
from claimlab.experiments.lm.decode import Answers, Draws, draw_answers
from claimlab.experiments.lm.transformer import Policy, Speaker, Transformer

NEEDS = {"old": "behind", "start": "start"}  # whose laws they are
Plain = Callable[[Tensor, Batch], Tensor]


@dataclass(frozen=True, eq=False)
class Laws:
    """The laws at every token of a batch, over V tokens.

    Args:
        logp: float[N, T, V], log-probabilities under the trained policy, with a gradient.
        said: int64[N, T], the tokens that were said.
        old, start: as `logp`, constants, of the policy that answered and of the start; None where not asked for.
        allowed: bool[N, T, V], the tokens that could be said, those said among them; None where all could.
        history: float[k], what was noted in the k steps before, the oldest first.

    Raises:
        ValueError: what has another shape, or the place of a token that was said and is not allowed.
    """

    logp: Tensor
    said: Tensor
    old: Tensor | None = None
    start: Tensor | None = None
    allowed: Tensor | None = None
    history: Tensor | None = None

    def __post_init__(self) -> None:
        if self.logp.ndim != 3:
            raise ValueError(f"logp must have shape (N, T, V), got {tuple(self.logp.shape)}.")
        for name, shape in (
            ("said", self.logp.shape[:2]),
            *((n, self.logp.shape) for n in ("old", "start", "allowed")),
        ):
            values = getattr(self, name)
            if values is not None and values.shape != shape:
                raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(values.shape)}.")
        if self.allowed is not None and not (kept := self.allowed.gather(2, self.said[..., None])[..., 0]).all():
            place = (~kept).nonzero()[0].tolist()
            raise ValueError(f"said{place} is {int(self.said[tuple(place)])}, which is not allowed there.")

    @property
    def inside(self) -> Tensor:
        """float[N, T, V], the trained policy's laws renormalised inside the mask; -inf outside."""
        return self.logp if self.allowed is None else renormalised(self.logp, self.allowed)

    @property
    def chosen(self) -> Tensor:
        """float[N, T], the log-probability of what was said, inside the mask."""
        return self.inside.gather(2, self.said[..., None])[..., 0]

    @property
    def entropy(self) -> Tensor:
        """float[N, T], of the law at every token, in nats, inside the mask."""
        logp = self.inside
        if self.allowed is not None:
            logp = logp.masked_fill(~self.allowed, 0.0)  # 0 log 0 = 0, without a gradient
            return -(torch.where(self.allowed, logp.exp(), 0.0) * logp).sum(-1)
        return -(logp.exp() * logp).sum(-1)

    def following(self, tokens: Tensor) -> Tensor:
        r"""float[N, T]: the mean over the vocabulary of the log-ratio to `old` at the next place, a constant.

        Zero where no token follows, by bool[N, T] `tokens`.
        """
        mean = (self.logp.detach() - _asked("old", self.old)).mean(-1)
        return F.pad(torch.where(tokens, mean, 0.0)[:, 1:], (0, 1))

    def divergence(self) -> Tensor:
        r"""float[N, T]: :math:`KL(\pi_\theta\|\pi_{start})` at every token, exact, of the laws without a mask."""
        return (self.logp.exp() * (self.logp - _asked("start", self.start))).sum(-1)


@dataclass(frozen=True)
class TopP:
    """NLPO's mask: the top-p set of a copy of the trained policy, taken every so many steps (0: the start, for good).

    Without `answers`, answers of the training are drawn from the whole law, and only evaluations from the mask.
    """

    p: float
    every: int
    answers: bool = True

    def __post_init__(self) -> None:
        interval("p", self.p, 0, 1, "(]")
        integer("every", self.every, 0)


@dataclass(frozen=True)
class OfLaws:
    """A surrogate of the laws at every token.

    Args:
        loss: a number to be minimised, of `Laws` and the batch; `Batch.old` is of the law that answered, inside a mask.
        noted: a number of each step, of the same, that later steps find in `Laws.history`.
        needs: what `loss` reads besides: "old", "start"; a pass each.
        mask: where answers come from, if not from the whole law.
    """

    loss: Callable[[Laws, Batch], Tensor]
    noted: Callable[[Laws, Batch], Tensor] | None = None
    needs: tuple[str, ...] = ()
    mask: TopP | None = None

    def __post_init__(self) -> None:
        for name in self.needs:
            if name not in NEEDS:
                raise ValueError(f"needs must be among {', '.join(NEEDS)}{nearest(name, list(NEEDS))}; got {name!r}.")


class Masked:
    """`policy` renormalised inside the top-p sets of `by` at every token."""

    def __init__(self, policy: Policy, by: Policy, p: float) -> None:
        if not (isinstance(policy, Transformer) and isinstance(by, Transformer)):
            raise TypeError(f"a mask needs transformers of ours, got {type(policy).__name__} and {type(by).__name__}.")
        self.policy, self.by, self.p = policy, by, p

    def allowed(self, prompts: Tensor, answers: Tensor) -> Tensor:
        """bool[N, T, V]; what was said is in, also where a pass over all rounds otherwise than the one that drew it."""
        with torch.no_grad():
            return top_p(self.by.token_laws(prompts, answers), self.p).scatter(2, answers[..., None], True)

    def token_logp(self, prompts: Tensor, answers: Tensor) -> Tensor:
        """float[N, T], as `Policy.token_logp`, inside the mask."""
        return Laws(self.policy.token_laws(prompts, answers), answers, allowed=self.allowed(prompts, answers)).chosen

    @torch.no_grad()
    def sample(
        self, prompts: Tensor, length: int, generator: Draws, *, group: int = 1, greedy: bool = False
    ) -> Answers:
        """As `Transformer.sample`, inside the mask."""
        (one, near), (two, far) = (of.read(prompts, length, group) for of in (self.policy, self.by))

        def inside(logits: Tensor, others: Tensor) -> Tensor:
            return logits.masked_fill(~top_p(others.log_softmax(-1), self.p), -inf)

        def following(tokens: Tensor, t: int) -> Tensor:
            place = prompts.shape[1] + t
            return inside(*(of(tokens[:, None], c, place)[:, -1] for of, c in ((self.policy, near), (self.by, far))))

        return draw_answers(inside(one, two), following, length, generator, greedy=greedy)

    def parameters(self) -> Iterator[nn.Parameter]:
        return self.policy.parameters()


def top_p(logp: Tensor, p: float) -> Tensor:
    """bool[..., V]: the fewest tokens of highest probability that reach p together, ties in order; all where p is 1."""
    law, order = logp.exp().sort(dim=-1, descending=True, stable=True)
    before = F.pad(law.cumsum(-1)[..., :-1], (1, 0))
    kept = (before < p) | (p >= 1)
    return torch.zeros_like(kept).scatter(-1, order, kept)


def renormalised(logp: Tensor, allowed: Tensor) -> Tensor:
    """float[..., V], the law inside `allowed`; -inf outside; itself where all are allowed, to the last bit."""
    inside = logp.masked_fill(~allowed, -inf).log_softmax(-1)
    return torch.where(allowed.all(-1, keepdim=True), logp, inside)


def roles(surrogate: Plain | OfLaws) -> tuple[str, ...]:
    """The policies that a run with `surrogate` keeps: the trained one, the one that answers, the start, the mask's."""
    masked = isinstance(surrogate, OfLaws) and surrogate.mask is not None
    return ("model", "behind", "start", *(("masking",) if masked else ()))


def refreshed(surrogate: Plain | OfLaws, step: int) -> bool:
    """Whether the mask's policy is a new copy before this step."""
    every = surrogate.mask.every if isinstance(surrogate, OfLaws) and surrogate.mask else 0
    return every > 0 and step % every == 0


def speaker(surrogate: Plain | OfLaws, policy: Policy, parts: Mapping[str, Policy], *, scored: bool = False) -> Speaker:
    """What `policy` answers as: itself, or inside the mask."""
    mask = surrogate.mask if isinstance(surrogate, OfLaws) else None
    return Masked(policy, parts["masking"], mask.p) if mask and (mask.answers or scored) else policy


def constants(
    surrogate: Plain | OfLaws, prompts: Tensor, answers: Tensor, parts: Mapping[str, Policy]
) -> dict[str, Tensor]:
    """What of `Laws` is known before the pass of the trained policy; nothing for a plain surrogate."""
    if not isinstance(surrogate, OfLaws):
        return {}
    with torch.no_grad():
        found = {name: parts[NEEDS[name]].token_laws(prompts, answers) for name in surrogate.needs}
    if isinstance(said_by := speaker(surrogate, parts["behind"], parts), Masked):
        found["allowed"] = said_by.allowed(prompts, answers)
    return found | {"said": answers}


def tied(surrogate: Plain | OfLaws, known: Mapping[str, Tensor], past: Sequence[float]) -> Plain:
    """`surrogate` as a function of what the pass gives, float[N, T] or float[N, T, V], and the batch."""
    if not isinstance(surrogate, OfLaws):
        return surrogate
    loss = surrogate.loss
    return lambda logp, batch: loss(laws_of(logp, known, past), batch)


def laws_of(logp: Tensor, known: Mapping[str, Tensor], past: Sequence[float] = ()) -> Laws:
    """`Laws` from the pass, what was known before, and what earlier steps noted."""
    return Laws(logp, **known, history=torch.tensor(past, dtype=logp.dtype, device=logp.device))


def noted(
    surrogate: Plain | OfLaws, logp: Tensor, known: Mapping[str, Tensor], past: Sequence[float], batch: Batch
) -> dict[str, float]:
    """The entry of a step's row that later steps read."""
    if not isinstance(surrogate, OfLaws) or surrogate.noted is None:
        return {}
    return {"noted": float(surrogate.noted(laws_of(logp, known, past), batch))}


def spoken(logp: Tensor, known: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """float[N, T] twice: log-probabilities of what was said, under the law that answers and without a mask."""
    if logp.ndim == 2:
        return logp, logp
    return laws_of(logp, known).chosen, logp.gather(2, known["said"][..., None])[..., 0]


def _asked(name: str, values: Tensor | None) -> Tensor:
    if values is None:
        raise ValueError(f"{name} was not asked for: put it among OfLaws.needs.")
    return values
