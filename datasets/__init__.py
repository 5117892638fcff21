"""Recipes for public data sets (sources, licences, checksums) and the sample photographs, installed as package data."""
