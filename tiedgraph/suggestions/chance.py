"""How far numbers are from a tie, and how likely random numbers are that near.

A tie of n numbers by m equations is a subspace, m dimensions smaller. Of a random direction the
share of the squared length that lies outside of it is Beta(m / 2, (n - m) / 2) distributed, so the
chance to come within distance d is the incomplete beta function of d squared.
"""

from __future__ import annotations

from math import inf, lgamma, log, log1p
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

SEARCHES = 4  # for views, what is inside, copies inside and copies across
MOST = 1e-6  # chance, over everything that is tried, that one random match is proposed
EXACT = 1e-14  # squared distances below this are rounding of float32


def centred(numbers: Array) -> Array:
    """Numbers less their mean: a common mean is no evidence that they are tied."""
    flat = np.asarray(numbers, np.float64).reshape(-1)
    return np.asarray(flat - flat.mean())


def relative(change: Array, numbers: Array) -> float:
    """Root mean square of `change` relative to the spread of `numbers` about their mean.

    inf where they have no spread and change.
    """
    moved = float(np.dot(change.reshape(-1), change.reshape(-1)))
    own = centred(numbers)
    spread = float(np.dot(own, own))
    if moved == 0.0:
        return 0.0
    return (moved / spread) ** 0.5 if spread > 0 else inf


def evidence(numbers: Array) -> float:
    """Which share of the numbers counts, up to 1: few large ones among many small count little.

    Three times the participation ratio, (sum of squares)^2 / sum of fourth powers, which is 1 for
    normal numbers.
    """
    own = centred(numbers)
    top = float(np.abs(own).max(initial=0.0))
    if top == 0.0:
        return 0.0
    square = (own / top) ** 2
    ratio = float(square.sum()) ** 2 / float((square**2).sum())
    return min(1.0, 3.0 * ratio / own.size)


def log_chance(distance: float, equations: float, numbers: float) -> float:
    """Natural logarithm of a bound on the chance that random numbers are so near to a tie.

    distance: relative, of all the numbers. equations: how many numbers the tie saves. The mean of
    the numbers counts as known, which takes one dimension.
    """
    x = max(distance * distance, EXACT)
    a, b = equations / 2, max((numbers - 1 - equations) / 2, 0.5)
    if a <= 0 or x >= 1:
        return 0.0
    tail = x * (a + b) / (a + 1)  # ratio that bounds the series of the function
    if tail >= 0.99:
        return 0.0
    beta = lgamma(a) + lgamma(b) - lgamma(a + b)
    found = a * log(x) + b * log1p(-x) - log(a) - beta - log1p(-tail)
    return min(0.0, found)


def log_coincidence(values: Array, pool: Array, residual: float) -> float:
    """Natural logarithm of the chance that numbers drawn from `pool` are as near to `values`.

    The product over the values of which share of the pool lies within twice the residual, a root
    mean square, the partner itself not counted. Where many numbers are alike, such as the zeros of
    a pruned matrix, that they meet says little, which `log_chance` cannot know.
    """
    near = np.sort(pool.reshape(-1))
    wanted = values.reshape(-1)
    spread = float(near.std())
    if spread == 0.0 or not near.size:
        return 0.0
    reach = max(2.0 * residual, EXACT**0.5 * spread)
    count = np.searchsorted(near, wanted + reach, "right") - np.searchsorted(near, wanted - reach)
    share = np.maximum((count - 1) / near.size, min(1.0, reach / spread))
    return float(np.log(np.clip(share, EXACT**0.5, 1.0)).sum())


def bar(tried: int) -> float:
    """What `log_chance` must stay below in a search that tries so many ties."""
    return log(MOST / SEARCHES) - log(max(1, tried))
