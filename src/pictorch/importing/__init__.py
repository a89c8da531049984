"""Importing: from another framework's ONNX file to a bundle."""
