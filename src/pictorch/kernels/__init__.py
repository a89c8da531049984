"""3x3 convolutions in C++ for CPUs: Winograd's F(4x4, 3x3), with torch's own as the fallback.

`building` compiles `winograd/` into the cache, `library` loads it and lets it prove itself, `operator` is
what networks call. Nothing is compiled or loaded by an import.
"""
