//! The fleet as the control plane knows it: a pure aggregate of KV entries, and the views made from it.

pub mod view;
