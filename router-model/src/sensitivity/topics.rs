//! What a text is about, from weighted words, and confidentiality markings.
//!
//! A topic is not a level: an encyclopaedia article about diabetes and a patient's note share their words. Health
//! therefore scores high only where a person is being treated (a patient's age and complaint, a record number, a
//! dialogue about symptoms) and stays low for literature and general questions. Each score is
//! `1 - exp(-weight / length factor)`: it grows with distinct evidence and saturates.

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};
use policies::{EntityKind, Topic};

use super::Raw;

/// Topics below this score are not reported.
const REPORTED_MIN: f32 = 0.2;

/// Signals: the topics, and the two sides of "is a person being treated".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sig {
    T(Topic),
    /// Words of care for one person.
    Clinical,
    /// Words of studies and articles.
    Study,
}

use Sig::{Clinical, Study, T};

/// Weighted words by signal, separated by bars.
const WORDS: &[(Sig, f32, &str)] = &[
    (
        T(Topic::Confidential),
        3.0,
        "strictly confidential|confidential|internal use only|for internal use|internal only|\
        do not distribute|not for distribution|do not share|do not forward|company confidential|\
        proprietary and confidential|trade secret|trade secrets|attorney-client|\
        attorney client privilege|attorney work product|work product|privileged and confidential|\
        non-disclosure|under nda|nda|tlp:red|tlp:amber|top secret|under embargo|embargoed|\
        for employees only|employees only|not for external release|not for public release|\
        not for release|eyes only|need to know|need-to-know|streng vertraulich|vertraulich|\
        nur für den internen gebrauch|nur für den dienstgebrauch|betriebsgeheimnis|geschäftsgeheimnis|\
        verschlusssache|confidentiel|confidentielle|usage interne|ne pas diffuser|secret professionnel|\
        confidencial|uso interno|no distribuir|riservato|riservata|strettamente confidenziale|\
        vertrouwelijk|strikt vertrouwelijk|poufne|tajemnica przedsiębiorstwa|konfidentiell|sekretess|\
        fortrolig|luottamuksellinen|non-public information|material non-public|mnpi|insider information|\
        unaudited|unreleased|unannounced|draft - not|keep it confidential|keep this confidential|\
        internal library|internal memo",
    ),
    (
        Clinical,
        1.0,
        "the patient|patient is a|pt is|patient's|my doctor|year-old male|year-old female|year old male|\
        year old female|year-old man|year-old woman|year old man|year old woman|presents with|\
        presented with|complains of|chief complaint|history of present illness|past medical history|\
        diagnosed with|was diagnosed|denies any|patient denies|referred for|referring|follow up|\
        follow-up visit|prescribed|started on|discharged|admitted to|medical history|family history|\
        social history|review of systems|physical exam|vital signs|allergies|medications|mrn|\
        symptoms consistent|assessment:|any medications|are you taking|do you have any|\
        how are you feeling|any pain|your blood pressure|does it hurt|any allergies|do you smoke|\
        paciente de|la paciente|el paciente|diagnosticado|diagnosticada|antecedentes|exploración física|\
        ingresó|leidet an|der patient|die patientin|diagnose|überweisung|patient de|le patient|\
        la patiente|atteint de|il paziente|la paziente|de patiënt|pacjent|o paciente|patienten|rx for|\
        doctor:|patient:|in two weeks|your symptoms|claim for member|he has a history|she has a history|\
        no known drug|patient has|patient was|patient is|patient had|patient reports|he has been|she has been|she states|he states|noncontributory|negative for|emergency department|status post|underwent|nonsmoker|tobacco|illicit drug|drug abuse|denies|significant for|past surgical|year old|year-old|well-developed",
    ),
    (
        Study,
        1.0,
        "et al|we studied|we investigated|randomized|randomised|cohort|meta-analysis|retrospective|\
        prospective study|methods|results|conclusion|objective|p <|confidence interval|participants|\
        patients were|literature|this study|our findings|placebo|what is|what are|explain|how does|\
        controls|statistically|study population|the aim",
    ),
    (
        T(Topic::Health),
        0.6,
        "diabetes|cancer|tumor|tumour|hiv|aids|vih|depression|depressive|bipolar|schizophrenia|anxiety|\
        copd|asthma|hypertension|blood pressure|heart attack|stroke|chemotherapy|surgery|biopsy|mri|\
        ct scan|x-ray|ultrasound|pregnant|pregnancy|miscarriage|abortion|diagnosis|diagnoses|symptom|\
        symptoms|therapy|treatment|medication|prednisone|metformin|insulin|ibuprofen|oxycodone|\
        antibiotics|tablets|mg|dose|hospital|clinic|physician|nurse|doctor|patient|patients|pain|fever|\
        cough|infection|disease|disorder|syndrome|psychiatric|psychotherapy|medical|vaccin|allergic|\
        lesion|fracture|kidney|liver|lung|cardiac|arthritis|migraine|epilepsy|hepatitis|dementia|\
        alzheimer|insomnia|addiction|rehab|episode|krankheit|erkrankung|arzt|krankenhaus|schmerzen|\
        enfermedad|tratamiento|síntomas|dolor|médico|maladie|traitement|douleur|médecin|malattia|\
        terapia|dolore|ziekte|behandeling|choroba|leczenie|sjukdom|doença|oncology|lumbar|diagnostic|\
        exacerbation|inhaler|prescription|knee|shoulder|abdominal|nausea|vomiting|headache|headaches|\
        dizziness|swelling|diarrhea|chest pain",
    ),
    (
        T(Topic::Legal),
        0.8,
        "agreement|contract|clause|hereby|herein|hereinafter|thereof|pursuant to|plaintiff|defendant|\
        lawsuit|litigation|attorney|lawyer|counsel|court|judge|testified|deposition|settlement|\
        indemnify|indemnification|liability|warranties|governing law|jurisdiction|arbitration|breach|\
        enforceable|power of attorney|affidavit|subpoena|lease|landlord|tenant|witness whereof|\
        shall not|covenant|covenants|legal advice|vertrag|klage|gericht|rechtsanwalt|contrato|demanda|\
        abogado|tribunal|contrat|avocat|contratto|avvocato|notwithstanding|lender|borrower|licensee|\
        licensor|copyright infringement|kündigung|gdpr",
    ),
    (
        T(Topic::Financial),
        0.8,
        "bank|account|transfer|payment|payments|card|credit card|debit card|loan|mortgage|invoice|salary|\
        revenue|ebitda|profit|loss|balance|statement|tax|interest rate|iban|swift|sepa|refund|charge|\
        charged|fee|fees|exchange rate|currency|top up|top-up|withdraw|withdrawal|cash|atm|direct debit|\
        transaction|transactions|deposit|lenders|lender|leverage|shares|merger|acquisition|investor|\
        portfolio|budget|forecast|quarterly|audit|unaudited|overdraft|pin|cheque|check|money|wallet|\
        routing number|wire|konto|überweisung|rechnung|kredit|cuenta|factura|préstamo|compte|virement|\
        facture|conto|fattura|verify my identity|price|pending|declined|apple pay|google pay|\
        principal amount|credit agreement|term loan|borrower",
    ),
    (
        T(Topic::Hr),
        1.0,
        "employee|employees|salary|salaries|termination letter|terminate|performance review|\
        performance improvement|written warning|written warnings|offer letter|reports to|\
        human resources|payroll|disciplinary|layoff|layoffs|redundancy|severance|promotion|hiring|\
        recruit|candidate|resume|résumé|cv|job applicant|sick leave|parental leave|harassment|grievance|\
        annual leave|probation|resignation|kündigung|mitarbeiter|gehalt|abmahnung|empleado|despido|\
        salario|employé|licenciement|salaire|dipendente|licenziamento|bonus|onboarding|compensation",
    ),
    (
        T(Topic::Security),
        0.9,
        "vulnerability|vulnerabilities|cve-|exploit|incident response|security incident|data breach|\
        breach notification|penetration test|pentest|malware|ransomware|phishing|credentials|password|\
        passwords|api key|secret key|private key|access token|token|ssh|firewall|zero-day|zero day|\
        root access|privilege escalation|sql injection|xss|backdoor|leaked|rotate the|mfa|2fa|\
        encryption key|intrusion|siem|passwort|sicherheitslücke|contraseña|vulnerabilidad|mot de passe|\
        authentication|ddos",
    ),
];

