"""The demo's service: trains classifiers on the handwritten digits that scikit-learn ships.

Real work on real input. A service of your own looks like this: one function,
one decorator, a progress report after each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from longcall.contract import JsonValue
from longcall.service import Call, CallFailed, Service

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

__all__ = ["cross_validate", "service"]

service = Service("digits")


@service.handler("/train")
def cross_validate(call: Call) -> JsonValue:
    """Measure how well a model reads digits that it has not seen, one fold after the other.

    Arguments of the call: `model`, a name that `_build` knows; `rounds`, how often to repeat a
    ten-fold cross-validation. The result holds the mean accuracy.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import RepeatedStratifiedKFold

    arguments = call.arguments if isinstance(call.arguments, dict) else {}
    name, rounds = str(arguments.get("model")), int(str(arguments.get("rounds", 1)))
    model = _build(name)
    images, digits = load_digits(return_X_y=True)
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=rounds, random_state=0)
    accuracies: list[float] = []
    for training, testing in folds.split(images, digits):
        model.fit(images[training], digits[training])
        accuracies.append(float(model.score(images[testing], digits[testing])))
        mean = sum(accuracies) / len(accuracies)
        call.progress(len(accuracies), 10 * rounds, unit="folds", message=f"{mean:.1%} right so far")
    return {"model": name, "accuracy": mean, "folds": len(accuracies), "images": len(images)}


def _build(name: str) -> ClassifierMixin:
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    models: Mapping[str, ClassifierMixin] = {
        "random forest": RandomForestClassifier(n_estimators=80, random_state=0),
        "extra trees": ExtraTreesClassifier(n_estimators=100, random_state=0),
        "neural network": make_pipeline(
            StandardScaler(), MLPClassifier((48,), max_iter=200, tol=2e-3, random_state=0)
        ),
        "support vectors": SVC(gamma=0.001, C=10),
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
    }
    if name not in models:
        # Trying again would not help, and the service says so: Airflow will not spend retries on it.
        raise CallFailed("unknown model", detail=f"{name!r} is none of {', '.join(models)}", retryable=False)
    return models[name]
