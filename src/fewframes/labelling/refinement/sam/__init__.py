"""What the methods share that prompt SAM: images embedded, prompts decoded in batches, masks painted."""
