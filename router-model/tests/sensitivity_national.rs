//! National numbers of sixty countries: a valid number behind a word that names it, and one whose check fails.
//!
//! The valid numbers were made with an independent implementation of the check rules.
#![allow(clippy::expect_used, reason = "a test")]

use std::sync::LazyLock;

use router_model::sensitivity::{Detector, DetectorConfig};

static DETECTOR: LazyLock<Detector> =
    LazyLock::new(|| Detector::new(DetectorConfig::default()).expect("built-in patterns compile"));

/// Subtype, words before, a valid number, an invalid one where the number has a check.
const NUMBERS: &[(&str, &str, &str, Option<&str>)] = &[
    ("es_dni", "DNI ", "55597971W", Some("55597971X")),
    ("es_nie", "NIE ", "X3423667W", Some("X3423667X")),
    ("es_cif", "CIF ", "B00474395", Some("B00474396")),
    ("ie_pps", "PPSN ", "5116372NA", Some("5116372NB")),
    ("in_pan", "PAN card ", "ABCPK5167Z", None),
    ("fi_hetu", "hetu ", "180993-7181", Some("180993-7182")),
    ("mx_rfc", "RFC ", "GODE750409A18", None),
    ("it_cf", "codice fiscale ", "RCCMNL89D18F205G", Some("RCCMNL89D18F205H")),
    ("mx_curp", "CURP ", "BOXW660209HVZLNC04", Some("BOXW660209HVZLNC05")),
    ("cn_rid", "身份证 ", "110105199108130207", Some("110105199108130208")),
    ("fr_nir", "sécurité sociale ", "177097505035507", Some("177097505035508")),
    ("br_cnpj", "CNPJ ", "07989008000171", Some("07989008000172")),
    ("br_cpf", "CPF ", "18455345306", Some("18455345307")),
    ("kr_rrn", "주민등록번호 ", "6606071034702", Some("6606071034703")),
    ("za_id", "ID number ", "9606040958089", Some("9606040958080")),
    ("ro_cnp", "CNP ", "1650915401337", Some("1650915401338")),
    ("jmbg", "EMŠO ", "1207960500315", Some("1207960500316")),
    ("ch_ahv", "AHV-Nummer ", "7561526053602", Some("7561526053603")),
    ("in_aadhaar", "Aadhaar ", "900635607873", Some("900635607874")),
    ("jp_my_number", "My Number ", "280093717832", Some("280093717833")),
    ("pl_pesel", "PESEL ", "71050147353", Some("71050147354")),
    ("de_idnr", "Steuer-ID ", "77460179528", Some("77460179529")),
    ("hr_oib", "OIB ", "48519869405", Some("48519869406")),
    ("no_fnr", "fødselsnummer ", "14028638222", Some("14028638223")),
    ("be_nrn", "rijksregisternummer ", "62062252463", Some("62062252464")),
    ("tr_tckn", "TC kimlik ", "33208187518", Some("33208187519")),
    ("ar_cuit", "CUIT ", "20647606637", Some("20647606638")),
    ("ee_ik", "isikukood ", "39303063513", Some("39303063514")),
    ("gr_amka", "AMKA ", "24069904480", Some("24069904481")),
    ("it_piva", "partita IVA ", "18774880159", Some("18774880150")),
    ("au_abn", "ABN ", "92210463855", Some("92210463856")),
    ("se_personnummer", "personnummer ", "930524-1805", Some("930524-1806")),
    ("dk_cpr", "CPR-nr ", "1812711621", None),
    ("at_svnr", "SVNR ", "2356240565", Some("2356240566")),
    ("pl_nip", "NIP ", "3897602222", Some("3897602223")),
    ("cz_rc", "rodné číslo ", "8112180010", Some("8112180011")),
    ("bg_egn", "EGN ", "6005100699", Some("6005100690")),
    ("nl_bsn", "BSN ", "457384426", Some("457384427")),
    ("ca_sin", "SIN ", "535125447", Some("535125448")),
    ("au_tfn", "tax file number ", "614485234", Some("614485235")),
    ("pt_nif", "NIF ", "274928531", Some("274928532")),
    ("il_id", "teudat zehut ", "826408114", Some("826408115")),
    ("gr_afm", "AFM ", "273345112", Some("273345113")),
    ("fr_siren", "SIREN ", "933363269", Some("933363260")),
    ("nz_ird", "IRD ", "49297920", Some("49297921")),
    ("ru_inn", "ИНН ", "003551381502", Some("003551381503")),
    ("ua_rnokpp", "РНОКПП ", "4130239854", Some("4130239855")),
    ("th_pin", "Thai national ID ", "8847298290817", Some("8847298290818")),
    ("lv_pk", "personas kods ", "05026318432", Some("05026318433")),
    ("is_kennitala", "kennitala ", "0503708369", Some("0503708361")),
    ("cl_rut", "RUT ", "097461643", Some("097461644")),
    ("pe_ruc", "RUC ", "20169691674", Some("20169691675")),
    ("ec_ci", "cédula ", "1724366883", Some("1724366884")),
    ("co_nit", "NIT ", "1732213183", Some("1732213184")),
    ("do_cedula", "cédula ", "29726825127", Some("29726825128")),
    ("my_nric", "MyKad ", "840910149045", None),
    ("id_nik", "NIK ", "3171011808642257", None),
    ("uk_utr", "UTR ", "1121135567", Some("1121135568")),
    ("uk_nhs", "NHS number ", "6339747035", Some("6339747036")),
    ("pk_cnic", "CNIC ", "6882700019376", None),
    ("us_itin", "ITIN ", "991-78-4477", None),
    ("cz_rc", "rodné číslo ", "8202043795", Some("8202043796")),
    ("ee_ik", "asmens kodas ", "36311079478", Some("36311079479")),
    ("hk_hkid", "HKID ", "A123456(3)", Some("A123456(4)")),
    ("ir_melli", "national id ", "0084575948", Some("0084575949")),
    ("uy_ci", "cédula ", "1.234.567-2", Some("1.234.567-3")),
    ("lu_matricule", "matricule ", "1893120105732", Some("1893120105733")),
    ("ae_eid", "Emirates ID ", "784-1980-1234567-8", Some("784-1980-1234567-9")),
    ("sg_nric", "NRIC ", "S1234567D", Some("S1234567A")),
    ("tw_id", "ID number ", "A123456789", Some("A123456788")),
    ("uk_nino", "NI number ", "AB123456C", Some("BG123456C")),
    ("fr_nir", "NIR ", "2 84 05 2A 123 456 32", None),
    ("ru_snils", "СНИЛС ", "112-233-445 95", Some("112-233-445 96")),
    ("vn_cccd", "CCCD ", "001099012345", Some("101099012345")),
    ("eg_nid", "national id ", "29001011234567", Some("29013011234567")),
    ("cl_rut", "RUT ", "12.345.605-K", Some("12.345.671-K")),
    ("in_gstin", "GSTIN ", "27AAPFU0939F1ZV", None),
    ("de_rvnr", "Rentenversicherungsnummer ", "65170839J003", Some("65170839J004")),
];

