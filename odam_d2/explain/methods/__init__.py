"""Explanation methods: what is made of gradients and features, or of masked images. One small file each."""
