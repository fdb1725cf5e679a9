"""Names of the outputs of a TFLite file, in its order."""

from buildsys.spec import ModelSpec


def names_in_order(model: ModelSpec, order: tuple[str, ...]) -> tuple[str, ...]:
    """Return the head's names in the order of a file; `order`: that of `bind_outputs`, () without
    it.
    """
    names = tuple(tensor.name for tensor in model.outputs)
    return order if set(order) == set(names) else names
