r"""Exact maps of which policy is optimal where: reward planes, mixture triangles, penalty sweeps.

On a plane of rewards :math:`R + xR_1 + yR_2` the policy :math:`\pi` is optimal exactly on the convex polygon where its
gaps :math:`g_{s,a}\cdot R + x\,g_{s,a}\cdot R_1 + y\,g_{s,a}\cdot R_2` are non-negative.  The polygons meet edge to
edge (a slice of the normal fan of the occupancy polytope), so they are found by crossing edges.  Which policy lies
behind an edge is decided without a step length: by the optimal actions at the edge's midpoint and, among those, by the
best for the reward's derivative in the direction of the crossing.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from claimlab import checks
from claimlab.checks import Array, Bools, Ints
from claimlab.mdps.planning import finest, gaps, solve
from claimlab.mdps.tabular import EPS, TabularMDP
from claimlab.theory.stability import facet_norms, gap_rounding, policy_gaps


class Cell(NamedTuple):
    """A policy and the polygon of the plane on which it is optimal."""

    policy: Ints  # [S]
    polygon: Array  # [k, 2], counter-clockwise
    planes: Array  # [F, 3]: policy optimal where planes @ (1, x, y) >= 0, a row a facet (s, a)
    facets: Ints  # [F, 2]: its (s, a)

    @property
    def area(self) -> float:
        return _area(self.polygon)


class PlaneMap(NamedTuple):
    """A window of a reward plane, tiled by the polygons on which each policy is optimal."""

    mdp: TabularMDP
    rewards: Array  # [3, S, A]: base and the two directions
    window: Array  # [k, 2], counter-clockwise
    cells: tuple[Cell, ...]

    def reward(self, x: float, y: float) -> Array:
        return np.einsum("j,jsa->sa", (1.0, x, y), self.rewards)

    def locate(self, points: ArrayLike) -> Ints:
        """Index of the cell that holds each point, float[n, 2] to int[n]; -1 outside the window."""
        xy = checks.array("points", points, ndim=2)
        if xy.shape[1] != 2:
            raise ValueError(f"points must have shape (n, 2), got {xy.shape}.")
        depth = np.stack([_depth(cell.polygon, xy) for cell in self.cells])
        best = depth.argmax(axis=0)
        tolerance = 1e-9 * _width(self.window) + 8 * EPS * float(abs(self.window).max())  # border points, and rounding
        return np.where(depth[best, np.arange(len(xy))] >= -tolerance, best, -1)

    def distance(self, points: ArrayLike) -> Array:
        """Cliff radius (supremum norm over all reward entries) at each point, float[n]; NaN outside the window.

        Within a cell it is the least of finitely many linear functions of (x, y).
        """
        xy = checks.array("points", points, ndim=2)
        where, out = self.locate(xy), np.full(len(xy), np.nan)
        for i, cell in enumerate(self.cells):
            inside = where == i
            if inside.any():
                norms = facet_norms(self.mdp, cell.policy)[tuple(cell.facets.T)]
                planes = cell.planes[norms > 0] / norms[norms > 0, None]
                heights = np.c_[np.ones(inside.sum()), xy[inside]] @ planes.T
                out[inside] = np.maximum(heights.min(axis=1, initial=inf), 0.0)
        return out


def reward_plane_map(
    mdp: TabularMDP,
    R1: ArrayLike,
    R2: ArrayLike,
    window: ArrayLike | tuple[tuple[float, float], tuple[float, float]] = ((-1.0, 1.0), (-1.0, 1.0)),
) -> PlaneMap:
    """Which policy is optimal for the reward ``mdp.r + x R1 + y R2``, for every (x, y) of a window, exactly.

    Gaps that vanish throughout, up to :func:`~claimlab.theory.stability.gap_rounding` of each of the three rewards,
    count as ties; policies that tie throughout count as one.

    Parameters
    ----------
    R1, R2 : float[S, A]
        The directions; entries of missing actions and of terminal states are ignored.
    window : ((x_low, x_high), (y_low, y_high)) or float[k, 2]
        A rectangle, or the corners of a convex polygon (k >= 3).

    Returns
    -------
    PlaneMap
        Its cells tile the window: their areas sum to the window's up to rounding, which is checked.
    """
    shape = mdp.r.shape
    rewards = np.stack([mdp.r, *(checks.shaped(n, R, shape, "(S, A)") for n, R in (("R1", R1), ("R2", R2)))])
    rewards = np.where(_payable(mdp), rewards, 0.0)
    corners = _window(window)
    start = corners.mean(axis=0)
    found: dict[bytes, Cell] = {}
    steep = 2 * abs(rewards).max(axis=(1, 2)) / (1 - mdp.gamma)  # no gap changes faster in 1, x and y
    shaken = 16 * EPS * float(steep @ (1.0, *abs(corners).max(axis=0)))  # gaps by the rounding of clipped corners
    queue = [(start, np.array([1.0, np.sqrt(2) - 1]))]  # a direction that is parallel to no edge in sight
    while queue:
        point, direction = queue.pop()
        slack = shaken + 2 * float(_noise(mdp, rewards) @ (1.0, *abs(point)))
        tied = _ties(mdp.with_reward(_mix(rewards, 1.0, *point)), slack)
        pi = _best_of(mdp, tied, _mix(rewards, 0.0, *direction))
        if pi.tobytes() in found:
            continue
        cell = _cell(mdp, pi, rewards, corners)
        if cell is None or any(_depth(c.polygon, cell.polygon.mean(axis=0)[None])[0] > 0 for c in found.values()):
            continue
        found[pi.tobytes()] = cell
        queue += _crossings(cell.polygon, corners)
    cells = tuple(found.values())
    total, whole = sum(cell.area for cell in cells), _area(corners)
    if abs(total - whole) > 1e-9 * whole:
        raise ArithmeticError(
            f"the cells cover {total:.12g} of the window's area {whole:.12g}: in float64, gaps below {shaken:.3g} "
            "cannot be told from ties in this window; a smaller one has less rounding."
        )
    return PlaneMap(mdp, rewards, corners, cells)


def mixture_map(mdp: TabularMDP, rewards: ArrayLike) -> PlaneMap:
    """Which policy is optimal for each mixture ``w1 R1 + w2 R2 + w3 R3`` of three rewards, float[3, S, A].

    The window is the triangle of weights with corners (1, 0), (0, 1), (0, 0) for R1, R2, R3: point (x, y) is the
    mixture (x, y, 1 - x - y).  The reward of `mdp` is not used.
    """
    R = np.where(_payable(mdp), checks.shaped("rewards", rewards, (3, *mdp.r.shape), "(3, S, A)"), 0.0)
    return reward_plane_map(mdp.with_reward(R[2]), R[0] - R[2], R[1] - R[2], np.array([[1.0, 0], [0, 1], [0, 0]]))


def _payable(mdp: TabularMDP) -> Bools:
    """Where a reward may be paid: available actions of states that are not terminal."""
    return mdp.actions & ~mdp.terminal[:, None]


def _window(window: ArrayLike) -> Array:
    given = checks.array("window", window, ndim=2)
    if given.shape == (2, 2):
        (x0, x1), (y0, y1) = given
        if x0 >= x1 or y0 >= y1:
            raise ValueError(f"window must have low < high on both axes, got {given.tolist()}.")
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    if given.shape[0] < 3 or given.shape[1] != 2:
        raise ValueError(f"window must be ((low, high), (low, high)) or corners float[k, 2], got shape {given.shape}.")
    corners = given if _signed_area(given) > 0 else given[::-1].copy()
    edges = np.roll(corners, -1, axis=0) - corners
    after = np.roll(edges, -1, axis=0)
    if (edges[:, 0] * after[:, 1] - edges[:, 1] * after[:, 0] <= 0).any():
        raise ValueError(f"window must be a convex polygon with no straight corners, got {given.tolist()}.")
    return corners


def _mix(rewards: Array, base: float, x: float, y: float) -> Array:
    return np.einsum("j,jsa->sa", (base, x, y), rewards)


def _best_of(mdp: TabularMDP, tied: Bools, direction: Array) -> Ints:
    """Of policies that are optimal for a reward, those of `tied` actions, one that stays so a little further on."""
    restricted = TabularMDP(mdp.P, direction, mdp.gamma, actions=tied)
    return solve(restricted, finest(restricted)).policy


def _ties(mdp: TabularMDP, slack: float) -> Bools:
    """Which actions may be optimal if gaps are off by their certified error and `slack`."""
    gap, error = gaps(mdp)
    return gap <= error + slack


def _noise(mdp: TabularMDP, rewards: Array) -> Array:
    """Bounds on the rounding of the gaps under each reward, float[J]."""
    return np.array([gap_rounding(mdp, float(abs(R).max())) for R in rewards])


def _cell(mdp: TabularMDP, pi: Ints, rewards: Array, window: Array) -> Cell | None:
    """The polygon of `pi` within the window; None if it has no area."""
    gap = policy_gaps(mdp, pi, rewards)
    other = mdp.actions & (np.arange(mdp.n_actions) != pi[:, None])
    planes = gap[:, other].T
    polygon = window
    for a, b, c in planes[(abs(planes) > _noise(mdp, rewards)).any(axis=1)]:
        polygon = _clip(polygon, a, b, c)
    polygon = _distinct(polygon, 1e-12 * _width(window))
    if len(polygon) < 3 or _area(polygon) <= 1e-14 * _area(window):
        return None
    return Cell(pi, polygon, planes, np.argwhere(other))


def _distinct(polygon: Array, closest: float) -> Array:
    """The corners without those that rounding has doubled: the edge between two such points anywhere."""
    kept: list[Array] = []
    for corner in polygon:
        if all(np.linalg.norm(corner - other) > closest for other in kept[-1:] + kept[:1]):
            kept.append(corner)
    return np.array(kept).reshape(-1, 2)


def _clip(polygon: Array, a: float, b: float, c: float) -> Array:
    """The part of a convex polygon on which ``a + b x + c y >= 0`` (Sutherland & Hodgman 1974)."""
    if len(polygon) == 0:
        return polygon
    height = a + polygon @ np.array([b, c])
    if (height >= 0).all():
        return polygon
    out: list[Array] = []
    for i in range(len(polygon)):
        j = (i + 1) % len(polygon)
        if height[i] >= 0:
            out.append(polygon[i])
        if (height[i] > 0 > height[j]) or (height[i] < 0 < height[j]):
            out.append(polygon[i] + height[i] / (height[i] - height[j]) * (polygon[j] - polygon[i]))
    return np.array(out) if len(out) >= 3 else np.empty((0, 2))


def _crossings(polygon: Array, window: Array) -> list[tuple[Array, Array]]:
    """Midpoint and outward normal of every edge that does not lie on the window's border."""
    out, size = [], _width(window)
    for p, q in zip(polygon, np.roll(polygon, -1, axis=0)):
        edge, middle = q - p, (p + q) / 2
        length = float(np.linalg.norm(edge))
        if length > 1e-12 * size and _depth(window, middle[None])[0] > 1e-9 * size:
            out.append((middle, np.array([edge[1], -edge[0]]) / length))
    return out


