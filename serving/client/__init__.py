"""What a user of a model server imports. Knows messages and sound; no server, no model's code.

from serving.client import Client

with Client("localhost:8500") as client:
    stems = client.separate(waveform, 44100)                # {"vocals": [samples, channels], ...}
    client.separate_file(Path("song.mp3"), Path("out"))      # out/vocals.wav, ...
"""

from serving.client.separation import Client

__all__ = ["Client"]
