//! The weighted words of topics.

use policies::Topic;

use super::Sig::{self, Clinical, Study, T};

/// Weighted words by signal, separated by bars.
pub(super) const WORDS: &[(Sig, f32, &str)] = &[
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
