//! Topics that depend on whose data it is: special categories and minors, in ten languages, against articles and
//! general questions that share their words.
#![allow(clippy::expect_used, reason = "a test")]

use std::sync::LazyLock;

use policies::Topic;
use router_model::sensitivity::{Detector, DetectorConfig};

static DETECTOR: LazyLock<Detector> =
    LazyLock::new(|| Detector::new(DetectorConfig::default()).expect("built-in patterns compile"));

fn score(text: &str, topic: Topic) -> f32 {
    DETECTOR.scan(text).topics.iter().find(|t| t.0 == topic).map_or(0.0, |t| t.1)
}

#[test]
fn a_category_that_is_tied_to_a_person_counts_in_ten_languages() {
    for text in [
        "My colleague Ahmed is Muslim and asked for prayer breaks, how do I answer?",
        "The applicant told us she is a lesbian. Should the file say so?",
        "Unser Mitarbeiter Jens ist Gewerkschaftsmitglied, dürfen wir ihn versetzen?",
        "Mon voisin est juif et homosexuel, il a reçu des menaces.",
        "La empleada es afiliada al sindicato y tiene antecedentes penales.",
        "Il candidato è iscritto al partito e ha precedenti penali.",
        "O candidato tem antecedentes criminais e é budista, posso recusar?",
        "De sollicitant heeft een strafblad, mag ik hem afwijzen?",
        "Kandydat jest członkiem partii i był karany.",
        "Den anställde är homosexuell och medlem i facket.",
        "Наш сотрудник имеет судимость и состоит в профсоюзе.",
        "Name: Ana Ruiz\nReligión: católica\nTeléfono: 600 111 222",
        "I have the BRCA1 gene mutation and my genetic test results are attached.",
    ] {
        assert!(score(text, Topic::SpecialCategories) >= 0.6, "{text}");
    }
}

#[test]
fn a_category_without_a_person_stays_below_the_threshold() {
    for text in [
        "What is the difference between the Catholic and the Protestant faith?",
        "Islam is the second-largest religion. Muslim scholars of the 9th century wrote about theology.",
        "Implement biometric fingerprint authentication in an Android app with the BiometricPrompt API.",
        "Write an essay on the history of trade unions in the nineteenth century.",
        "Which countries have laws on sexual orientation discrimination?",
        "The bishop was born in 1612; he was educated at the cathedral school and his diocese was Catholic.",
    ] {
        assert!(score(text, Topic::SpecialCategories) < 0.6, "{text}");
    }
}

#[test]
fn data_of_a_child_counts_in_ten_languages() {
    for text in [
        "My son Leo is 9 years old and his teacher at the elementary school wrote that he was bullied.",
        "Meine Tochter geht in die Grundschule, die Klassenlehrerin verlangt ein Attest vom Jugendamt.",
        "Ma fille est élève en maternelle, l'autorisation parentale manque.",
        "Mi hijo es alumno de la escuela primaria y la patria potestad la tiene mi exmarido.",
        "Mia figlia di 7 anni frequenta la scuola elementare e ha bisogno di un tutore.",
        "O meu filho é aluno da escola primária e a guarda dos filhos está em tribunal.",
        "Mijn zoon is leerling op de basisschool, de voogdij ligt bij mijn zus.",
        "Mój syn jest uczniem, szkoła podstawowa pyta, kto jest opiekun prawny.",
        "Min dotter är elev i grundskola och jag är hennes vårdnadshavare.",
        "Мой сын, ученик 3 класса, 9 лет, болеет.",
    ] {
        assert!(score(text, Topic::Minors) >= 0.6, "{text}");
    }
}

#[test]
fn general_talk_of_children_stays_below_the_threshold() {
    for text in [
        "What are good books for children in school?",
        "How does a binary tree pass a message from a parent to a child node?",
        "The school was founded in 1901 and has 600 pupils.",
        "Write a parser with child processes and kill them on exit.",
    ] {
        assert!(score(text, Topic::Minors) < 0.6, "{text}");
    }
}
