"""An sbatch script for a data set."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path


def array_script(
    config: str, out: Path, *, tasks: int, cpus: int, memory: str, limit: str, options: Sequence[str] = ()
) -> str:
    """The script of an array of ``tasks`` tasks, of which task k makes shards k, k + tasks, ... of a data set.

    Parameters
    ----------
    config : what `insdl dataset make` takes; a file is given with its full path. out : the folder, shared by all machines.
    cpus : processors a task, one process each. memory : a processor, such as "1G". limit : of time, such as "04:00:00".
    options : more words for `insdl dataset make`.

    Raises
    ------
    ValueError
        If memory or limit are not what sbatch reads.
    """
    if not re.fullmatch(r"\d+[KMGT]?", memory):
        raise ValueError(f"memory must be a number with K, M, G or T, got {memory!r}")
    if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", limit):
        raise ValueError(f"time must be minutes, h:m:s or days-h:m:s, got {limit!r}")
    given = str(Path(config).resolve()) if Path(config).is_file() else config
    folder = str(out.resolve())
    make = shlex.join(["insdl", "dataset", "make", given, folder, *options])
    verify = shlex.join(["insdl", "dataset", "verify", folder])
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", out.name) or "out"
    return f"""#!/bin/bash
# Makes {tasks} parts of a data set side by side. Submit it with sbatch, and again until nothing is missing: what is there is
# skipped. Afterwards, on one machine: {verify}
#SBATCH --job-name=insdl-{name}
#SBATCH --array=0-{tasks - 1}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={cpus}
#SBATCH --mem-per-cpu={memory}
#SBATCH --time={limit}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=insdl-{name}-%A-%a.log
set -euo pipefail
# One machine's bytes are another's only if the kernel uses the same instructions on both.
export INSDL_ISA="${{INSDL_ISA:-avx2}}"
exec {make} --part "${{SLURM_ARRAY_TASK_ID}}/{tasks}" --workers "${{SLURM_CPUS_PER_TASK:-{cpus}}}" --quiet
"""
