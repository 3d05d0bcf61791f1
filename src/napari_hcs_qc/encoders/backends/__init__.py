"""What runs an encoder on the CPU: PyTorch, ONNX Runtime or OpenVINO."""
