"""Attribution heatmaps through captum: raw arrays with their sign convention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from captum.attr import InputXGradient, LayerAttribution, LayerGradCam
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from probe.detectors.architectures import find_architecture
from probe.detectors.detector import Detector
from probe.errors import ProbeError, UnknownNameError
from probe.registry import Registry

__all__ = ["METHODS", "AttributionMap", "attribute"]

Method = Callable[[nn.Module, Tensor, nn.Module | None], Tensor]

#: Attribution methods, from (module, images, layer) to maps of shape (n, height, width).
METHODS: Registry[Method] = Registry("attribution method")


@dataclass(frozen=True)
class AttributionMap:
    """Heatmaps of images, unscaled.

    Attributes
    ----------
    data : xarray.DataArray
        Dimensions (sample, y, x), at the size of the images. Positive: pushes the logit of
        "fake" up; negative: down. Attributes: ``method, target, layer, sign, detector``.
    """

    data: xr.DataArray

    @property
    def values(self) -> NDArray[np.float32]:
        """The maps as a plain array, shape (sample, y, x)."""
        return np.asarray(self.data.values, dtype=np.float32)


@METHODS.register("gradcam")
def _gradcam(module: nn.Module, images: Tensor, layer: nn.Module | None) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391), signed: without the final ReLU."""
    maps = LayerGradCam(module, layer).attribute(images)
    large: Tensor = LayerAttribution.interpolate(maps, images.shape[-2:], "bilinear")
    return large[:, 0]


@METHODS.register("input_x_gradient")
def _input_x_gradient(module: nn.Module, images: Tensor, layer: nn.Module | None) -> Tensor:
    """Input times gradient (Shrikumar et al. 2016, arXiv:1605.01713), summed over channels."""
    out: Tensor = InputXGradient(module).attribute(images.requires_grad_())
    return out.sum(dim=1)


def attribute(
    detector: Detector,
    images: ArrayLike,
    method: str = "gradcam",
    *,
    layer: str | None = None,
    batch_size: int = 32,
) -> AttributionMap:
    """Explain the fake logit of images by a heatmap each.

    Parameters
    ----------
    detector : Detector
        Whose logit; left as it is.
    images : array_like
        Shape (n, 3, height, width), RGB, in [0, 1].
    method : str, default "gradcam"
        A registered method.
    layer : str, optional
        Module path for methods that look at a layer; the last convolution by default.
    batch_size : int, default 32
        Images explained at once.

    Returns
    -------
    AttributionMap
        Raw signed maps at the size of the images.

    Raises
    ------
    UnknownNameError
        If the method or the layer is not known.
    ProbeError
        If the images are not of the stated shape, or no layer is given where one is needed.
    """
    explain = METHODS[method]
    x = torch.as_tensor(np.asarray(images, dtype=np.float32))
    if x.ndim != 4 or x.shape[1] != 3 or not len(x):
        raise ProbeError(f"Images of shape {tuple(x.shape)} were given; allowed is (n, 3, h, w).")
    path = layer or find_architecture(detector.spec.name).last_conv
    where = _find_layer(detector, path) if method == "gradcam" else None
    maps = []
    for start in range(0, len(x), batch_size):
        part = x[start : start + batch_size].to(detector.device)
        with torch.enable_grad():
            maps.append(explain(detector.module, part, where).detach().cpu())
    detector.module.zero_grad(set_to_none=True)
    attrs = {
        "method": method,
        "target": "fake logit",
        "layer": path if where is not None else "",
        "sign": "positive pushes towards fake",
        "detector": detector.fingerprint,
    }
    data = xr.DataArray(torch.cat(maps).numpy(), dims=("sample", "y", "x"), attrs=attrs)
    return AttributionMap(data)


def _find_layer(detector: Detector, path: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(detector.module.named_modules())
    modules.pop("")
    if not path:
        raise ProbeError(
            f"Grad-CAM needs a layer, and {detector.name} has no default one. Give layer=, such "
            f"as {list(modules)[-3]!r}."
        )
    for name in (path, f"body.{path}"):
        if name in modules:
            return modules[name]
    raise UnknownNameError("layer", path, modules, where=detector.name)
