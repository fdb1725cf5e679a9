"""What firmware does with a model: contracts, output layouts, emulated decoders and boards."""
