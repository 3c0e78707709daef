"""Blackjack with an infinite deck, as Gymnasium's `Blackjack` plays it, as an exact transition table.

Gymnasium has a simulator only.  An observation (sum, dealer's card, usable ace) does not tell a natural, ace and ten in
two cards, from another soft 21, though the rewards do: hence states of their own for naturals.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import NamedTuple

import numpy as np

from claimlab.checks import Array

SHAPE = (32, 11, 2)  # of Gymnasium's observation: player's sum, dealer's card, usable ace
NATURAL = 32 * 11 * 2  # state of a natural against dealer's card d, less d
N_STATES = NATURAL + 11
CARDS = {card: Fraction(4 if card == 10 else 1, 13) for card in range(1, 11)}
STICK, HIT = 0, 1

Hand = tuple[int, bool]  # the sum with a usable ace counted as 11, and whether there is one
Entry = tuple[float, int, float, bool]  # probability, successor, reward, done
Table = dict[int, dict[int, list[Entry]]]


class Blackjack(NamedTuple):
    """What Gymnasium's toy-text environments call `P` and `initial_state_distrib`."""

    table: Table
    initial: Array  # [N_STATES]


def blackjack_state(observation: tuple[int, int, int], *, natural: bool = False) -> int:
    """The state of an observation of Gymnasium's `Blackjack`; `natural` for ace and ten in the first two cards."""
    return NATURAL + observation[1] if natural else int(np.ravel_multi_index(observation, SHAPE))


def blackjack_table(*, natural: bool = False, sab: bool = False) -> Blackjack:
    """The table under Gymnasium's options; with `sab`, the rules of Sutton & Barto (2018), Example 5.1.

    A natural wins 1 unless the dealer has one too (`sab`), or wins 1.5 where it beats the dealer (`natural` without
    `sab`), or counts like any 21 (neither).  Each row that sticks holds one entry, the expected reward.
    """
    table: Table = {s: {STICK: [(1.0, s, 0.0, True)]} for s in range(N_STATES)}  # impossible ones and busts stay so
    for dealer in CARDS:
        for total in range(4, 22):
            for ace in (False, True):
                if not ace or total >= 12:
                    s = blackjack_state((total, dealer, ace))
                    table[s] = {STICK: [_stick(s, total, dealer)], HIT: _hit((total, ace), dealer)}
        s = NATURAL + dealer
        bonus = 1.0 if sab else 1.5 if natural else None
        table[s] = {STICK: [_stick(s, 21, dealer, bonus, sab)], HIT: _hit((21, True), dealer)}
    initial = np.zeros(N_STATES)
    for (x, p), (y, q), (dealer, d) in ((x, y, z) for x in CARDS.items() for y in CARDS.items() for z in CARDS.items()):
        hand = _add(_add((0, False), x), y)
        initial[blackjack_state((hand[0], dealer, hand[1]), natural={x, y} == {1, 10})] += float(p * q * d)
    return Blackjack(table, initial)


def _add(hand: Hand, card: int) -> Hand:
    total, ace = hand
    hard, ace = total - 10 * ace + card, ace or card == 1
    return (hard + 10, True) if ace and hard + 10 <= 21 else (hard, False)


@cache
def _dealer(hand: Hand) -> dict[int, Fraction]:
    """Law of the dealer's final score, 0 for a bust, who draws below 17."""
    if hand[0] > 21:
        return {0: Fraction(1)}
    if hand[0] >= 17:
        return {hand[0]: Fraction(1)}
    law: dict[int, Fraction] = {}
    for card, p in CARDS.items():
        for score, q in _dealer(_add(hand, card)).items():
            law[score] = law.get(score, Fraction(0)) + p * q
    return law


def _stick(s: int, total: int, dealer: int, bonus: float | None = None, beats_21: bool = False) -> Entry:
    """The entry of sticking at `total`: a win pays `bonus` (1 by default); `beats_21` if it beats all but a natural."""
    expected = Fraction(0)
    win = Fraction(1) if bonus is None else Fraction(bonus)
    for hidden, p in CARDS.items():
        dealt = {dealer, hidden} == {1, 10}
        for score, q in _dealer(_add(_add((0, False), dealer), hidden)).items():
            if total > score or (beats_21 and not dealt):
                expected += p * q * win
            elif total < score:
                expected -= p * q
    return 1.0, s, float(expected), True


def _hit(hand: Hand, dealer: int) -> list[Entry]:
    """The entries of drawing a card: on to a larger hand, or bust."""
    entries = []
    for card, p in CARDS.items():
        total, ace = _add(hand, card)
        s = blackjack_state((total, dealer, ace))
        entries.append((float(p), s, -1.0 if total > 21 else 0.0, total > 21))
    return entries
