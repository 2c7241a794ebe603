"""Encoders: image [B, H, W, 3] -> a tuple of feature maps, from fine to coarse."""
