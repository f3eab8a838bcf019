"""A small moderation desk: classifiers that look at posts, and the decisions that are made."""
