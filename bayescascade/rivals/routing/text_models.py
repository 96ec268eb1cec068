"""Auxiliary models of the rivals that read text: P(right) from what was asked, and perhaps answered.

The published ones fine-tune a small language model. What stands here by default is the strongest that needs no
graphics card and a minute at most; any scikit-learn classifier can be put in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescascade.errors import CascadeError
from bayescascade.logs.texts import ANSWER, texts
from bayescascade.signals.kinds import to_signal

_WORD = r"(?u)\b\w+\b"  # single letters too: they are what multiple choice is answered with


def need_sklearn() -> None:
    """Raise `CascadeError` where scikit-learn is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise CascadeError(
            "methods that learn from text need scikit-learn, which is missing; install bayescascade[compare]."
        ) from None


@dataclass(frozen=True)
class TextModel:
    """How P(right) is learnt from text: word counts and logistic regression, or any classifier given.

    Examples
    --------
    >>> import pandas as pd
    >>> from bayescascade.rivals.routing.text_models import TextModel
    >>> asked = pd.DataFrame({"text": ["add two numbers", "prove a theorem"] * 20})
    >>> fitted = TextModel().fit(asked, [1, 0] * 20)
    >>> (fitted.predict(pd.DataFrame({"text": ["add numbers", "a theorem"]})) > 0.5).tolist()
    [True, False]

    Attributes
    ----------
    estimator : scikit-learn classifier, optional
        Anything with ``predict_proba``; it is cloned, and fitted to the list of texts, or to a DataFrame with the
        columns ``text`` and ``signal`` where the confidence is a feature. By default TF-IDF of words and word
        pairs (logarithmic counts) with logistic regression.
    min_df : int
        Words of fewer texts are left out, unless none is left.
    penalties : tuple of float
        Inverse penalties C to choose from, by log loss in cross-validation.
    n_folds : int
        Of the cross-validation.
    """

    estimator: Any = None
    min_df: int = 2
    penalties: tuple[float, ...] = (0.03, 0.3, 3.0, 30.0, 300.0)
    n_folds: int = 5

    def fit(self, features: pd.DataFrame, right: Any, *, random_seed: int = 0) -> FittedText:
        """Learn from texts, and labels 0 or 1 (query,); the base rate alone where one of the labels is missing."""
        return self._learn(features, right, random_seed)[0]

    def out_of_fold(
        self, features: pd.DataFrame, right: Any, *, random_seed: int = 0
    ) -> tuple[FittedText, np.ndarray]:
        """What `fit` gives, and P(right) (query,) of each text by a model that was fitted without it.

        The penalty is that of the whole: the folds share it and the word weights, which know no labels.
        """
        fitted, learner, prepared = self._learn(features, right, random_seed)
        folds = self._folds(np.asarray(right), random_seed)
        if learner is None or folds is None:
            return fitted, fitted.predict(features)
        from sklearn.base import clone
        from sklearn.model_selection import cross_val_predict

        right = np.asarray(right).astype(int)
        return fitted, cross_val_predict(clone(learner), prepared, right, cv=folds, method="predict_proba")[:, 1]

    def _learn(self, features: pd.DataFrame, right: Any, random_seed: int) -> tuple[FittedText, Any, Any]:
        need_sklearn()
        right = np.asarray(right).astype(int)
        if len(right) != len(features):
            raise CascadeError(f"there are {len(features)} texts for {len(right)} labels; give one for each.")
        base = FittedText(None, None, float(right.mean()) if len(right) else 0.5)
        if right.min(initial=1) == right.max(initial=0):
            return base, None, None
        if self.estimator is not None:
            if not hasattr(self.estimator, "predict_proba"):
                raise CascadeError(
                    f"the estimator {self.estimator!r} has no predict_proba; choose a classifier that has."
                )
            from sklearn.base import clone

            prepared = plain(features)
            learner = clone(self.estimator).fit(prepared, right)
            return FittedText(None, learner, base.rate), learner, prepared
        words = _Words.of(features, self.min_df)
        if words is None:
            return base, None, None
        prepared = words(features)
        learner = self._regression(prepared, right, random_seed)
        return FittedText(words, learner, base.rate), learner, prepared

    def _folds(self, right: np.ndarray, random_seed: int) -> Any:
        from sklearn.model_selection import StratifiedKFold

        n = min(self.n_folds, int(np.bincount(right.astype(int), minlength=2).min()))
        return StratifiedKFold(n, shuffle=True, random_state=random_seed) if n >= 2 else None

    def _regression(self, prepared: Any, right: np.ndarray, random_seed: int) -> Any:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV

        folds = self._folds(right, random_seed)
        if folds is None or len(self.penalties) == 1:
            alone = LogisticRegression(C=1.0 if folds is None else self.penalties[0], max_iter=2000)
            return alone.fit(prepared, right)
        options = {"C": list(self.penalties)}
        search = GridSearchCV(LogisticRegression(max_iter=2000), options, scoring="neg_log_loss", cv=folds)
        return search.fit(prepared, right).best_estimator_


