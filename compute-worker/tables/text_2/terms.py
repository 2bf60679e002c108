"""Kindred's own terms and folding of texts, from `model-service/examples/terms.rs`."""

import json
import subprocess


def _ask(program, lines, *flags):
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    done = subprocess.run([program, *flags], input=text.encode(), stdout=subprocess.PIPE, check=True)
    answers = [json.loads(line) for line in done.stdout.decode().split("\n") if line]
    if len(answers) != len(lines):
        raise RuntimeError(f"{program} answered {len(answers)} of {len(lines)} lines")
    return answers


def terms(program, texts):
    """Terms with their frequencies (the title counts three times) of each (language, title, body)."""
    return _ask(program, [{"language": l, "title": t, "text": b} for l, t, b in texts])


def folded(program, language, words):
    """Each word folded as terms of the language are."""
    return _ask(program, [{"language": language, "text": word} for word in words], "--fold")
