"""The memory of shards: what is measured, and how it is shown."""

from benchmarks.sharding import STRATEGIES, measure, parse, table
from samft.sharding import ShardedStrategy


def test_the_worst_process_counts() -> None:
    found = {
        "ddp": [
            {"start": 400.0, "peak": 900.0, "seconds": 2.0},
            {"start": 500.0, "peak": 1200.4, "seconds": 1.5},
        ],
        "samft_sharded": [{"start": 400.0, "peak": 650.0, "seconds": 3.26}],
    }
    head, *rows = table(found)
    assert head.split()[0] == "strategy"
    assert [row.split() for row in rows] == [
        ["ddp", "1200", "700", "2.0"],
        ["samft_sharded", "650", "250", "3.3"],
    ]
    assert len({line.count("|") for line in table(found, markdown=True)}) == 1


def test_two_steps_are_measured() -> None:
    options = parse(["--arch", "vit_nano", "--image-size", "64", "--devices", "1"])
    found = measure("auto", options)  # what one of the processes does
    assert 100 < found["start"] <= found["peak"]
    assert found["seconds"] > 0
    assert STRATEGIES[1] == ShardedStrategy.strategy_name
