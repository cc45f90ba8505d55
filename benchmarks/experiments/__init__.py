"""What pages are made of: sets of clips, entries, folds, their cache."""
