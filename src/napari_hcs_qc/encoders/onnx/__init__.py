"""A network written in the ONNX format."""
