"""Bundled detectors by name, e.g. ``model_zoo.get("synthetic/faster_rcnn_compact_FPN")``."""

from .model_zoo import available, find, get, get_checkpoint_path, get_checkpoint_url, get_config, get_config_file

__all__ = ["available", "find", "get", "get_checkpoint_path", "get_checkpoint_url", "get_config", "get_config_file"]
