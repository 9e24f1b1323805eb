//! Tables: valid values, values with a wrong check digit, and look-alikes, by recogniser.

use std::sync::LazyLock;

use policies::EntityKind::{self, *};
use policies::Topic;
use router_model::sensitivity::{Detector, DetectorConfig};

static DETECTOR: LazyLock<Detector> =
    LazyLock::new(|| Detector::new(DetectorConfig::default()).expect("built-in patterns compile"));

fn kinds(text: &str) -> Vec<(EntityKind, String)> {
    let chars: Vec<char> = text.chars().collect();
    DETECTOR.scan(text).findings.iter().map(|f| (f.kind, chars[f.start..f.end].iter().collect())).collect()
}

/// Each text holds the value as the kind.
fn finds(kind: EntityKind, table: &[(&str, &str)]) {
    for (text, value) in table {
        let found = kinds(text);
        assert!(
            found.iter().any(|(k, v)| *k == kind && v == value),
            "{kind} {value:?} in {text:?}: {found:?}"
        );
    }
}

/// No text holds the kind.
fn rejects(kind: EntityKind, table: &[&str]) {
    for text in table {
        let found = kinds(text);
        assert!(!found.iter().any(|(k, _)| *k == kind), "no {kind} in {text:?}: {found:?}");
    }
}

#[test]
fn cards() {
    finds(
        CreditCard,
        &[
            ("4111111111111111", "4111111111111111"),
            ("pay 5500 0000 0000 0004 now", "5500 0000 0000 0004"),
            ("3782-822463-10005", "3782-822463-10005"),
            ("6011.1111.1111.1117", "6011.1111.1111.1117"),
            ("card 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"),
            ("{\"pan\":\"4222222222222\"}", "4222222222222"),
        ],
    );
    rejects(
        CreditCard,
        &[
            "4111111111111112",
            "order 1234567890123456",
            "EAN 4006381333931",
            "at 1732269000000 ms",
            "IMEI 490154203237518",
        ],
    );
}

#[test]
fn bank_numbers() {
    finds(
        Iban,
        &[
            ("IBAN DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 00"),
            ("to GB82WEST12345698765432.", "GB82WEST12345698765432"),
            ("iban nl 91 ab na 04 17 16 43 00", "nl 91 ab na 04 17 16 43 00"),
        ],
    );
    rejects(Iban, &["DE89 3704 0044 0532 0130 01", "GB82WEST12345698765433"]);
    finds(RoutingNumber, &[("routing number 021000021", "021000021")]);
    finds(SwiftBic, &[("BIC: DEUTDEFF500", "DEUTDEFF500")]);
    finds(BankAccount, &[("account number 95006447", "95006447")]);
    rejects(RoutingNumber, &["item 021000021"]);
}

#[test]
fn american_numbers() {
    finds(
        UsSsn,
        &[
            ("078-05-1121", "078-05-1121"),
            ("SSN: 219099998", "219099998"),
            ("ssn 219 09 9998", "219 09 9998"),
        ],
    );
    rejects(
        UsSsn,
        &["000-12-3456", "666-12-3456", "123-00-4567", "123-45-0000", "order no 219-09-9998-1", "219099998"],
    );
    finds(TaxId, &[("ITIN 968-77-8382", "968-77-8382"), ("EIN 12-3456789", "12-3456789")]);
}

#[test]
fn contacts() {
    finds(
        Email,
        &[
            ("write to jo.doe+x@example.co.uk.", "jo.doe+x@example.co.uk"),
            ("jo [at] example [dot] de", "jo [at] example [dot] de"),
        ],
    );
    rejects(Email, &["npm i @types/node@20.1", "git@", "a@b"]);
    finds(
        Phone,
        &[
            ("+49 154 25561867", "+49 154 25561867"),
            ("(789) 706-4038", "(789) 706-4038"),
            ("call 001-393-229-3589x123", "001-393-229-3589x123"),
            ("Tel. 0171 1733626", "0171 1733626"),
            ("06 12 34 56 78", "06 12 34 56 78"),
        ],
    );
    rejects(
        Phone,
        &["2024-01-31", "version 1.22.333.4444", "ISBN 978-3-16-148410-0", "1732269000", "10.0.19045.3693"],
    );
    finds(Username, &[("username: jdoe42", "jdoe42"), ("thanks @jane_doe!", "@jane_doe")]);
}

