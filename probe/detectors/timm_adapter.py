"""Any timm model as a detector, with normalization and a two-way head in one graph."""

from __future__ import annotations

import inspect
from typing import Any

import timm
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from probe.detectors.detector import FakeLogit, Normalize
from probe.errors import CheckpointError, ProbeError, UnknownNameError

__all__ = ["TimmDetector", "build_timm"]


class TimmDetector(nn.Module):
    """A timm model with a normalization before it and a two-way (real, fake) head.

    Parameters
    ----------
    body : torch.nn.Module
        The timm model, with two outputs.
    mean, std : tuple of float
        Normalization per channel of images in [0, 1].
    """

    def __init__(self, body: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.body = body
        self.logit = FakeLogit(2)

    def forward(self, x: Tensor) -> Tensor:
        """Map images, shape (N, 3, H, W) in [0, 1], to fake logits, shape (N,)."""
        out: Tensor = self.logit(self.body(self.normalize(x)))
        return out


def build_timm(
    model: str,
    input_size: int,
    pretrained: bool = False,
    normalize: bool = True,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> TimmDetector:
    """Build a timm model as a detector.

    Parameters
    ----------
    model : str
        Name in timm, without the ``timm:`` prefix.
    input_size : int
        Side of the images in pixels; passed to models whose weights depend on it.
    pretrained : bool, default False
        Whether to load timm's pretrained weights (the head stays random).
    normalize : bool, default True
        Whether to normalize as in timm's configuration of the model; the study did not.
    mean, std : tuple of float, optional
        Normalization to use instead, one value per channel, such as that of an imported
        checkpoint.

    Raises
    ------
    UnknownNameError
        If timm has no such model.
    CheckpointError
        If pretrained weights cannot be loaded.
    ProbeError
        If the model cannot be built for this input size.
    """
    if not timm.is_model(model):
        raise UnknownNameError("timm model", model, timm.list_models())
    body = _create(model, input_size, pretrained)
    if mean is not None or std is not None or not normalize:
        return TimmDetector(body, mean or (0.0, 0.0, 0.0), std or (1.0, 1.0, 1.0))
    config: dict[str, Any] = resolve_model_data_config(body)  # type: ignore[no-untyped-call]
    return TimmDetector(body, tuple(config["mean"]), tuple(config["std"]))


def _create(model: str, input_size: int, pretrained: bool) -> nn.Module:
    sized: dict[str, Any] = {}
    if _takes_image_size(model):
        sized["img_size"] = input_size
    try:
        body: nn.Module = timm.create_model(model, pretrained=pretrained, num_classes=2, **sized)
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        if pretrained:
            raise CheckpointError(
                f"Pretrained weights of timm model {model!r} could not be loaded ({error}). "
                "Use pretrained=False, give weights=FILE, or run once where the model hub can be "
                "reached, which fills its cache."
            ) from error
        raise ProbeError(
            f"timm model {model!r} cannot be built for {input_size}×{input_size} images "
            f"({error}). Choose an input_size that the model allows, such as 224."
        ) from error
    return body


def _takes_image_size(model: str) -> bool:
    """Whether the model takes ``img_size``; its factory accepts any keyword, so it cannot tell."""
    cfg = timm.get_pretrained_cfg(model)
    fixed = bool(cfg and cfg.fixed_input_size)
    module = inspect.getmodule(timm.model_entrypoint(model))
    name = module.__name__.rsplit(".", 1)[-1] if module else ""
    return fixed or name.startswith(("vision_transformer", "swin", "deit", "beit", "maxxvit"))
