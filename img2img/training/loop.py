"""The one loop: the only backward pass and the only optimizer step in the package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.methods import Method
from img2img.models import Generator
from img2img.training.ema import ExponentialAverage
from img2img.training.frozen import frozen_parameters
from img2img.training.graphs import graphed
from img2img.training.optimizers import make_optimizer
from img2img.training.runtime import Runtime
from img2img.training.settings import TrainingSettings
from img2img.types import Batch

RateFunction = Callable[[int, str], float]
"""`rates(step, group)` is the learning rate of a group of parameters in a step."""
_STATISTICS = ("running_mean", "running_var")


class Trainer:
    """Drives a method: one `step` a batch, with everything that all methods share.

    Args:
        method: Networks and the order of their updates; it is moved to the device of `runtime`.
        settings: Optimizer, averages, limits.
        runtime: Device, precision and processes.
        rates: Learning rates.

    Attributes:
        step_count: Steps done.
        learned: The groups that the method has called `optimize` with, also before the run went on.
        averages: Running averages of the generators by name; empty without `settings.ema`.
        frozen: What does not learn, see `freeze`.
        bad_steps: Steps in a row, up to the last one looked at, in which an update was skipped.
    """

    def __init__(
        self, method: Method, settings: TrainingSettings, runtime: Runtime, rates: RateFunction
    ) -> None:
        self.runtime, self.settings, self.rates = runtime, settings, rates
        self._graphed = graphed(self._update, settings, runtime, method.cycle)
        self.method = method.to(runtime.device).train()
        runtime.share_weights(method)
        self.step_count = 0
        self.learned: set[str] = set()
        self.averages: dict[str, ExponentialAverage] = {}
        self.reset_averages()
        # the running averages of norm layers: a value that overflows in them shows in no loss and no gradient
        self._statistics = [
            buffer for name, buffer in method.named_buffers() if name.rpartition(".")[2] in _STATISTICS
        ]
        self._names = {parameter: name for name, parameter in method.named_parameters()}
        self.freeze(())
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self._bad = torch.zeros((), device=runtime.device)
        self._own = torch.zeros((), device=runtime.device)
        self._flags: list[tuple[tuple[str, ...], Tensor]] = []
        self.bad_steps = 0

    def freeze(self, names: Sequence[str]) -> None:
        """Lets all but `names` learn, with optimizers that remember nothing, as at the start of a stage.

        Args:
            names: See `frozen_parameters`.

        Raises:
            ConfigError: There is no such group or network.
        """
        self.frozen, still = tuple(names), frozen_parameters(self.method, names)
        groups = self.method.parameter_groups().items()
        self._groups = {group: [p for p in parameters if p not in still] for group, parameters in groups}
        self._optimizers = {
            group: make_optimizer(self.settings, {self._names[p]: p for p in parameters}, self.runtime.device)
            for group, parameters in self._groups.items()
            if parameters
        }
        self._forget_graphs()

    def reset_averages(self) -> None:
        """Lets the averages begin with the present weights."""
        if self.settings.ema:
            networks = self.method.generators()
            self.averages = {name: ExponentialAverage(g, self.settings.ema) for name, g in networks.items()}
        self._forget_graphs()

    @torch.no_grad()
    def adopt_averages(self) -> None:
        """Gives the networks their averaged weights, where there are averages."""
        for name, network in self.method.generators().items():
            if name in self.averages:
                network.load_state_dict(self.averages[name].network.state_dict())

    def run(self, batches: Iterable[Batch]) -> None:
        """Does one step for every batch."""
        for batch in batches:
            self.step(batch)

    def step(self, batch: Batch) -> None:
        """Lets the method learn from `batch`.

        If a loss, a gradient or a running average is not finite, the update that it belongs to is skipped in
        every process, and what the networks remember besides their weights (running averages) is put back.
        """
        self.method.check(batch)
        for group, optimizer in self._optimizers.items():
            _set_rate(optimizer, self.rates(self.step_count, group))
        flags = self._update(batch) if self._graphed is None else self._graphed(batch)
        self._flags.append((batch.keys, flags))
        self.step_count += 1

    def _update(self, batch: Batch) -> Tensor:
        """Does all of a step that happens on the device, and returns whether it was bad: everywhere, here.

        What it changes on the host must not differ from step to step: a CUDA graph repeats its kernels alone.
        """
        self._bad.zero_()
        self._own.zero_()
        buffers = [b for b in self.method.buffers() if b.is_floating_point() and b.numel() < 2**20]
        before = [buffer.clone() for buffer in buffers]
        with self.runtime.autocast():
            self.method.step(batch, self.optimize)
        if buffers:
            with torch.no_grad():
                for buffer, old in zip(buffers, before, strict=True):
                    buffer.copy_(torch.where(self._bad > 0, old, buffer))
        for average in self.averages.values():
            average.update(self._bad)
        return torch.stack((self._bad, self._own))

    def _forget_graphs(self) -> None:
        """Called when tensors are replaced that a recorded step would go on to use."""
        if self._graphed is not None:
            self._graphed.forget()
            self._sums, self._counts = {}, {}

    def optimize(self, group: str, losses: Mapping[str, Tensor]) -> None:
        """Takes one step of the optimizer of `group` down the sum of `losses`.

        Gradients reach the parameters of the group alone and are averaged over the processes once.

        Args:
            group: A name in `method.parameter_groups()`.
            losses: 0-dim fp32 tensors by name, weighted.
        """
        self.learned.add(group)
        parameters = self._groups[group]
        with self.runtime.full_precision():
            total = torch.stack(
                [loss.float() if loss.dtype == torch.bfloat16 else loss for loss in losses.values()]
            ).sum()
            if not parameters:  # frozen as a whole
                self._count(losses, (~total.detach().isfinite()).float())
                return
            optimizer = self._optimizers[group]
            optimizer.zero_grad(set_to_none=True)
            total.backward(inputs=parameters)  # type: ignore[no-untyped-call]
            gradients = [p.grad for p in parameters if p.grad is not None]
            norm = _norm(gradients)
            finite = total.detach().isfinite() & norm.isfinite()
            if self._statistics:
                finite = finite & torch.cat(self._statistics).isfinite().all()
            own = (~finite).float()
            bad = own.clone()
            if self.runtime.world > 1:
                self.runtime.average(gradients)
                norm = _norm(gradients)
                bad = self.runtime.maximum(torch.maximum(own, (~norm.isfinite()).float()))
            if self.settings.clip_norm is not None:
                torch._foreach_mul_(gradients, (self.settings.clip_norm / (norm + 1e-6)).clamp(max=1.0))
            # fused optimizers leave everything as it is when this is 1
            optimizer.found_inf = bad  # type: ignore[attr-defined]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            self._bad.copy_(torch.maximum(self._bad, bad))
            self._own.copy_(torch.maximum(self._own, own))
            self._count({**losses, f"norm_{group}": norm}, bad)
        # autocast keeps the rounded weights of the forward pass: those of this group are old now
        torch.clear_autocast_cache()

    def learning_rates(self) -> dict[str, float]:
        """Returns the learning rate of each group in the last step."""
        return {name: float(each.param_groups[0]["lr"]) for name, each in self._optimizers.items()}

    def means(self) -> dict[str, float]:
        """Returns the mean of each loss since the last call, over all processes, without the skipped updates.

        A loss that was never finite has the mean NaN.
        """
        names = list(self._sums)
        if not names:
            return {}
        sums = torch.stack([self._sums[name] for name in names])
        counts = torch.stack([self._counts[name] for name in names])
        self.runtime.average([sums])
        means = (sums / counts).tolist()
        if self._graphed is None:
            self._sums, self._counts = {}, {}
        else:  # a replay adds to these very tensors
            torch._foreach_zero_([*self._sums.values(), *self._counts.values()])
        return dict(zip(names, means, strict=True))

    def bad_keys(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Yields number and samples of each step since the last call in which an update was skipped.

        They are the samples of the processes whose losses or gradients were not finite. The flags lie on the
        device until here, so that no step waits for another.
        """
        flags, self._flags = self._flags, []
        if not flags:
            return
        for back, (bad, own) in enumerate(torch.stack([flag for _, flag in flags]).tolist()):
            self.bad_steps = self.bad_steps + 1 if bad else 0
            if bad:
                everyone = self.runtime.gather((bool(own), flags[back][0]))
                # if no process had it alone, it came about when their gradients were added up
                guilty = [keys for at_fault, keys in everyone if at_fault] or [keys for _, keys in everyone]
                yield self.step_count - len(flags) + back, tuple(key for keys in guilty for key in keys)

    def evaluated(self) -> dict[str, Generator]:
        """Returns the generators that are looked at and measured: the averages where there are some."""
        if self.averages:
            return {name: average.network for name, average in self.averages.items()}
        return dict(self.method.generators())

    def state(self) -> dict[str, Any]:
        """Returns everything that the next step depends on, of this process."""
        return {
            "step": self.step_count,
            "method": self.method.state_dict(),
            "learned": sorted(self.learned),
            "optimizer": self.settings.optimizer,
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()},
            "frozen": list(self.frozen),
            "averages": {name: average.state_dict() for name, average in self.averages.items()},
            "random": self.random_state(),
            "sums": self._sums,
            "counts": self._counts,
            "bad_steps": self.bad_steps,
        }

    def random_state(self) -> dict[str, Tensor]:
        """Returns the states of the generators of random numbers that this process draws from."""
        random = {"cpu": torch.get_rng_state()}
        if self.runtime.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.runtime.device)
        return random

    def load_state(self, state: Mapping[str, Any]) -> list[str]:
        """Continues from what `state` returned, in this process or another.

        Rates and the other numbers of the optimizers are those of the settings, not those of the state.

        Running averages that are not finite, as older versions saved them, begin anew.

        Returns:
            A sentence for everything that the settings want and the state does not have.

        Raises:
            ConfigError: The state is one of other networks.
        """
        device, notes = self.runtime.device, []
        try:
            self.method.load_state_dict(state["method"])
            self.method.to(device)  # buffers that only the state knew of are where the state was
        except RuntimeError as error:
            raise ConfigError(
                "the state does not fit the networks of the configuration, which cannot change in a run; "
                f"`initial` starts a new one from its weights ({_first_fault(error)})."
            ) from error
        healed = _heal(self.method)
        for name, generator in self.method.generators().items():
            try:
                generator.check_state()
            except ConfigError as error:
                raise ConfigError(f"{name} in the state: {error} That cannot change in a run.") from None
        self.step_count, self.bad_steps = state["step"], state["bad_steps"]
        self.freeze(state.get("frozen", ()))
        # states of older versions do not say it; then an optimizer remembers something
        remembering = [name for name, memory in state["optimizers"].items() if memory["state"]]
        self.learned = set(state.get("learned", remembering))
        if state.get("optimizer", self.settings.optimizer) == self.settings.optimizer:
            for name, optimizer in self._optimizers.items():
                _restore(optimizer, state["optimizers"][name])
        else:
            notes.append(
                f"the state is one of {state['optimizer']}: {self.settings.optimizer} starts without memory."
            )
        self.reset_averages()
        for name, average in self.averages.items():
            if name in state["averages"]:
                average.load_state_dict(state["averages"][name])
                healed |= _heal(average)
            else:
                notes.append(f"the state has no average of {name}: it begins with the present weights.")
        if healed:
            notes.append("running averages of norm layers are not finite in the state; they begin anew.")
        self._sums = {name: value.to(device) for name, value in state["sums"].items()}
        self._counts = {name: value.to(device) for name, value in state["counts"].items()}
        torch.set_rng_state(state["random"]["cpu"].cpu())
        if device.type == "cuda" and "cuda" in state["random"]:
            torch.cuda.set_rng_state(state["random"]["cuda"].cpu(), device)
        return notes

    def _count(self, losses: Mapping[str, Tensor], bad: Tensor) -> None:
        """Adds `losses` to their sums on the device, unless the update was skipped."""
        for name, loss in losses.items():
            if name not in self._sums:
                self._sums[name] = torch.zeros_like(bad)
                self._counts[name] = torch.zeros_like(bad)
            self._sums[name] += torch.where(bad > 0, 0.0, loss.detach().float())
            self._counts[name] += 1 - bad


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for parameters in optimizer.param_groups:
        if isinstance(parameters["lr"], Tensor):
            parameters["lr"].fill_(rate)
        else:
            parameters["lr"] = rate


def _restore(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Gives `optimizer` the memory of another one, but leaves it its own settings."""
    own = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, values in zip(optimizer.param_groups, own, strict=True):
        group.update(values)
    # The fused kernels walk through weight and memory side by side in the order of their bytes, so they must
    # lie alike; those of the state may come from a run with another memory format.
    for parameter, memory in optimizer.state.items():
        for name, value in memory.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim:
                memory[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


@torch.no_grad()
def _heal(networks: nn.Module) -> bool:
    """Lets running averages that are not finite begin anew, and returns whether there were any."""
    healed = False
    for layer in networks.modules():
        for name in _STATISTICS:
            values = getattr(layer, name, None)
            if isinstance(values, Tensor) and not bool(values.isfinite().all()):
                layer.reset_running_stats()  # type: ignore[operator]
                healed = True
    return healed


def _norm(gradients: list[Tensor]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


def _first_fault(error: RuntimeError) -> str:
    """Returns the first thing that torch says does not fit."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line.rstrip(".") for line in lines[1:] if line), lines[0])[:200]
