//! Metrics cells, access log, events, trace context.
