//! A small payments service: upstream of the demo, the examples and the tests.
