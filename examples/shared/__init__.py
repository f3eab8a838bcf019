"""What the examples share: providers as processes of their own, and how a demo tells its story."""
