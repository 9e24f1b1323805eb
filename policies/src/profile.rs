//! What classification found out about one request: the input of every decision.
//!
//! A [`Profile`] holds findings and measurements, never a label: which label a finding means is the policy's
//! word (`rules`), so that the same profile can be replayed against another policy. It never holds the text
//! of the request either, so it may be stored and exported.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used on every interface.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|v| v.as_str() == text)
                    .ok_or_else(|| UnknownWord { what: stringify!($name), word: text.to_owned() })
            }
        }
    };
}

/// A word that is not in the vocabulary it was read for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a known {what}")]
pub struct UnknownWord {
    /// Name of the vocabulary (a type of this module).
    pub what: &'static str,
    /// The word that was read.
    pub word: String,
}

words! {
    /// The kinds of sensitive entity that a detector can report (the label set of the training data).
    EntityKind {
        /// A person's name.
        Person = "PERSON",
        /// An organisation.
        Org = "ORG",
        /// A place that is not a street address.
        Location = "LOCATION",
        /// A street or postal address.
        Address = "ADDRESS",
        /// A calendar date.
        Date = "DATE",
        /// A person's date of birth.
        DateOfBirth = "DATE_OF_BIRTH",
        /// A person's age.
        Age = "AGE",
        /// A person's gender.
        Gender = "GENDER",
        /// Nationality, religious or political group.
        Nrp = "NRP",
        /// A person's profession.
        Profession = "PROFESSION",
        /// A family relation.
        Family = "FAMILY",
        /// A user or account name.
        Username = "USERNAME",
        /// An e-mail address.
        Email = "EMAIL",
        /// A telephone or fax number.
        Phone = "PHONE",
        /// A URL.
        Url = "URL",
        /// An IPv4 or IPv6 address.
        IpAddress = "IP_ADDRESS",
        /// A MAC address.
        MacAddress = "MAC_ADDRESS",
        /// A payment card number.
        CreditCard = "CREDIT_CARD",
        /// An international bank account number (ISO 13616).
        Iban = "IBAN",
        /// A national bank account number.
        BankAccount = "BANK_ACCOUNT",
        /// A bank routing number.
        RoutingNumber = "ROUTING_NUMBER",
        /// A bank identifier code (ISO 9362).
        SwiftBic = "SWIFT_BIC",
        /// A cryptocurrency address.
        CryptoWallet = "CRYPTO_WALLET",
        /// A United States social security number.
        UsSsn = "US_SSN",
        /// A national identity number.
        NationalId = "NATIONAL_ID",
        /// A tax number.
        TaxId = "TAX_ID",
        /// A passport number.
        Passport = "PASSPORT",
        /// A driving licence number.
        DriverLicense = "DRIVER_LICENSE",
        /// A medical record, insurance or prescriber number.
        MedicalId = "MEDICAL_ID",
        /// A licence plate or vehicle identification number.
        VehicleId = "VEHICLE_ID",
        /// A device identifier (IMEI and the like).
        DeviceId = "DEVICE_ID",
        /// A credential: key, token, password, private key.
        Secret = "SECRET",
        /// An encoded layer that hides one of the other kinds.
        Encoded = "ENCODED",
        /// Another unique identifier.
        OtherId = "OTHER_ID",
    }
}

words! {
    /// What a text is about, where that alone may raise its label.
    Topic {
        /// Health of an identifiable or unknown person.
        Health = "health",
        /// Legal matters.
        Legal = "legal",
        /// Financial matters.
        Financial = "financial",
        /// Personnel matters.
        Hr = "hr",
        /// Security incidents, vulnerabilities, credentials handling.
        Security = "security",
        /// Program source text.
        SourceCode = "source_code",
        /// Text that carries a confidentiality marking or a trade secret.
        Confidential = "confidential",
        /// Data of a person under eighteen: school, guardians, care.
        Minors = "minors",
        /// A person's special categories of data (GDPR articles 9 and 10): religion, ethnicity, politics, union
        /// membership, sex life or orientation, genetic and biometric data, criminal convictions.
        SpecialCategories = "special_categories",
    }
}

words! {
    /// Where a finding came from.
    FindingSource {
        /// A pattern recogniser with its validator.
        Pattern = "pattern",
        /// A secret recogniser.
        Secret = "secret",
        /// The token-classification model.
        Ner = "ner",
        /// The topic classifier.
        Topic = "topic",
        /// A term that the operator configured.
        User = "user",
    }
}

