"""Ways from a trace to gradients: one for RoI heads, one for dense heads, and plain autograd for everything."""
