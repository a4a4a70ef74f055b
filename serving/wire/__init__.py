"""What the client and the server share: tensors on the wire, and the status that a request ends with.

Knows protobuf and numpy; neither of the two sides.
"""
