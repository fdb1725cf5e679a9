"""Commands beside building: verify, predict, fit, flash, compare, bundle, import, sync, gc,
doctor.
"""
