"""Configurations that ship with img2img: one complete YAML file per experiment or recipe."""
