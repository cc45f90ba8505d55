"""What a conversion starts from: a trained model and clips."""
