"""Numbers for what a model makes, comparable with those in papers: folder or model against folder."""

from img2img.evaluation.comparison import plan as plan
from img2img.evaluation.contest import Contest as Contest
from img2img.evaluation.label_sets import labels_protocol as labels_protocol
from img2img.evaluation.labels import LabelsProtocol as LabelsProtocol
from img2img.evaluation.predictor import BICUBIC as BICUBIC
from img2img.evaluation.predictor import open_predictor as open_predictor
from img2img.evaluation.predictor import require_labels as require_labels
from img2img.evaluation.protocol import EvaluationProtocol as EvaluationProtocol
from img2img.evaluation.protocol import PlainProtocol as PlainProtocol
from img2img.evaluation.protocol import SuperResolutionProtocol as SuperResolutionProtocol
from img2img.evaluation.result import Evaluation as Evaluation
from img2img.evaluation.result import Problem as Problem
from img2img.evaluation.result import Score as Score
from img2img.evaluation.run import choose_protocol as choose_protocol
from img2img.evaluation.run import compare as compare
from img2img.evaluation.run import evaluate as evaluate
from img2img.evaluation.run import measure as measure
from img2img.evaluation.run import prepare as prepare
from img2img.evaluation.sets import SetEvaluation as SetEvaluation
from img2img.evaluation.sets import evaluate_sets as evaluate_sets
