"""Our training step against a bare PyTorch loop:   python benchmarks/loop.py [--quick]

Both train the same WGAN-GP in one process, a few batches each in turn, from the same weights on the same images,
latents and interpolations. So both must end with the same weights, bit for bit on a CPU, and this is checked: neither
side can win by leaving something out. Ours is all that medsynth.train runs around a batch: Lightning's Trainer,
ImageDataModule, the callbacks and the journal at its default cadence; only grids, judgements and checkpoints are off.

The other models (--models all, or names) are raced in the same way against their own networks and losses in a loop of
four lines a phase, without Lightning, DataModule, callbacks or journal: on batches of 16 and with convolutions of 16
channels, where a batch is short and what runs around it weighs more.

Bar, at 64x64: at least 0.97 of the bare loop's images/s, or at most 0.7 ms a batch over it. The second
case is so small that the overhead shows; on a machine that is busy with other work its milliseconds grow as all do.
On the CPU both sides are timed by the CPU seconds of this process, on one thread: an idle machine's wall time, whatever
else runs now. The ratio by wall time stands beside it. On a GPU it is wall time alone.
"""

import copy
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from measure import PHANTOMS, Run, compare, configuration, digits, finish, narrow, parse, summary, train_with
from pytorch_lightning import Callback
from torch import Tensor, nn

RATIO, OVERHEAD_MS = 0.97, 0.7
WGAN_GP = ("model=wgan_gp", "sample_every=0", "evaluate_every=0", "checkpoint_every=0", "metrics=none")
MAIN = ("resolution=64", "model.generator.width=32", "model.critic.width=32", "batch_size=64")
SMALL = ("resolution=16", "model.generator.width=4", "model.critic.width=4", "batch_size=64")
AMP = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


@dataclass(frozen=True)
class Seconds:
    """Wall time, and the CPU time of this process."""

    wall: float
    cpu: float

    @classmethod
    def now(cls, device: torch.device) -> "Seconds":
        """The clocks, once the GPU has done what it was told."""
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return cls(time.perf_counter(), time.process_time())

    def elapsed(self, device: torch.device, *, share: int) -> "Seconds":
        """Since then, divided by `share`."""
        end = Seconds.now(device)
        return Seconds((end.wall - self.wall) / share, (end.cpu - self.cpu) / share)


@dataclass(frozen=True)
class Plan:
    """One batch of the bare loop: which images, the seeds of its numbers, and how the average follows, None if not."""

    chosen: Tensor
    critic: int
    interpolation: int
    generator: int
    decay: float | None


