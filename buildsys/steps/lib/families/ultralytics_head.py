"""Set the head of a loaded Ultralytics network to the one that is exported.

Only the loaded instance changes, never site-packages; every step that runs the checkpoint like the
exported files uses this module.
"""

from typing import Any

from buildsys.steps.lib.heads.branches import is_one_to_one, is_raw, layout
from buildsys.steps.lib.runtime.progress import fail


def fuse(model: Any, head: str) -> Any:
    """Return the network with folded batch norms and, if it has two branches, only the branch of
    `head`.
    """
    if hasattr(model.model[-1], "end2end"):
        choose_branch(model.model[-1], is_one_to_one(head))
    return model.fuse(verbose=False)


def choose_branch(last: Any, one_to_one: bool) -> None:
    """Select a branch; ends the step if the checkpoint only has the other one."""
    has = {True: getattr(last, "one2one_cv2", None), False: getattr(last, "cv2", None)}
    if has[one_to_one] is None:
        word, other = ("one-to-one", "many") if one_to_one else ("one-to-many", "one")
        fail(
            f"the checkpoint's head has no {word} branch: it was trained or saved without; write"
            f" `export: {{branch: one-to-{other}}}`."
        )
    last.end2end = one_to_one


def set_head(model: Any, head: str) -> None:
    """Make a fused network return the `raw`, the `decoded`, the `normalized` or the `split` head.

    `fuse` must have removed the other branch. The decoded head builds its anchors in the first
    call: call the network once before tracing it.
    """
    for module in model.modules():
        if hasattr(module, "forward_split"):
            # chunk() is traced to slices with computed bounds, around which converters add
            # transposes
            module.forward = module.forward_split
    last, form = model.model[-1], layout(head)
    if is_raw(head):
        last.forward = lambda features: _raw_forward(last, features)
    elif form in ("normalized", "split"):
        last.forward = lambda features: _share_forward(last, features, form == "split")
    else:
        last.export, last.format, last.dynamic = True, "onnx", False
        if is_one_to_one(head):
            last.forward = lambda features: _cells_forward(last, features)
        if hasattr(last, "proto"):
            decode = last.forward
            last.forward = lambda features: _last_channels(decode(features))


def _raw_forward(head: Any, features: list[Any]) -> tuple[Any, ...]:
    """Return the raw outputs by reshaping and concatenating instead of view and permute, which
    would add transposes in the conversion.
    """
    import torch

    if hasattr(head, "linear"):  # classify: its forward without the softmax
        features = torch.cat(features, 1) if isinstance(features, list) else features
        return (head.linear(head.pool(head.conv(features)).flatten(1)),)

    def flatten(branch: Any, scale: int) -> Any:
        x = branch[scale](features[scale]).permute(0, 2, 3, 1)
        return x.reshape(x.shape[0], -1, x.shape[-1])

    scales, branch = range(head.nl), _branch(head)
    results = [flatten(branch[name], i) for name in ("box_head", "cls_head") for i in scales]
    more = _more_head(branch)
    if more is not None:
        results.append(torch.cat([flatten(more, i) for i in scales], dim=1))
    if hasattr(head, "proto"):
        results.append(_prototypes(head, features).permute(0, 2, 3, 1))
    return tuple(results)


def _branch(head: Any) -> dict[str, Any]:
    """Return the layers of the exported branch by Ultralytics' names."""
    layers: dict[str, Any] = head.one2one if head.end2end else head.one2many
    return layers


def _more_head(branch: dict[str, Any]) -> Any:
    """Return the layers for a cell's values besides box and classes, one per scale; None if there
    are none.
    """
    if "kpts_head" in branch:  # Pose26 has two parts; a third is only for training
        parts = zip(branch["pose_head"], branch["kpts_head"], strict=True)
        return [lambda x, first=first, second=second: second(first(x)) for first, second in parts]
    names = ("mask_head", "pose_head", "angle_head")
    return next((branch[name] for name in names if name in branch), None)


def _prototypes(head: Any, features: list[Any]) -> Any:
    """Return the prototypes: from all scales in YOLO26, from the finest one in earlier networks."""
    return head.proto(features if hasattr(head.proto, "feat_refine") else features[0])


def _cells_forward(head: Any, features: list[Any]) -> Any:
    """Return the decoded one-to-one branch cell by cell, without Ultralytics' selection of the best
    cells. Boxes are cx, cy, w, h as in the other branch.
    """
    from ultralytics.utils.tal import dist2bbox

    if "angle_head" not in head.one2one:
        head.decode_bboxes = lambda sides, anchors, _: dist2bbox(sides, anchors, xywh=True, dim=1)
    found = head._inference(head.forward_head(features, **head.one2one))
    return (found, _prototypes(head, features)) if hasattr(head, "proto") else found


def _last_channels(values: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return detections unchanged, and prototypes [1, height / 4, width / 4, 32] in TFLite's order
    of axes.
    """
    return values[0], values[1].permute(0, 2, 3, 1)


def _share_forward(head: Any, features: list[Any], split: bool) -> Any:
    """Return boxes cx, cy, w, h as shares of the input, and scores after their sigmoid. Boxes are
    divided before anything is joined: all values then lie in 0..1, and one int8 scale suits boxes
    and scores.
    """
    import torch
    from ultralytics.utils.tal import make_anchors

    scales, branch = range(head.nl), _branch(head)
    box, cls = branch["box_head"], branch["cls_head"]
    distances = head.dfl(torch.cat([box[i](features[i]).flatten(2) for i in scales], 2))
    scores = torch.cat([cls[i](features[i]).flatten(2) for i in scales], 2).sigmoid()
    anchors, strides = (x.transpose(0, 1) for x in make_anchors(features, head.stride, 0.5))
    before, behind = distances.split(2, 1)
    cell = float(head.stride[0])
    height, width = (float(side) * cell for side in features[0].shape[2:])
    share = strides / torch.tensor([[width], [height]])
    centre = (anchors + (behind - before) * 0.5) * share
    boxes = torch.cat([centre, (before + behind) * share], 1)
    if split:
        return boxes, scores.permute(0, 2, 1)
    return torch.cat([boxes, scores], 1)