/// The automaton over every word of every topic.
#[derive(Debug)]
pub(crate) struct Topics {
    automaton: AhoCorasick,
    of: Vec<Vec<(Sig, f32)>>,
}

impl Topics {
    pub(crate) fn new() -> Result<Self, BuildError> {
        let mut words: Vec<(&str, Vec<(Sig, f32)>)> = Vec::new();
        for &(sig, weight, list) in WORDS {
            for word in list.split('|') {
                match words.iter_mut().find(|(w, _)| *w == word) {
                    Some((_, of)) => of.push((sig, weight)),
                    None => words.push((word, vec![(sig, weight)])),
                }
            }
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::DFA))
            .build(words.iter().map(|(w, _)| *w))?;
        Ok(Self { automaton, of: words.into_iter().map(|(_, of)| of).collect() })
    }

    /// Topics of a text with its findings, best first.
    pub(crate) fn score(&self, text: &str, found: &[Raw]) -> Vec<(Topic, f32)> {
        let b = text.as_bytes();
        let mut hits = vec![0_u32; self.of.len()];
        for m in self.automaton.find_iter(b) {
            let left = m.start() == 0 || !b[m.start() - 1].is_ascii_alphanumeric();
            let right = !b.get(m.end()).is_some_and(u8::is_ascii_alphanumeric);
            if left && (right || b[m.end() - 1] == b'-') {
                hits[m.pattern().as_usize()] += 1;
            }
        }
        let mut sums: Vec<(Sig, f32)> = Vec::new();
        for (n, of) in hits.iter().zip(&self.of).filter(|(n, _)| **n > 0) {
            // Distinct words count; repetition adds a little.
            let factor = 1.0 + (*n as f32).ln() * 0.4;
            for &(sig, weight) in of {
                match sums.iter_mut().find(|(s, _)| *s == sig) {
                    Some((_, sum)) => *sum += weight * factor,
                    None => sums.push((sig, weight * factor)),
                }
            }
        }
        let sum = |sig: Sig| sums.iter().find(|(s, _)| *s == sig).map_or(0.0, |s| s.1);
        let length = (text.len() as f32 / 400.0).max(1.0).sqrt();
        let has = |kinds: &[EntityKind]| found.iter().any(|r| kinds.contains(&r.kind));
        let mut out: Vec<(Topic, f32)> = Vec::new();
        for &topic in Topic::ALL {
            let weight = match topic {
                Topic::Health => health(sum(T(Topic::Health)), sum(Clinical), sum(Study), found, length),
                Topic::Confidential => sum(T(topic)) * 0.8,
                Topic::SourceCode => source_code(text),
                Topic::Security => {
                    (sum(T(topic)) / length + if has(&[EntityKind::Secret]) { 1.0 } else { 0.0 }) * 0.6
                }
                Topic::Financial => {
                    let ids = has(&[
                        EntityKind::CreditCard,
                        EntityKind::Iban,
                        EntityKind::BankAccount,
                        EntityKind::RoutingNumber,
                        EntityKind::SwiftBic,
                    ]);
                    (sum(T(topic)) / length + if ids { 1.5 } else { 0.0 }) * 0.65
                }
                _ => sum(T(topic)) / length * 0.5,
            };
            let score = 1.0 - (-weight).exp();
            if score >= REPORTED_MIN {
                out.push((topic, score.min(1.0)));
            }
        }
        out.sort_by(|a, b| b.1.total_cmp(&a.1));
        out
    }
}

