"""The package's Gaussian processes as GPyTorch and BoTorch know them."""