/// Subtypes and scores of what covers the number.
fn covering(cue: &str, value: &str) -> Vec<(String, f32)> {
    let text = format!("Customer file. {cue}{value}\n");
    let from = text.chars().count() - value.chars().count() - 1;
    let scan = DETECTOR.scan(&text);
    let over =
        scan.findings.iter().filter(|f| f.start <= from + 1 && f.end + 1 >= from + value.chars().count());
    over.map(|f| (f.subtype.as_deref().unwrap_or_default().to_owned(), f.score)).collect()
}

#[test]
fn a_valid_number_is_found_and_an_invalid_one_is_not_taken_for_it() {
    let mut wrong = Vec::new();
    for &(sub, cue, valid, invalid) in NUMBERS {
        let found = covering(cue, valid);
        // Several countries' rules may accept the same digits; what matters is that a checked one does.
        if !found.iter().any(|(s, score)| !s.is_empty() && *score >= 0.8) {
            wrong.push(format!("{sub} {valid} missed: {found:?}"));
        }
        if let Some(invalid) = invalid {
            let found = covering(cue, invalid);
            if found.iter().any(|(s, score)| s == sub && *score >= 0.8) {
                wrong.push(format!("{sub} {invalid} taken for valid: {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn at_least_thirty_countries_are_known() {
    let countries: std::collections::BTreeSet<&str> = NUMBERS.iter().map(|n| &n.0[..2]).collect();
    assert!(countries.len() >= 50, "{countries:?}");
}
