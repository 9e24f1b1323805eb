//! Names of persons, where the structure of the text says that one follows: a field (`Name:`, `"customer":`), a
//! self-introduction, a title, a greeting, a closing line. Names in running text are the model's business.

use policies::EntityKind::Person;
use regex::Regex;

use super::Raw;
use super::cues::Cue;
use super::doc::{Doc, Sink};

#[derive(Debug)]
pub(crate) struct Persons {
    field: Regex,
    name: Regex,
    lower: Regex,
}

impl Persons {
    pub(crate) fn new() -> Result<Self, regex::Error> {
        let word = r"(?:(?:O'|D'|Mc|Mac|Al-|El-)?\p{Lu}[\p{L}'’-]*\p{L}|\p{Lu}\.?)";
        let part = r"(?: (?:de|del|de la|de los|la|le|van|van de|van der|van den|von|von der|zu|di|da|dos|das|do|bin|ibn|al|el|y|e|ten|ter))?";
        Ok(Self {
            field: Regex::new(r#"\A["'\]]{0,2}[ \t]*(?::|=>|=|\|)[ \t]*["'\[]?[ \t]*"#)?,
            name: Regex::new(&format!(r"\A{word}(?:{part} {word}){{0,4}}"))?,
            lower: Regex::new(r"\A\p{L}[\p{L}'’-]+ \p{L}[\p{L}'’-]+(?:\z|[.,\n]| and )")?,
        })
    }

    pub(crate) fn find(&self, doc: &Doc<'_>, out: &mut Sink) {
        for &(s, end) in doc.cues.all(Cue::Person) {
            self.cued(doc, s, end, out);
        }
        for cue in [Cue::Dob, Cue::Ssn, Cue::Passport, Cue::NatId, Cue::Nhs, Cue::Mrn] {
            for &(s, _) in doc.cues.all(cue) {
                self.ahead(doc, s, out);
            }
        }
        for &(s, end) in doc.cues.all(Cue::Title) {
            self.titled(doc, s, end, out);
        }
    }

    fn push(doc: &Doc<'_>, s: usize, len: usize, score: f32, out: &mut Sink) {
        let name = trim(&doc.t[s..s + len]);
        let after = doc.window(s + name.len(), 2);
        let cut = after.starts_with(['(', '_', '@', '/', '='])
            || after.starts_with('.') && after[1..].starts_with(char::is_alphanumeric);
        if name.chars().count() >= 2 && !common(name) && !cut {
            out.push(Raw::new(s, s + name.len(), Person, score));
        }
    }

    fn cued(&self, doc: &Doc<'_>, s: usize, end: usize, out: &mut Sink) {
        let cue = doc.t[s..end].to_lowercase();
        let rest = doc.window(end, 100);
        let prose = matches!(
            cue.as_str(),
            "my name is"
                | "my name's"
                | "i am"
                | "i'm"
                | "name is"
                | "mein name ist"
                | "ich heiße"
                | "ich bin"
                | "me llamo"
                | "mi nombre es"
                | "soy"
                | "je m'appelle"
                | "je suis"
                | "mi chiamo"
                | "mon nom est"
                | "meu nome é"
                | "me chamo"
                | "mijn naam is"
                | "ik ben"
                | "nazywam się"
                | "mam na imię"
                | "jag heter"
                | "jeg hedder"
                | "jeg heter"
                | "nimeni on"
                | "manager is"
                | "boss is"
        );
        if let Some(m) = self.field.find(rest) {
            let code = doc.code && !rest[..m.end()].contains(['"', '\'']) && !rest[..m.end()].contains(':');
            if prose || code || identifier_tail(doc, s, end) {
                return;
            }
            let body = &rest[m.end()..];
            if let Some(n) = self.name.find(body) {
                let words = trim(n.as_str()).split(' ').count();
                if words >= 2 || !doc.code {
                    Self::push(doc, end + m.end(), n.end(), if words >= 2 { 0.8 } else { 0.6 }, out);
                }
            }
            return;
        }
        let body = rest.trim_start_matches(' ');
        let at = end + rest.len() - body.len();
        if body.len() == rest.len() || identifier_tail(doc, s, end) {
            return;
        }
        let found = self.name.find(body);
        let words = found.map_or(0, |n| trim(n.as_str()).split(' ').count());
        let verb = matches!(cue.as_str(), "i am" | "i'm" | "soy" | "ich bin" | "je suis" | "ik ben");
        match found {
            Some(n) if prose && (words >= 2 || !verb) => Self::push(doc, at, n.end(), 0.85, out),
            Some(n) if words >= 2 && cue == "name" && body[n.end()..].starts_with(',') => {
                Self::push(doc, at, n.end(), 0.7, out);
            }
            Some(n)
                if words >= 2
                    && !prose
                    && !matches!(
                        cue.as_str(),
                        "name" | "client" | "nom" | "nome" | "author" | "employer name"
                    ) =>
            {
                Self::push(doc, at, n.end(), 0.6, out);
            }
            None if prose
                && !verb
                && let Some(n) = self.lower.find(body) =>
            {
                let len = n.as_str().trim_end_matches(['.', ',', '\n']).trim_end_matches(" and ").len();
                Self::push(doc, at, len, 0.55, out);
            }
            _ => {}
        }
    }

    /// A full name right before a word that only persons have: `Jo Doe, geb.`, `Jo Doe (DOB`.
    fn ahead(&self, doc: &Doc<'_>, s: usize, out: &mut Sink) {
        let back = doc.lookback(s, 60);
        let base = s - back.len();
        let line = back.trim_end_matches([' ', ',', '(', ';']);
        if line.len() == back.len() || back.len() - line.len() > 3 {
            return;
        }
        let from = line.rfind(['\n', ',', '.', ':', ';', '(', '"']).map_or(0, |p| p + 1);
        // The name is the capitalised end of the clause.
        let clause = &line[from..];
        let mut at = clause.len();
        for word in clause.rsplit(' ') {
            let start = word.as_ptr() as usize - clause.as_ptr() as usize;
            if !word.starts_with(char::is_uppercase)
                || common(word)
                || word.bytes().any(|b| b.is_ascii_digit())
            {
                break;
            }
            at = start;
        }
        let name = &clause[at..];
        if name.contains(' ')
            && let Some(m) = self.name.find(name)
            && m.end() == name.len()
        {
            Self::push(doc, base + from + at, name.len(), 0.7, out);
        }
    }

    fn titled(&self, doc: &Doc<'_>, s: usize, end: usize, out: &mut Sink) {
        let cue = &doc.t[s..end];
        let lower = cue.to_lowercase();
        let rest = doc.window(end, 100);
        let closing = matches!(
            lower.as_str(),
            "best regards"
                | "kind regards"
                | "regards"
                | "sincerely"
                | "yours sincerely"
                | "yours truly"
                | "yours"
                | "best"
                | "cheers"
                | "mit freundlichen grüßen"
                | "viele grüße"
                | "cordialement"
                | "atentamente"
                | "un saludo"
                | "saludos"
                | "cordiali saluti"
                | "met vriendelijke groet"
                | "pozdrawiam"
                | "mvh"
        );
        let greeting = matches!(
            lower.as_str(),
            "dear"
                | "hello"
                | "hi"
                | "hallo"
                | "hej"
                | "bonjour"
                | "hola"
                | "liebe"
                | "lieber"
                | "cher"
                | "chère"
                | "caro"
                | "cara"
                | "querido"
                | "querida"
                | "beste"
        );
        if !cue.starts_with(char::is_uppercase) && !matches!(lower.as_str(), "dr" | "pani") {
            return;
        }
        if closing {
            let body = rest.trim_start_matches([',', ' ', '\n', '\r']);
            let sep = &rest[..rest.len() - body.len()];
            if sep.contains([',', '\n']) {
                let at = end + sep.len();
                if let Some(n) = self.name.find(body) {
                    let stop = body[n.end()..].chars().next();
                    if matches!(stop, None | Some('\n' | '.' | ',' | ' ' | '\r')) {
                        Self::push(doc, at, n.end(), 0.7, out);
                    }
                } else if lower.ends_with("regards")
                    && let Some(n) = self.lower.find(body)
                {
                    Self::push(doc, at, n.as_str().trim_end_matches(['.', ',', '\n']).len(), 0.5, out);
                }
            }
            return;
        }
        let body = rest.trim_start_matches(['.', ' ']);
        let gap = &rest[..rest.len() - body.len()];
        if gap.is_empty() || gap.len() > 3 || gap.contains('.') && greeting {
            return;
        }
        if let Some(n) = self.name.find(body) {
            let stop = body[n.end()..].chars().next();
            let words = trim(n.as_str()).split(' ').count();
            if greeting && !matches!(stop, None | Some(',' | '!' | '\n' | ':')) && words < 2
                || lower == "pan" && (cue == "PAN" || words < 2)
                || lower == "don" && words < 2
            {
                return;
            }
            Self::push(doc, end + gap.len(), n.end(), if greeting { 0.6 } else { 0.75 }, out);
        }
    }
}

/// The cue is only a part of a longer identifier (`nameSpace`, `client_id`).
fn identifier_tail(doc: &Doc<'_>, s: usize, end: usize) -> bool {
    let next = doc.at(end);
    let prev = doc.prev(s);
    next.is_ascii_alphanumeric()
        || next == b'_'
        || next == b'-'
        || next == b'.' && doc.at(end + 1).is_ascii_alphabetic()
        || b".$-/".contains(&prev)
        || prev == b'_'
            && ![
                "full", "first", "last", "customer", "patient", "user", "contact", "person", "employee",
                "display",
            ]
            .iter()
            .any(|w| doc.lookback(s, 10).to_ascii_lowercase().ends_with(&format!("{w}_")))
}

/// Cuts words that follow a name in a row of capitals.
fn trim(name: &str) -> &str {
    let mut end = name.len();
    for (i, word) in name.split(' ').enumerate() {
        let at = word.as_ptr() as usize - name.as_ptr() as usize;
        if i > 0
            && matches!(
                word,
                "DOB"
                    | "MRN"
                    | "SSN"
                    | "DNI"
                    | "Please"
                    | "Write"
                    | "The"
                    | "Dr"
                    | "Dr."
                    | "Tel"
                    | "Phone"
                    | "Email"
                    | "Account"
                    | "NHS"
                    | "NI"
                    | "IBAN"
                    | "I"
                    | "Subject"
                    | "From"
                    | "To"
                    | "Date"
                    | "NºCol"
                    | "Col"
                    | "CP"
            )
        {
            end = at;
            break;
        }
    }
    // "Lagares C/ Mayor": a lone capital at the end belongs to what follows.
    let mut name = &name[..end];
    if let Some((rest, last)) = name.rsplit_once(' ')
        && last.chars().count() == 1
    {
        name = rest;
    }
    name.trim_end_matches([' ', '.', '-', '\''])
}

/// Words that stand where a name could, and are none.
const COMMON: &str = "the a an this that all everyone team there sir madam sirs not new your our my we it is in for \
    and customer user users hiring support none null true false string test unknown world god no \
    yes name id service account what how can please if when to from of on i you he she they friends \
    folks guys colleagues editor recruiter committee professor doctor happy sure sorry as at with \
    by value type first last full given surname number email address date mujer varón niña niño \
    hombre paciente se dr dra lactante refiere prof mr mrs ms";

/// Whether a candidate begins with such a word.
fn common(name: &str) -> bool {
    let first = name.split(' ').next().unwrap_or("").to_lowercase();
    COMMON.split(' ').any(|w| w == first)
}
