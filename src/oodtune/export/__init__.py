"""From networks to one ONNX graph, and the proof that both predict the same."""
