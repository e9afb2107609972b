"""Array operations with several implementations each. They know nothing of segmentation."""