#[test]
fn network() {
    finds(
        IpAddress,
        &[("from 203.0.113.9:443", "203.0.113.9"), ("2001:db8:d344::86a", "2001:db8:d344::86a")],
    );
    rejects(
        IpAddress,
        &[
            "127.0.0.1",
            "0.0.0.0",
            "version 1.2.3.4",
            "1.2.3.4.5",
            "12:30:45",
            "std::fmt::Display",
            "300.1.1.1",
        ],
    );
    finds(
        MacAddress,
        &[("28:84:04:16:31:ac", "28:84:04:16:31:ac"), ("00-1A-2B-3C-4D-5E", "00-1A-2B-3C-4D-5E")],
    );
}

#[test]
fn national_numbers() {
    finds(
        NationalId,
        &[
            ("NI number QQ123456C EK207557B", "EK207557B"),
            ("DNI 18893888D", "18893888D"),
            ("PESEL 62061548923", "62061548923"),
            ("CPF: 097.946.758-65", "097.946.758-65"),
            ("codice fiscale SMBMSN80P07F762D", "SMBMSN80P07F762D"),
            ("burgerservicenummer 958644652", "958644652"),
            ("SIN 280-383-431", "280-383-431"),
            ("Tax file number 880 195 130", "880 195 130"),
            ("Aadhaar number 7641 5103 7718", "7641 5103 7718"),
            ("numéro de sécurité sociale 253020396532388", "253020396532388"),
            ("hetu 131052-308T", "131052-308T"),
            ("S1234567D", "S1234567D"),
            ("756.1234.5678.97", "756.1234.5678.97"),
            ("11010519491231002X", "11010519491231002X"),
        ],
    );
    finds(TaxId, &[("PAN card FICCD4436D", "FICCD4436D")]);
    rejects(
        NationalId,
        &["18893888E", "S1234567A", "11010519491231003X", "756.1234.5678.98", "Round 3.44859585677309"],
    );
}

#[test]
fn medical_and_documents() {
    finds(
        MedicalId,
        &[
            ("NHS No 704 369 2873", "704 369 2873"),
            ("NPI 2840635439", "2840635439"),
            ("DEA MM9846859", "MM9846859"),
            ("MRN: MRN237910", "MRN237910"),
            ("member BB-6514795", "BB-6514795"),
        ],
    );
    finds(Passport, &[("passport NZ5624455", "NZ5624455")]);
    finds(DriverLicense, &[("driver license number is T9487618", "T9487618")]);
    finds(VehicleId, &[("VIN 1M8GDM9AXKP042788", "1M8GDM9AXKP042788"), ("plate is B-TN 9388", "B-TN 9388")]);
    finds(DeviceId, &[("imei 490154203237518", "490154203237518")]);
    rejects(MedicalId, &["ICD-10 E11.9", "ICD code F32.1"]);
}

#[test]
fn persons_and_places() {
    finds(
        DateOfBirth,
        &[
            ("born March 16, 2000", "March 16, 2000"),
            ("geb. 10.04.1957", "10.04.1957"),
            ("nacido el 10-06-2007", "10-06-2007"),
        ],
    );
    finds(Age, &[("a 45-year-old man", "45-year-old"), ("aged 45", "45")]);
    finds(
        Person,
        &[
            ("My name is Carrie Vega and", "Carrie Vega"),
            ("Dear Dr. Bowman, thank", "Bowman"),
            ("Patient: Melanie Oneill\nDOB", "Melanie Oneill"),
        ],
    );
    finds(
        Address,
        &[
            (
                "lives at 9951 James Field Apt. 283, North Dustinton, PA 22491.",
                "9951 James Field Apt. 283, North Dustinton, PA 22491",
            ),
            ("rue Richard Berthelot, 06333 Cousin.", "rue Richard Berthelot, 06333 Cousin"),
            ("Ira-Krebs-Platz 54/98, 50201 Oranienburg.", "Ira-Krebs-Platz 54/98, 50201 Oranienburg"),
        ],
    );
    rejects(Person, &["The quick brown fox", "name: string", "Dear all, hello"]);
}

