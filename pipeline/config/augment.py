"""The augmentations of training excerpts: what they are called, their options, the defaults and what is legal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from models.checked import Count, Flag, Share, checked, nearest

Augmentation = Literal[
    "channel_swap",
    "circular_shift",
    "equaliser",
    "gain",
    "mp3",
    "pitch_shift",
    "polarity",
    "remix",
    "reverb",
    "speed",
]
# What LAME encodes: MPEG-1, 2 and 2.5.
MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
# Made with the package pedalboard (see `pipeline.data.effects`).
BY_PEDALBOARD = ("equaliser", "mp3", "pitch_shift", "reverb")

Decibels = Annotated[float, Field(ge=0, le=24)]


def _filled(**lists: tuple[float, ...]) -> None:
    """Raises ValueError for a list that names nothing: the augmentation would be on and do nothing."""
    for name, values in lists.items():
        if not values:
            raise ValueError(f"{name} is []; legal: a list of at least one number")


@checked("train.augment_options.channel_swap")
class ChannelSwap:
    """Reverses the channels of whole excerpts, of so large a share of them."""

    probability: Share = 0.5


@checked("train.augment_options.circular_shift")
class CircularShift:
    """Rolls the first target in its track against the others by a random multiple of a step (Huang et al. 2014, 3.1)."""

    step_samples: Count = 10_000


@checked("train.augment_options.equaliser")
class Equaliser:
    """Peaks and notches of random frequency, width and at most so many dB; the stem keeps its level.

    first_only: of the first target alone, whose timbre then varies more than that of the others.
    """

    probability: Share = 0.5
    bands: Annotated[int, Field(strict=True, ge=1, le=16)] = 3
    most_db: Decibels = 6.0
    first_only: Flag = False


@checked("train.augment_options.gain")
class Gain:
    """A normally distributed gain in dB of every stem.

    balance_db: before it, the first target is brought to so many dB over the sum of the others in its excerpt, by at most 20 dB, for
        stems that no desk has mixed; null leaves the levels of the tracks.
    """

    deviation_db: Decibels = 1.5
    balance_db: Annotated[float, Field(ge=-24, le=24)] | None = None


@checked("train.augment_options.mp3")
class Mp3:
    """Copies of every track whose stems went through MP3 of variable rate; quality 0 is the best, 9 the worst."""

    qualities: tuple[Annotated[float, Field(ge=0, le=9)], ...] = (2.0, 7.0)

    def __post_init__(self) -> None:
        _filled(qualities=self.qualities)


@checked("train.augment_options.pitch_shift")
class PitchShift:
    """Copies of every track at another pitch and the same length."""

    semitones: tuple[Annotated[float, Field(ge=-12, le=12)], ...] = (-2.0, -1.0, 1.0, 2.0)

    def __post_init__(self) -> None:
        _filled(semitones=self.semitones)


@checked("train.augment_options.polarity")
class Polarity:
    """Turns stems upside down, so large a share of them."""

    probability: Share = 0.5


@checked("train.augment_options.remix")
class Remix:
    """Takes every target but the first from another excerpt of the batch, of so large a share of them."""

    probability: Share = 0.8


@checked("train.augment_options.reverb")
class Reverb:
    """A room of random size and share of its sound, up to these (Freeverb's, 0 to 1); the stem keeps its level."""

    probability: Share = 0.3
    most_room: Share = 0.5
    most_wet: Share = 0.3


@checked("train.augment_options.speed")
class Speed:
    """Copies of every track that play so many times as fast; the pitch moves with it."""

    factors: tuple[Annotated[float, Field(ge=0.5, le=2)], ...] = (16 / 17, 17 / 16, 8 / 9, 9 / 8)

    def __post_init__(self) -> None:
        _filled(factors=self.factors)


AUGMENTATIONS: Mapping[Augmentation, Any] = {
    "channel_swap": ChannelSwap,
    "circular_shift": CircularShift,
    "equaliser": Equaliser,
    "gain": Gain,
    "mp3": Mp3,
    "pitch_shift": PitchShift,
    "polarity": Polarity,
    "remix": Remix,
    "reverb": Reverb,
    "speed": Speed,
}


def options(names: Iterable[Augmentation], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of every augmentation that is on: an object of its class above, with the defaults of what is not given.

    Raises:
      ValueError: options of an augmentation that is off, an unknown option, or a value that is not legal.
    """
    names = list(names)
    if unused := sorted(set(given) - set(names)):
        raise ValueError(f"augment_options names {unused[0]!r}, which is not in train.augment {names}")
    return {name: _options_of(name, given.get(name, {})) for name in names}


def _options_of(name: Augmentation, given: Any) -> Any:
    if not isinstance(given, Mapping):
        raise ValueError(f"augment_options.{name} is {given!r}; legal: a mapping")
    legal = [field.name for field in dataclasses.fields(AUGMENTATIONS[name])]
    for option in given:
        if option not in legal:
            raise ValueError(f"augment_options.{name} has no option {option!r}; {nearest(option, legal)}")
    return AUGMENTATIONS[name](**given)
