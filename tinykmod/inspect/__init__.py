"""What is, or would be, wrong with modules and trees, and what they are: show, why, check, lint, stats."""
