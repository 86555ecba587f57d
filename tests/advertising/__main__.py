"""
Learn the weights of `worker/content/advertising.tsv` from tests/data/advertising/training.jsonl, and say how good they are.

    uv run --with scikit-learn python -m tests.advertising [--write]

Cross-validated on the training texts; the held-out texts are only looked at to be counted. Nothing is tuned on them.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from worker.content.advertising import SCALE, SENTENCE_SHARE, THRESHOLD, WEIGHTS, Contents, contents, parts, sentences
from worker.content.folding import folded

DATA = Path(__file__).parent.parent / "data" / "advertising"
STRENGTH, ROUNDS, LEAST_TEXTS, LEAST_WEIGHT = 2.0, 4, 2, 3

Sentences = list[Contents]


def load(name: str) -> tuple[list[Sentences], np.ndarray]:
    rows = [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text("utf-8").splitlines()]
    texts = [[contents(words) for words in sentences(folded(row["text"]))] for row in rows]
    return texts, np.array([row["advertising"] for row in rows])


def whole(text: Sentences) -> Contents:
    return Contents(set().union(*(each.words for each in text)), set().union(*(each.groups for each in text)))


def features(its: Contents) -> Counter[str]:
    """How many different words have each feature; a group of neighbours counts once."""
    return Counter(name for word in its.words for name in parts(word)) + Counter(its.groups)


class Model:
    """Two logistic regressions over the same features: of whole texts, and of the sentence that advertises most."""

    def __init__(self, texts: list[Sentences], labels: np.ndarray) -> None:
        counts = Counter(name for text in texts for name in features(whole(text)))
        self.names = {
            name: place for place, name in enumerate(sorted(n for n, c in counts.items() if c >= LEAST_TEXTS))
        }
        self.text = self._fit(self._matrix(whole(text) for text in texts), labels, None)
        self.sentence = self._fit_sentences(texts, labels)

    def _matrix(self, sets) -> csr_matrix:
        rows = [[(self.names[n], c) for n, c in features(one).items() if n in self.names] for one in sets]
        starts = np.cumsum([0, *map(len, rows)]).astype("int32")
        columns = np.array([column for row in rows for column, _ in row], dtype="int32")
        values = np.array([count for row in rows for _, count in row], dtype="float64")
        return csr_matrix((values, columns, starts), shape=(len(rows), len(self.names)))

    @staticmethod
    def _fit(matrix, labels, weights) -> LogisticRegression:
        return LogisticRegression(C=STRENGTH, solver="liblinear", max_iter=3000).fit(matrix, labels, weights)

    def _fit_sentences(self, texts: list[Sentences], labels: np.ndarray) -> LogisticRegression:
        """Nobody said which sentence advertises: begin with all, then take the one that the last round found."""
        matrix = self._matrix(sentence for text in texts for sentence in text)
        owners = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
        its = labels[owners]
        weights = 1 / np.bincount(owners)[owners]
        for _ in range(ROUNDS):
            fitted = self._fit(matrix, its, weights)
            scores = fitted.decision_function(matrix)
            weights = np.ones(len(owners))
            best = np.full(len(texts), -np.inf)
            np.maximum.at(best, owners, scores)
            weights[its & (scores < best[owners])] = 0
        return fitted

    def scores(self, texts: list[Sentences]) -> np.ndarray:
        total = self.text.decision_function(self._matrix(whole(text) for text in texts))
        each = self.sentence.decision_function(self._matrix(sentence for text in texts for sentence in text))
        owners = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
        worst = np.full(len(texts), -np.inf)
        np.maximum.at(worst, owners, each)
        return total + SENTENCE_SHARE * worst

    def write(self, path: Path) -> None:
        rows = [("", self.text.intercept_[0], self.sentence.intercept_[0])]
        rows += [(name, self.text.coef_[0, at], self.sentence.coef_[0, at]) for name, at in self.names.items()]
        kept = [(name, round(SCALE * a), round(SCALE * b)) for name, a, b in rows]
        lines = [f"{n}\t{a}\t{b}\n" for n, a, b in kept if not n or max(abs(a), abs(b)) >= LEAST_WEIGHT]
        head = (
            "# Written by `python -m tests.advertising --write`: feature, hundredths for the text, for its sentence.\n"
        )
        path.write_text(head + "".join(lines), "utf-8")
        print(f"{len(lines)} weights written to {path.name}")


def told(scores: np.ndarray, labels: np.ndarray, threshold: float) -> str:
    found = scores > threshold
    right = (found & labels).sum()
    wrong = f"{(found & ~labels).sum()} wrongly found, {(~found & labels).sum()} missed"
    return f"precision {right / found.sum():.3f}, recall {right / labels.sum():.3f}, {wrong}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="replace the weights")
    wanted = parser.parse_args()
    texts, labels = load("training")
    scores = np.zeros(len(texts))
    for fit, check in KFold(5, shuffle=True, random_state=1).split(texts):
        model = Model([texts[n] for n in fit], labels[fit])
        scores[check] = model.scores([texts[n] for n in check])
    for threshold in (-1.0, -0.5, THRESHOLD, 0.0, 0.5):
        print(f"cross-validated, {len(texts)} texts, threshold {threshold:+.2f}: {told(scores, labels, threshold)}")
    model = Model(texts, labels)
    held_out, its = load("held_out")
    print(f"held out, {len(its)} texts: {told(model.scores(held_out), its, THRESHOLD)}")
    if wanted.write:
        model.write(WEIGHTS)


if __name__ == "__main__":
    main()
