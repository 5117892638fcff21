"""Configurations: YAML in and out, and sections that are changed and checked."""

from img2img.config.document import dump_yaml as dump_yaml
from img2img.config.document import front_matter as front_matter
from img2img.config.document import load_yaml as load_yaml
from img2img.config.document import parse_yaml as parse_yaml
from img2img.config.sections import override as override
from img2img.config.sections import validate as validate
from img2img.config.shipped import find_config as find_config
from img2img.config.shipped import shipped_configs as shipped_configs
