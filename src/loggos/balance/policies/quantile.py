"""An exact quantile of the last values seen: a window kept in order. Adding costs one memory move of the window."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from math import ceil


class WindowQuantile:
    """Quantiles of the last `size` values."""

    def __init__(self, size: int) -> None:
        assert size >= 1
        self._size = size
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, value: float) -> None:
        if len(self._recent) == self._size:
            oldest = self._recent.popleft()
            del self._sorted[bisect_left(self._sorted, oldest)]
        self._recent.append(value)
        insort(self._sorted, value)

    def quantile(self, share: float) -> float:
        """The smallest value that is not below `share` of the window (nearest rank). The window must not be empty."""
        assert self._sorted and 0 <= share <= 1
        return self._sorted[max(0, ceil(share * len(self._sorted)) - 1)]
