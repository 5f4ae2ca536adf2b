"""How fast data sets are made, verified and read, and whether a stream keeps up with the network.

python bench/dataset_rates.py make OUT --samples 20000    time, size, peak memory of Rb2MnF4 maps; verified afterwards
python bench/dataset_rates.py streams OUT                                 batches a second beside what a network consumes
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from insdl.dataset.configuration import load_source
from insdl.dataset.engine import make_data_set, processors
from insdl.dataset.shard import ShardFile, ShardFormat, encode_shard
from insdl.dataset.store import open_store
from insdl.dataset.verify import verify_store
from insdl.instruction_set import instruction_set


def say(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


class PeakMemory:
    """The largest resident size (MB) of this process and of the largest of its workers, looked at ten times a second."""

    def __enter__(self) -> PeakMemory:
        self.workers, self.own, self._stop = 0.0, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self.workers = max([self.workers, *(_resident(process) for process in _descendants(os.getpid()))])


def _descendants(process: int) -> Iterator[int]:
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            found = [int(word) for word in children.read_text().split()]
        except OSError:
            continue
        for child in found:
            yield child
            yield from _descendants(child)


def _resident(process: int) -> float:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


def make(out: Path, preset: str, samples: int, workers: int | None, compression: int, content: str) -> None:
    """Makes a data set from nothing, verifies it, and says what that took."""
    source = load_source(preset, n_samples=samples)
    machine = {"processors": processors(), "instruction_set": instruction_set(), "load": os.getloadavg()[0]}
    say(what="machine", **machine)
    kept: Any = content
    with PeakMemory() as memory:
        start = time.perf_counter()
        status = make_data_set(source, out, workers=workers, compression=compression, content=kept)
        seconds = time.perf_counter() - start
    say(what="make", preset=preset, images=samples, seconds=round(seconds, 1), images_a_second=round(samples / seconds, 1),
        kB_an_image=round(status.bytes / samples / 1e3, 2), complete=status.complete, replaced=status.replaced,
        gave_up=status.gave_up, own_MB=round(memory.own), largest_worker_MB=round(memory.workers))  # fmt: skip
    start = time.perf_counter()
    found = verify_store(open_store(out), workers=workers)
    seconds = time.perf_counter() - start
    say(what="verify", seconds=round(seconds, 1), images_a_second=round(samples / seconds, 1), bad=len(found.problems),
        complete=found.status.complete)  # fmt: skip


def costs(preset: str, samples: int, compression: int) -> None:
    """Processor time an image of each step, ms, on one thread: what the rate is made of, whatever else the machine does."""
    source = load_source(preset, n_samples=samples)
    indices = range(samples)
    form = ShardFormat(
        {}, source.image_shape, len(source.parameter_names), len(source.setting_names), "images", compression
    )
    source.make(indices[:8], threads=1)
    clocks = [time.process_time()]
    made = source.make(indices, threads=1)
    clocks.append(time.process_time())
    data = encode_shard([(indices, made)], indices, form).data
    clocks.append(time.process_time())
    with ShardFile(data) as file:
        file.check(indices, form)
        clocks.append(time.process_time())
        for index in indices:
            file.image(index)
        clocks.append(time.process_time())
    steps = [1e3 * (after - before) / samples for before, after in itertools.pairwise(clocks)]
    named = dict(zip(("simulate", "encode", "check", "read"), (round(step, 3) for step in steps), strict=True))
    say(what="costs", preset=preset, compression=compression, kB_an_image=round(len(data) / samples / 1e3, 2), ms=named)


def streams(out: Path, seconds: float, threads: int, compression: int) -> None:
    """Samples a second of each stream alone, of the network alone, and of both together."""
    import torch

    from insdl.dataset.order import EpochOrder
    from insdl.dataset.reader import SourceReader, StoreReader
    from insdl.dataset.view import ViewedDetection, ViewPrior
    from insdl.learn.networks import CellSetClassifier
    from insdl.learn.stream import ImageStream

    n = 512
    source: Any = load_source("pcsmo", n_samples=n)
    make_data_set(source, out / "pcsmo", compression=compression)
    detect = ViewedDetection(source, ViewPrior())
    frame = source.configuration.frame.image_frame()
    cells = [frame.bin_at(number) for number in range(source.image_shape[0])]
    for index in range(60):  # works out the shapes of the nuisances
        detect(np.ones(source.image_shape, dtype=np.float32), np.random.default_rng(index))
    order = EpochOrder(0, n, shard_size=256, seed=0)
    torch.set_num_threads(threads)
    network = CellSetClassifier(cells, classes=source.classes)
    optimizer = torch.optim.AdamW(network.parameters())

    def learn(images: torch.Tensor, labels: torch.Tensor) -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    def rate(stream: ImageStream, *, train: bool) -> dict[str, float]:
        """Samples a second, and the share of the time in which the loop waits for a batch."""
        start, waited, count = 0.0, 0.0, 0
        while True:
            batches = iter(stream)
            while True:
                asked = time.perf_counter()
                batch = next(batches, None)
                if batch is None:
                    break
                if start:
                    waited += time.perf_counter() - asked
                if train:
                    learn(batch.images, batch.labels)
                if not start:  # the first batch is start-up
                    start = time.perf_counter()
                    continue
                count += len(batch.labels)
                passed = time.perf_counter() - start
                if passed > seconds:
                    return {"samples_a_second": round(count / passed, 1), "waiting": round(waited / passed, 3)}

    fixed = next(iter(ImageStream(StoreReader(out / "pcsmo"), order, batch_size=32, detect=detect)))
    for team in (1, 2):
        torch.set_num_threads(team)
        learn(fixed.images, fixed.labels)
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            learn(fixed.images, fixed.labels)
            count += 32
        say(what="network alone", torch_threads=team, samples_a_second=round(count / (time.perf_counter() - start), 1))
    torch.set_num_threads(threads)
    for where in ("store", "memory", "simulation"):
        for workers in (0, 1, 2) if where != "memory" else (0,):
            kernel = None if workers == 0 else 1
            reader: Any = StoreReader(out / "pcsmo")
            if where != "store":
                reader = SourceReader(source, threads=kernel, remembered=n if where == "memory" else 0)
            if where == "memory":
                reader.read(range(n))  # the first epoch
            for train in (False, True):
                stream = ImageStream(reader, order, batch_size=32, detect=detect, workers=workers)
                say(what=where, workers=workers, training=train, torch_threads=threads,
                    **rate(stream, train=train))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "costs", "streams"])
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--preset", default="rb2mnf4-eight-windows")
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--compression", type=int, default=1)
    parser.add_argument("--content", default="images")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--torch-threads", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="remove OUT before")
    given = parser.parse_args()
    if given.what == "costs":
        costs(given.preset, given.samples, given.compression)
        return
    if given.out is None:
        parser.error("OUT is needed")
    if given.fresh:
        shutil.rmtree(given.out, ignore_errors=True)
    if given.what == "make":
        make(given.out, given.preset, given.samples, given.workers, given.compression, given.content)
    else:
        streams(given.out, given.seconds, given.torch_threads, given.compression)


if __name__ == "__main__":
    main()
