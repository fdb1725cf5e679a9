"""build/<recipe>/<target>/: published packages, manifests, measurements, selection among
variants.
"""
