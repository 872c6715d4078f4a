"""Registered architectures: how each is built, trained by default and tapped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from probe.detectors.networks import Meso4, MesoInception4, ShallowNet
from probe.detectors.timm_adapter import build_timm
from probe.errors import ProbeError
from probe.registry import Registry

__all__ = ["ARCHITECTURES", "TIMM_PREFIX", "Architecture", "Recipe", "find_architecture"]

TIMM_PREFIX = "timm:"


@dataclass(frozen=True)
class Recipe:
    """Loss and optimizer settings of a training; the optimizer is Adam.

    Attributes
    ----------
    loss : {"mse", "bce"}
        Mean squared error of P(fake), or binary cross-entropy of the logit.
    rate : float
        Learning rate.
    weight_decay : float
        L2 penalty as in PyTorch's Adam; Keras's L2(λ), which adds λ·w² to the loss, is 2λ here.
    """

    loss: str
    rate: float
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Architecture:
    """A detector architecture and its defaults.

    Attributes
    ----------
    name : str
        Registered name.
    build : callable
        Function from ``input_size`` and options to a module that returns fake logits.
    input_size : int
        Default side of the input images in pixels.
    smallest, multiple : int
        Smallest allowed input size, and the number that the input size must be a multiple of.
    recipe : Recipe
        Loss and optimizer settings used in the study.
    tuned_recipe : Recipe
        The same for the variants `shallow` and `deep`.
    last_layers : tuple of str
        Module paths that the variant `shallow` fine-tunes.
    units : str
        Default layer of neuron tables.
    last_conv : str
        Module path of the last convolutional layer, for Grad-CAM.
    """

    name: str
    build: Callable[..., nn.Module]
    input_size: int
    smallest: int
    multiple: int
    recipe: Recipe
    tuned_recipe: Recipe
    last_layers: tuple[str, ...]
    units: str
    last_conv: str

    def check_input_size(self, size: int) -> None:
        """Raise `ProbeError` if `size` is not an allowed input size, in pixels."""
        if size < self.smallest or size % self.multiple:
            rule = f"a multiple of {self.multiple}, " if self.multiple > 1 else ""
            raise ProbeError(
                f"input_size={size} was given for {self.name}; it takes {rule}at least "
                f"{self.smallest}. Its default is {self.input_size}."
            )


#: The study's five detectors.
ARCHITECTURES: Registry[Architecture] = Registry(
    "detector", "List them with `probe detectors`; any timm model is `timm:<name>`."
)

_MESO = Recipe("mse", 1e-3)
_BCE = Recipe("bce", 5e-5)


def _timm_builder(model: str, normalize: bool) -> Callable[..., nn.Module]:
    def build(
        input_size: int,
        pretrained: bool = False,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> nn.Module:
        return build_timm(model, input_size, pretrained, normalize, mean, std)

    return build


def _register(architecture: Architecture) -> None:
    ARCHITECTURES.register(architecture.name)(architecture)


_register(Architecture("meso4", Meso4, 256, 32, 32, _MESO, _MESO, ("fc1", "fc2"), "leaky", "conv4"))
_register(
    Architecture(
        "mesoinception4",
        MesoInception4,
        256,
        32,
        32,
        _MESO,
        _MESO,
        ("fc1", "fc2"),
        "leaky",
        "conv4",
    )
)
_register(
    # As in the study, its tuned variants use MSE and 1e-3, unlike its base.
    Architecture(
        "shallownet",
        ShallowNet,
        256,
        32,
        1,
        Recipe("bce", 5e-5, 2e-4),
        _MESO,
        ("fc1", "bn", "fc2"),
        "relu",
        "stage3.3",
    )
)
_register(
    Architecture(
        "xception",
        _timm_builder("legacy_xception", False),
        256,
        71,
        1,
        _BCE,
        _BCE,
        ("body.conv4", "body.bn4", "body.fc"),
        "body.global_pool",
        "body.conv4",
    )
)
_register(
    Architecture(
        "efficientnet_b0",
        _timm_builder("efficientnet_b0", False),
        256,
        32,
        1,
        _BCE,
        _BCE,
        ("body.conv_head", "body.bn2", "body.classifier"),
        "body.global_pool",
        "body.conv_head",
    )
)


def find_architecture(name: str) -> Architecture:
    """Return a registered architecture, or create one for ``timm:<model>``.

    Raises
    ------
    UnknownNameError
        If the name is not registered, or timm has no such model.
    """
    if not name.startswith(TIMM_PREFIX):
        return ARCHITECTURES[name]
    model = name.removeprefix(TIMM_PREFIX)
    return Architecture(
        name=name,
        build=_timm_builder(model, True),
        input_size=224,
        smallest=32,
        multiple=1,
        recipe=_BCE,
        tuned_recipe=_BCE,
        last_layers=_timm_head(model),
        units="",
        last_conv="",
    )


def _timm_head(model: str) -> tuple[str, ...]:
    import timm

    if not timm.is_model(model):
        from probe.errors import UnknownNameError

        raise UnknownNameError("timm model", model, timm.list_models())
    cfg: Any = timm.get_pretrained_cfg(model)
    heads = cfg.classifier if cfg else "classifier"
    names = (heads,) if isinstance(heads, str) else tuple(heads)
    return tuple(f"body.{name}" for name in names)
