"""Training loops."""

from .trainer import OdamTrainer

__all__ = ["OdamTrainer"]
