"""The file of a table: 4 bits per value and one scale per row, with the texts under which rows are found.

All numbers are little-endian:

    "KWP1", then u32: dimension, rows, texts, bytes of text
    rows × dimension/2 bytes: value k in the low, value k + dimension/2 in the high half of byte k, plus 8
    rows × f16: scale; a value is its 4 bits, less 8, times the scale
    texts × u32: row
    texts × u16: −ln p, in 1/2048
    texts × u8: length in bytes
    the texts in UTF-8, ascending by bytes
"""

import numpy as np

COST_UNIT = 2048


def quantised(rows):
    """Codes −7 … 7 and an f16 scale a row, of those tried the one with the least squared error."""
    most = np.abs(rows).max(axis=1)
    best = np.full(len(rows), np.inf)
    codes = np.zeros(rows.shape, np.int8)
    scales = np.zeros(len(rows), np.float16)
    for share in np.linspace(0.5, 1.0, 11):
        scale = (most * share / 7).astype(np.float16)
        divisor = np.where(scale > 0, scale, 1).astype(np.float32)[:, None]
        tried = np.clip(np.rint(rows / divisor), -7, 7)
        error = ((tried * scale.astype(np.float32)[:, None] - rows) ** 2).sum(axis=1)
        better = error < best
        best[better], scales[better] = error[better], scale[better]
        codes[better] = tried[better]
    return codes, scales


def write(path, values, texts):
    """`texts` is a list of (text, row, cost); returns the values as they are read back."""
    codes, scales = quantised(values)
    half = codes.shape[1] // 2
    low, high = (codes[:, :half] + 8).astype(np.uint8), (codes[:, half:] + 8).astype(np.uint8)
    texts = sorted((text.encode(), row, cost) for text, row, cost in texts)
    costs = np.rint(np.clip([cost for _, _, cost in texts], 0, 31.9) * COST_UNIT)
    with open(path, "wb") as out:
        out.write(b"KWP1")
        sizes = [codes.shape[1], len(codes), len(texts), sum(len(text) for text, _, _ in texts)]
        out.write(np.array(sizes, "<u4").tobytes())
        out.write((low | high << 4).tobytes())
        out.write(scales.astype("<f2").tobytes())
        out.write(np.array([row for _, row, _ in texts], "<u4").tobytes())
        out.write(costs.astype("<u2").tobytes())
        out.write(np.array([len(text) for text, _, _ in texts], np.uint8).tobytes())
        out.write(b"".join(text for text, _, _ in texts))
    return codes * scales.astype(np.float32)[:, None]
