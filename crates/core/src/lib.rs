//! Vocabulary of the engine: ids, units, clock, problems, trail, ports.