def _depth(polygon: Array, points: Array) -> Array:
    """Distance of each point inside a convex counter-clockwise polygon to its border, negative outside."""
    p, q = polygon, np.roll(polygon, -1, axis=0)
    edges = q - p
    lengths = np.linalg.norm(edges, axis=1)
    keep = lengths > 0
    normals = np.c_[-edges[keep, 1], edges[keep, 0]] / lengths[keep, None]
    return ((points[:, None, :] - p[keep]) * normals).sum(axis=2).min(axis=1)


def _width(window: Array) -> float:
    return float(np.ptp(window, axis=0).min())


def _signed_area(polygon: Array) -> float:
    centred = polygon - polygon.mean(axis=0)  # keeps the products small: areas then add up to rounding
    x, y = centred.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def _area(polygon: Array) -> float:
    return abs(_signed_area(polygon))


class Sweep(NamedTuple):
    """The policies met along a line of rewards."""

    breakpoints: Array  # [n], where the optimal policy changes
    policies: Ints  # [n + 1, S]: the i-th is optimal from the (i-1)-th breakpoint to the i-th
    errors: Array  # [n], bounds on the numerical errors of the breakpoints


def sweep(mdp: TabularMDP, penalty: ArrayLike, *, low: float = 0.0, high: float = 1.0) -> Sweep:
    r"""The optimal policy of ``mdp.r + t * penalty`` for every `t` in [low, high], with its exact breakpoints.

    A policy's gaps are linear in `t`, so it stays optimal until the first of them vanishes; which policy follows is
    decided as in the module's description.  Policies that tie along a whole stretch count as one, and so do
    breakpoints that are closer than their errors.

    Parameters
    ----------
    penalty : float[S, A]
        The reward's derivative: a length penalty, a bonus, another reward model.  Entries of missing actions and of
        terminal states are ignored.
    """
    D = np.where(_payable(mdp), checks.shaped("penalty", penalty, mdp.r.shape, "(S, A)"), 0.0)
    low = checks.interval("low", low, -inf, inf, "()")
    high = checks.interval("high", high, low, inf, "()")
    rewards, states = np.stack([mdp.r, D]), np.arange(mdp.n_states)
    of_base, of_slope = _noise(mdp, rewards)
    tied = _ties(mdp.with_reward(mdp.r + low * D), of_base + abs(low) * of_slope)
    breakpoints, errors, policies = list[float](), list[float](), list[Ints]()
    while True:
        pi = _best_of(mdp, tied, D)
        policies.append(pi)
        base, slope = policy_gaps(mdp, pi, rewards)
        # of the tied actions none falls: `pi` is the best of them ahead
        falling = mdp.actions & ~tied & (slope < -2 * of_slope)
        ends = -base[falling] / slope[falling]
        error = (of_base + abs(ends) * of_slope) / (-slope[falling] - of_slope)
        if not len(ends) or ends.min() >= high:
            return Sweep(np.array(breakpoints), np.array(policies), np.array(errors))
        first = int(ends.argmin())
        t = float(ends[first])
        breakpoints.append(t)
        errors.append(float(error[ends - error <= t + error[first]].max()))
        tied = mdp.actions & (base + t * slope <= of_base + abs(t) * of_slope + abs(slope) * error[first])
        tied[states, pi] = True
