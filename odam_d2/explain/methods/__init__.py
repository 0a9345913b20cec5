"""Explanation methods, one small file each: from gradients and features, or from masked images, to maps."""
