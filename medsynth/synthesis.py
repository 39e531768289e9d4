"""The only training loop. START HERE.

A model says *what* each player minimises, as a list of phases: one line of its paper's algorithm box each. This module
owns *how* networks move: freezing, gradients, precision, accumulation, clipping, averages, the clock.

    class WGANGP(NoiseToImage):
        def phases(self):
            return [Phase("critic", self.critic_loss), Phase("generator", self.generator_loss, every=self.n_critic)]
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from medsynth.augment.critic_augment import CriticAugment
from medsynth.batch import Batch, Request, micro_batches
from medsynth.clock import Clock
from medsynth.ema import Average
from medsynth.errors import UserError
from medsynth.latent import Draws
from medsynth.seeds import fold

Image = Float[Tensor, "b c h w"] | tuple[Float[Tensor, "b c _ _"], ...]  # or the levels of a pyramid, coarse to fine
Terms = dict[str, Tensor]  # named loss terms, scalars: their sum is minimised, each one is logged


@dataclass(frozen=True)
class Phase:
    """One line of a paper's algorithm box.

    player: whose weights move, a key of `players()`.
    loss: the terms whose sum that player minimises on a batch.
    every: act on every k-th batch (n_critic for a generator, the interval of a lazy regulariser).
    gain: multiplies the gradient; a lazy regulariser sets gain == every.
    """

    player: str
    loss: Callable[[Batch], Terms]
    every: int = 1
    gain: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.every, int) or self.every < 1:
            raise UserError(f"the {self.player} moves every {self.every} batches: that must be a whole number above 0")


@dataclass(frozen=True)
class Training:
    """How a run trains whatever the algorithm: global batch size, seed, optimizers by player, and own versions of
    what Lightning refuses under manual optimization.

    accumulate: micro-batches per batch; gradients are averaged over them, so only memory changes, but for what looks at
        a batch as a whole: batch norm, minibatch deviation, feature matching, EBGAN's pulling-away term.
    clip_norm: largest gradient norm of a player, None for no clipping.
    lr_half_life: images after which every learning rate is halved, exponentially; None for constant ones.
    critic_augment: what changes all images, real and fake, on their way to a critic, which gets a copy of its own; None
        for nothing.
    mask_channels: last channels of an image that are masks, which colours never change.
    """

    batch_size: int
    seed: int
    optimizers: Mapping[str, Callable[..., torch.optim.Optimizer]]
    accumulate: int = 1
    clip_norm: float | None = None
    lr_half_life: int | None = None
    critic_augment: CriticAugment | None = None
    mask_channels: int = 0

    def optimizer(self, player: str) -> Callable[..., torch.optim.Optimizer]:
        """That of the player, or of its kind: "critic" for a player "critic/16" without one of its own."""
        found = self.optimizers.get(player) or self.optimizers.get(player.partition("/")[0])
        if found is None:
            raise UserError(f"optimizer has no entry for the player {player}; it has {', '.join(self.optimizers)}")
        return found


class SynthesisModule(LightningModule, ABC):
    """Abstract: a set of networks, the phases that train them, and images out of them."""

    needs: frozenset[str] = frozenset({"image"})  # what a dataset must provide
    has_boundary: bool = True  # whether critics' logits of real and of fake images lie on two sides, which ADA counts
    training_config: Training
    critic_augments: dict[str, CriticAugment]  # by player; empty for no augmentation
    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._judged: dict[str, list[tuple[Tensor, Tensor]]] = {}

    @abstractmethod
    def players(self) -> dict[str, list[nn.Module]]:
        """The networks of each player; every player has one optimizer."""

    @abstractmethod
    def phases(self) -> list[Phase]:
        """The algorithm box, in order."""

    @abstractmethod
    def generate(self, request: Request) -> Float[Tensor, "b c h w"]:
        """Images in [-1, 1] by the averaged weights in eval mode."""

    def on_phase_end(self, phase: Phase, terms: Terms) -> None:
        """Called after a phase moved its player: clip weights, move BEGAN's k, adapt ADA's p."""

    # ------------------------------------------------------------------------------------------------ the loop

    def begin(self, training: Training) -> None:
        """Give the module its training configuration and a clock at zero; before `Trainer.fit`.

        Raises UserError where they do not fit together.
        """
        self.phases()  # a wrong cadence is refused here
        for name in self.players():
            try:
                training.optimizer(name)(self.weights(name))
            except (ValueError, TypeError) as error:
                raise UserError(f"optimizer.{name}: {error}") from None
        augment = training.critic_augment
        if augment is not None and augment.adapts and not self.has_boundary:
            raise UserError(
                "critic_augment=ada counts the real images on their side of the critic's boundary, and this model's "
                "energies have none: critic_augment=diffaugment, or critic_augment.target=null for a fixed p"
            )
        self.training_config = training
        critics = [name for name in self.players() if name.partition("/")[0] == "critic"]
        self.critic_augments = {} if augment is None else {critic: deepcopy(augment) for critic in critics}
        self.clock = Clock(training.batch_size)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One optimizer a player, in the order of `players()`."""
        optimizers = [self.training_config.optimizer(name)(self.weights(name)) for name in self.players()]
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["initial_lr"] = group["lr"]
        return optimizers

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Let every phase that is due on this batch move its player, then count the batch."""
        self._seed_dropout()
        self._decay()
        for phase in self.phases():
            if self.clock.due(phase.every):
                terms = self._move(phase, batch)
                self._collect(phase.player, terms)
                self.on_phase_end(phase, terms)
                # training_step is one autocast region, whose half precision weights are those before the step
                torch.clear_autocast_cache()
        self._adapt()
        self._average()
        self.clock.advance()

    def _move(self, phase: Phase, batch: Batch) -> Terms:
        """One optimizer step of the phase's player on the batch; returns its terms, averaged over micro-batches."""
        optimizer = self._optimizer(phase.player)
        parts = micro_batches(batch, self.training_config.accumulate)
        totals: Terms = {}
        with self._only(phase.player):
            optimizer.zero_grad(set_to_none=True)
            for number, part in enumerate(parts, start=1):
                with nullcontext() if number == len(parts) else self._without_sync():
                    terms = phase.loss(part)
                    loss = torch.stack(list(terms.values())).sum()
                    self.manual_backward(loss * (phase.gain / len(parts)))
                for name, value in terms.items():
                    share = value.detach().float() / len(parts)
                    totals[name] = totals[name] + share if name in totals else share
            optimizer.step()
        return totals

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip here, because Lightning has unscaled mixed precision gradients by now and not before."""
        if self.training_config.clip_norm is not None:
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            nn.utils.clip_grad_norm_(weights, self.training_config.clip_norm)

    def _decay(self) -> None:
        """Learning rates as a function of the clock alone, so that a resumed run has the same."""
        if self.training_config.lr_half_life is not None:
            factor = 0.5 ** (self.clock.images_seen / self.training_config.lr_half_life)
            for name in self.players():
                for group in self._optimizer(name).param_groups:
                    group["lr"] = group["initial_lr"] * factor

    def _adapt(self) -> None:
        """Tell each critic's augmentation, once a batch, what that critic said of real and fake images."""
        for player, judged in self._judged.items():
            real, fake = (torch.cat(logits) for logits in zip(*judged, strict=True))
            self.critic_augments[player].adapt(real, fake, batch_size=self.clock.batch_size)
        self._judged = {}

    def _average(self) -> None:
        """Let the averages follow, once for the batches since their player last moved."""
        for average in self.averages():
            every = min(phase.every for phase in self.phases() if phase.player == average.player)
            if self.clock.due(every):
                images = every * self.clock.batch_size
                average.update(images, self.clock.images_seen + self.clock.batch_size)

    def _seed_dropout(self) -> None:
        # The global generator (dropout, noise layers) restarts at every batch as a function of the clock and the rank,
        # so there is no random state to save and a resumed run draws what an uninterrupted one would.
        # By generator, because torch.manual_seed formats a stack trace for every kind of device that is not there.
        seed = fold(self.training_config.seed, "global", self.clock.images_seen, self.global_rank)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    @contextmanager
    def _only(self, player: str) -> Iterator[None]:
        """Freeze every other player, so that no gradient is computed for their weights."""
        frozen = [weight for name in self.players() if name != player for weight in self.weights(name)]
        for weight in frozen:
            weight.requires_grad_(False)
        try:
            yield
        finally:
            for weight in frozen:
                weight.requires_grad_(True)

    def _without_sync(self) -> Any:
        parallel = self.trainer.strategy.model
        return parallel.no_sync() if isinstance(parallel, DistributedDataParallel) else nullcontext()

    def _optimizer(self, player: str) -> Any:
        optimizers = self.optimizers()
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        return optimizers[list(self.players()).index(player)]

    # ------------------------------------------------------------------------- what losses and callbacks rely on

    @property
    def draws(self) -> Draws:
        """The randomness of the batch at hand."""
        return Draws(self.training_config.seed, self.clock.images_seen, self.clock.batch_size)

    def see(self, image: Image, rows: Int[Tensor, " b"], name: str, *, player: str = "critic") -> Image:
        """What a critic gets to see of images, or of each level of a pyramid; equal names see through equal changes."""
        if not self.critic_augments:
            return image
        augment, masks = self.critic_augments[player], self.training_config.mask_channels
        if isinstance(image, tuple):
            side = image[-1].shape[-1]
            return tuple(augment(level, self.draws, rows, name=name, masks=masks, side=side) for level in image)
        return augment(image, self.draws, rows, name=name, masks=masks)

    def heard(self, real: Float[Tensor, " b"], fake: Float[Tensor, " b"], *, player: str = "critic") -> None:
        """A critic's phase reports its logits, which an adaptive critic_augment of that critic follows."""
        if self.critic_augments:
            self._judged.setdefault(player, []).append((real.detach(), fake.detach()))

    def weights(self, player: str) -> list[nn.Parameter]:
        """The player's parameters."""
        return [weight for network in self.players()[player] for weight in network.parameters()]

    def averages(self) -> list[Average]:
        """The moving averages among the module's children."""
        return [child for child in self.children() if isinstance(child, Average)]

    def read_terms(self) -> dict[str, float]:
        """Means of the logged terms since the last call, `train/<player>/<term>`, the same on all ranks."""
        if not self._sums:
            return {}
        means = torch.stack([total / self._counts[name] for name, total in self._sums.items()])
        if dist.is_initialized():
            dist.all_reduce(means)
            means /= dist.get_world_size()
        names = list(self._sums)
        self._sums, self._counts = {}, {}
        return dict(zip(names, means.tolist(), strict=True))

    def _collect(self, player: str, terms: Terms) -> None:
        # Summed on the device: `self.log` costs about a millisecond a batch and would wait for the GPU.
        for name, value in terms.items():
            key = f"train/{player}/{name}"
            self._sums[key] = self._sums[key] + value if key in self._sums else value
            self._counts[key] = self._counts.get(key, 0) + 1

    @torch.no_grad()
    def reduce_running_statistics(self) -> None:
        """Average the floating point buffers over ranks, before every save and evaluation; weights are equal anyway."""
        if dist.is_initialized() and dist.get_world_size() > 1:
            for buffer in self.buffers():
                if buffer.is_floating_point():
                    dist.all_reduce(buffer)
                    buffer /= dist.get_world_size()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Lightning's loop state counts epochs and optimizer steps; the clock replaces it.
        checkpoint.pop("loops", None)
        checkpoint["clock"] = {"images_seen": self.clock.images_seen, "batches_seen": self.clock.batches_seen}
        if self.critic_augments:
            checkpoint["critic_augment"] = {name: augment.state() for name, augment in self.critic_augments.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if hasattr(self, "clock"):
            self.clock = Clock(self.training_config.batch_size, **checkpoint["clock"])
            for name, augment in self.critic_augments.items():
                augment.load_state(checkpoint["critic_augment"][name])
