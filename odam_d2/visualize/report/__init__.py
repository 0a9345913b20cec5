"""The report of a run: pages that open from a folder and load what they show, or one file for a few images."""

from .folder import write_report_folder
from .images import ReportImages
from .page import PageWords
from .single import MOST_IMAGES, render_instances, write_single_file

__all__ = ["MOST_IMAGES", "PageWords", "ReportImages", "render_instances", "write_report_folder", "write_single_file"]
