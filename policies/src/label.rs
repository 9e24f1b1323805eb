//! Sensitivity labels and clearances: the lattice that everything else obeys.
//!
//! A *label* says how sensitive a piece of data is; a *clearance* says the highest label that a place may
//! see. Both range over the same four ordered levels. Data moves only where `label <= clearance`
//! ([`Clearance::admits`]), a mandatory-access-control rule after Bell and LaPadula (1973), "no write down".
//! Labels combine by taking the maximum ([`Label::join`]); nothing in this crate lowers one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How sensitive a piece of data is, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// May be shown to anyone.
    #[default]
    Public,
    /// Ordinary business data.
    Internal,
    /// Would harm the company or a person if it left.
    Confidential,
    /// Must not leave: regulated or secret.
    Restricted,
}

impl Label {
    /// All labels, ascending.
    pub const ALL: [Self; 4] = [Self::Public, Self::Internal, Self::Confidential, Self::Restricted];

    /// The least upper bound of two labels.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        self.max(other)
    }

    /// The lower-case word that stands for the label in configuration, headers and the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
            Self::Restricted => "restricted",
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text was not one of the four labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown label `{0}`; expected public, internal, confidential or restricted")]
pub struct UnknownLabel(pub String);

impl FromStr for Label {
    type Err = UnknownLabel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|label| text.eq_ignore_ascii_case(label.as_str()))
            .ok_or_else(|| UnknownLabel(text.to_owned()))
    }
}

/// The highest label that a place may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Clearance(pub Label);

impl Clearance {
    /// May data with this label go to a place with this clearance?
    #[must_use]
    pub fn admits(self, label: Label) -> bool {
        label <= self.0
    }
}

impl fmt::Display for Clearance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_is_the_order_of_the_lattice() {
        for (i, label) in Label::ALL.into_iter().enumerate() {
            for (j, top) in Label::ALL.into_iter().enumerate() {
                assert_eq!(Clearance(top).admits(label), i <= j, "{label} into {top}");
                assert_eq!(label.join(top), Label::ALL[i.max(j)]);
            }
        }
    }

    #[test]
    fn words_round_trip() {
        for label in Label::ALL {
            assert_eq!(label.as_str().parse::<Label>(), Ok(label));
        }
        assert!("secret".parse::<Label>().is_err());
    }
}
