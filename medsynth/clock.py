"""The clock of a run: real images drawn for training. Lightning's global_step counts optimizer steps instead, which
means something else for every algorithm, and its batch_idx restarts every epoch; neither is used."""

from dataclasses import dataclass


@dataclass
class Clock:
    """Plain integers, saved in the checkpoint; a buffer on the GPU would stall the loop at every read."""

    batch_size: int
    images_seen: int = 0
    batches_seen: int = 0

    def advance(self) -> None:
        """Count one global batch."""
        self.images_seen += self.batch_size
        self.batches_seen += 1

    def due(self, every: int) -> bool:
        """Is the batch at hand an `every`-th one? Counted over the whole life of the run, resumes included."""
        return (self.batches_seen + 1) % every == 0

    def passed(self, every: int) -> bool:
        """Did the last counted batch reach a multiple of `every` images? Never, when `every` is 0."""
        if every <= 0 or self.images_seen == 0:
            return False
        return self.images_seen // every > (self.images_seen - self.batch_size) // every
