"""What a user of a model server imports. Knows messages and sound; no server, no model's code."""

from serving.client.remote import Client

__all__ = ["Client"]
