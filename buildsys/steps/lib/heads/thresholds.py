"""The confidence from which detections are shown or used."""

CONFIDENCE = 0.25
"""Detections below it are omitted in drawings, by `buildsys predict` and by packages' programs, unless
an option says otherwise.
"""
