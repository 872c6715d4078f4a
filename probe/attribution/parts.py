"""Modules that a rewritten graph is made of: layouts of maps, attention, windows, means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Attention", "FromMaps", "Grid", "Mean", "ToMaps", "WindowsApart"]


@dataclass(frozen=True)
class Grid:
    """How a layer's value is laid out as maps.

    Attributes
    ----------
    kind : {"channels_first", "channels_last", "tokens"}
        (n, channel, y, x), (n, y, x, channel), or (n, token, channel).
    height, width : int
        Of the maps.
    prefix : int
        Tokens before those of the image, such as the class token.
    """

    kind: str
    height: int
    width: int
    prefix: int = 0

    def to_maps(self, value: Tensor) -> Tensor:
        """Lay a value out as (n, channel, y, x)."""
        if self.kind == "channels_first":
            return value
        if self.kind == "channels_last":
            return value.permute(0, 3, 1, 2)
        tokens = value[:, self.prefix :].transpose(1, 2)
        return tokens.reshape(*tokens.shape[:2], self.height, self.width)

    def from_maps(self, maps: Tensor, value: Tensor) -> Tensor:
        """Undo `to_maps`; tokens before the image's are those of `value`."""
        if self.kind == "channels_first":
            return maps
        if self.kind == "channels_last":
            return maps.permute(0, 2, 3, 1)
        return torch.cat([value[:, : self.prefix], maps.flatten(2).transpose(1, 2)], dim=1)


class ToMaps(nn.Module):
    """Lays a value out as maps."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, value: Tensor) -> Tensor:
        """See `Grid.to_maps`."""
        return self.grid.to_maps(value)


class FromMaps(nn.Module):
    """Puts maps back to where they came from."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, maps: Tensor, value: Tensor) -> Tensor:
        """See `Grid.from_maps`."""
        return self.grid.from_maps(maps, value)


class Attention(nn.Module):
    """Scaled dot product attention whose weights pass through a module, ``weights``."""

    def __init__(self, scale: float | None = None) -> None:
        super().__init__()
        self.scale = scale
        self.weights = nn.Softmax(dim=-1)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend, shapes (n, head, token, width)."""
        scale = self.scale if self.scale is not None else query.shape[-1] ** -0.5
        weights: Tensor = self.weights(query @ key.transpose(-2, -1) * scale)
        return weights @ value


class WindowsApart(nn.Module):
    """Lay the overlapping windows of a max pooling side by side, so that they do not overlap.

    captum's DeepLIFT undoes a pooling by `max_unpool2d`, which keeps one of several windows that
    share their largest value, and loses what the others were worth.

    Parameters
    ----------
    pool : torch.nn.MaxPool2d
        Whose windows.
    """

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = (
            one if isinstance(one, tuple) else (one, one)
            for one in (pool.kernel_size, pool.stride, pool.padding)
        )
        self.ceil = bool(pool.ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        """Copy windows, shape (n, c, rows · kernel, columns · kernel)."""
        (ky, kx), (sy, sx), (py, px) = self.kernel, self.stride, self.padding
        rows, more_y = self._windows(x.shape[2], 0)
        columns, more_x = self._windows(x.shape[3], 1)
        # What lies outside is never the largest, and the same in image and baseline.
        low = float(torch.finfo(x.dtype).min) / 4
        x = F.pad(x, (px, px + more_x, py, py + more_y), value=low)
        windows = x.unfold(2, ky, sy)[:, :, :rows].unfold(3, kx, sx)[:, :, :, :columns]
        apart = windows.permute(0, 1, 2, 4, 3, 5)
        return apart.reshape(*x.shape[:2], rows * ky, columns * kx)

    def _windows(self, side: int, axis: int) -> tuple[int, int]:
        """Count windows along an axis, and what has to be added for the last to be whole."""
        kernel, stride, pad = self.kernel[axis], self.stride[axis], self.padding[axis]
        reach = side + 2 * pad - kernel
        count = (-(-reach // stride) if self.ceil else reach // stride) + 1
        if self.ceil and (count - 1) * stride >= side + pad:
            count -= 1
        return count, max(0, (count - 1) * stride + kernel - side - 2 * pad)


class Mean(nn.Module):
    """A mean over axes, as a module that captum can hook."""

    def __init__(self, dims: Any, keepdim: bool) -> None:
        super().__init__()
        self.dims, self.keepdim = dims, keepdim

    def forward(self, x: Tensor) -> Tensor:
        """Average."""
        return x.mean(dim=self.dims, keepdim=self.keepdim)