#[test]
fn wallets() {
    finds(
        CryptoWallet,
        &[
            ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"),
            ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"),
        ],
    );
    rejects(
        CryptoWallet,
        &["1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdx"],
    );
}

#[test]
fn a_header_row_names_its_columns() {
    let text = "name,ssn,birth_date\nLauren Mcintyre,091394373,September 1, 2007\n";
    let found = kinds(text);
    assert!(found.contains(&(Person, "Lauren Mcintyre".into())), "{found:?}");
    assert!(found.contains(&(UsSsn, "091394373".into())), "{found:?}");
    assert!(found.contains(&(DateOfBirth, "September 1, 2007".into())), "{found:?}");
}

#[test]
fn look_alikes_are_left_alone() {
    for text in [
        "order 4111111111111112 shipped",
        "ISBN 978-3-16-148410-0",
        "EAN 4006381333931",
        "version 10.0.19045.3693",
        "uuid 123e4567-e89b-12d3-a456-426614174000",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "epoch 1732269000",
        "ICD E11.9",
    ] {
        assert!(kinds(text).is_empty(), "{text:?}: {:?}", kinds(text));
    }
}

#[test]
fn topic_is_care_not_knowledge() {
    let health =
        |text: &str| DETECTOR.scan(text).topics.iter().find(|t| t.0 == Topic::Health).map_or(0.0, |t| t.1);
    assert!(health("The patient is a 54-year-old man diagnosed with diabetes, started on metformin.") > 0.7);
    assert!(health("What is diabetes?") < 0.4);
    let secret = DETECTOR.scan("CONFIDENTIAL - do not distribute. Unaudited figures.");
    assert_eq!(secret.topics[0].0, Topic::Confidential);
    assert!(secret.topics[0].1 > 0.9);
}

