//! The gateway's one error type: what went wrong while serving a request.
//!
//! A refusal by policy is a decision and carries its reason; it becomes an error only so that one place
//! (`http::respond`) turns everything that is not an answer into a response.

use std::sync::Arc;
use std::time::Duration;

use policies::{ClearanceError, Refusal};

use crate::ledger::{BudgetError, LedgerError};

/// Which side an error comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The caller.
    Downstream,
    /// A provider.
    Upstream,
    /// The embedded model.
    Local,
    /// This program or its disk.
    Internal,
    /// The policy.
    Policy,
}

/// What can go wrong while serving a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The body or a header is faulty.
    #[error("{message}")]
    Invalid {
        /// Field (`messages[0].role`), where one is to blame.
        param: Option<String>,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The body is larger than the limit.
    #[error("the request body is larger than {limit_bytes} bytes")]
    TooLarge {
        /// Limit.
        limit_bytes: usize,
    },
    /// The body did not arrive in time.
    #[error("the request body did not arrive in time")]
    SlowBody,
    /// No key, or not a valid one.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// No such path.
    #[error("there is no {method} {path} here")]
    NoSuchPath {
        /// Method.
        method: String,
        /// Path.
        path: String,
    },
    /// The path exists, with another method.
    #[error("{path} takes {allow}")]
    Method {
        /// Path.
        path: String,
        /// Methods that it takes.
        allow: &'static str,
    },
    /// It speaks of a request that the caller's team has not made.
    #[error("no request of this team has the id that `request_id` names")]
    NoSuchRequest,
    /// The policy decided not to serve it.
    #[error("{text}")]
    Refused {
        /// Kind of refusal.
        refusal: Refusal,
        /// Reason for people; kinds and counts, never values.
        text: String,
    },
    /// A budget does not allow it.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// The ledger cannot be written, and the request may not run unaccounted.
    #[error("the ledger cannot be written, and this team's budget does not allow unaccounted requests")]
    Unaccountable(#[source] LedgerError),
    /// The audit record cannot be written, and the policy lets nothing leave without it.
    #[error("the audit record cannot be written, and the policy lets nothing leave this machine without one")]
    Unauditable(#[source] LedgerError),
    /// The ledger failed otherwise.
    #[error("the ledger failed")]
    Ledger(#[source] LedgerError),
    /// The embedded model failed or is busy.
    #[error("{0}")]
    Local(#[source] local_runtime::Error),
    /// The embedded model cannot answer in the form that was demanded.
    #[error("the local model cannot follow `{param}`: {reason}")]
    Format {
        /// The field that demands it.
        param: &'static str,
        /// What about it.
        reason: String,
    },
    /// An upstream could not be reached or broke off.
    #[error("upstream `{upstream}`: {fault}")]
    Upstream {
        /// Upstream.
        upstream: Arc<str>,
        /// What happened.
        fault: UpstreamFault,
    },
    /// The request took longer than allowed.
    #[error("the request did not finish within {} seconds", .0.as_secs())]
    Deadline(Duration),
    /// The gate refused: a bug of ours, caught before a byte left.
    #[error("the clearance gate refused to send this request")]
    Gate(#[from] ClearanceError),
    /// The gateway is shutting down.
    #[error("the gateway is shutting down")]
    Draining,
    /// A bug of ours: classification panicked.
    #[error("the request could not be classified")]
    Panicked,
}

/// What an upstream did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
    /// No connection.
    #[error("could not be reached ({0})")]
    Unreachable(String),
    /// No response in time.
    #[error("did not answer in time")]
    Timeout,
    /// It broke off.
    #[error("broke off its answer")]
    BrokenOff,
    /// It does not accept the gateway's key.
    #[error("does not accept the gateway's credentials (status {0})")]
    Credentials(u16),
    /// It answered with an error status that another target may not have.
    #[error("answered with status {0}")]
    Status(u16),
    /// Its answer is larger than anything that makes sense.
    #[error("sent an answer larger than {0} bytes")]
    TooLarge(usize),
}

impl Error {
    /// A fault of the request, with the field to blame.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { param: Some(param.into()), message: message.into() }
    }

    /// Which side it comes from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self {
            Self::Invalid { .. }
            | Self::TooLarge { .. }
            | Self::SlowBody
            | Self::Unauthorized(_)
            | Self::NoSuchPath { .. }
            | Self::NoSuchRequest
            | Self::Method { .. } => Origin::Downstream,
            Self::Refused { .. } | Self::Budget(_) => Origin::Policy,
            Self::Local(_) => Origin::Local,
            Self::Format { .. } => Origin::Downstream,
            Self::Upstream { .. } => Origin::Upstream,
            Self::Unaccountable(_)
            | Self::Unauditable(_)
            | Self::Ledger(_)
            | Self::Deadline(_)
            | Self::Gate(_)
            | Self::Draining
            | Self::Panicked => Origin::Internal,
        }
    }

    /// Short static label for metrics and the ledger.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid_request",
            Self::TooLarge { .. } => "too_large",
            Self::SlowBody => "slow_body",
            Self::Unauthorized(_) => "unauthorized",
            Self::NoSuchPath { .. } => "no_such_path",
            Self::NoSuchRequest => "no_such_request",
            Self::Method { .. } => "method",
            Self::Refused { refusal, .. } => match refusal {
                Refusal::Policy => "refused",
                Refusal::Incapable(_) => "incapable",
                Refusal::Unavailable(_) => "unavailable",
                Refusal::UnknownModel => "unknown_model",
            },
            Self::Budget(_) => "budget",
            Self::Unaccountable(_) => "unaccountable",
            Self::Unauditable(_) => "unauditable",
            Self::Ledger(_) => "ledger",
            Self::Local(error) => error.kind(),
            Self::Format { .. } => "invalid_format",
            Self::Upstream { fault, .. } => match fault {
                UpstreamFault::Unreachable(_) => "upstream_unreachable",
                UpstreamFault::Timeout => "upstream_timeout",
                UpstreamFault::BrokenOff => "upstream_broken_off",
                UpstreamFault::Credentials(_) => "upstream_credentials",
                UpstreamFault::Status(_) => "upstream_status",
                UpstreamFault::TooLarge(_) => "upstream_too_large",
            },
            Self::Deadline(_) => "deadline",
            Self::Gate(_) => "gate",
            Self::Draining => "draining",
            Self::Panicked => "panicked",
        }
    }

    /// May the same request succeed when it is sent again?
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { refusal, .. } => matches!(refusal, Refusal::Unavailable(_)),
            Self::Upstream { fault, .. } => {
                !matches!(fault, UpstreamFault::Credentials(_) | UpstreamFault::TooLarge(_))
            }
            Self::Local(error) => !matches!(
                error,
                local_runtime::Error::ContextExceeded { .. }
                    | local_runtime::Error::InvalidRequest { .. }
                    | local_runtime::Error::InvalidConstraint { .. }
                    | local_runtime::Error::InputTooLong { .. }
                    | local_runtime::Error::RequestTooLong { .. }
            ),
            Self::Unaccountable(_)
            | Self::Unauditable(_)
            | Self::Ledger(_)
            | Self::Draining
            | Self::SlowBody
            | Self::Deadline(_) => true,
            Self::Invalid { .. }
            | Self::Format { .. }
            | Self::TooLarge { .. }
            | Self::Unauthorized(_)
            | Self::NoSuchPath { .. }
            | Self::NoSuchRequest
            | Self::Method { .. }
            | Self::Budget(_)
            | Self::Panicked
            | Self::Gate(_) => false,
        }
    }

    /// May the upstream have done, and bill, the work although it was not answered?
    #[must_use]
    pub fn may_be_billed(&self) -> bool {
        let billed = |fault: &UpstreamFault| {
            matches!(fault, UpstreamFault::Timeout | UpstreamFault::BrokenOff | UpstreamFault::TooLarge(_))
        };
        match self {
            Self::Upstream { fault, .. } => billed(fault),
            Self::Deadline(_) => true,
            _ => false,
        }
    }

    /// Is it worth trying the next target of the plan?
    #[must_use]
    pub fn falls_back(&self) -> bool {
        match self {
            Self::Upstream { fault, .. } => !matches!(fault, UpstreamFault::TooLarge(_)),
            Self::Local(error) => !matches!(error, local_runtime::Error::InvalidRequest { .. }),
            // Another target may be on this machine.
            Self::Format { .. } | Self::Unauditable(_) => true,
            _ => false,
        }
    }
}
