"""Run all benchmarks, one after the other; ``--quick`` reaches those that know it."""

from benchmarks import (
    bench_accuracy,
    bench_desk,
    bench_embedding,
    bench_encoding,
    bench_memory,
    bench_scale,
)

for module in (
    bench_embedding,
    bench_encoding,
    bench_memory,
    bench_scale,
    bench_desk,
    bench_accuracy,
):
    print(f"== {module.__name__}: {(module.__doc__ or '').splitlines()[0]}")
    module.main()