#[test]
fn addresses_of_many_countries() {
    finds(
        Address,
        &[
            ("121 Baker Street, London NW1 6XE", "121 Baker Street, London NW1 6XE"),
            ("10 Downing Street, London SW1A 2AA", "10 Downing Street, London SW1A 2AA"),
            (
                "1600 Pennsylvania Avenue NW, Washington, DC 20500",
                "1600 Pennsylvania Avenue NW, Washington, DC 20500",
            ),
            ("Hauptstraße 12, 10115 Berlin", "Hauptstraße 12, 10115 Berlin"),
            ("Musterweg 5a, 80331 München", "Musterweg 5a, 80331 München"),
            ("12 rue de la Paix, 75002 Paris", "12 rue de la Paix, 75002 Paris"),
            ("45 bis avenue Victor Hugo, 69003 Lyon", "45 bis avenue Victor Hugo, 69003 Lyon"),
            ("Calle Gran Vía 28, 3º B, 28013 Madrid", "Calle Gran Vía 28, 3º B, 28013 Madrid"),
            ("C/ Alcalá 45, 28014 Madrid", "C/ Alcalá 45, 28014 Madrid"),
            ("Via Roma 10, 00184 Roma RM", "Via Roma 10, 00184 Roma RM"),
            ("Piazza Garibaldi 3, 80142 Napoli", "Piazza Garibaldi 3, 80142 Napoli"),
            ("Keizersgracht 123, 1015 CJ Amsterdam", "Keizersgracht 123, 1015 CJ Amsterdam"),
            ("Damrak 1, 1012 LG Amsterdam", "Damrak 1, 1012 LG Amsterdam"),
            ("ul. Marszałkowska 10/5, 00-590 Warszawa", "ul. Marszałkowska 10/5, 00-590 Warszawa"),
            ("Avenida da Liberdade 110, 1250-146 Lisboa", "Avenida da Liberdade 110, 1250-146 Lisboa"),
            ("Drottninggatan 15, 111 51 Stockholm", "Drottninggatan 15, 111 51 Stockholm"),
            ("ул. Ленина, д. 5, кв. 12, Москва, 101000", "ул. Ленина, д. 5, кв. 12, Москва, 101000"),
            ("г. Санкт-Петербург, Невский проспект, 28", "г. Санкт-Петербург, Невский проспект, 28"),
            ("Nygata 4, 0159 Oslo", "Nygata 4, 0159 Oslo"),
            ("Vesterbrogade 12, 1620 København V", "Vesterbrogade 12, 1620 København V"),
            ("Mannerheimintie 5 A 12, 00100 Helsinki", "Mannerheimintie 5 A 12, 00100 Helsinki"),
            ("Bahnhofstrasse 1, 8001 Zürich", "Bahnhofstrasse 1, 8001 Zürich"),
            ("Mariahilfer Straße 88, 1070 Wien", "Mariahilfer Straße 88, 1070 Wien"),
            ("Av. Paulista, 1000, São Paulo", "Av. Paulista, 1000, São Paulo"),
            ("P.O. Box 123, Springfield, IL 62704", "P.O. Box 123, Springfield, IL 62704"),
            ("35 Rue de l'Église, Bruxelles 1000", "35 Rue de l'Église, Bruxelles 1000"),
            ("Václavské náměstí 1, 110 00 Praha", "Václavské náměstí 1, 110 00 Praha"),
            ("東京都千代田区千代田1-1", "東京都千代田区千代田1-1"),
            ("北京市朝阳区建国路93号", "北京市朝阳区建国路93号"),
            ("서울특별시 강남구 테헤란로 152", "서울특별시 강남구 테헤란로 152"),
        ],
    );
    rejects(
        Address,
        &[
            "On June 5, 2012 Obama spoke",
            "Chapter 12, 10115 words",
            "see section 3, 1999 Act",
            "version 5, 10.0",
        ],
    );
}

#[test]
fn what_stands_beside_a_card_number() {
    finds(
        CreditCard,
        &[
            ("card 4111111111111111, exp 09/27, cvv 123.", "09/27"),
            ("card 4111111111111111, exp 09/27, cvv 123.", "123"),
            ("CVC: 737", "737"),
            ("%B4111111111111111^DOE/JOHN^2512101123456789?", "4111111111111111^DOE/JOHN^2512101123456789"),
            (";4111111111111111=25121011234567890000?", "4111111111111111=25121011234567890000"),
        ],
    );
    rejects(CreditCard, &["due 09/27", "cvv check failed 3.14", "%B4111111111111112^DOE/JOHN^25121011?"]);
}

#[test]
fn coordinates_and_handles() {
    finds(
        Location,
        &[
            ("coordinates 52.520008, 13.404954", "52.520008, 13.404954"),
            ("lat: 48.858844, lng: 2.294351", "48.858844, lng: 2.294351"),
            ("40.712776° N, 74.005974° W", "40.712776° N, 74.005974"),
        ],
    );
    rejects(Location, &["weights 0.123456, 0.654321", "lat 95.123456, 200.123456", "lat 1.5, 2.5"]);
    finds(
        Username,
        &[("instagram @maria.lopez.87", "@maria.lopez.87"), ("GitHub username octo-cat99", "octo-cat99")],
    );
    finds(DeviceId, &[("IDFA 6D92078A-8246-4BA4-AE5B-76104861E7DC", "6D92078A-8246-4BA4-AE5B-76104861E7DC")]);
}
