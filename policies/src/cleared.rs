//! The gate: data in the hands of a network client is always `Cleared<T>`, and only a decision makes one.
//!
//! [`Cleared`] has no public constructor. The one way to get a value into it is [`Plan::clear`]
//! (`decision`; [`Subject::clear`] for a whole request), which compares the label that the decision was made for with the
//! clearance of the one target it names; the one way to get the value out is [`Cleared::open`] with that same target. Retry, fallback and
//! escalation clear again, for their own target.
//!
//! ```compile_fail
//! // Nobody outside this crate can make one.
//! let forged = policies::Cleared { value: b"secret", target: "openai/gpt-4o".into(), label: policies::Label::Public };
//! ```
//!
//! [`Plan::clear`]: crate::Plan::clear
//! [`Subject::clear`]: crate::Subject::clear

use std::sync::Arc;

use crate::label::{Clearance, Label};
use crate::target::Target;

/// A value that may be sent to one named target, and to no other.
#[derive(Debug)]
pub struct Cleared<T> {
    value: T,
    target: Arc<str>,
    label: Label,
}

/// A value was to go where it must not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClearanceError {
    /// The label is above the target's clearance.
    #[error("{label} data may not go to `{target}`, which is cleared for {clearance}")]
    AboveClearance {
        /// Label of the data.
        label: Label,
        /// Target that it was meant for.
        target: Arc<str>,
        /// What that target may see.
        clearance: Clearance,
    },
    /// The value was cleared for another target.
    #[error("data cleared for `{cleared_for}` was handed to `{target}`")]
    OtherTarget {
        /// Target that it was cleared for.
        cleared_for: Arc<str>,
        /// Target that it was handed to.
        target: Arc<str>,
    },
    /// The plan was made for another request: what is sent under the plan of a masked request must be made of that.
    #[error("the plan was made for another request than the one that was to go to `{target}`")]
    OtherRequest {
        /// Target that it was meant for.
        target: Arc<str>,
    },
}

impl<T> Cleared<T> {
    /// The comparison that everything rests on. Private to the crate: [`crate::Plan::clear`] and
    /// [`crate::Subject::clear`] call it.
    pub(crate) fn check(value: T, label: Label, target: &Target) -> Result<Self, ClearanceError> {
        if target.clearance.admits(label) {
            Ok(Self { value, target: target.id.clone(), label })
        } else {
            Err(ClearanceError::AboveClearance {
                label,
                target: target.id.clone(),
                clearance: target.clearance,
            })
        }
    }

    /// Takes the value out, at the door of the target that it was cleared for.
    ///
    /// # Errors
    /// [`ClearanceError::OtherTarget`] when it was cleared for another target.
    pub fn open(self, target: &Target) -> Result<T, ClearanceError> {
        if self.target == target.id {
            Ok(self.value)
        } else {
            Err(ClearanceError::OtherTarget { cleared_for: self.target, target: target.id.clone() })
        }
    }

    /// The label that the value was cleared with.
    #[must_use]
    pub const fn label(&self) -> Label {
        self.label
    }
}
