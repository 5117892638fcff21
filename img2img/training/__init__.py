"""Training: one loop for every method, a folder for every run."""

from img2img.training.experiment import Experiment as Experiment
from img2img.training.experiment import read_experiment as read_experiment
from img2img.training.log import TrainingStatus as TrainingStatus
from img2img.training.log import Watch as Watch
from img2img.training.loop import Trainer as Trainer
from img2img.training.run import TrainingError as TrainingError
from img2img.training.run import TrainingSummary as TrainingSummary
from img2img.training.run import train as train
from img2img.training.runtime import Runtime as Runtime
from img2img.training.state import DiskError as DiskError
