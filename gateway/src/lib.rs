//! The gateway: everything that touches the outside world.
//!
//! The request's path is in [`pipeline`]; what is built once is in [`gateway`](mod@gateway); the map of the
//! whole is in `docs/architecture.md`.

pub mod admin;
pub mod ask;
pub mod audit;
pub mod classification;
pub mod cli;
pub mod config;
pub mod drift;
pub mod encoder;
pub mod error;
pub mod execute;
pub mod gateway;
pub mod http;
pub mod identity;
pub mod ledger;
pub mod local;
pub mod mask;
pub mod pipeline;
pub mod portfolio;
pub mod provision;
pub mod refine;
pub mod router;
pub mod server;
pub mod sessions;
pub mod settlement;
pub mod tasks;
pub mod telemetry;
pub mod trace_context;
pub mod upstream;