@dataclass(frozen=True)
class FittedText:
    """What a `TextModel` learnt; ``rate`` is the base rate, and all there is where ``learner`` is None."""

    words: Any
    learner: Any
    rate: float

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """P(right) of texts (query,)."""
        if self.learner is None:
            return np.full(len(features), self.rate)
        prepared = plain(features) if self.words is None else self.words(features)
        return np.asarray(self.learner.predict_proba(prepared))[:, 1]


@dataclass(frozen=True)
class _Words:
    """TF-IDF of the texts, and the signal, standardised, as one more column where there is one."""

    vectoriser: Any
    centre: float
    scale: float

    @classmethod
    def of(cls, features: pd.DataFrame, min_df: int) -> _Words | None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        signal = features["signal"].to_numpy() if "signal" in features else np.zeros(1)
        centre, scale = float(signal.mean()), float(signal.std())
        for least in dict.fromkeys((min_df, 1)):
            vectoriser = TfidfVectorizer(
                ngram_range=(1, 2), sublinear_tf=True, min_df=least, token_pattern=_WORD, strip_accents="unicode"
            )
            try:
                return cls(vectoriser.fit(features["text"]), centre, scale if scale > 0 else 1.0)
            except ValueError:  # no word is left
                continue
        return None

    def __call__(self, features: pd.DataFrame) -> Any:
        from scipy import sparse

        counts = self.vectoriser.transform(features["text"])
        if "signal" not in features:
            return counts
        z = (features["signal"].to_numpy() - self.centre) / self.scale
        return sparse.hstack([counts, sparse.csr_matrix(z[:, None])]).tocsr()


def plain(features: pd.DataFrame) -> Any:
    """What a classifier of the user's gets: the list of texts, or the table where there is more than text."""
    return features if "signal" in features else features["text"].tolist()


def query_features(log: xr.Dataset) -> pd.DataFrame:
    """What was asked, as a table with the column ``text``."""
    return pd.DataFrame({"text": texts(log)})


def answer_features(log: xr.Dataset, stage: int, *, answer: bool = True, confidence: bool = False) -> pd.DataFrame:
    """What was asked and what one stage answered, as a table with the columns ``text`` and perhaps ``signal``.

    Parameters
    ----------
    log : xarray.Dataset
        With the variable ``prompt`` and, for ``answer``, the variable ``answer`` (query, stage).
    stage : int
    answer : bool
        Whether the answer is read.
    confidence : bool
        Whether the stage's own confidence is a feature, as its signal.
    """
    found = texts(log)
    if answer:
        if ANSWER not in log:
            raise CascadeError(
                "this method has learnt from answers, but the log has no variable 'answer' over query and stage; "
                "attach it with with_answers."
            )
        name = str(log["stage"].values[stage])
        answers = log[ANSWER].transpose("query", "stage").values[:, stage]
        parts = [f"{asked}\n{name} answers: {said}" for asked, said in zip(found, answers, strict=True)]
        found = np.array(parts, dtype=object)
    table = pd.DataFrame({"text": found})
    if confidence:
        raw = log["confidence"].transpose("query", "stage").values[:, stage]
        table["signal"] = to_signal(raw, str(log.attrs["confidence_kind"]))
    return table
