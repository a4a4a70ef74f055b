"""The section `gate` of a configuration: what a model has to keep before it is blessed (see docs/gates.md)."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from models.checked import Count, Decibels, DecibelsOver, DecibelsUnder, Name, Positive, Share, Whole, checked

AUTO = "auto"

Metric = Literal[
    "v3/SDR", "v3/GSDR", "v3/NSDR", "v3/GNSDR", "v3/SIR", "v3/GSIR", "v3/SAR", "v3/GSAR",
    "v4/SDR", "v4/ISR", "v4/SIR", "v4/SAR",
]  # fmt: skip


@checked("gate.thresholds")
class Threshold:
    """`score >= at_least_db`, where the score is absolute or its difference to the mixture's, the baseline's or the anchor's score.

    over: `baseline` is the last blessed model, `anchor` the best that was ever blessed, or one that is pinned.

    across: of what the score is: `all` tracks' aggregate, that of the `worst` track, or a key of the tracks' metadata
        such as `singer`: then every group's aggregate must hold. Over baseline and anchor, `all` and groups are decided by a
        paired test over tracks (`PairedConfig`).
    """

    target: str
    metric: Metric
    at_least_db: Decibels
    over: Literal["absolute", "mixture", "baseline", "anchor"] = "absolute"
    across: Name = "all"


@checked("gate.paired")
class PairedConfig:
    """How a model is compared with the last blessed one, track by track (see pipeline/evaluation/gate/paired.py).

    confidence: of the one-sided bound that has to exclude `boundary` times a margin below 0. min_tracks: with fewer usable
    pairs nothing is decided. cluster: the key of the metadata whose tracks belong together, `auto` for the first of singer,
    artist and album that the tracks have, null for none. power: the chance of an equally good model to pass under which the
    test is said to be unable to decide.
    """

    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    min_tracks: Count = 6
    boundary: Annotated[float, Field(ge=1, le=100)] = 2.0
    cluster: Name | None = AUTO
    power: Share = 0.5


@checked("gate.outputs.false_voice")
class FalseVoiceLimits:
    """What may sound where a reference is silent (see docs/gates.md).

    A stretch of up to a second is false when it is audible (`audible_db` over the target's level where that sounds) and
    its level over the mixture's is above `leakage_db` and above what the model leaks where the target sounds plus
    `excess_db`, or when the energy that is none of the mixture's is above `invented_db` over the mixture.
    share_of_track, share: of the silent time of any track, and of all tracks together, that may be false.
    """

    leakage_db: DecibelsUnder = -10.0
    excess_db: DecibelsOver = 6.0
    invented_db: DecibelsUnder = -15.0
    audible_db: DecibelsUnder = -40.0
    share_of_track: Share = 0.25
    share: Share = 0.1


@checked("gate.outputs.bands")
class BandLimits:
    """How much estimates may lack, or have too much of, in a third of an octave (see docs/gates.md).

    median_db: of the median track. track_db: of a track, beyond twice what is usual in the band; octaves: in so
    many on end of a track it may be more; share: of the tracks that may be wrong in two bands or more. invented_db: energy that is
    none of the mixture's over the reference's. up_to_hz: what is above is told and not judged; null judges all.
    """

    median_db: Positive = 10.0
    track_db: Positive = 12.0
    octaves: Annotated[float, Field(ge=0, le=20)] = 1.2
    share: Share = 0.2
    invented_db: Decibels = 0.0
    up_to_hz: Positive | None = None


@checked("gate.outputs.artefacts")
class ArtefactLimits:
    """What may be heard in time (see pipeline/evaluation/outputs/artefacts.py); the first of two is of the median track.

    unevenness_db, track_unevenness_db: of the level against the reference's, of a track beside notes that are lost.
    lost_share: of a track's loud energy, in notes that are lost. clicks_per_minute: of a track. foreign_db,
    track_foreign_db: energy where the mixture has none over the reference's. resolution_db: level over the noise of its steps.
    """

    unevenness_db: Positive = 2.0
    track_unevenness_db: Positive = 4.5
    lost_share: Share = 0.33
    clicks_per_minute: Annotated[float, Field(ge=0, le=60_000)] = 1.0
    foreign_db: Decibels = -40.0
    track_foreign_db: Decibels = -20.0
    resolution_db: Decibels = 50.0


@checked("gate.outputs")
class OutputLimits:
    """What a model's estimates must keep, whatever they score; null switches a check off (see pipeline/evaluation/outputs/).

    silence_db: an estimate this far under its reference is silent. dropped_share: of the reference's energy where the
        estimate drops out. clipped_share: of samples at or beyond full scale or stuck at the estimate's own ceiling,
        above the share that mixture or reference have. offset: of the mean sample, full scale being 1.
    level_db: too loud or too quiet on the median track.
    taken_db: what was taken out of the mixture over what there was to take: below it an estimate is the mixture.
    correlation, delay_samples, stretch_level_db, stretch_silence_db: of the worst stretch of any channel that sounds in the
        reference: the lowest, the latest or earliest, the loudest and the quietest (beyond errors of separation).
    balance_db, track_balance_db: of left against right, of the median track and of one. tilt_db: the same of an octave of one.
    width_db: of the side against the middle, median track.
    stray_share: of tracks on which a sound model may be beyond one of these (all but the medians) by chance, or like another target.
    false_voice: what may sound where the reference is silent. bands: what may be missing or too much in a band.
    artefacts: what may be heard in time.
    """

    silence_db: Decibels | None = -60.0
    dropped_share: Share | None = 0.1
    clipped_share: Share | None = 0.001
    offset: Share | None = 0.01
    level_db: Decibels | None = 6.0
    taken_db: Decibels | None = -40.0
    correlation: Annotated[float, Field(ge=-1, le=1)] | None = -0.2
    delay_samples: Whole | None = 8
    stretch_level_db: Decibels | None = 10.0
    stretch_silence_db: Decibels | None = -40.0
    balance_db: Decibels | None = 3.0
    track_balance_db: Positive | None = 12.0
    width_db: Decibels | None = 4.0
    tilt_db: Decibels | None = 9.0
    stray_share: Share = 0.001
    false_voice: FalseVoiceLimits | None = field(default_factory=FalseVoiceLimits)
    bands: BandLimits | None = field(default_factory=BandLimits)
    artefacts: ArtefactLimits | None = field(default_factory=ArtefactLimits)


@checked("gate.budgets")
class Budgets:
    """What a model may cost; null is no limit. real_time_factor: seconds of computing for a second of audio."""

    real_time_factor: Positive | None = None
    megabytes: Positive | None = None
    parameters: Count | None = None


@checked("gate.drift")
class DriftLimits:
    """How far the newest span of data may be from the one before it (see pipeline/data/drift.py).

    divergence: Jensen-Shannon, 0 to 1, above which a feature is flagged. min_values: of a feature in a span, below which
    nothing is said. refuse: whether a flagged feature refuses the model, or is only told.
    """

    divergence: Annotated[float, Field(gt=0, le=1)] = 0.25
    min_values: Count = 30
    refuse: bool = False


@checked("gate.leaks")
class LeakRules:
    """What a recording that lies in two splits comes to: `refuse` the model, or `tell` of it (see docs/gates.md).

    test: of a test track in the training split. dev: of a dev track in the training split, or of a test track in dev.
    published: of a voice or a backing in two splits that a corpus was published with (formats mir1k and musdb18).
    share, seconds: of the shorter track; what is less than both, such as a loop that two songs use, is not looked at.
    at_ingest: whether what refuses every model refuses the data, too, before anything is trained on it.
    """

    test: Literal["refuse", "tell"] = "refuse"
    dev: Literal["refuse", "tell"] = "tell"
    published: Literal["refuse", "tell"] = "tell"
    share: Annotated[float, Field(gt=0, le=1)] = 0.2
    seconds: Positive = 20.0
    at_ingest: Literal["refuse", "tell"] = "tell"


@checked("gate")
class GateConfig:
    """A model is blessed only if every threshold and every other check holds (see docs/gates.md).

    better_than_mixture: every target's SDR must be above the mixture's, over all tracks and on `better_on_share` of them.
    outputs: null asks only that they are there and finite.
    """

    thresholds: tuple[Threshold, ...] = ()
    better_than_mixture: bool = True
    better_on_share: Share = 0.75
    min_tracks: Count = 2
    when_undecidable: Literal["tell", "refuse"] = "tell"
    paired: PairedConfig = field(default_factory=PairedConfig)
    outputs: OutputLimits | None = field(default_factory=OutputLimits)
    budgets: Budgets = field(default_factory=Budgets)
    drift: DriftLimits = field(default_factory=DriftLimits)
    leaks: LeakRules = field(default_factory=LeakRules)
