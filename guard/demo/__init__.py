"""Hollow Reed: a small real music platform to stand the guard in front of. Its artists, titles and music are invented.

Read `catalogue` (what there is), `audio` (how it sounds), `platform` (what is served where).
"""
