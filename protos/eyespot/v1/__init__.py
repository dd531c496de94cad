"""The contracts that every room shares: messages, tensors, manifest, preprocessing."""
