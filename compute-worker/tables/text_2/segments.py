"""Segments terms into pieces exactly as the model's `word_pieces` does."""

BEGIN = "▁"
UNKNOWN_COST = 20.0
"""−ln p of a letter that is in no piece."""
BARE_COST = 4.0
"""−ln p for starting a word with a piece that is not marked as word-initial."""


def is_unspaced(letter):
    """Whether the letter's script is written without spaces: its pieces are never marked as word-initial."""
    c = ord(letter)
    return (
        0x0E00 <= c < 0x0F00
        or 0x1000 <= c < 0x10A0
        or 0x1780 <= c < 0x1800
        or 0x3040 <= c < 0x3100
        or 0x3400 <= c < 0xA000
        or 0xF900 <= c < 0xFB00
        or c >= 0x20000
    )


class Segmenter:
    """Finds pieces by their texts; `costs` are −ln p."""

    def __init__(self, texts, costs):
        self.row = {text: row for row, text in enumerate(texts)}
        self.costs = costs
        self.longest = max(map(len, texts))

    def segment(self, term):
        """Rows and the sum of costs: the whole word, else the likeliest pieces."""
        bare = is_unspaced(term[0])
        for whole in (term, BEGIN + term) if bare else (BEGIN + term,):
            row = self.row.get(whole)
            if row is not None:
                return [row], self.costs[row]
        best = [0.0] + [float("inf")] * len(term)
        back = [None] * (len(term) + 1)
        for start in range(len(term)):
            base = best[start]
            for end in range(start + 1, min(len(term), start + self.longest) + 1):
                part = term[start:end]
                ways = [(part, BARE_COST if start == 0 and not bare else 0.0)]
                if start == 0:
                    ways.insert(0, (BEGIN + part, 0.0))
                for text, extra in ways:
                    row = self.row.get(text)
                    if row is not None and base + self.costs[row] + extra < best[end]:
                        best[end] = base + self.costs[row] + extra
                        back[end] = (start, row)
            if base + UNKNOWN_COST < best[start + 1]:
                best[start + 1] = base + UNKNOWN_COST
                back[start + 1] = (start, None)
        rows, end = [], len(term)
        while end > 0:
            end, row = back[end]
            if row is not None:
                rows.append(row)
        return rows[::-1], best[len(term)]
