"""Whether the settings of a configuration go with the fields that a method is trained on."""

from __future__ import annotations

from img2img.data.config import DataConfig
from img2img.errors import ConfigError
from img2img.fields import Fields, Labels, Picture, groups, pictures, scale_of


def require_fit(config: DataConfig, fields: Fields) -> None:
    """Checks settings that depend on what a sample holds.

    Raises:
        ConfigError: Settings contradict it or each other.
    """
    scale, together = scale_of(fields), len(groups(fields)) == 1 and len(pictures(fields)) > 1
    made = [name for name, one in fields.items() if isinstance(one, Labels)]
    if made and config.source_labels == "one_hot":
        raise ConfigError(
            f"data.source_labels: one_hot and the method both need data.palette, which is that of the "
            f"{made[0]}; use nearest for the source."
        )
    if config.source_labels != "one_hot" and not made:
        given = ("palette", "class_names", "ignore_label")
        if wrong := next((key for key in given if getattr(config, key) is not None), None):
            raise ConfigError(
                f"data.{wrong} is for label maps: for source_labels: one_hot, or for a method that makes "
                "label maps (segmentation)."
            )
    if config.source_labels == "one_hot" and (not together or scale is not None):
        raise ConfigError("data.source_labels: one_hot is for pairs; use nearest here.")
    if config.source_labels == "one_hot" and config.augment.photometric:
        raise ConfigError(
            "data.augment.photometric changes values, and one_hot labels have none; leave it out."
        )
    if config.augment.sharp and (scale is None or config.images is None):
        raise ConfigError(
            "data.augment.sharp is for super-resolution from images, whose low-resolution pictures are made "
            "here; pairs have geometric and photometric."
        )
    if config.degradation and (scale is None or config.images is None):
        raise ConfigError(
            "data.degradation makes the sources of pictures from images, for super-resolution and "
            "restoration; pairs and other data bring their own."
        )
    require_room(config, fields)
    if scale is None:
        return
    if scale == 1 and config.images is not None and config.degradation is None:
        raise ConfigError(
            "at a scale of 1 source and target would be the same picture: name what spoils the source as "
            "data.degradation (denoise, dejpeg, deblur, mixed, old), or set method.scale."
        )
    if config.crop_size is None or any(side % scale for side in config.crop_size):
        raise ConfigError(
            f"data.crop_size {config.crop_size} is the high-resolution patch and must be a multiple of the "
            f"scale, {scale}."
        )
    if config.augment.geometric or config.source_labels != "none":
        raise ConfigError(
            "super-resolution takes neither data.augment.geometric nor data.source_labels; "
            "data.augment.sharp moves the pixels of sharp pictures."
        )
    if config.images is None and config.scales != (1.0,):
        raise ConfigError("data.scales is for images; low-resolution pictures from files have one size.")
    further = [name for name, one in fields.items() if one.spatial and not isinstance(one, Picture)]
    if further or len(pictures(fields)) != 2:
        raise ConfigError(
            "super-resolution takes patches of two pictures and vectors; other fields with a height and a "
            f"width ({', '.join(further or pictures(fields)[2:])}) are for methods without a scale."
        )


def require_room(config: DataConfig, fields: Fields) -> None:
    """Checks that what is cut out of pictures is no larger than they are.

    Raises:
        ConfigError: It is.
    """
    if scale_of(fields) is not None:  # patches are cut out of pictures at their own size
        return
    load, crop = config.load_size, config.crop_size
    if load and crop and any(side > whole for side, whole in zip(crop, load, strict=True)):
        raise ConfigError(
            f"data: crop_size {crop} is larger than load_size {load}, from which it is cut; set crop_size "
            "alone, and load_size follows."
        )
