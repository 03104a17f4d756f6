"""Allocators: places do not overlap, and gaps arise as they do in the real ones."""

import json
import platform
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.planning.allocators import CHeap, CudaCache

MIB = 2**20
KINDS = (CHeap, CudaCache)

REAL_HEAP = """
import ctypes, json, sys
libc = ctypes.CDLL(None)
for switch, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**28)):
    assert libc.mallopt(switch, value)
libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.posix_memalign.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
places, low, high, out = {}, None, 0, ctypes.c_void_p()
for number, size in json.load(sys.stdin):
    if size:
        assert libc.posix_memalign(ctypes.byref(out), 64, size) == 0
        # The smaller objects that go with a tensor: itself, its storage, a node of the graph.
        places[number] = (out.value, *(libc.malloc(size) for size in (64, 192, 320)))
        low, high = low or out.value, max(high, out.value + size)
    else:
        for place in places.pop(number):
            libc.free(place)
print(high - low)
"""


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=40)
@given(steps=st.lists(st.tuples(st.integers(1, 30 * MIB), st.integers(0, 9)), max_size=40))
def test_places_never_overlap(kind, steps) -> None:
    allocator = kind()
    live: dict[int, int] = {}
    for size, old in steps:
        if old < len(live):
            place = sorted(live)[old]
            del live[place]
            allocator.free(place)
        place = allocator.allocate(size)
        assert all(place >= at + long or place + size <= at for at, long in live.items())
        live[place] = size
        assert allocator.held >= sum(live.values())


@settings(deadline=None, max_examples=25)
@given(sizes=st.lists(st.integers(1, 30 * MIB), min_size=1, max_size=20))
def test_what_was_freed_is_used_again(sizes) -> None:
    allocator = CudaCache()
    for _ in range(3):
        places = [allocator.allocate(size) for size in sizes]
        held = allocator.held
        for place in places:
            allocator.free(place)
    assert allocator.held == held


def test_the_heap_cannot_put_a_tensor_where_its_like_was() -> None:
    heap = CHeap()
    places = [heap.allocate(MIB) for _ in range(4)]
    heap.free(places[1])
    assert heap.allocate(MIB) not in places
    assert heap.held == 5 * (MIB + 96)
    assert heap.allocate(MIB - 128) == places[1]


def test_what_lies_between_two_tensors_keeps_their_places_apart() -> None:
    heap = CHeap()
    places = [heap.allocate(MIB) for _ in range(8)]
    for place in places[:4]:
        heap.free(place)
    # Between the first two nothing is left; behind the second are things of the fifth's time.
    assert heap.allocate(2 * MIB) == places[0]
    assert heap.allocate(2 * MIB) > places[-1]
    for place in places[4:]:
        heap.free(place)
    assert heap.allocate(3 * MIB) == places[1] + MIB


def history(seed: int) -> list[tuple[int, int]]:
    """Return allocations (number, size) and frees (number, 0) as a network makes them."""
    generator = torch.Generator().manual_seed(seed)
    live, steps = [], []
    for number in range(400):
        draw = torch.rand(2, generator=generator).tolist()
        steps.append((number, int(2 ** (12 + 13 * draw[0]))))
        live.append(number)
        while live and draw[1] < len(live) / 60:
            at = int(torch.randint(len(live), (), generator=generator))
            steps.append((live.pop(at), 0))
            draw[1] += 0.3
    return steps


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the heap that is modelled is glibc's"
)
@pytest.mark.parametrize("seed", range(3))
def test_the_heap_grows_as_the_real_one_does(seed: int) -> None:
    steps = history(seed)
    done = subprocess.run(
        [sys.executable, "-c", REAL_HEAP],
        input=json.dumps(steps),
        capture_output=True,
        text=True,
        check=True,
    )
    heap, places = CHeap(), {}
    for number, size in steps:
        if size:
            places[number] = heap.allocate(size)
        else:
            heap.free(places[number])
    # Where the C library starts its heap and what Python left in it differs between machines.
    assert heap.held == pytest.approx(int(done.stdout), rel=0.25)


def test_segments_of_the_cuda_cache() -> None:
    def held(*sizes: int) -> int:
        cache = CudaCache()
        for size in sizes:
            cache.allocate(size)
        return cache.held

    assert held(1) == held(1, 512, MIB) == 2 * MIB
    assert held(MIB + 1) == held(MIB + 1, 9 * MIB, 9 * MIB) == 20 * MIB
    assert held(10 * MIB) == 10 * MIB
    assert held(12 * MIB + 1) == 14 * MIB
    assert held(1, 12 * MIB + 1, 2 * MIB) == (2 + 14 + 20) * MIB
