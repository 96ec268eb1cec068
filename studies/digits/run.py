"""Record the embedded example of a real cascade: three classifiers of rising cost read handwritten digits.

Run from the project's root: ``python -m studies.digits.run``. Writes ``bayescascade/logs/example_digits.csv`` and the
picture ``docs/_static/digits.png`` of the page ``docs/reference/examples.md``. The images are those that ship with
scikit-learn; 200 of them train the classifiers, and the log holds the rest. Each classifier costs what it takes: the
median processor time of five calls for one image. So a new recording has the same answers and confidences, and other
costs.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from studies.common.command import ROOT, parse

TRAINING = 200


def thumbnail(images: np.ndarray) -> np.ndarray:
    """Means of 2 by 2 pixels: (image, 64) becomes (image, 16)."""
    return images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)


def shifted(images: np.ndarray) -> np.ndarray:
    """Each image moved by up to a pixel, in 25 ways: (image, 64) becomes (25 * image, 64)."""
    from scipy.ndimage import shift

    steps = (-1.0, -0.5, 0.0, 0.5, 1.0)
    square = images.reshape(-1, 8, 8)
    moved = [shift(square, (0.0, down, right), order=1) for down in steps for right in steps]
    return np.concatenate(moved).reshape(-1, 64)


def train(images: np.ndarray, digits: np.ndarray) -> dict:
    """The cascade's trained classifiers, cheapest first."""
    from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    networks = [(str(seed), MLPClassifier((64,), max_iter=1000, random_state=seed)) for seed in range(10)]
    first = make_pipeline(FunctionTransformer(thumbnail), LogisticRegression(max_iter=1000))
    return {
        "thumbnail": first.fit(images, digits),
        "networks": VotingClassifier(networks, voting="soft").fit(images, digits),
        "forest": ExtraTreesClassifier(300, random_state=1).fit(shifted(images), np.tile(digits, 25)),
    }


def milliseconds(classifier: Any, image: np.ndarray, repeats: int) -> float:
    """Median processor time of one call for one image."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        classifier.predict_proba(image)
        taken.append(time.process_time() - start)
    return 1e3 * float(np.median(taken))


def record(n_queries: int | None, repeats: int) -> tuple[pd.DataFrame, np.ndarray]:
    """The log in the long layout, and the images of its queries (query, 8, 8)."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, digits = load_digits(return_X_y=True)
    images = images / 16
    # in random order, so that any part of the log is like any other
    training, logged = train_test_split(
        np.arange(len(digits)), train_size=TRAINING, stratify=digits, random_state=1
    )
    logged = logged[:n_queries]
    parts = []
    for name, classifier in train(images[training], digits[training]).items():
        probability = classifier.predict_proba(images[logged])
        answer = classifier.classes_[probability.argmax(axis=1)]
        cost = [milliseconds(classifier, images[[i]], repeats) for i in logged]
        part = pd.DataFrame(
            {
                "query": logged,
                "stage": name,
                "confidence": probability.max(axis=1).round(6),
                "correct": (answer == digits[logged]).astype(int),
                "cost": np.round(cost, 4),
                "answer": answer,
            }
        )
        print(f"{name}: {1 - part['correct'].mean():.1%} wrong, {part['cost'].mean():.3f} ms")
        parts.append(part)
    # one query's stages beside each other, in the order of the cascade
    log = pd.concat(parts).sort_index(kind="stable")
    return log, images[logged].reshape(-1, 8, 8)


def draw(log: pd.DataFrame, images: np.ndarray) -> Any:
    """Six images that the first stage reads rightly or wrongly, surest first, with each stage's answer."""
    import matplotlib.pyplot as plt

    first = log[log["stage"] == "thumbnail"].reset_index(drop=True)
    order = first["confidence"].sort_values(ascending=False, kind="stable").index
    picked = order[np.linspace(0, len(order) - 1, 6).round().astype(int)]
    names = log["stage"].unique()
    figure, axes = plt.subplots(1, 6, figsize=(9.6, 2.5), layout="constrained")
    for ax, place in zip(axes, picked, strict=True):
        ax.imshow(images[place], cmap="gray_r", interpolation="nearest")
        ax.set_axis_off()
        rows = log[log["query"] == first["query"][place]].set_index("stage")
        lines = [
            f"{name}: {rows['answer'][name]}{'' if rows['correct'][name] else ' (wrong)'}, "
            f"{rows['confidence'][name]:.0%}"
            for name in names
        ]
        ax.set_title("\n".join(lines), fontsize=7, loc="left")
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    run = parse("digits", __doc__, argv)
    log, images = record(60, 1) if run.quick else record(None, 5)
    data = (run.build if run.quick else ROOT / "bayescascade" / "logs") / "example_digits.csv"
    picture = (run.build if run.quick else ROOT / "docs" / "_static") / "digits.png"
    data.parent.mkdir(parents=True, exist_ok=True)
    log.drop(columns="answer").to_csv(data, index=False, lineterminator="\n")
    draw(log, images).savefig(picture, dpi=120, metadata={"Software": None})
    print(f"wrote {data.relative_to(ROOT)} ({data.stat().st_size / 1e3:.0f} kB) and {picture.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
