"""Whether masks were put right into a model, asked of the model itself by experiments on a copy."""
