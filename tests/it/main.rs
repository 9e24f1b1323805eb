//! End-to-end tests: the real binary, real inference, capturing upstreams, real clients.
#![allow(clippy::unwrap_used, reason = "a failed expectation is the point of a test")]

mod accounting;
mod audit;
mod cascade;
mod commands;
mod doubt;
mod drift;
mod embeddings;
mod faults;
mod feedback;
mod forms;
mod leak;
mod mask;
mod models;
mod names;
mod replay;
mod router;
mod routing;
mod sdk;
mod tools;
mod tune;
