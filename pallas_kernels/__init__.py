"""Array operations that deserve more than one implementation; they know nothing of segmentation."""
