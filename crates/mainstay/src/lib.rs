//! The Mainstay API engine.
