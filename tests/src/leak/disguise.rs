//! Ways to write a value so that a plain search does not find it, and a model does.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disguise {
    /// As it is.
    Plain,
    /// With a zero-width space after every other character.
    ZeroWidth,
    /// With soft hyphens.
    SoftHyphen,
    /// In full-width forms.
    FullWidth,
    /// With look-alike letters of other scripts.
    Homoglyph,
    /// Base64 of the whole phrase.
    Base64,
    /// `%41`.
    Percent,
    /// `&#65;`.
    Html,
    /// Hexadecimal of the whole phrase.
    Hex,
    /// A JSON document in a string, with `\u0041`.
    JsonInString,
    /// In two to five parts of one message.
    SplitParts,
    /// `\u0041` in the request's own JSON.
    JsonEscapes,
}

/// Every disguise.
pub const DISGUISES: &[Disguise] = &[
    Disguise::Plain,
    Disguise::ZeroWidth,
    Disguise::SoftHyphen,
    Disguise::FullWidth,
    Disguise::Homoglyph,
    Disguise::Base64,
    Disguise::Percent,
    Disguise::Html,
    Disguise::Hex,
    Disguise::JsonInString,
    Disguise::SplitParts,
    Disguise::JsonEscapes,
];

impl Disguise {
    /// A phrase that holds a value, written this way. Where the disguise is one of the request and not of the text, the phrase
    /// stays as it is.
    #[must_use]
    pub fn apply(self, before: &str, value: &str) -> String {
        let each = |write: &dyn Fn(char) -> String| -> String { value.chars().map(write).collect() };
        let inner = match self {
            Self::Plain | Self::SplitParts | Self::JsonEscapes => value.to_owned(),
            Self::ZeroWidth => {
                each(&|c| if c.is_alphanumeric() { format!("{c}\u{200b}") } else { c.to_string() })
            }
            Self::SoftHyphen => {
                each(&|c| if c.is_ascii_digit() { format!("{c}\u{ad}") } else { c.to_string() })
            }
            Self::FullWidth => each(&|c| match c {
                '!'..='~' => char::from_u32(c as u32 + 0xfee0).unwrap_or(c).to_string(),
                other => other.to_string(),
            }),
            Self::Homoglyph => each(&|c| match c {
                'a' => "\u{430}".into(),
                'e' => "\u{435}".into(),
                'o' => "\u{43e}".into(),
                'p' => "\u{440}".into(),
                'c' => "\u{441}".into(),
                other => other.to_string(),
            }),
            Self::Base64 => return STANDARD.encode(format!("{before}{value}")),
            Self::Percent => each(&|c| format!("%{:02X}", c as u32)),
            Self::Html => each(&|c| format!("&#{};", c as u32)),
            Self::Hex => {
                let mut hex = String::new();
                for byte in format!("{before}{value}").bytes() {
                    let _ = write!(hex, "{byte:02x}");
                }
                return hex;
            }
            Self::JsonInString => {
                let escaped = each(&|c| format!("\\u{:04x}", c as u32));
                return format!("{{\"note\": \"{before}{escaped}\"}}");
            }
        };
        format!("{before}{inner}")
    }
}
