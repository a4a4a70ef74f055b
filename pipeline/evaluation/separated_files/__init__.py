"""Anybody's separated files beside their references: found, matched by the names in their paths, fitted and read.

references   DIR/[train|dev|test/]<track>/<stem>.wav    MUSDB18 as folders
             DIR/<stem>.wav                             a single track
             DIR/[train|test/]<track>.stem.mp4          MUSDB18's native files
estimates    whatever names a track of the references and a stem: see `matching`
"""
