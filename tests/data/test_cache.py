"""The cache keeps to its limit and travels empty."""

import pickle
from types import SimpleNamespace

from samft.data.cache import ByteLimitedCache


def test_least_recently_used_goes_first() -> None:
    made: list[str] = []

    def get(key: str, size: int = 40):
        def make() -> SimpleNamespace:
            made.append(key)
            return SimpleNamespace(nbytes=size)

        return cache.get(key, make)

    cache: ByteLimitedCache = ByteLimitedCache(100)
    get("a"), get("b"), get("a"), get("c")
    assert made == ["a", "b", "c"]
    get("a")
    get("b")
    assert made == ["a", "b", "c", "b"]
    get("huge", 1000)
    assert len(cache) == 1
    get("huge")
    assert made[-1] == "huge"
    assert made.count("huge") == 1
    assert len(pickle.loads(pickle.dumps(cache))) == 0
