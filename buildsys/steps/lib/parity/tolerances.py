"""All limits of the parity ladder and the signal check, with their reasons."""

CLOSE, CLOSE_SHARE = 1e-3, 3e-4
"""Largest difference between two float forms of one network: CLOSE_SHARE of the largest compared
value, but at least CLOSE. Values of the same meaning are compared: a row of boxes, scores or
keypoints (see `output_figures.closest`). Torch, ONNX and TFLite sum in different orders, with an
error that grows with the values: correct conversions of stock networks stay below 1e-5 of the row,
for logits, shares and pixels; wrong ones (a transposed axis, another epsilon) differ by 0.01 and
more. The limit is the geometric mean of both.
"""

LEAST_SIGNAL = {"float16": 35.0, "dynamic-range": 10.0, "int8": 3.0, "int16x8": 15.0}
"""Signal to noise of boxes and keypoints per scheme, decibels. float16 and dynamic-range keep far
more than these on any correct network; the error of an output at 3 dB has half its power.
"""

LEAST_SIGNAL_IN_HALF = 15.0
"""The same if a network computes in float16 instead of only storing weights in it: trained networks
keep 50 dB and more, one after two epochs, which hardly varies yet, 20.
"""

PROBABILITY = 0.25
"""Largest mean difference of probability over the cells where either model detects something: above
it, a threshold of the float model does not suit the quantized one.
"""

SEEN = 0.2
"""Probability from which a cell counts as a detection: far below it, a large error in a logit has
no effect.
"""

KERNEL_STEPS = 2
"""Largest difference of an output between LiteRT's reference kernels and TFLite Micro's, in steps
of its integers. Both round products of int8, but not always alike: the first difference is one step
(observed: MUL after a sigmoid), and later layers increased it to at most two. A different meaning
of an operator or of its parameters makes tens of steps.
"""

CONFIDENCE, OVERLAP = 0.25, 0.45
"""Thresholds of the compared detections: those of Himax' firmware."""

BOX_IOU = 0.5
"""Smallest mean IoU of a detection's box in the float and in the quantized file, at the same cell:
the overlap from which COCO's least strict metric counts a box as found.
"""

KEYPOINT_SHARE = 0.1
"""Largest mean distance of a keypoint, in square roots of its box's area: about COCO's largest
sigma, that of a hip (0.107)."""

FIRMWARE_PIXELS = 1.01
"""Firmware that truncates to whole pixels differs by less than 1; 0.01 allows for its float32."""

FIRMWARE_SCORE = 0.02
"""Truncation to whole percentages: 0.01; Schraudolph's exponential in the sigmoid: below 0.01."""

FOUND_AGAIN = 0.5
"""Smallest share of our detections that the firmware also reports. Its suppression has quirks (it
confuses corner and centre), which lose single objects in crowds; below one half it decodes
something else.
"""

FEWEST_OBJECTS = 10
"""Smallest number of objects over all images for which that share is judged: one of two proves
nothing.
"""

SCORE_STEPS = 16
"""Smallest number of steps of a probability in a joint int8 output: with fewer, thresholds such as
0.25 and 0.5 cannot be distinguished from their neighbours.
"""

SATURATED = 0.5
"""Share of an output's values at its type's limits from which it has no signal: calibration covers
the whole range, so that a correct output reaches its limits only in single cells.
"""
