"""A bundle behind HTTP: one decoder, one ONNX session, one small server; fastapi's only door."""
