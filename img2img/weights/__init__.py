"""Models by name: the small ones that ship with the package, and those in the user's folders."""

from img2img.weights.defaults import CLEAN as CLEAN
from img2img.weights.defaults import PHOTO as PHOTO
from img2img.weights.defaults import UPSCALERS as UPSCALERS
from img2img.weights.defaults import RestorationTask as RestorationTask
from img2img.weights.defaults import photo_upscaler as photo_upscaler
from img2img.weights.defaults import restorer as restorer
from img2img.weights.defaults import ships as ships
from img2img.weights.defaults import upscaler as upscaler
from img2img.weights.finder import available as available
from img2img.weights.finder import find_model as find_model
from img2img.weights.finder import folders as folders
from img2img.weights.finder import is_name as is_name
