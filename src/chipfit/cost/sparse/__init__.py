"""Sparse arrays: cycles, traffic and energy from the zeros of real tensors."""
