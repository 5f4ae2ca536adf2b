"""Networks, their training, and what a trained network says about an image."""
