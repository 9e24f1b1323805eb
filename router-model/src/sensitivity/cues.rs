//! Context words: what a text calls the value that follows.
//!
//! One Aho-Corasick pass finds every cue in every language at once, and each recogniser asks only for the cues of
//! its own kind. A cue counts when it stands as a word or as a part of an identifier (`customer_phone`,
//! `phoneNumber`), never inside another word. Field names are cues too: they are the strongest context there is.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};

use super::spelled;

macro_rules! cues {
    ($($name:ident = [$($word:literal),* $(,)?]),* $(,)?) => {
        /// What a context word announces.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Cue { $($name),* }
        const COUNT: usize = [$(Cue::$name),*].len();
        const WORDS: &[(Cue, &[&str])] = &[$((Cue::$name, &[$($word),*])),*];
    };
}

cues! {
    Card = ["credit card", "debit card", "card number", "card no", "card #", "cardnumber", "creditcard", "card", "pan", "visa", "mastercard", "amex", "american express", "kreditkarte", "kartennummer", "tarjeta", "carte bancaire", "carte de crédit", "carta di credito", "cartão", "creditcardnummer", "karta", "kortnummer", "charge it to", "cc number", "ccn", "cc_num"],
    Iban = ["iban", "bank account", "kontonummer", "conto", "compte"],
    Ssn = ["ssn", "social security number", "social security no", "social security", "soc sec", "social-security", "ss#", "socialsecuritynumber", "sozialversicherungsnummer usa"],
    Itin = ["itin", "individual taxpayer", "taxpayer id", "taxpayer identification", "tin"],
    Ein = ["ein", "employer identification", "fein", "federal tax id", "tax id"],
    Phone = ["phone", "telephone", "tel", "telf", "tfno", "tlf", "tlfn", "tfn", "answering at", "telefon", "telefonnummer", "teléfono", "telefono", "téléphone", "telefone", "telefoon", "mobile", "mobil", "móvil", "movil", "celular", "cellulare", "cellphone", "cell", "portable", "handy", "handynummer", "rufnummer", "fax", "direct line", "call", "called", "dial", "text me", "whatsapp", "sms", "contact", "contacto", "reach me at", "reach", "phone number", "numer telefonu", "telefonu", "komórka", "komórkowy", "mobilnummer", "ring", "ligue", "hotline", "phonenumber", "landline", "msisdn", "anrufen", "erreichbar", "gsm", "numéro", "телефон", "тел", "电话", "手机", "電話", "전화"],
    PhoneAfter = ["office", "mobile", "fax", "cell", "home", "work", "desk", "handy"],
    Unit = ["suite", "apt", "apartment", "ste.", "floor", "unit"],
    Dob = ["date of birth", "dateofbirth", "birth date", "birthdate", "birthday", "birth_date", "dob", "d.o.b", "born", "born on", "geb", "geboren", "geboren am", "geburtsdatum", "geb.datum", "fecha de nacimiento", "fecha nacimiento", "nacido el", "nacida el", "nacido", "nacida", "né le", "née le", "date de naissance", "né(e) le", "data di nascita", "nato il", "nata il", "nato a", "nata a", "data de nascimento", "nascido em", "nascida em", "nascido", "nascida", "geboortedatum", "geboren op", "data urodzenia", "ur", "urodzony", "urodzona", "född", "födelsedatum", "født", "fødselsdato", "syntymäaika", "дата рождения", "生年月日", "出生日期", "생년월일", "doğum tarihi"],
    Age = ["age", "aged", "turned", "turning", "turns", "alter", "edad", "âge", "età", "idade", "leeftijd", "wiek"],
    Passport = ["passport", "passport number", "passport no", "reisepass", "reisepassnummer", "passnummer", "pasaporte", "passeport", "passaporto", "passaporte", "paspoort", "paspoortnummer", "paszport", "paszportu", "passportnumber", "pass-nr", "паспорт", "护照"],
    License = ["driver license", "driver's license", "drivers license", "driver licence", "driver's licence", "driving licence", "driving license", "drivers licence", "license number", "licence number", "dl number", "dl no", "dln", "dl#", "führerschein", "führerscheinnummer", "permiso de conducir", "carnet de conducir", "licencia de conducir", "permis de conduire", "patente di guida", "carta de condução", "cnh", "rijbewijs", "rijbewijsnummer", "prawo jazdy", "prawa jazdy", "körkort", "driverslicense", "driver_license", "licence no", "license no"],
    Mrn = ["mrn", "medical record number", "medical record", "medical record no", "patient id", "patient number", "patient no", "patientid", "patient_id", "chart number", "hospital number", "nhc", "historia clínica", "historia clinica", "nº historia", "número de historia", "patientennummer", "patienten-id", "patienten-nr", "fallnummer", "numéro de patient", "numéro de dossier", "ipp", "cartella clinica", "prontuário", "patiëntnummer", "case number hospital", "epi", "episodio", "encounter"],
    Insurance = ["member id", "member number", "member", "memberid", "policy number", "policy no", "policy id", "subscriber id", "insurance id", "insurance number", "insurance no", "health plan", "beneficiary", "medicare", "mbi", "medicaid", "health insurance", "group number", "nass", "cipa", "tarjeta sanitaria", "número de afiliación", "seguridad social", "versichertennummer", "versicherungsnummer", "krankenversichertennummer", "krankenversicherungsnummer", "kvnr", "versicherten-nr", "mutuelle", "numéro d'assuré", "numéro d'adhérent", "tessera sanitaria", "polisnummer", "nuss", "nº ss", "numero de la seguridad social"],
    Nhs = ["nhs", "nhs number", "nhs no", "nhs no."],
    Npi = ["npi", "national provider"],
    Dea = ["dea", "dea number"],
    Collegiate = ["nºcol", "nº col", "ncol", "col. nº", "número de colegiado", "nº colegiado", "n° colegiado", "colegiado", "nº de colegiado", "ncolegiado", "arztnummer", "lanr", "rpps"],
    Account = ["account number", "account no", "account #", "accountnumber", "acct", "acct no", "account", "bank account", "checking account", "savings account", "kontonummer", "konto-nr", "konto", "número de cuenta", "cuenta", "numéro de compte", "compte", "numero di conto", "conta", "conta corrente", "rekeningnummer", "rekening", "numer konta", "account_number", "a/c"],
    Routing = ["routing number", "routing no", "routing", "aba", "rtn", "transit number", "aba number", "routing_number", "sort code", "sortcode", "bankleitzahl", "blz", "bsb"],
    Swift = ["swift", "bic", "swift code", "bic code", "swift/bic", "bic/swift", "swift_code"],
    Vin = ["vin", "vehicle identification", "chassis", "fahrgestellnummer", "fin", "numéro de châssis", "bastidor", "telaio"],
    Plate = ["license plate", "licence plate", "number plate", "plate", "plate number", "registration number", "kennzeichen", "matrícula", "matricula", "immatriculation", "plaque", "targa", "kenteken", "rejestracyjny", "rejestracja", "registration plate", "reg no", "nummernschild", "placa"],
    Imei = ["imei", "imei number", "meid", "imsi", "iccid"],
    Device = ["serial number", "serial no", "device id", "device_id", "deviceid", "udid", "idfa", "android id", "advertising id", "s/n:", "seriennummer"],
    NatId = ["national id", "national identification", "national insurance", "ni number", "nino", "nin", "id number", "identity number", "identity card", "id card", "citizen id", "personal number", "personal id", "identification number", "tax file number", "tfn", "medicare number", "ird", "sin", "social insurance", "aadhaar", "aadhar", "uidai", "pps", "ppsn", "nric", "fin number", "hkid", "omang",
        "steuer-id", "steueridentifikationsnummer", "steuernummer", "steuer-identifikationsnummer", "idnr", "personalausweis", "personalausweisnummer", "ausweisnummer", "ausweis", "sozialversicherungsnummer", "rentenversicherungsnummer", "svnr", "sv-nummer", "ahv", "ahv-nummer", "avs",
        "dni", "nie", "nif", "documento", "cédula", "cedula", "curp", "rfc", "cuit", "cuil", "rut", "run", "nss", "nuip",
        "numéro de sécurité sociale", "sécurité sociale", "securite sociale", "insee", "nir", "carte d'identité", "cni", "numéro national", "rijksregisternummer", "registre national",
        "codice fiscale", "cod. fiscale", "codice_fiscale", "carta d'identità",
        "bsn", "burgerservicenummer", "sofinummer",
        "pesel", "nip", "dowód", "dowodu", "numer dowodu", "regon",
        "personnummer", "samordningsnummer", "cpr", "cpr-nr", "cpr-nummer", "fødselsnummer", "fodselsnummer", "henkilötunnus", "hetu",
        "contribuinte", "número de contribuinte", "cartão de cidadão", "cpf", "cnpj", "rg",
        "tckn", "kimlik", "tc kimlik", "teudat zehut", "amka", "afm", "cnp", "egn", "rodné číslo", "rodne cislo", "oib", "jmbg", "emšo", "isikukood", "asmens kodas", "personas kods", "taj", "adószám", "emirates id", "mynumber", "my number", "マイナンバー", "身份证", "身份證", "주민등록번호", "инн", "снилс", "иин", "рнокпп", "nik", "ktp", "kennitala", "ruc", "nit", "c.i.", "mykad", "nric no", "ic number", "emirates id", "iqama", "cnic", "cccd", "căn cước", "cmnd", "civil id", "codice melli", "کد ملی", "บัตรประชาชน", "matricule", "hkid", "身份证号", "身份證號碼", "rodné č", "utr", "siren", "siret", "national no"],
    Tax = ["tax id", "tax number", "tax identification", "unique taxpayer reference", "siren", "siret", "utr", "ruc", "nit", "vat", "vat number", "vat id", "ust-id", "ust-idnr", "umsatzsteuer-id", "partita iva", "p.iva", "tva", "utr", "tax reference", "nif", "cif", "pan card", "pan number", "permanent account number", "abn", "gstin", "nip", "cnpj", "rfc", "siren", "siret", "cuit", "steuernummer", "kvk"],
    User = ["username", "user name", "userid", "user_id", "user id", "login", "user", "benutzername", "benutzer", "usuario", "nom d'utilisateur", "identifiant", "utente", "nome utente", "gebruikersnaam", "użytkownik", "handle", "screen name", "screen_name", "account name", "uid", "nickname", "logged in as", "signed in as", "logon"],
    Person = ["name", "full name", "full_name", "fullname", "first name", "first_name", "firstname", "last name", "last_name", "lastname", "surname", "given name", "given_name", "family name", "patient", "paciente", "patientin", "customer", "client", "contact person", "employee", "applicant", "subscriber", "account holder", "cardholder", "card holder", "payee", "beneficiary name", "nombre", "apellidos", "apellido", "nombre completo", "vorname", "nachname", "nom", "prénom", "nome", "cognome", "sobrenome", "naam", "voornaam", "achternaam", "imię", "nazwisko", "médico", "medico", "doctor", "physician", "arzt", "médecin", "my name is", "my name's", "i am", "i'm", "name is", "mein name ist", "ich heiße", "ich bin", "me llamo", "mi nombre es", "soy", "je m'appelle", "je suis", "mi chiamo", "mon nom est", "meu nome é", "me chamo", "mijn naam is", "ik ben", "nazywam się", "mam na imię", "jag heter", "jeg hedder", "jeg heter", "nimeni on", "author", "employer name", "responsable clínico", "remitido por", "sender", "recipient", "attn", "signed", "signed by", "referred by", "manager is", "boss is", "wife", "husband", "colleague", "employee name", "legal name", "maiden name"],
    Title = ["mr", "mrs", "ms", "miss", "mx", "dr", "prof", "sir", "herr", "herrn", "frau", "señor", "señora", "sr", "sra", "dra", "don", "doña", "d.", "monsieur", "madame", "mme", "mlle", "sig", "signor", "signora", "dott", "dott.ssa", "dhr", "mevr", "mevrouw", "meneer", "pan", "pani", "senhor", "senhora", "dear", "hello", "hi", "hallo", "hej", "bonjour", "hola", "liebe", "lieber", "cher", "chère", "caro", "cara", "querido", "querida", "beste", "best regards", "kind regards", "regards", "sincerely", "yours sincerely", "yours truly", "yours", "best", "cheers", "mit freundlichen grüßen", "viele grüße", "cordialement", "atentamente", "un saludo", "saludos", "cordiali saluti", "met vriendelijke groet", "pozdrawiam", "mvh"],
    Address = ["address", "adresse", "anschrift", "dirección", "direccion", "domicilio", "indirizzo", "endereço", "adres", "adress", "lives at", "living at", "live at", "wohnhaft", "wohnt in", "vivo en", "vive en", "habite", "demeurant", "residente in", "residente en", "moro em", "mora em", "zamieszkały", "bor på", "street", "located at", "ship to", "shipping address", "billing address", "deliver to", "offices at", "offices in", "mailing address", "calle", "straße", "wonend", "woont", "here they are", "address with", "to the same", "sent to", "delivered to", "deliver to", "zip", "zip code", "postcode", "restaurant is at", "moved to", "residing at", "resides at"],
    Secret = ["password", "passwords", "passwd", "passphrase", "passcode", "pwd", "passwort", "kennwort", "contraseña", "contrasena", "mot de passe", "motdepasse", "senha", "wachtwoord", "hasło", "haslo", "lösenord", "pass", "pw", "psw", "parola", "parolă", "пароль", "пароля", "密码", "密碼", "口令", "パスワード", "暗証番号", "비밀번호", "lösenordet", "passord", "passordet", "adgangskode", "adgangskoden", "kodeord", "salasana", "heslo", "jelszó", "şifre", "sifre", "hasłem", "hasła", "wachtwoorden", "mật khẩu", "kata sandi", "κωδικός", "סיסמה", "wifi key", "wi-fi key", "wlan key", "network key", "wpa key", "wpa2 key", "psk", "pre-shared-key", "pre-shared key", "preshared key", "snmp-server community", "community string", "pragma key", "mysql_pwd", "sshpass -p"],
    Key = ["secret", "secretkey", "secret key", "client secret", "clientsecret", "token", "api key", "apikey", "api-key", "api_key", "access key", "accesskey", "access_key", "auth key", "authkey", "auth_key", "private key", "privatekey", "private_key", "encryption key", "encryption_key", "signing key", "signing secret", "shared key", "sharedaccesskey", "accountkey", "account key", "credential", "credentials", "auth token", "access token", "bearer", "license key", "secret_access_key", "unseal key", "webhook secret", "session key", "master key", "masterkey", "deploy key", "presharedkey", "salt", "nonce", "pat", "crumb", "authorization", "x-api-key", "cookie", "sessionid", "session_id", "stream key", "consumer secret", "consumer_secret", "access", "private", "app secret", "app_secret", "key"],
    Call = ["credential", "credentials", "login", "log_in", "signin", "sign_in", "authenticate", "basicauth", "basic_auth", "auth", "getconnection", "connect", "usernamepassword", "passwordauthentication"],
    Digit = [],
    Cvv = ["cvv", "cvc", "cvv2", "cvc2", "cid code", "card verification", "security code", "csc", "kartenprüfnummer", "prüfziffer", "cryptogramme", "código de seguridad", "codice di sicurezza", "código de segurança", "kod cvv"],
    Geo = ["lat", "latitude", "lng", "lon", "longitude", "gps", "coordinates", "coords", "geolocation", "location", "breitengrad", "koordinaten", "coordonnées", "coordenadas", "coordinate", "maps", "geo", "position", "standort", "ubicación"],
    Pin = ["pin", "pin code", "pin number", "pincode", "pin-code", "otp", "one-time code", "one time code", "one-time password", "one time password", "one-time passcode", "verification code", "2fa code", "mfa code", "two-factor code", "sms code", "door code", "gate code", "alarm code", "unlock code", "safe code", "passcode", "einmalcode", "bestätigungscode", "geheimzahl", "code pin", "code de vérification", "código pin", "código de verificación", "codice pin", "código de verificação", "pincode", "kod pin", "pinkod", "пин-код", "код подтверждения"],
    Mnemonic = ["seed phrase", "recovery phrase", "secret recovery phrase", "mnemonic", "mnemonic phrase", "backup phrase", "wallet seed"],
    StreetPre = ["calle", "c/", "av.", "avd.", "avda.", "ctra.", "prolongación", "pza.", "plz.", "urb.", "carrer", "avinguda", "avda", "avenida", "plaza", "paseo", "glorieta", "acceso", "carretera", "ctra", "camino", "ronda", "callejón", "rambla", "vial", "pasadizo", "cuesta", "urbanización", "cañada", "alameda", "pasaje", "travesía", "rue", "avenue", "boulevard", "bd", "chemin", "place", "impasse", "allée", "quai", "route de", "cours", "via", "viale", "piazza", "corso", "largo", "incrocio", "borgo", "vicolo", "strada", "contrada", "stretto", "canale", "rotonda", "piazzale", "ul.", "ulica", "plac", "aleje", "osiedle", "al.", "aleja", "pl.", "os.", "rua", "travessa", "praça", "sítio", "rodovia", "estrada", "vila", "viela", "trecho", "residencial", "quadra", "praia", "núcleo", "morro", "loteamento", "ladeira", "lagoa", "jardim", "feira", "fazenda", "favela", "esplanada", "distrito", "conjunto", "condomínio", "colônia", "chácara", "campo", "área", "aeroporto", "colonia", "jirón", "carrera", "am", "an der", "auf dem", "straat", "улица"],
    PoBox = ["po box", "p.o. box", "p.o.box", "psc", "cmr", "apo", "fpo", "dpo", "postfach", "apartado de correos", "postbus", "boîte postale"],
    Gender = ["sex", "gender", "sexo", "geschlecht", "sexe", "sesso", "género", "genre"],
    Version = ["version", "versions", "ver", "release", "build", "firmware", "upgrade to", "downgrade"],
    Order = ["order", "order number", "order no", "order id", "invoice", "invoice number", "tracking", "tracking number", "ticket", "case", "case number", "ref", "reference", "part number", "part no", "sku", "isbn", "ean", "gtin", "upc", "barcode", "batch", "lot", "serial", "commit", "checksum", "sha256", "sha1", "md5", "timestamp", "epoch", "unix time", "item", "article", "model number", "issn", "doi", "rfc", "bestellnummer", "rechnung", "rechnungsnummer", "factura", "facture", "pedido", "commande", "bestelling", "zamówienie", "numéro de commande", "artikelnummer", "issue", "transaction", "transaction id", "confirmation", "tracking id", "shipment", "revision", "integrity", "digest", "hash", "uuid", "guid", "etag", "build id", "product"],
}

