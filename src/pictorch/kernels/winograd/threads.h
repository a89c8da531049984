// Work in parts, on the threads that the tensor library already has.
#pragma once

// Calls body(data, part) for every part in [0, parts), on at most `parts` threads. Who does which is left open.
void in_parallel(int parts, void (*body)(const void* data, int part), const void* data);

template <class Body> void in_parallel(int parts, const Body& body) {
    in_parallel(parts, [](const void* data, int part) { (*static_cast<const Body*>(data))(part); }, &body);
}
