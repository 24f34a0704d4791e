"""A task of several processes, one of which fails while the others wait for it."""

import torch.distributed as dist

from pipelines.models import devices
from pipelines.runtime import environment
from pipelines.runtime.errors import UserError
from tasks import task

if __name__ == "__main__":
    with task("sft", parallel=True) as t:
        devices.prepare(t.config.compute)
        if environment.rank() == 1:
            raise UserError("A row is too long.")
        dist.barrier()
