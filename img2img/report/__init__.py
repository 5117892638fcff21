"""Reports to look at: runs and folders of pictures as one HTML file, contact sheets, lists of runs."""

from img2img.report.page import write_report as write_report
from img2img.report.run import RunFolder as RunFolder
from img2img.report.run import find_runs as find_runs
from img2img.report.run import is_run as is_run
from img2img.report.run import read_run as read_run
