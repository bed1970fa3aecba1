"""From a transformer encoder to a plan: kernels, weights and memory for the browser."""
