//! Columns of delimited tables. A header row names what its column holds: the strongest context there is, and the
//! one that a window of words before a value does not see.

use policies::EntityKind::{
    self, Address, BankAccount, CreditCard, DateOfBirth, DriverLicense, Iban, MedicalId, NationalId,
    Passport, Person, Phone, Secret, TaxId, UsSsn, Username,
};

use super::Raw;
use super::doc::{Doc, Sink};

/// Most rows that one header speaks for.
const ROWS_MAX: usize = 100_000;

fn kind(header: &str) -> Option<EntityKind> {
    let h: String = header.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    Some(match h.as_str() {
        "name" | "fullname" | "firstname" | "lastname" | "surname" | "customer" | "customername"
        | "patient" | "patientname" | "employee" | "employeename" | "nombre" | "apellidos" | "vorname"
        | "nachname" | "nom" | "prénom" | "nome" | "cognome" | "naam" | "contactname" => Person,
        "ssn" | "socialsecuritynumber" | "socialsecurity" => UsSsn,
        "dob" | "birthdate" | "dateofbirth" | "birthday" | "geburtsdatum" | "fechadenacimiento"
        | "fechanacimiento" => DateOfBirth,
        "phone" | "phonenumber" | "mobile" | "tel" | "telephone" | "telefon" | "telefono" | "teléfono"
        | "cell" | "fax" => Phone,
        "address" | "street" | "streetaddress" | "adresse" | "direccion" | "dirección" | "strasse"
        | "straße" => Address,
        "card" | "cardnumber" | "creditcard" | "pan" | "ccnumber" => CreditCard,
        "iban" => Iban,
        "account" | "accountnumber" | "accountno" | "bankaccount" | "kontonummer" => BankAccount,
        "passport" | "passportnumber" | "passportno" => Passport,
        "license" | "driverlicense" | "driverslicense" | "licensenumber" | "dlnumber" => DriverLicense,
        "mrn" | "medicalrecordnumber" | "patientid" | "memberid" | "insuranceid" | "nhsnumber" => MedicalId,
        "nationalid" | "dni" | "pesel" | "cpf" | "bsn" | "personnummer" | "nino" | "aadhaar" | "sin" => {
            NationalId
        }
        "taxid" | "tin" | "steuerid" | "vat" => TaxId,
        "username" | "login" | "userid" | "handle" => Username,
        "password" | "passwd" | "pwd" | "secret" | "apikey" | "token" | "passwort" => Secret,
        _ => return None,
    })
}

pub(crate) fn find(doc: &Doc<'_>, out: &mut Sink) {
    let mut at = 0;
    while at < doc.t.len() {
        let end = doc.line_end(at);
        let line = &doc.t[at..end];
        if line.len() <= 1000
            && let Some((sep, kinds)) = header(line)
        {
            at = rows(doc, end + 1, sep, &kinds, out);
        } else {
            at = end + 1;
        }
        while at < doc.t.len() && !doc.t.is_char_boundary(at) {
            at += 1;
        }
    }
}

/// A line of at least two fields that are all short words, one of which names something sensitive.
fn header(line: &str) -> Option<(char, Vec<Option<EntityKind>>)> {
    let sep = [',', '\t', ';', '|'].into_iter().find(|c| line.contains(*c))?;
    if line.len() > 400 || line.contains(['(', '{', '=', '.', ':']) {
        return None;
    }
    let fields: Vec<&str> = line.trim_matches('|').split(sep).map(|f| f.trim().trim_matches('"')).collect();
    let wordy = fields.iter().all(|f| {
        (1..=30).contains(&f.chars().count())
            && !f.starts_with(|c: char| c.is_ascii_digit())
            && f.split(' ').count() <= 3
    });
    let kinds: Vec<_> = fields.iter().map(|f| kind(f)).collect();
    (wordy && fields.len() >= 2 && kinds.iter().flatten().count() >= 1).then_some((sep, kinds))
}

/// Reads rows below a header; where the table ends.
fn rows(doc: &Doc<'_>, mut at: usize, sep: char, kinds: &[Option<EntityKind>], out: &mut Sink) -> usize {
    for _ in 0..ROWS_MAX {
        if at >= doc.t.len() || !doc.t.is_char_boundary(at) {
            break;
        }
        let end = doc.line_end(at);
        let line = &doc.t[at..end];
        if line.bytes().all(|b| b"|-: ".contains(&b)) && line.len() > 2 {
            at = end + 1;
            continue;
        }
        let fields = line.trim_matches('|').split(sep).count();
        if fields < kinds.len() || fields > kinds.len() + 2 {
            break;
        }
        // One field too many is an unquoted comma, in the date if there is one ("May 1, 2007").
        let extra = fields - kinds.len();
        let date = kinds.iter().position(|k| *k == Some(DateOfBirth));
        let sure = if extra == 0 || extra == 1 && date.is_some() { kinds.len() } else { 1 };
        let mut s = at + usize::from(line.starts_with('|'));
        let mut parts = line.trim_matches('|').split(sep);
        for (column, kind) in kinds.iter().enumerate().take(sure) {
            let Some(first) = parts.next() else { break };
            let second = if extra == 1 && date == Some(column) { parts.next() } else { None };
            let len = first.len() + second.map_or(0, |p| p.len() + sep.len_utf8());
            let Some(field) = doc.t.get(s..s + len) else { break };
            let core = field.trim_matches([' ', '"', '\r']);
            let from = s + field.find(core).unwrap_or(0);
            if let Some(kind) = kind
                && fits(*kind, core)
            {
                out.push(Raw::new(from, from + core.len(), *kind, 0.8));
            }
            s += len + sep.len_utf8();
        }
        at = end + 1;
    }
    at
}

fn fits(kind: EntityKind, value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let n = value.chars().count();
    match kind {
        Person => (2..=50).contains(&n) && digits == 0 && value.starts_with(char::is_alphabetic),
        UsSsn => digits == 9,
        Phone => (7..=15).contains(&digits),
        DateOfBirth => (4..=8).contains(&digits),
        Address => digits > 0 && n > 6,
        CreditCard => (12..=19).contains(&digits),
        Username => (3..=40).contains(&n) && !value.contains(' '),
        Secret => (6..=200).contains(&n) && !value.contains(' '),
        _ => digits >= 4 && n <= 40,
    }
}
