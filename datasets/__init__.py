"""Recipes for public data sets, and the sample photographs; installed as img2img.recipes."""
