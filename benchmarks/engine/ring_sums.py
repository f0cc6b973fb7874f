"""`mlx.launch -n 2 --backend ring benchmarks/engine/ring_sums.py SIZE`: time a sum over ranks.

Nothing of this project runs here. It is the floor of a step of several ranks:
`benchmarks.engine.ranks` starts it, and prints its figure beside the step's. Rank 0 prints the
seconds of one sum of `SIZE` numbers in float32, where each waits for the one before, as the layers
of a model do.
"""

import statistics
import sys
import time

import mlx.core as mx

_CHAIN = 16
_ROUNDS = 40


def main() -> None:
    """Measure chains of sums and print the median of one sum."""
    group = mx.distributed.init(strict=True, backend="ring")
    mx.set_default_device(mx.cpu)  # the ring's sums run there
    numbers = mx.ones((int(sys.argv[1]),))
    seconds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        total = numbers
        for _ in range(_CHAIN):
            total = mx.distributed.all_sum(total, group=group) / group.size()
        mx.eval(total)
        seconds.append((time.perf_counter() - began) / _CHAIN)
    if group.rank() == 0:
        print(statistics.median(seconds))


if __name__ == "__main__":
    main()
