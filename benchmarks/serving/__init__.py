"""`make bench`: what serving costs over ONNX Runtime and over gRPC alone, as ratios."""
