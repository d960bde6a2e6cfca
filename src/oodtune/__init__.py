"""oodtune: fine-tune image classifiers that keep working where their training data did not come from."""

__version__ = "0.1.0"