class Bare:
    """Algorithm 1 of Gulrajani et al. 2017 (arXiv:1704.00028) as one writes it without a framework.

    It has copies of the run's networks, and the run's optimizers, numbers and order of images.
    """

    def __init__(self, run: Run, *, device: torch.device, precision: str) -> None:
        model: Any = run.model  # a WGANGP
        self.device, self.amp = device, AMP.get(precision)
        self.generator: nn.Module = copy.deepcopy(model.generator).to(device).train()
        self.critic: nn.Module = copy.deepcopy(model.critic).to(device).train()
        self.average: nn.Module = copy.deepcopy(model.generator).to(device).eval().requires_grad_(False)
        build = model.training_config.optimizers
        self.critic_optimizer = build["critic"](self.critic.parameters())
        self.generator_optimizer = build["generator"](self.generator.parameters())
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")  # type: ignore[attr-defined]
        self.gp_weight, self.n_critic, self.latent_dim = model.gp_weight, model.n_critic, model.latent_dim
        self.batch_size, self.seed = model.training_config.batch_size, model.training_config.seed
        self.half_life = model.generator_average.half_life
        from medsynth.data.order import Order

        self.indices = run.pack.splits["train"]
        self.order = Order(np.zeros_like(self.indices), seed=self.seed)
        self.pixels = torch.from_numpy(np.array(run.pack.images))
        self.stream = torch.Generator()
        self.batches = 0

    def window(self, batches: int) -> "Seconds":
        """Train on the next `batches` batches; returns the seconds of one."""
        plans = [self.plan(number) for number in range(self.batches, self.batches + batches)]
        start = Seconds.now(self.device)
        for plan in plans:
            self.step(plan)
        self.batches += batches
        return start.elapsed(self.device, share=batches)

    def plan(self, number: int) -> Plan:
        """The batch of this number, as the run draws it; outside the measured time, to the bare loop's advantage."""
        from medsynth.ema import RAMP_UP
        from medsynth.seeds import fold

        first, last = number * self.batch_size, (number + 1) * self.batch_size
        positions = self.order.at(range(first, last))
        half_life = min(self.half_life, last * RAMP_UP)
        due = (number + 1) % self.n_critic == 0
        return Plan(
            chosen=torch.from_numpy(self.indices[positions]),
            critic=fold(self.seed, "critic", first),
            interpolation=fold(self.seed, "interpolation", first),
            generator=fold(self.seed, "generator", first),
            decay=0.5 ** (self.n_critic * self.batch_size / half_life) if due else None,
        )

    def step(self, plan: Plan) -> None:
        """One batch: the critic, and when it is due the generator and its average."""
        real = self._real(plan.chosen)
        with torch.no_grad(), self._autocast():
            fake = self.generator(self._latent(plan.critic))
        with self._autocast():
            on_real, on_fake = self.critic(real), self.critic(fake)
        epsilon = torch.rand(self.batch_size, generator=self.stream.manual_seed(plan.interpolation)).to(self.device)
        mixed = torch.lerp(fake.float(), real, epsilon.view(-1, 1, 1, 1)).requires_grad_()
        (gradients,) = torch.autograd.grad(self.critic(mixed).sum(), mixed, create_graph=True)
        norms = torch.linalg.vector_norm(gradients.flatten(1), dim=1)
        penalty = self.gp_weight * (norms - 1).square().mean()
        self._move(self.critic_optimizer, on_fake.mean() - on_real.mean() + penalty)
        if plan.decay is not None:
            self.critic.requires_grad_(False)
            with self._autocast():
                loss = -self.critic(self.generator(self._latent(plan.generator))).mean()
            self._move(self.generator_optimizer, loss)
            self.critic.requires_grad_(True)
            self._follow(plan.decay)

    def _real(self, chosen: Tensor) -> Tensor:
        pixels = self.pixels.index_select(0, chosen)
        if self.device.type == "cuda":
            pixels = pixels.pin_memory().to(self.device, non_blocking=True)
        return pixels.to(torch.float32).div_(127.5).sub_(1.0)

    def _latent(self, seed: int) -> Tensor:
        drawn = torch.randn(self.batch_size, self.latent_dim, generator=self.stream.manual_seed(seed))
        return drawn.to(self.device, non_blocking=True)

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, dtype=self.amp) if self.amp else nullcontext()

    def _move(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(optimizer)
        self.scaler.update()

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        pairs = list(zip(self.average.state_dict().values(), self.generator.state_dict().values(), strict=True))
        for mine, theirs in pairs:
            if not mine.is_floating_point():
                mine.copy_(theirs)
        moving = [(mine, theirs) for mine, theirs in pairs if mine.is_floating_point()]
        torch._foreach_lerp_(*map(list, zip(*moving, strict=True)), 1 - decay)  # type: ignore[attr-defined]

    def distance(self, model: Any) -> float:
        """Largest absolute difference of any weight, average or running statistic to the run's model."""
        networks = (self.generator, model.generator), (self.critic, model.critic)
        pairs = [*networks, (self.average, model.generator_average.network)]
        return max(
            (mine.double() - theirs.double()).abs().max().item()
            for ours, other in pairs
            for mine, theirs in zip(ours.state_dict().values(), other.state_dict().values(), strict=True)
        )


class BarePhases:
    """A copy of a run's model, moved phase by phase: its networks, losses and numbers without all that runs around."""

    def __init__(self, run: Run, *, device: torch.device, precision: str) -> None:
        if precision != "32-true":
            raise ValueError("models other than wgan_gp are raced in full precision")
        self.device, self.model = device, copy.deepcopy(run.model).to(device).train()
        self.players = self.model.players()
        self.optimizers = {p: self.model.training_config.optimizer(p)(self.model.weights(p)) for p in self.players}
        self.batch_size, self.seed = self.model.training_config.batch_size, self.model.training_config.seed
        from medsynth.data.order import Order

        self.indices = run.pack.splits["train"]
        self.order = Order(np.zeros_like(self.indices), seed=self.seed)
        self.pixels = torch.from_numpy(np.array(run.pack.images))
        self.labels = torch.from_numpy(run.pack.labels)
        self.row = torch.arange(self.batch_size, device=device)
        self.phases = self.model.phases()

    def window(self, batches: int) -> "Seconds":
        """Train on the next `batches` batches; returns the seconds of one."""
        first = self.model.clock.batches_seen
        chosen = [
            torch.from_numpy(self.indices[self.order.at(range(k * self.batch_size, (k + 1) * self.batch_size))])
            for k in range(first, first + batches)
        ]
        start = Seconds.now(self.device)
        for indices in chosen:
            self.step(indices)
        return start.elapsed(self.device, share=batches)

    def step(self, chosen: Tensor) -> None:
        """One batch."""
        from medsynth.seeds import fold

        clock = self.model.clock
        torch.manual_seed(fold(self.seed, "global", clock.images_seen, 0))  # of dropout
        image = self.pixels.index_select(0, chosen).to(self.device).to(torch.float32).div_(127.5).sub_(1.0)
        batch = {"image": image, "row": self.row, "label": self.labels[chosen].to(self.device)}
        for phase in self.phases:
            if clock.due(phase.every):
                self._freeze_all_but(phase.player)
                self.optimizers[phase.player].zero_grad(set_to_none=True)
                terms = phase.loss(batch)  # type: ignore[arg-type]
                (sum(terms.values()) * phase.gain).backward()  # type: ignore[union-attr]
                self.optimizers[phase.player].step()
                self.model.on_phase_end(phase, {name: term.detach() for name, term in terms.items()})
        self.model._average()
        clock.advance()

    def _freeze_all_but(self, player: str) -> None:
        for name in self.players:
            for weight in self.model.weights(name):
                weight.requires_grad_(name == player)

    def distance(self, model: Any) -> float:
        """Largest absolute difference of any weight, average or running statistic to the run's model."""
        pairs = zip(self.model.state_dict().values(), model.state_dict().values(), strict=True)
        return max((mine.double() - theirs.double()).abs().max().item() for mine, theirs in pairs)


class Alternation(Callback):
    """Measures windows of the run's batches, and lets the bare loop take two windows after every second one of ours:
    ours, bare, bare, ours, ... so that a drift of the machine cancels.

    Args:
        batches: of a window.
        windows: of each side, an even number.
    """

    def __init__(self, bare: Bare | BarePhases, *, batches: int, windows: int) -> None:
        self.bare, self.batches, self.windows = bare, batches, windows
        self.ours: list[Seconds] = []
        self.other: list[Seconds] = []
        self.distance: float | None = None  # of the weights when both have trained on the same batches
        self._start = Seconds.now(bare.device)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._start = Seconds.now(self.bare.device)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % self.batches or len(self.ours) == self.windows:
            return
        self.ours.append(self._start.elapsed(self.bare.device, share=self.batches))
        if len(self.ours) % 2:
            self.other += [self.bare.window(self.batches) for _ in range(2)]
        elif len(self.ours) == self.windows:
            self.distance = self.bare.distance(pl_module)
        self._start = Seconds.now(self.bare.device)


def race(
    config: dict[str, Any], *, batches: int, pairs: int, warmup: int = 2, other: type[Bare] | type[BarePhases] = Bare
) -> dict[str, Any]:
    """Train `config` and the bare loop in turn; returns images/s as a ratio, and the overhead in ms a batch.

    Args:
        config: of medsynth.train; a WGAN-GP where `other` is Bare.
        batches: of a window; a multiple of n_critic makes all windows alike.
        pairs: of windows that count; `warmup` pairs before them do not.
    """
    windows = pairs + warmup + (pairs + warmup) % 2
    # One batch more than is measured: on the run's last one the callbacks write their last grid and checkpoint.
    config = {**config, "images": (windows * batches + 1) * config["batch_size"]}
    attached: list[Alternation] = []

    def attach(run: Run) -> Alternation:
        bare = other(run, device=run.trainer.strategy.root_device, precision=config["trainer"]["precision"])
        attached.append(Alternation(bare, batches=batches, windows=windows))
        return attached[0]

    train_with(config, attach)
    (alternation,) = attached
    on_cpu = alternation.bare.device.type == "cpu"
    walls = [[seconds.wall for seconds in side[warmup:]] for side in (alternation.ours, alternation.other)]
    cpus = [[seconds.cpu for seconds in side[warmup:]] for side in (alternation.ours, alternation.other)]
    ours, theirs = cpus if on_cpu else walls
    overhead = summary([1000 * (a - b) for a, b in zip(ours, theirs, strict=True)])
    result = {
        **compare(ours, theirs),
        "seconds_are": "CPU seconds a batch" if on_cpu else "wall seconds a batch",
        "ratio_by_wall": compare(*walls)["ratio"],
        "overhead_ms": overhead["median"],
        "overhead_ms_quartiles": overhead["quartiles"],
        "ours_images_per_second": digits(config["batch_size"] / float(np.median(ours))),
        "other_images_per_second": digits(config["batch_size"] / float(np.median(theirs))),
        "batches": windows * batches,
        "largest_weight_difference": alternation.distance,
    }
    return {**result, "pass": passes(result, on_cpu=on_cpu)}


def passes(result: dict[str, Any], *, on_cpu: bool) -> bool:
    """The bar; and on a CPU, where sums have one order, that both sides did the same mathematics."""
    fast = result["ratio"] >= RATIO or result["overhead_ms"] <= OVERHEAD_MS
    return fast and (result["largest_weight_difference"] == 0 or not on_cpu)


def race_models(names: list[str], *, pairs: int) -> dict[str, Any]:
    """Each of conf/model at 64x64, its convolutions 16 channels wide, against its own phases in a bare loop."""
    from medsynth.cli import conf_dir

    every = sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml"))
    still = ("resolution=64", "batch_size=16", "metrics=none", "trainer=cpu", *WGAN_GP[1:])
    return {
        name: race(
            configuration(f"model={name}", *PHANTOMS, *still, *narrow(name, 16)),
            batches=10,
            pairs=pairs,
            other=BarePhases,
        )
        for name in (every if names == ["all"] else names)
    }


def main() -> None:
    """Race on the CPU: the WGAN-GP at two sizes, or the models that --models names."""
    arguments = parse(__doc__, models="race these of conf/model instead, separated by commas; all")
    quick = arguments.quick
    if arguments.models:
        cases = race_models(arguments.models.split(","), pairs=3 if quick else 15)
        finish(
            {
                "benchmark": "loop",
                "ours": "medsynth.train's loop: Trainer, SynthesisModule, ImageDataModule, all callbacks, journal",
                "other": "the same networks, losses and numbers in a bare PyTorch loop",
                "ratio": min(case["ratio"] for case in cases.values()),
                "bar": f"each model: ratio >= {RATIO}, or overhead <= {OVERHEAD_MS} ms a batch; both: the same weights",
                "cases": cases,
                "pass": all(case["pass"] for case in cases.values()),
            }
        )
    cases = {
        "wgan_gp, 64x64, width 32, batch 64": race(
            configuration(*WGAN_GP, *PHANTOMS, *MAIN, "trainer=cpu"), batches=5, pairs=3 if quick else 25, warmup=1
        ),
        "wgan_gp, 16x16, width 4, batch 64": race(
            configuration(*WGAN_GP, *PHANTOMS, *SMALL, "trainer=cpu"), batches=20, pairs=15 if quick else 45
        ),
    }
    main_case = next(iter(cases.values()))
    finish(
        {
            "benchmark": "loop",
            "ours": "medsynth.train's loop: Trainer, SynthesisModule, ImageDataModule, all callbacks, journal",
            "other": "a bare PyTorch loop: same networks, weights, mathematics, batches and latents",
            "ratio": main_case["ratio"],
            "bar": f"64x64: ratio >= {RATIO}, or overhead <= {OVERHEAD_MS} ms a batch; both: the same weights",
            "cases": cases,
            "pass": main_case["pass"] and all(case["largest_weight_difference"] == 0 for case in cases.values()),
        }
    )


if __name__ == "__main__":
    main()
