"""Networks run on images: ONNX and TFLite files, and the SavedModel that converters from ONNX write."""
