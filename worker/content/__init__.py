"""From template to text: rendering, normalising, counting segments."""
