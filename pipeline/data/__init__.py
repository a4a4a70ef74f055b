"""From a corpus of stems to TFRecords, and from these to batches; what is known of every track on the way.

Knows the configuration and the specs of models; neither TFX nor Beam, nor what is trained or judged on the data.
"""
