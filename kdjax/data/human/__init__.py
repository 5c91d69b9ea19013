"""What people, and brains, make of images: votes and dissimilarities."""
