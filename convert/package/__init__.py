"""What goes into a bundle beside its graphs, and what else can be made of a model."""
