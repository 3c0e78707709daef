r"""Token trees: the finite-horizon MDP that a language model acts in, small enough to enumerate.

A state is the sequence of tokens so far, an action is the next token, moves are concatenation.  Sequences shorter than
`depth` are numbered by length, then as numbers in base `V`:

.. math:: \mathrm{state}(x_1 \dots x_k) = \sum_{i<k} V^i + \sum_{i=1}^{k} x_i V^{k-i},

so the root is 0.  The last token completes a leaf: it pays the leaf's reward and ends in the terminal state, the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array, Ints
from claimlab.mdps.assemble import ending_actions, transitions
from claimlab.mdps.tabular import EpisodicMDP

LeafReward = Callable[[Ints], ArrayLike]


@dataclass(frozen=True)
class TokenTree:
    """All sequences of `depth` tokens out of ``0..vocabulary-1``, and the numbers of their prefixes.

    Examples
    --------
    >>> tree = TokenTree(vocabulary=2, depth=3)
    >>> tree.state([1, 0]), tree.sequence(5)
    (5, (1, 0))
    >>> tree.n_states, tree.n_leaves, tree.end
    (8, 8, 7)
    """

    vocabulary: int
    depth: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "vocabulary", checks.integer("vocabulary", self.vocabulary, 1))
        object.__setattr__(self, "depth", checks.integer("depth", self.depth, 1))

    @property
    def n_leaves(self) -> int:
        return self.vocabulary**self.depth

    @property
    def end(self) -> int:
        """The terminal state; it is also the number of proper prefixes."""
        return self.offset(self.depth)

    @property
    def n_states(self) -> int:
        return self.end + 1

    def offset(self, length: int) -> int:
        """The state of the first sequence of `length` tokens: how many sequences are shorter."""
        return sum(self.vocabulary**i for i in range(length))

    def state(self, sequence: Sequence[int]) -> int:
        """The state of a sequence of fewer than `depth` tokens."""
        if len(sequence) >= self.depth:
            raise ValueError(f"sequence has {len(sequence)} tokens; a state has fewer than depth = {self.depth}.")
        return self.offset(len(sequence)) + self._number(sequence)

    def leaf(self, sequence: Sequence[int]) -> int:
        """The number, 0..V**D - 1, of a complete sequence: its row in :attr:`leaves`."""
        if len(sequence) != self.depth:
            raise ValueError(f"sequence has {len(sequence)} tokens; a leaf has depth = {self.depth}.")
        return self._number(sequence)

    def _number(self, sequence: Sequence[int]) -> int:
        number = 0
        for i, token in enumerate(sequence):
            number = number * self.vocabulary + checks.integer(f"sequence[{i}]", token, 0, self.vocabulary - 1)
        return number

    def sequence(self, state: int) -> tuple[int, ...]:
        """The tokens of a state that is not the terminal one."""
        rest, length = checks.integer("state", state, 0, self.end - 1), 0
        while rest >= self.vocabulary**length:
            rest, length = rest - self.vocabulary**length, length + 1
        return tuple(rest // self.vocabulary ** (length - 1 - i) % self.vocabulary for i in range(length))

    @property
    def leaves(self) -> Ints:
        """All complete sequences in order, int[V**D, D]."""
        powers = self.vocabulary ** np.arange(self.depth - 1, -1, -1)
        return np.arange(self.n_leaves)[:, None] // powers % self.vocabulary


def token_tree(
    vocabulary: int, depth: int, reward: LeafReward | ArrayLike, *, sparse: bool | None = None
) -> EpisodicMDP:
    r"""The MDP of a token tree, with horizon `depth` and start at the root; see :class:`TokenTree` for the numbering.

    Every leaf can be reached, so :math:`v^*_1(0) = \max_x r(x)`.

    Parameters
    ----------
    vocabulary, depth : int
    reward : float[V**D], float[V, ..., V] or callable
        The reward of each complete sequence, or a function of all of them at once, int[V**D, D] -> float[V**D].
    sparse : bool, optional
        CSR transitions; by default where there are many states.

    Examples
    --------
    >>> longest = token_tree(2, 3, lambda x: x.sum(axis=1))
    >>> longest.r[TokenTree(2, 3).state([1, 1])]
    array([2., 3.])
    """
    tree = TokenTree(vocabulary, depth)
    V, end = tree.vocabulary, tree.end
    given = reward(tree.leaves) if callable(reward) else reward
    leaf_reward = _leaf_rewards(tree, given)
    prefixes, tokens = np.arange(end)[:, None], np.arange(V)
    # V * s + 1 is the first child of s: the children of 0..s-1 and the root precede it
    children = np.minimum(V * prefixes + 1 + tokens, end)
    s = np.concatenate([np.repeat(prefixes, V), [end]])
    a = np.concatenate([np.tile(tokens, end), [0]])
    P = transitions(tree.n_states, V, s, a, np.append(children.ravel(), end), 1.0, sparse=sparse)
    r, terminal, initial = np.zeros((tree.n_states, V)), np.arange(tree.n_states) == end, np.zeros(tree.n_states)
    r[tree.offset(tree.depth - 1) : end] = leaf_reward.reshape(-1, V)
    initial[0] = 1
    return EpisodicMDP(P, r, tree.depth, actions=ending_actions(terminal, V), terminal=terminal, initial=initial)


def _leaf_rewards(tree: TokenTree, given: ArrayLike) -> Array:
    """The rewards of all leaves, float[V**D]."""
    shapes = {(tree.n_leaves,), (tree.vocabulary,) * tree.depth}
    if np.shape(given) not in shapes:
        wanted = f"(V**D,) = ({tree.n_leaves},) or (V,) * D = {(tree.vocabulary,) * tree.depth}"
        raise ValueError(
            f"reward must have shape {wanted}, or be a function of all leaves, int[{tree.n_leaves}, {tree.depth}], "
            f"with such a result; got {np.shape(given)}."
        )
    return checks.array("reward", np.reshape(given, -1), ndim=1)
