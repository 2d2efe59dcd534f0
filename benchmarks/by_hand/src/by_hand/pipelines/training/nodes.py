"""
This is a boilerplate pipeline 'training'
generated using Kedro 1.7.0
"""
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def split(raw):
    rows = raw.set_index("application_id").drop(columns=["black", "single"])
    return rows.drop(columns="denied"), (rows["denied"] == "yes").astype(int)


def fit_preprocessor(instances):
    return make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include="number")),
        (
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            make_column_selector(dtype_exclude="number"),
        ),
    ).fit(instances)


def transform(instances, preprocessor):
    return preprocessor.transform(instances)


def fit_model(features, target, estimator):
    return HistGradientBoostingClassifier(**estimator).fit(features, target)


def predict(features, model):
    return model.predict_proba(features)[:, 1]
