"""Prepare a training for int8: fake quantization, and keypoint values kept in range.

Both change only the network being trained; the averaged model that becomes the checkpoint keeps
plain layers, which every exporter can read.
"""

from functools import partial
from typing import Any

_SMOOTHING = 0.05
"""Label smoothing of keypoint visibility. If every keypoint is always visible, its logit grows
without bound and uses up the 256 steps of an int8 tensor that also holds the coordinates. With 0.05
the optimum is log(0.95 / 0.05) = 2.9.
"""

_KEYPOINT_RANGE = 3.5
_RANGE_WEIGHT = 0.5
_FORGET = 0.99
_RANGE, _PLACE = "_range_", ":"


def smooth_visibility(criterion: Any) -> None:
    """Change a pose loss so that visibilities aim at 0.05 and 0.95 instead of 0 and 1."""
    plain = criterion.bce_pose

    def smoothed(logits: Any, visible: Any) -> Any:
        return plain(logits, visible * (1 - 2 * _SMOOTHING) + _SMOOTHING)

    criterion.bce_pose = smoothed


def keep_keypoints_in_range(criterion: Any) -> Any:
    """Return a pose loss that also keeps every cell's raw keypoint values within -3.5..3.5.

    Strides without any assigned object are never trained, and their arbitrary values widen the
    range of the int8 tensor that holds all keypoints. The limit allows a keypoint up to (3.5 * 2 -
    0.5) cells from its anchor: objects of half the image at 192 px.
    """

    def bounded(predictions: Any, batch: Any) -> Any:
        loss, parts = criterion(predictions, batch)
        values = predictions[1] if isinstance(predictions, tuple) else predictions
        excess = (values["kpts"].abs() - _KEYPOINT_RANGE).clamp(min=0)
        return loss + _RANGE_WEIGHT * excess.square().sum() / loss.numel(), parts

    return bounded


def enable_fake_quantization(model: Any, per_channel: bool) -> None:
    """Round weights and activations to 8 bits in the forward pass, gradients straight through.

    Rounding happens where TFLite rounds: weights with folded batch norm, the result of a
    convolution, and the sigmoid and the product of a SiLU.
    """
    from torch import nn
    from ultralytics.nn.modules.conv import Conv

    inside = set()
    for module in model.modules():
        if isinstance(module, Conv):
            inside.add(id(module.conv))
            module.forward = partial(_conv_forward, module, per_channel)
    for module in model.modules():
        trained = isinstance(module, nn.Conv2d) and module.weight.requires_grad
        if trained and id(module) not in inside:
            module.forward = partial(_plain_forward, module, per_channel)


def ranges_of(model: Any) -> dict[str, Any]:
    """Return the activation ranges observed so far, by module: part of a training's state."""
    return {
        f"{name}{_PLACE}{key}": value
        for name, module in model.named_modules()
        for key, value in module.__dict__.items()
        if key.startswith(_RANGE)
    }


def restore_ranges(model: Any, ranges: dict[str, Any]) -> None:
    """Restore the ranges of `ranges_of`."""
    modules = dict(model.named_modules())
    for place, value in ranges.items():
        name, _, key = place.rpartition(_PLACE)
        modules[name].__dict__[key] = value


def _conv_forward(module: Any, per_channel: bool, x: Any) -> Any:
    from torch import nn

    conv, bn = module.conv, module.bn
    fold = (bn.weight / (bn.running_var + bn.eps).sqrt()).detach().view(-1, 1, 1, 1)
    weight = _round_weight(conv.weight, fold, per_channel)
    y = _round_activation(module, "before", bn(_convolve(conv, x, weight)))
    if isinstance(module.act, nn.SiLU):
        gate = _straight_through(y.sigmoid(), _to_grid(y.sigmoid(), 1 / 256, 0))
        return _round_activation(module, "after", y * gate)
    return _round_activation(module, "after", module.act(y))


def _plain_forward(conv: Any, per_channel: bool, x: Any) -> Any:
    import torch

    one = torch.ones_like(conv.weight[:, :1, :1, :1])
    weight = _round_weight(conv.weight, one, per_channel)
    return _round_activation(conv, "before", _convolve(conv, x, weight))


def _convolve(conv: Any, x: Any, weight: Any) -> Any:
    from torch.nn import functional

    return functional.conv2d(
        x, weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups
    )


def _round_weight(weight: Any, fold: Any, per_channel: bool) -> Any:
    """Round the folded weight to symmetric 8 bits, -127..127, with one scale or one per output
    channel.
    """
    folded = (weight * fold).detach()
    largest = folded.abs().amax(dim=(1, 2, 3), keepdim=True) if per_channel else folded.abs().amax()
    scale = (largest / 127).clamp(min=1e-12)
    rounded = (folded / scale).round() * scale
    safe = fold.sign() * fold.abs().clamp(min=1e-6)
    return _straight_through(weight, rounded / safe)


def _round_activation(module: Any, place: str, y: Any) -> Any:
    """Round to asymmetric 8 bits over the recent range, which always includes zero.

    The range grows with an extreme at once and shrinks slowly, like a calibration over many images.
    """
    import torch

    name = f"{_RANGE}{place}"
    low, high = y.detach().min().clamp(max=0), y.detach().max().clamp(min=0)
    if name in module.__dict__:
        known_low, known_high = module.__dict__[name]
        low, high = (
            torch.minimum(low, known_low * _FORGET),
            torch.maximum(high, known_high * _FORGET),
        )
    module.__dict__[name] = (low, high)
    scale = ((high - low) / 255).clamp(min=1e-12)
    return _straight_through(y, _to_grid(y, scale, (low / scale).round()))


def _to_grid(y: Any, scale: Any, zero: Any) -> Any:
    return ((y / scale).round() - zero).clamp(0, 255).add(zero) * scale


def _straight_through(value: Any, rounded: Any) -> Any:
    """Return `rounded` in the forward pass, with the gradient of `value` in the backward pass."""
    return value + (rounded - value).detach()
