"""The chart of stages is an image, with gaps where there is nothing to show."""

import math

from PIL import Image

from odam_d2.visualize.stage_chart import write_stage_chart


def test_it_is_a_png_that_grows_with_the_stages(tmp_path):
    sizes = []
    for count in (2, 6):
        stages = [f"stage {k}" for k in range(count)]
        curves = {"odam": [0.9] * count, "drise": [math.nan] * count}
        write_stage_chart(tmp_path / "chart.png", curves, stages, "rank correlation", 0.7, "sanity")
        with Image.open(tmp_path / "chart.png") as image:
            assert image.format == "PNG"
            sizes.append(image.size)
    assert sizes[1][0] > sizes[0][0] and sizes[0][1] == sizes[1][1]
