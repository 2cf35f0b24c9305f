"""Pictures of numbers as SVG: pure functions from values to text, without scripts, that a light and a dark page can show."""
