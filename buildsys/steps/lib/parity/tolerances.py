"""Every limit that parity and collapse are judged by, with its reason: the one table."""

CLOSE, CLOSE_SHARE = 1e-3, 3e-4
"""Largest difference between two float forms of one network: CLOSE_SHARE of the largest value of what
is compared, CLOSE where that is more. Compared are values of one meaning: a row of boxes, scores or
keypoints (see `output_figures.closest`). Torch, ONNX and TFLite sum in different orders, and what
they lose grows with the values: sound conversions of stock networks stay below 1e-5 of the row,
whether logits, shares or pixels; wrong ones (a transposed axis, another epsilon) are off by a
hundredth and more. The geometric middle of both."""

LEAST_SIGNAL = {"float16": 35.0, "dynamic-range": 10.0, "int8": 3.0, "int16x8": 15.0}
"""Signal to noise of boxes and keypoints per scheme, decibels. float16 and dynamic-range keep far
more than these on any sound network; an output below 3 dB carries more error than information."""

LEAST_SIGNAL_IN_HALF = 15.0
"""The same where float16 is what a network computes in, not only what its weights are stored in:
trained ones keep 50 dB and more, one after two epochs, which hardly varies yet, 20."""

PROBABILITY = 0.25
"""Mean difference of probability over the cells where either model sees something: above it, a
threshold that suits the float model does not suit the quantized one."""

SEEN = 0.2
"""Probability from which a cell counts as seen: far below, a large error in a logit changes nothing."""

KERNEL_STEPS = 2
"""Largest difference of an output between LiteRT's reference kernels and TFLite Micro's, in steps of
its integers. Both round products of int8, but not all alike: the first value that differs is one step
away (seen: MUL after a sigmoid), and later layers made two of it at most. Another meaning of an
operator or of its parameters is tens of steps away."""

CONFIDENCE, OVERLAP = 0.25, 0.45
"""What the detections that are compared are kept by: the thresholds of Himax' firmware."""

BOX_IOU = 0.5
"""Least mean IoU of a detection's box in the float and in the quantized file, the same cell of both:
the overlap from which COCO's mildest metric counts a box as found."""

KEYPOINT_SHARE = 0.1
"""Largest mean distance of a keypoint, in square roots of its box's area: about COCO's largest
sigma, that of a hip (0.107)."""

FIRMWARE_PIXELS = 1.01
"""A firmware that cuts off to whole pixels is less than one away; a hundredth for its float32."""

FIRMWARE_SCORE = 0.02
"""Whole percentages cut off: 0.01; Schraudolph's exponential in the sigmoid: below 0.01."""

FOUND_AGAIN = 0.5
"""Least share of our detections that the firmware reports, too. Its suppression has quirks (corner
and centre mixed up), which cost single objects in crowds; below half it decodes something else."""

FEWEST_OBJECTS = 10
"""Objects over all pictures from which that share is judged: one neighbour of two proves nothing."""

SCORE_STEPS = 16
"""Least number of steps that a probability has in a joint int8 output: below, thresholds such as
0.25 and 0.5 fall together with their neighbours."""

SATURATED = 0.5
"""Share of an output's values at its type's limits from which it carries no signal: calibration
covers the whole range, so that a sound output touches its limits in single cells."""
