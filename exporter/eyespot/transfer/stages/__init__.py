"""Fine-tuning, stage by stage: the head on cached features, then the last blocks."""