/// The automaton over all cues.
#[derive(Debug)]
pub(crate) struct Cues {
    automaton: AhoCorasick,
    of: Vec<Vec<Cue>>,
    /// Words that count at the end of a longer one.
    glued: Vec<bool>,
}

/// Names of secrets that are written together with their owners: `dbpassword`, `jwtsecret`, `PGPASSWORD`.
const GLUED: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "secret",
    "apikey",
    "secretkey",
    "privatekey",
    "accesskey",
    "pwd",
    "token",
    "credential",
    "credentials",
    "pass",
];

/// What may stand right before a glued `pass`, which also ends many plain words.
const OWNERS: &[&str] = &[
    "admin", "user", "db", "root", "my", "store", "key", "auth", "ftp", "smtp", "mail", "login", "sql",
    "http", "proxy",
];

/// Where the cues of one text are, by kind, in order.
#[derive(Debug, Default)]
pub(crate) struct CueHits {
    by: Vec<Vec<(usize, usize)>>,
}

impl Cues {
    pub(crate) fn new() -> Result<Self, BuildError> {
        // A word may announce several kinds; the automaton holds each word once.
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut words: Vec<(String, Vec<Cue>)> = Vec::new();
        let digits = spelled::WORDS.iter().map(|list| (Cue::Digit, *list));
        for (cue, list) in WORDS.iter().copied().chain(digits) {
            for word in list.iter().flat_map(|word| cases(word)) {
                let place = *places.entry(word.clone()).or_insert(words.len());
                if place == words.len() {
                    words.push((word, Vec::new()));
                }
                words[place].1.push(cue);
            }
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::DFA))
            .build(words.iter().map(|(w, _)| w))?;
        let glued = words.iter().map(|(word, _)| GLUED.contains(&word.as_str())).collect();
        let of = words.into_iter().map(|(_, of)| of).collect();
        Ok(Self { automaton, of, glued })
    }

    pub(crate) fn find(&self, text: &str) -> CueHits {
        let mut by = vec![Vec::new(); COUNT];
        let b = text.as_bytes();
        for m in self.automaton.find_iter(text) {
            let word = m.pattern().as_usize();
            if ends_word(text, b, m.end())
                && (begins_word(text, b, m.start()) || self.glued[word] && owned(b, m.start(), m.end()))
            {
                for &cue in &self.of[word] {
                    by[cue as usize].push((m.start(), m.end()));
                }
            }
        }
        CueHits { by }
    }
}

