"""The share of a core's peak matrix-product rate that a training step reaches.

Operations per token, a multiplication and an addition counted as two; D inputs, H units each way, T tags:

    reprojection         2 D D
    LSTM, input side     2 (2 D 4H)     both directions
    LSTM, recurrent      2 (2 H 4H)
    head                 2 (2H) T

The backward pass takes as many again for the gradients of the weights and as many for those of the layer's input,
which the reprojection does not need: the features are frozen. The CRF, dropout, activations, clipping and the update
are not counted: they are no matrix products, but their time is. The peak rate is the best over some square matrices
and the shapes of the step, by torch's default library and by oneDNN, measured in the same rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks import bench, workload
from munchray.tagging import matmul
from munchray.training.machine import use_threads

PRODUCT_SECONDS = 0.15  # per shape and round
TOP = 25  # operators in a profile
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = bench.parser("arithmetic", __doc__)
    workload.add_sizes(parser, sentences=600, inputs=(104, 612, 1000), batch=(32,))
    parser.add_argument("--updates", type=bench.positive, default=12, help="per round (default: 12)")
    parser.add_argument("--profile", action="store_true", help="print where the time of a step goes, measure nothing")
    options = parser.parse_args(arguments)
    use_threads(1)
    results = bench.Results("arithmetic", "arithmetic of a training step on one core", options.json, arguments)
    texts = workload.sentences("train", options.sentences)
    with TemporaryDirectory() as temporary:
        corpora = [
            workload.trial_data({"train": texts}, workload.Vectors(width), Path(temporary), "iobes")
            for width in options.inputs
        ]
        for precision in workload.precisions():
            for batch in options.batch:
                chosen = workload.settings(batch_size=batch, hidden_size=options.units, precision=precision)
                steps = [workload.Training(chosen, data, options.updates) for data in corpora]
                if options.profile:
                    show_profiles(steps)
                else:
                    measure(results, steps, options.rounds)
    if not options.profile:
        results.note(workload.described(texts, "train"))
        results.note(
            "percent: of the rate of the matrix product. What is counted: python -m benchmarks.arithmetic --help"
        )
        if "bfloat16" not in workload.precisions():
            results.note(workload.NO_BFLOAT16)
        results.publish()


def measure(results: bench.Results, steps: Sequence[workload.Training], rounds: int) -> None:
    """Add rows for the peak rate and for steps that differ in their inputs only."""
    settings = steps[0].settings
    contenders = {str(inputs_of(step)): step.tokens_per_second for step in steps}
    shapes = product_shapes(list(map(inputs_of, steps)), settings.hidden_size, 25 * settings.batch_size)
    contenders["product"] = lambda: product_rate(shapes, DTYPES[settings.precision])
    measured = bench.interleaved(contenders, rounds, settings.precision)
    product = measured["product"]
    case = {"precision": settings.precision, "batch": settings.batch_size}
    results.add(**case, work="matrix product", **{"GFLOP/s": product})
    for step in steps:
        operations = operations_per_token(inputs_of(step), settings.hidden_size, len(step.data.tag_sets[workload.MAIN]))
        speed = measured[str(inputs_of(step))]
        rate = speed.times(operations / 1e9)
        cells = {"GFLOP/s": rate, "percent": rate.over(product).times(100), "tokens/s": speed}
        results.add(**case, work=f"step, {inputs_of(step)} inputs", **cells, **{"MFLOP per token": operations / 1e6})


def inputs_of(step: workload.Training) -> int:
    """Features per token."""
    return step.data.train[workload.MAIN].features.width


def operations_per_token(inputs: int, units: int, tags: int) -> int:
    """Floating-point operations per token of a training step, by the formula above."""
    reprojection = 2 * inputs * inputs
    lstm = 2 * (2 * inputs * 4 * units) + 2 * (2 * units * 4 * units)
    head = 2 * (2 * units) * tags
    return 2 * reprojection + 3 * (lstm + head)


def product_shapes(widths: Sequence[int], units: int, tokens: int) -> list[tuple[int, int, int]]:
    """(rows, inner, columns) of products to measure: large squares, and the input side of the LSTM."""
    return [(1024, 1024, 1024), (512, 512, 512), *((tokens, width, 4 * units) for width in widths)]


def product_rate(shapes: Sequence[tuple[int, int, int]], dtype: torch.dtype) -> float:
    """GFLOP/s of the fastest shape by the faster library."""
    ways = (torch.mm, matmul.product_by_onednn) if matmul.HAS_ONEDNN else (torch.mm,)
    pairs = [(torch.randn(n, k).to(dtype), torch.randn(k, m).to(dtype)) for n, k, m in shapes]
    return max(_rate(multiply, *pair) for multiply in ways for pair in pairs)


def _rate(multiply: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor) -> float:
    multiply(left, right)
    started, done = time.perf_counter(), 0
    while (seconds := time.perf_counter() - started) < PRODUCT_SECONDS or not done:
        multiply(left, right)
        done += 1
    return 2 * left.shape[0] * left.shape[1] * right.shape[1] * done / seconds / 1e9


def show_profiles(steps: Sequence[workload.Training]) -> None:
    """Print the operators that take most of the time of a step."""
    for step in steps:
        step.epoch()  # warms up
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            done = step.epoch()
        what = f"{step.settings.precision}, {inputs_of(step)} inputs, batch {step.settings.batch_size}"
        print(f"{what}: {done.updates} updates, {done.tokens:,} tokens, {done.seconds:.2f} s")
        print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=TOP, max_name_column_width=60))


if __name__ == "__main__":
    main()
