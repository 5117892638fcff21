"""The batch engine: folders in, folders out. It knows nothing of networks.

plan      inputs and output -> what becomes what; refused as a whole or complete
run       a plan and a processor -> one Result a file
report    results -> JSON lines, a summary, an exit code
"""

from img2img.batch.claim import claim
from img2img.batch.companions import Companion, Companions, Place, fields_of
from img2img.batch.outputs import output_name
from img2img.batch.plan import plan, plan_files
from img2img.batch.report import Report, Result, Summary, check_report, exit_code
from img2img.batch.run import convert_folder, foresee, run
from img2img.batch.shard import Shard, shard_from_environment
from img2img.batch.stages import Processor
from img2img.batch.work import Item, Plan, Rules, Unreadable

__all__ = [
    "Companion",
    "Companions",
    "Item",
    "Place",
    "Plan",
    "Processor",
    "Report",
    "Result",
    "Rules",
    "Shard",
    "Summary",
    "Unreadable",
    "check_report",
    "claim",
    "convert_folder",
    "exit_code",
    "fields_of",
    "foresee",
    "output_name",
    "plan",
    "plan_files",
    "run",
    "shard_from_environment",
]