impl CueHits {
    /// Every hit of one cue, in order.
    pub(crate) fn all(&self, cue: Cue) -> &[(usize, usize)] {
        self.by.get(cue as usize).map_or(&[], Vec::as_slice)
    }

    /// End of the last cue that ends at or before `at`.
    pub(crate) fn before(&self, cue: Cue, at: usize) -> Option<usize> {
        let hits = self.all(cue);
        hits[..hits.partition_point(|h| h.1 <= at)].last().map(|h| h.1)
    }

    /// The last cue that ends at or before `at`, whole.
    pub(crate) fn starting_before(&self, cue: Cue, at: usize) -> Option<(usize, usize)> {
        let hits = self.all(cue);
        hits[..hits.partition_point(|h| h.1 <= at)].last().copied()
    }

    /// Start of the first cue that starts at or after `at`.
    pub(crate) fn after(&self, cue: Cue, at: usize) -> Option<usize> {
        let hits = self.all(cue);
        hits.get(hits.partition_point(|h| h.0 < at)).map(|h| h.0)
    }
}

/// A word as it is written; the automaton ignores the case of ASCII letters only.
fn cases(word: &str) -> Vec<String> {
    let mut out = vec![word.to_owned()];
    if !word.is_ascii() {
        let mut first = word.chars();
        let capital: String = first.next().into_iter().flat_map(char::to_uppercase).chain(first).collect();
        for other in [capital, word.to_uppercase()] {
            if !out.iter().any(|w| w.eq_ignore_ascii_case(&other)) {
                out.push(other);
            }
        }
    }
    out
}

