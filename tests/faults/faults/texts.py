"""Items to write about: sentences of the bundled sample in a new order, in three languages."""

import json
import re

LANGUAGES = {"courier": "en", "garten-kueche": "de", "plein-air": "fr"}
# Most items are of one language, so that lists are full.
WEIGHTS = (8, 1, 1)
SENTENCES = (3, 6)


class Texts:
    def __init__(self, root):
        self.languages = []
        for name, language in LANGUAGES.items():
            with open(f"{root}/model-service/demo/{name}.ndjson", encoding="utf-8") as file:
                events = [json.loads(line) for line in file]
            sentences = [part for event in events for part in re.split(r"(?<=[.!?]) ", event["text"])]
            titles = [event["title"] for event in events]
            self.languages.append((language, titles, sentences))

    def fields(self, source, language=None):
        """Title, text and language of an item, drawn from a source of random numbers.

        `language` is the number of one, where it may not be any."""
        if language is None:
            language = source.choices(range(len(self.languages)), WEIGHTS)[0]
        language, titles, sentences = self.languages[language]
        text = " ".join(source.sample(sentences, source.randint(*SENTENCES)))
        # The number makes every text one of its own.
        return {
            "title": f"{source.choice(titles)} ({source.randrange(10**9)})",
            "text": text,
            "language": language,
        }
