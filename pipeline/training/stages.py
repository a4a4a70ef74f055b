"""Staged joint training: the recipe's stages as recipes of their own, and what one hands on to the next."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tf_keras as keras

from models.separator import Separator
from pipeline.config.train import Recipe, StageSpec

# The last stage, which trains the recipe's own network.
OWN = "own"


def plan(recipe: Recipe) -> list[tuple[str, Recipe]]:
    """Name and recipe of every stage, in order; the last one is the recipe itself with the rest of steps or CPU minutes."""
    earlier = [(stage.name, _stage(recipe, stage)) for stage in recipe.train.stages]
    rest = 1 - sum(stage.share for stage in recipe.train.stages)
    return [*earlier, (OWN, _with_share(recipe, rest))]


def hand_over(earlier: Sequence[Separator], separator: Separator, own: bool = False) -> list[str]:
    """Gives the layers of the separator's network the weights of the newest earlier layer of the same name.

    From a stage of the very same network all of its weights are taken.
    own: whether it is the last stage, for which the earlier ones were made.
    Returns the names of the layers that were given weights, in the order of the network.
    Raises ValueError when layers of one name have weights of other shapes, or the last stage is given nothing.
    """
    if twin := next((each for each in reversed(earlier) if each.spec == separator.spec), None):
        separator.network.set_weights(twin.network.get_weights())
        return [layer.name for layer in separator.network.layers]
    source = {layer.name: layer for each in earlier for layer in each.network.layers}
    given = [layer for layer in separator.network.layers if layer.name in source]
    for layer in given:
        _copy(source[layer.name], layer)
    if own and earlier and not given:
        raise ValueError(f"no stage of train.stages has a layer that network {separator.spec.network!r} has")
    return [layer.name for layer in given]


def _copy(source: keras.layers.Layer, layer: keras.layers.Layer) -> None:
    theirs, ours = [[list(w.shape) for w in each.get_weights()] for each in (source, layer)]
    if theirs != ours:
        raise ValueError(
            f"layer {layer.name!r} has weights of the shapes {ours} and the earlier stage's {theirs}: give the stages of "
            "train.stages the sizes of the recipe's own network"
        )
    layer.set_weights(source.get_weights())


def _stage(recipe: Recipe, stage: StageSpec) -> Recipe:
    own_loss = stage.loss not in (None, recipe.train.loss)
    train = dataclasses.replace(
        recipe.train,
        loss=stage.loss or recipe.train.loss,
        teacher=None if own_loss else recipe.train.teacher,  # it goes with the recipe's loss
        loss_options=stage.loss_options if stage.loss else recipe.train.loss_options,
        learning_rate=stage.learning_rate or recipe.train.learning_rate,
    )
    model = dataclasses.replace(recipe.model, network=stage.network, sizes=stage.sizes)
    return _with_share(dataclasses.replace(recipe, model=model, train=train), stage.share)


def _with_share(recipe: Recipe, share: float) -> Recipe:
    train, budget = recipe.train, recipe.train.cpu_minutes
    return dataclasses.replace(
        recipe,
        train=dataclasses.replace(
            train,
            stages=(),
            steps=max(1, round(train.steps * share)),
            cpu_minutes=None if budget is None else budget * share,
        ),
    )
