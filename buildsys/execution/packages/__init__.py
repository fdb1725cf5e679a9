"""build/<recipe>/<target>/: the folder that ships, its manifest, measurements, the choice among variants."""
