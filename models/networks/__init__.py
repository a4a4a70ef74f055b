"""One file per architecture; a new model is one new file.

A module offers
- `build(bins, channels, targets, **sizes) -> keras.Model`, called with features float32 [batch, frames, bins, channels]
  and answering {"masks": float32 [batch, frames, bins, channels, targets], ...auxiliary outputs for the loss};
- `SMALL`, sizes for a build that tests can afford;
- `MASKS_SUM_TO_ONE`, whether its masks add up to 1 in every bin;
- `FILTERS_ITS_INPUT`, whether it multiplies the features it sees, so that they must be plain magnitudes up to a level.
"""
