"""Whether the numbers of samples are the labels that a method learns from."""

from __future__ import annotations

from img2img.data.record import Records
from img2img.errors import PlanError, display_path
from img2img.fields import Fields, Vector


def require_labels(fields: Fields, records: Records) -> None:
    """Makes sure that attributes are from 0 to 1, and that each sample is of one class.

    Raises:
        PlanError: Those of a sample are not; the message names it.
    """
    parts = [part for some in (records.train, records.validation) for part in some]
    for name, field in fields.items():
        if not isinstance(field, Vector) or field.holds == "numbers":
            continue
        names = records.names.get(name, ())
        for record in (record for part in parts for record in part if name in record.values):
            values = record.values[name]
            sample = display_path(record.key)
            wrong = next((place for place, value in enumerate(values) if not 0 <= value <= 1), None)
            if wrong is not None:
                called = names[wrong] if names else f"number {wrong + 1} of {name}"
                raise PlanError(
                    f"{called} of {sample} is {values[wrong]:g}, and attributes are 1 (yes) or 0 (no); in a "
                    "table of nothing but 1 and -1 the -1 counts as 0."
                )
            if field.holds == "classes" and sorted(values)[-2:] != [0, 1][-len(values) :]:
                ones = [names[i] if names else str(i + 1) for i, value in enumerate(values) if value]
                raise PlanError(
                    f"{name} of {sample} is {' and '.join(ones) or 'nothing'}, and each picture is of one "
                    "class alone: one number is 1, the others are 0. What does not exclude each other are "
                    "attributes (method.labels)."
                )
