"""Proximal deep recurrent network (Yuan et al. 2019): bidirectional RNN layers alternate with proximal interlayers.

Layer k is one primal-dual iteration: its RNN stands for the proximal operator, and its interlayer (models.layers.proximal)
carries the sources x and the dual u on to the next layer and takes the mixture m in again. The paper gives the
iteration, the depth (12) and T (4 or 10). Our choices, where it says nothing:
- 128 units per direction, ReLU, so that 12 layers have the size of Huang et al.'s networks (7.8 against 4.6 to 7.6 million);
- one RNN sees all J sources of a frame, and a linear layer maps both directions back to J * bins: the operator need
  not split over the sources (Eq. 12), and is of any sign;
- T is the length of the sequences that the recurrences run over: the frames are cut into pieces of T, side by side,
  and neither state nor gradient crosses a cut; None runs over all frames;
- x starts at m / J for every source, which meets the constraint, and u at 0; rho, tau and sigma start at 0.5 in every
  layer (the first tau and the last sigma move nothing: u is 0 before the one, and not read after the other);
- m is the network's own input, as the recipe makes it. The constraint that sources sum to m holds for magnitudes as
  nearly as magnitudes add up, also standardised ones, and is only a prior with an input power other than 1. The
  linear output layer of Huang et al. leads from x, in that domain, to the joint mask, so that any input is legal;
- channels are side by side in one frame, as in `drnn`.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from models.layers.proximal import ProximalLayer
from models.networks.srnn_deep import BidirectionalRecurrence, StackedNetwork


class ProximalNetwork(StackedNetwork):
    """7,766,082 parameters at 513 bins, 1 channel, 2 targets and the default sizes, which are those of its twin."""

    NAME = "p_drnn"

    def hidden_layer(self, units: int, name: str) -> keras.layers.Layer:
        return ProximalLayer(BidirectionalRecurrence(units, name="recurrence"), name=name)

    def refine(self, x: tf.Tensor, mixture: tf.Tensor) -> tf.Tensor:
        dual = tf.zeros_like(mixture)
        for layer in self.hidden:
            x, dual = layer(x, dual, mixture)
        return x
