"""Contact sheets of data sets."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tfsegkd.atomic import write_atomically
from tfsegkd.data import Source, resize_image, resize_mask, spread
from tfsegkd.evaluation.plots import overlay

_WIDTH, _CELL, _GAP, _MARGIN = 1280, 310, 10, 12  # pixels
_TALLEST = 1.5  # of a cell, in its widths
_TEXT, _SMALL, _LINE, _SWATCH = 15, 12, 22, 14
_INK, _PALE, _PAPER = (30, 30, 30), (130, 130, 130), (255, 255, 255)
_STRIPE = 4
_NEVER = "never"


def contact_sheet(
    path: Path, source: Source, title: str, shares: Sequence[float | None] = (), count: int = 12
) -> None:
    """Draws examples beside their labels, under a legend, as PNG.

    Void is striped. Without labels there are only the images.

    Args:
        path: The file to write.
        source: The examples, of which `count` evenly spaced ones are drawn.
        title: The title.
        shares: For the legend, the share of each class, then of void, 0…1; None for absent classes.
        count: The number of examples.

    Example:
        evaluation.contact_sheet(Path("sheet.png"), source, "Eight scenes", count=4)
    """
    indices = spread(len(source), count)
    panels = [_panel(source, index) for index in indices]
    # As many panels per row as fit; a row is as high as its highest panel.
    across = max(1, (_WIDTH - 2 * _MARGIN + _GAP) // (panels[0].width + _GAP))
    rows = [panels[start : start + across] for start in range(0, len(panels), across)]
    legend = _legend(source, shares)
    top = _MARGIN + 30 + legend.height + _MARGIN
    height = top + sum(max(panel.height for panel in row) + _GAP for row in rows) + _MARGIN - _GAP
    sheet = Image.new("RGB", (_WIDTH, height), _PAPER)
    ImageDraw.Draw(sheet).text((_MARGIN, _MARGIN), title, _INK, _font(20))
    sheet.paste(legend, (_MARGIN, _MARGIN + 30))
    for row in rows:
        for column, panel in enumerate(row):
            sheet.paste(panel, (_MARGIN + column * (panel.width + _GAP), top))
        top += max(panel.height for panel in row) + _GAP
    write_atomically(Path(path), sheet.save)


def _panel(source: Source, index: int) -> Image.Image:
    """Draws one example: the image, its labels beside it, its name below."""
    image, mask = source[index]
    height, width = image.shape[:2]
    scale = min(_CELL / width, _TALLEST * _CELL / height)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    image, mask = resize_image(image, size), resize_mask(mask, size)
    cells = [image]
    if source.labelled:
        cells.append(_striped(overlay(image, mask, source.info), mask, source.info))
    panel = Image.new("RGB", (len(cells) * (_CELL + 2) - 2, size[0] + _SMALL + 8), _PAPER)
    for column, cell in enumerate(cells):
        panel.paste(Image.fromarray(cell), (column * (_CELL + 2) + (_CELL - size[1]) // 2, 0))
    ImageDraw.Draw(panel).text(
        (2, size[0] + 2), f"{source.names[index]}   {height}×{width}", _PALE, _font(_SMALL)
    )
    return panel


def _striped(drawn, mask, info):
    rows, columns = np.indices(mask.shape)
    stripes = (rows + columns) // _STRIPE % 2 == 0
    void = mask == info.ignore_label
    light, dark = (drawn * 0.35 + 255 * 0.65).astype(np.uint8), (drawn * 0.6).astype(np.uint8)
    return np.where(void[..., None], np.where(stripes[..., None], light, dark), drawn)


def _legend(source: Source, shares) -> Image.Image:
    font = _font(_TEXT)
    names = (*source.info.class_names, "void") if source.labelled else ()
    shares = list(shares) or [0.0] * len(names)
    entries = [
        (name, share and _percent(share) if share is not None else _NEVER)
        for name, share in zip(names, shares, strict=True)
    ]
    widest = max((font.getlength(f"{name}  {note or ''}") for name, note in entries), default=0)
    columns = max(1, int((_WIDTH - 2 * _MARGIN) // (widest + _SWATCH + 30)))
    step = (_WIDTH - 2 * _MARGIN) // columns
    legend = Image.new("RGB", (_WIDTH - 2 * _MARGIN, _LINE * -(-len(entries) // columns) or 1), _PAPER)
    draw = ImageDraw.Draw(legend)
    for number, (name, note) in enumerate(entries):
        left, top = number % columns * step, number // columns * _LINE
        box = (left, top + 3, left + _SWATCH, top + 3 + _SWATCH)
        if number < source.info.num_classes:
            draw.rectangle(box, source.info.palette[number], _PALE)
        else:
            grey = np.full((_SWATCH + 1, _SWATCH + 1, 3), 120, np.uint8)
            void = np.full(grey.shape[:2], source.info.ignore_label)
            legend.paste(Image.fromarray(_striped(grey, void, source.info)), box[:2])
        draw.text((left + _SWATCH + 8, top + 1), name, _PALE if note == _NEVER else _INK, font)
        after = left + _SWATCH + 8 + font.getlength(f"{name}  ")
        draw.text((after, top + 1), note or "", (180, 40, 40) if note == _NEVER else _PALE, font)
    return legend


def _font(size: int) -> ImageFont.FreeTypeFont:
    # Pillow's default font has English letters only.
    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"
