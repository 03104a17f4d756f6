"""Trains while things go wrong, and compares the result with a training that nothing happened to.

    python -m benchmarks.soak --kills 20                        # a table of all settings
    python -m benchmarks.soak --kills 5 --settings plain DDP --keep OUT
    python -m benchmarks.soak --minutes 60                      # kills, signals, damaged files

Runs on Linux, on the CPU. With `--kills` every setting (`settings.py`) is trained once undisturbed
and once struck by exactly so many SIGKILL at random moments, between steps, while a checkpoint is
written and while it validates; each time `samft resume` takes it up again. At the end everything in
both checkpoints and `metrics.csv` is compared, bit by bit (`comparison.py`). With `--minutes` one
process is killed, told to end, or killed with its last checkpoint damaged (`mixed.py`), for so
long. The exit code is 0 if every training ended as the undisturbed one did.
"""