words! {
    /// Coarse type of the work that is asked for (the vocabulary of the routing data).
    Task {
        /// A question without given material.
        OpenQa = "open_qa",
        /// A question about given material.
        ClosedQa = "closed_qa",
        /// Multiple choice from knowledge.
        KnowledgeMcq = "knowledge_mcq",
        /// Multiple choice about a passage.
        ReadingMcq = "reading_mcq",
        /// Mathematics.
        Math = "math",
        /// Programming.
        Code = "code",
        /// Logic and multi-step reasoning.
        Reasoning = "reasoning",
        /// Summaries.
        Summarization = "summarization",
        /// Rewriting and translation.
        Rewriting = "rewriting",
        /// Assigning classes.
        Classification = "classification",
        /// Pulling out fields.
        Extraction = "extraction",
        /// Stories, poems and the like.
        CreativeWriting = "creative_writing",
        /// Text under constraints.
        ConstrainedGeneration = "constrained_generation",
        /// Instructions for doing something.
        Howto = "howto",
        /// Playing a role.
        Roleplay = "roleplay",
        /// Open conversation.
        OpenEnded = "open_ended",
        /// Any other instruction.
        Instruction = "instruction",
    }
}

words! {
    /// Which model said how hard a request is.
    Rung {
        /// The linear model over features: certain enough for the policy in force, or the only one there is.
        Features = "features",
        /// The encoder.
        Encoder = "encoder",
        /// The linear model, because the encoder did not answer in time, had too much to do, or failed.
        Late = "late",
    }
}

words! {
    /// A reason why classification is not sure of having seen everything. Any of them raises the label to the
    /// policy's `on_doubt`.
    Doubt {
        /// A detector failed.
        DetectorError = "detector_error",
        /// A detector did not finish in time.
        DetectorTimeout = "detector_timeout",
        /// A model that detection needs is not loaded: its file is missing or damaged, or it is still being loaded.
        ModelMissing = "model_missing",
        /// The text is longer than the detectors read.
        TextTooLong = "text_too_long",
        /// An image that nobody here can read.
        UnreadImage = "unread_image",
        /// Audio that nobody here can hear.
        UnreadAudio = "unread_audio",
        /// A file, by content or by id, that was not read.
        UnreadFile = "unread_file",
        /// A content part of a type that is not known.
        UnknownPart = "unknown_part",
        /// Reference to state held elsewhere (a stored response, say).
        OpaqueReference = "opaque_reference",
        /// The body could not be parsed.
        UnparsedBody = "unparsed_body",
        /// An encoded layer that is nested deeper than it is unwrapped.
        EncodedTooDeep = "encoded_too_deep",
    }
}

/// One sensitive thing in one segment of the request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Index of the prompt segment that it is in.
    pub segment: usize,
    /// Start in Unicode code points, from the start of the segment.
    pub start: usize,
    /// End (exclusive) in Unicode code points.
    pub end: usize,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EntityKind,
    /// A finer name (a vendor's key, a country's number), where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtype: Option<std::borrow::Cow<'static, str>>,
    /// Confidence in `[0, 1]`; 1 for a value with a valid check digit and context.
    pub score: f32,
    /// Which detector reported it.
    pub source: FindingSource,
}

impl Finding {
    /// The kinds that an encoded layer hides: they mean no less than in the open. The subtype of such a finding names them,
    /// joined by `+`.
    pub fn hidden_kinds(&self) -> impl Iterator<Item = EntityKind> + '_ {
        let named = self.subtype.as_deref().filter(|_| self.kind == EntityKind::Encoded).unwrap_or_default();
        named.split('+').filter_map(|word| word.parse().ok())
    }
}

/// Everything that was found out about the data in a request.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sensitivity {
    /// Entities, ordered by segment and start.
    pub findings: Vec<Finding>,
    /// Topic scores in `[0, 1]`; a topic that is absent scored below its reporting threshold.
    pub topics: BTreeMap<Topic, f32>,
    /// Why classification may have missed something; empty when it has not.
    pub doubt: Vec<Doubt>,
}

impl Sensitivity {
    /// How often each entity kind was found.
    #[must_use]
    pub fn kind_counts(&self) -> BTreeMap<EntityKind, u32> {
        let mut counts = BTreeMap::new();
        for finding in &self.findings {
            *counts.entry(finding.kind).or_insert(0) += 1;
        }
        counts
    }
}

/// What classification found out about one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Entities, topics and doubts.
    pub sensitivity: Sensitivity,
    /// P(a strong model is needed), in `[0, 1]`, calibrated.
    pub complexity: f32,
    /// How sure the complexity model is that it knows this kind of text, in `[0, 1]`.
    pub confidence: f32,
    /// Coarse type of work.
    pub task: Task,
    /// ISO 639-1 code of the main language, `und` when unknown.
    pub language: std::borrow::Cow<'static, str>,
    /// Estimated input tokens of the whole request (the local tokenizer's count where it is loaded).
    pub input_tokens: u32,
    /// Expected length of an answer, in tokens, before any limit that the request sets; 0 where no model said.
    #[serde(default)]
    pub output_tokens: u32,
    /// Which model said how complex it is.
    #[serde(default = "Profile::first_rung")]
    pub rung: Rung,
}

impl Profile {
    /// What profiles were made by before there were rungs.
    const fn first_rung() -> Rung {
        Rung::Features
    }
}