/// Health words alone reach the middle of the scale; care for a person lifts them, a study's language lowers them.
fn health(words: f32, clinical: f32, study: f32, found: &[Raw], length: f32) -> f32 {
    let medical_id = found.iter().any(|r| r.kind == EntityKind::MedicalId);
    let identified = found.iter().any(|r| {
        matches!(
            r.kind,
            EntityKind::Person
                | EntityKind::DateOfBirth
                | EntityKind::UsSsn
                | EntityKind::NationalId
                | EntityKind::Phone
        )
    });
    let aged = found.iter().any(|r| r.kind == EntityKind::Age);
    let words = words / length;
    if words + clinical < 0.5 && !medical_id {
        return 0.0;
    }
    let person = clinical / length.sqrt()
        + if medical_id { 1.5 } else { 0.0 }
        + if identified { 0.8 } else { 0.0 }
        + if aged { 0.6 } else { 0.0 };
    let base = (words * 0.4).min(0.6);
    let personal = (person - study * 0.8).max(0.0);
    if words > 0.0 || medical_id { base + personal * 0.7 } else { personal * 0.35 }
}

/// Weight of the signs that program text has and prose has not.
fn source_code(text: &str) -> f32 {
    const SIGNS: &[&str] = &[
        "#include",
        "def ",
        "class ",
        "import ",
        "function ",
        "return ",
        "const ",
        "public ",
        "private ",
        "static ",
        "void ",
        "fn ",
        "func ",
        "package ",
        "println",
        "console.log",
        "SELECT ",
        "=> ",
        "();",
        "{\n",
        "}\n",
        ");\n",
        "```",
        "var ",
        "let ",
        "if (",
        "for (",
        "#!/",
        "</",
        "using ",
        "namespace ",
        "struct ",
        "self.",
        "->",
        "==",
        "!=",
        "&&",
        "||",
        "int ",
    ];
    let mut head = text.len().min(16_384);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    let head = &text[..head];
    let signs =
        SIGNS.iter().filter(|s| memchr::memmem::find(head.as_bytes(), s.as_bytes()).is_some()).count() as f32;
    let marks = head.bytes().filter(|b| b"{}();=<>[]".contains(b)).count() as f32 / head.len().max(1) as f32;
    if marks < 0.015 { signs * 0.03 } else { signs * 0.22 + marks * 6.0 }
}