/// Whether a word, or a part of an identifier, begins here.
fn begins_word(text: &str, b: &[u8], s: usize) -> bool {
    match s.checked_sub(1).map(|i| b[i]) {
        None => true,
        Some(p) if p.is_ascii_lowercase() => b[s].is_ascii_uppercase(),
        Some(p) if p.is_ascii_uppercase() => false,
        Some(p) if p >= 0x80 => !text[..s].chars().next_back().is_some_and(spaced_letter),
        Some(_) => true,
    }
}

/// Whether a word, or a part of an identifier, ends here.
fn ends_word(text: &str, b: &[u8], e: usize) -> bool {
    match b.get(e).copied() {
        None => true,
        Some(n) if n.is_ascii_uppercase() => b[e - 1].is_ascii_lowercase(),
        Some(b's' | b'S') => !b.get(e + 1).is_some_and(u8::is_ascii_alphanumeric),
        Some(n) if n.is_ascii_lowercase() => false,
        Some(n) if n >= 0x80 => !text[e..].chars().next().is_some_and(spaced_letter),
        Some(_) => true,
    }
}

/// Whether a glued word belongs to what stands right before it.
fn owned(b: &[u8], s: usize, e: usize) -> bool {
    let owner = |o: &&str| s >= o.len() && b[s - o.len()..s].eq_ignore_ascii_case(o.as_bytes());
    e - s != 4 || OWNERS.iter().any(owner)
}

/// A letter of a script that separates words, as Han, Kana and Hangul do not.
fn spaced_letter(c: char) -> bool {
    c.is_alphabetic() && !matches!(c as u32, 0x3040..=0x9FFF | 0xAC00..=0xD7A3)
}
