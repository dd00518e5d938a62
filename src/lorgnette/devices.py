"""Which device computes, and in which precision."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

import torch
from torch import nn

from lorgnette.errors import ConfigError
from lorgnette.machine import free_memory


@dataclass(frozen=True, slots=True)
class Device:
    """A device and the precision of its arithmetic.

    Attributes:
        torch: torch's name for it.
        precision: of matrix products and convolutions; weights and sums stay in float32.
    """

    torch: torch.device
    precision: str

    def place(self, network: nn.Module) -> nn.Module:
        """The network on the device, its weights laid out channels last."""
        return network.to(device=self.torch).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """A context in which networks compute in the chosen precision."""
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.torch.type, torch.bfloat16)

    def seed(self, seed: int) -> None:
        """Seed the random numbers that networks draw on the device.

        Not `torch.manual_seed`: where CUDA is not in use it notes the whole call stack each time,
        which takes longer than a step of a small network.
        """
        if self.torch.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def exact(self) -> Device:
        """The device in float32: small products of vectors gain nothing from less."""
        return replace(self, precision="float32")

    @property
    def name(self) -> str:
        """For people: the GPU's name, or `cpu`."""
        return (
            torch.cuda.get_device_name(self.torch) if self.torch.type == "cuda" else self.torch.type
        )

    def free_bytes(self) -> int:
        """Memory that is free on the device: the GPU's, or the machine's."""
        if self.torch.type == "cuda":
            return int(torch.cuda.mem_get_info(self.torch)[0])
        return free_memory()


def choose(device: str = "auto", precision: str = "auto") -> Device:
    """The device and precision that were asked for, or the best that are there.

    Raises:
        ConfigError: the device that was asked for is not there.
    """
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        found = ", ".join(name for name, present in there.items() if present)
        raise ConfigError(
            f"train.device is '{device}' and this machine has only {found}: use "
            "--set train.device=auto, or install the torch build for that device."
        )
    if precision == "auto":
        precision = "bfloat16" if _has_bfloat16(device) else "float32"
    return Device(torch.device(device), precision)


def _has_bfloat16(device: str) -> bool:
    """Whether the hardware multiplies in bfloat16; emulation would be slower than float32."""
    if device == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    if device == "cpu":
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False
